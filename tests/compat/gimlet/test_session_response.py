"""The session around the response: changes after its head has left, and bodies that fail ([FIX])."""

import pytest

from coatcheck.compat.gimlet.middleware import SessionMiddleware
from coatcheck.errors import CannotSendCookie
from tests.compat.gimlet.browser import SECRET, Browser
from tests.compat.gimlet.conftest import Visitor, put
from tests.compat.gimlet.quiet import Request


class TestResponse:
    def test_set_after_the_response_is_written_at_once(self, visitor, backend):
        """[TEST] 1.7: one write per set."""
        visitor.visit(put(a=1))
        session = visitor.arrive()
        visitor.leave(session)
        session["b"] = 2
        assert list(backend.values()) == [{"a": 1, "b": 2}]

    def test_fix_del_after_the_response_is_written(self, visitor, backend):
        """1.7."""
        visitor.visit(put(a=1, b=2))
        session = visitor.arrive()
        visitor.leave(session)
        del session["a"]
        assert list(backend.values()) == [{"b": 2}]

    def test_fix_save_and_clear_after_the_response_are_written(self, visitor, backend):
        """1.7."""
        visitor.visit(put(a=[1]))
        session = visitor.arrive()
        visitor.leave(session)
        session["a"].append(2)
        session.save()
        assert list(backend.values()) == [{"a": [1, 2]}]
        session.clear()
        assert list(backend.values()) == [{}]
        session.invalidate()
        assert backend == {}

    def test_what_would_need_a_cookie_after_the_response_is_refused_and_changes_nothing(self, visitor):
        """[TEST] 1.5: ValueError; also for del, save and clear."""
        visitor.visit(lambda session: session.set("c", [1], clientside=True))
        session = visitor.arrive()
        visitor.leave(session)
        for call in (
            lambda: session.set("c", 2, clientside=True),
            lambda: session.set("c", 2),
            lambda: session.__delitem__("c"),
            lambda: session.save(clientside=True),
            session.clear,
        ):
            with pytest.raises(ValueError, match="after the WSGI response has been returned"):
                call()
            assert session["c"] == [1]
        assert session.get("c", clientside=True) == [1], "a read need not fail"

    def test_a_visitor_without_a_cookie_can_not_be_given_something_after_the_response(self, visitor, backend):
        session = visitor.arrive()
        visitor.leave(session)
        with pytest.raises(CannotSendCookie):
            session["a"] = 1
        assert backend == {}

    def test_a_generator_has_not_run_yet_so_its_visitor_gets_his_cookies(self, backend):
        def app(environ, start_response):
            def body():
                yield b"first"
                environ["gimlet.session"]["a"] = 1

            start_response("200 OK", [])
            return body()

        browser = Browser(SessionMiddleware(app, SECRET, backend=backend))
        browser.get("/")
        assert browser.cookies.keys() == {"gimlet-n", "gimlet-p"}
        assert Visitor(browser.cookies, backend=backend).visit(dict) == {"a": 1}

    def test_settings_and_environ_are_left_as_they_are(self):
        from coatcheck.compat.gimlet.factories import session_factory_from_settings

        settings = {"gimlet.secret": SECRET, "gimlet.permanent": "true", "gimlet.backend": None, "x": 1}
        before = dict(settings)
        session_factory_from_settings(settings)
        assert settings == before

    def test_a_relative_location_is_left_relative(self):
        """1.2 [FREE]."""

        def app(environ, start_response):
            start_response("302 Found", [("Location", "/there")])
            return [b""]

        collected = []
        request = Request.blank("/")
        body = SessionMiddleware(app, SECRET)(request.environ, lambda *args: collected.append(args))
        assert list(body) == [b""]
        assert collected[0][1] == [("Location", "/there")]

    def test_the_body_is_closed_when_the_session_can_not_be_written(self):
        closed = []

        class Body(list):
            def close(self):
                closed.append(True)

        def app(environ, start_response):
            environ["gimlet.session"]["a"] = object()
            start_response("200 OK", [])
            return Body([b""])

        with pytest.raises(TypeError, match=r"session\['a'\]"):
            Request.blank("/").get_response(SessionMiddleware(app, SECRET))
        assert closed == [True]

    def test_a_body_without_close_masks_no_error(self):
        def app(environ, start_response):
            environ["gimlet.session"]["a"] = object()
            start_response("200 OK", [])
            return (b"",)

        with pytest.raises(TypeError, match=r"session\['a'\]"):
            Request.blank("/").get_response(SessionMiddleware(app, SECRET))

    def test_an_application_that_answers_an_error_by_exc_info_is_passed_on(self):
        import sys

        def app(environ, start_response):
            try:
                {}["handled"]
            except LookupError:
                start_response("500 Oops", [], sys.exc_info())
            return [b"oops"]

        collected = []
        SessionMiddleware(app, SECRET)(Request.blank("/").environ, lambda *args: collected.append(args))
        assert collected[0][0] == "500 Oops"
        assert collected[0][2][0] is KeyError
