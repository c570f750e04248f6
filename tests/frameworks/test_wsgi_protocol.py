"""What is special to WSGI (PEP 3333): when a response starts, and what may go wrong with it."""

import io
import sys
from wsgiref.validate import validator

import pytest

from coatcheck import CookieSettings, Sessions, StoreUnavailable
from coatcheck.frameworks.wsgi import SessionMiddleware
from coatcheck.stores.memory import MemoryStore
from coatcheck.testing import FailingStore
from tests.behaviours import Browser, WsgiClient, perform
from tests.behaviours.site import SECRET
from tests.frameworks.wsgi_server import DOWN, ENVIRON_KEY, HEADERS, Server


def test_an_app_that_starts_its_response_before_it_changes_the_session_has_its_cookie():
    def app(environ, start_response):
        start_response("200 OK", HEADERS)
        environ[ENVIRON_KEY]["a"] = 1
        return [b"x"]

    server = Server(app)
    assert server.get() == b"x"
    assert len(server.ours) == 1
    assert server.value("a") == "1"


def test_a_generator_that_starts_its_response_late_has_its_cookie():
    def app(environ, start_response):
        environ[ENVIRON_KEY]["a"] = 1
        start_response("200 OK", HEADERS)
        environ[ENVIRON_KEY]["b"] = 2
        yield b"x"
        environ[ENVIRON_KEY]["c"] = 3
        yield b"y"

    server = Server(app)
    assert server.get() == b"xy"
    assert server.journal == ["head", "body", "body"]
    assert len(server.ours) == 1
    assert [server.value(name) for name in "abc"] == ["1", "2", "3"]


def test_empty_chunks_hold_the_head_back():
    def app(environ, start_response):
        start_response("200 OK", HEADERS)
        yield b""
        yield b""
        environ[ENVIRON_KEY]["a"] = 1
        yield b"x"
        yield b""
        yield b"y"

    server = Server(app)
    assert server.get() == b"xy"
    assert server.written == [b"x", b"", b"y"]
    assert len(server.ours) == 1


def test_a_body_of_nothing_has_its_head_and_cookie():
    for chunks in ([], [b""], [b"", b""]):
        for kind in (list, iter, tuple):

            def app(environ, start_response, kind=kind, chunks=chunks):
                start_response("204 No Content", [])
                environ[ENVIRON_KEY]["a"] = 1
                return kind(chunks)

            server = Server(app)
            assert server.get() == b""
            assert server.status == "204 No Content"
            assert len(server.ours) == 1


def test_the_write_callable_sends_the_head_first_and_later_changes_are_stored_at_the_end():
    def app(environ, start_response):
        write = start_response("200 OK", HEADERS)
        environ[ENVIRON_KEY]["a"] = 1
        write(b"x")
        environ[ENVIRON_KEY]["b"] = 2
        write(b"y")
        return [b"z"]

    server = Server(app)
    assert server.get() == b"xyz"
    assert server.journal == ["head", "body", "body", "body"]
    assert len(server.ours) == 1
    assert (server.value("a"), server.value("b")) == ("1", "2")


def test_a_store_that_fails_when_write_is_called_gives_a_503_and_after_it_breaks_off():
    def app(environ, start_response):
        write = start_response("200 OK", HEADERS)
        environ[ENVIRON_KEY]["a"] = 1
        write(b"x")
        return []

    server = Server(app)
    server.store.fail("write", error=DOWN)
    assert b"not available" in server.get()
    assert server.status.startswith("503")

    def late(environ, start_response):
        write = start_response("200 OK", HEADERS)
        environ[ENVIRON_KEY].setdefault("a", 1)
        write(b"x")
        server.store.fail("write", error=DOWN)
        environ[ENVIRON_KEY]["b"] = 1
        return []

    server = Server(late)
    with pytest.raises(StoreUnavailable):
        server.get()
    assert server.status == "200 OK"


def test_a_second_start_with_exc_info_replaces_the_head_while_it_has_not_left():
    def app(environ, start_response):
        start_response("200 OK", HEADERS)
        environ[ENVIRON_KEY]["a"] = 1
        try:
            1 / 0  # noqa: B018 - it raises
        except ZeroDivisionError:
            start_response("500 Oops", HEADERS, sys.exc_info())
        return [b"oops"]

    server = Server(app)
    assert server.get() == b"oops"
    assert server.status == "500 Oops"
    assert isinstance(server.exc_info[1], ZeroDivisionError)
    assert server.journal == ["head", "body"]
    assert server.value("a") == "None"  # the handler raised, though a framework in between has caught it


def test_a_redirect_that_the_handler_raises_is_a_response_like_any_other():
    """As WebOb's `HTTPExceptionMiddleware` answers it."""

    class Found(Exception):
        pass

    def handler(environ):
        environ[ENVIRON_KEY].sign_in("ada")
        raise Found

    def app(environ, start_response):
        try:
            handler(environ)
        except Found:
            start_response("302 Found", [("Location", "/")], sys.exc_info())
        return []

    server = Server(app)
    server.get()
    assert isinstance(server.exc_info[1], Found)
    assert server.sessions.count() == len(server.ours) == 1


def test_a_second_start_with_exc_info_after_the_head_left_raises_it():
    def app(environ, start_response):
        start_response("200 OK", HEADERS)
        yield b"x"
        environ[ENVIRON_KEY]["a"] = 1
        try:
            1 / 0  # noqa: B018 - it raises
        except ZeroDivisionError:
            start_response("500 Oops", HEADERS, sys.exc_info())
        yield b"oops"

    server = Server(app)
    with pytest.raises(ZeroDivisionError):
        server.get()
    assert server.status == "200 OK"
    assert server.sessions.count() == 0


def test_an_error_page_that_ends_the_session_while_it_is_sent_ends_it():
    def app(environ, start_response):
        session = environ[ENVIRON_KEY]
        try:
            session["a"] = 1 / 0
        except ZeroDivisionError:
            start_response("500 Oops", HEADERS, sys.exc_info())
        yield b"x"
        session["b"] = 1
        session.sign_out()
        session["c"] = 1

    def before(environ, start_response):
        environ[ENVIRON_KEY].sign_in("ada")
        start_response("200 OK", HEADERS)
        return []

    server = Server(before)
    server.get()
    assert server.sessions.count() == 1
    server.app.app = app
    assert server.get() == b"x"
    assert server.sessions.count() == 0


def test_an_app_that_breaks_the_protocol_is_told_so_and_nothing_is_stored():
    def twice(environ, start_response):
        environ[ENVIRON_KEY]["a"] = 1
        start_response("200 OK", HEADERS)
        start_response("200 OK", HEADERS)
        return []

    def never(environ, start_response):
        environ[ENVIRON_KEY]["a"] = 1
        return [b"x"]

    def nothing(environ, start_response):
        environ[ENVIRON_KEY]["a"] = 1
        return iter(())

    for app in (twice, never, nothing):
        server = Server(app)
        with pytest.raises(AssertionError, match="start_response"):
            server.get()
        assert server.sessions.count() == 0


def test_an_app_that_exits_ends_the_session_that_it_ended():
    def app(environ, start_response):
        if environ[ENVIRON_KEY].is_new:
            environ[ENVIRON_KEY]["a"] = 1
            start_response("200 OK", HEADERS)
            return []
        environ[ENVIRON_KEY].sign_out()
        raise SystemExit

    server = Server(app)
    server.get()
    assert server.sessions.count() == 1
    with pytest.raises(SystemExit):
        server.get()
    assert server.sessions.count() == 0


def test_the_middleware_passes_the_validator_around_and_inside_it():
    def app(environ, start_response):
        answer = perform(environ["QUERY_STRING"], environ[ENVIRON_KEY], sessions)
        start_response(f"{answer.status} OK", answer.headers)
        return answer.body

    failing = FailingStore(MemoryStore())
    sessions = Sessions(failing, secret=SECRET)
    around = validator(SessionMiddleware(validator(app), sessions))
    client = WsgiClient(
        lambda environ, start_response: around({**environ, "wsgi.input": io.BytesIO()}, start_response)
    )
    browser = Browser(lambda request: client.send(request, lambda _: None))
    for steps in ((), ("get a",), ("set a 1",), ("get a", "stream", "set b 2"), ("rotate",), ("sign_out",)):
        reply = browser.play(*steps)
        assert (reply.status, reply.raised) == (200, None), steps
    browser.play("set a 1")
    failing.fail("load", "write", error=DOWN)
    for steps in (("get a",), ("get a", "stream", "get a")):
        assert browser.play(*steps).status == 503


def test_two_apps_behind_one_another_keep_their_own_sessions():
    def app(environ, start_response):
        environ[ENVIRON_KEY]["inner"] = 1
        start_response("200 OK", HEADERS)
        return [b"x"]

    outer = Server(None, cookie=CookieSettings(name="outer"))

    def between(environ, start_response):
        environ[ENVIRON_KEY]["outer"] = 1
        return SessionMiddleware(app, inner)(environ, start_response)

    inner = Sessions(MemoryStore(), secret=SECRET, cookie=CookieSettings(name="inner"))
    outer.app.app = between
    outer.get()
    assert outer.cookies.keys() == {"outer", "inner"}


def test_header_names_and_values_that_are_the_servers_business_are_left_as_they_are():
    theirs = [("content-TYPE", "text/plain"), ("X-Odd", "\xe9; a=1, b"), ("x-odd", "2")]

    def app(environ, start_response):
        environ[ENVIRON_KEY]["a"] = 1
        start_response("200 Quite all right", theirs)
        return []

    server = Server(app)
    server.get()
    assert server.status == "200 Quite all right"
    assert server.headers[:3] == theirs
    ours = [name for name, _ in server.headers[3:]]
    assert ours == ["Vary", "Cache-Control", "Expires", "Set-Cookie"]
    assert len(theirs) == 3
