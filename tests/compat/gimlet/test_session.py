"""The session's API: what is kept of gimlet's ([KEEP] 1.2, 1.3, 1.5 to 1.8), and what is mended ([FIX])."""

import logging
import threading
from binascii import unhexlify
from datetime import UTC, datetime

import pytest

from coatcheck.compat import gimlet
from coatcheck.compat.gimlet import compat, crypto, serializer
from coatcheck.compat.gimlet.backends.base import BaseBackend
from coatcheck.compat.gimlet.middleware import SessionMiddleware
from coatcheck.compat.gimlet.session import DEFAULT, Session, SessionChannel, log
from coatcheck.errors import CannotSendCookie
from tests.compat.gimlet.browser import SECRET, Actions, Browser, set_cookies
from tests.compat.gimlet.conftest import Visitor, factory
from tests.compat.gimlet.quiet import DummyRequest, Request


class OldBackend(BaseBackend):
    """As a user of gimlet wrote one: the two methods, and no more."""

    def __init__(self):
        self.records, self.calls = {}, []

    def __getitem__(self, key):
        self.calls.append(("get", key))
        return dict(self.records[key])

    def __setitem__(self, key, value):
        self.calls.append(("set", key))
        self.records[key] = dict(value)


@pytest.fixture
def backend():
    return {}


@pytest.fixture
def visitor(backend):
    return Visitor(backend=backend)


def put(**values):
    return lambda session: session.update(values)


class TestKept:
    def test_the_public_names_are_there(self):
        """[KEEP] 1.1."""
        assert isinstance(gimlet.__version__, str)
        assert log is logging.getLogger("gimlet")
        assert compat.PY3
        assert compat.to_native_str(b"a") == compat.to_native_str("a") == "a"
        assert issubclass(serializer.URLSafeCookieSerializer, serializer.CookieSerializer)
        assert crypto.Crypter.recommended

    def test_the_factory_is_a_class_with_the_settings_as_attributes(self, backend):
        """[KEEP] 1.3."""
        made = factory(backend=backend, cookie_name_temporary="n", cookie_name_permanent="p", permanent=True)
        assert made.__name__ == "SessionFactory"
        assert issubclass(made, Session)
        assert made.backend is backend
        assert made.channel_names == {"perm": "p", "nonperm": "n"}
        assert made.channel_opts.keys() == {"perm", "nonperm"}
        assert made.defaults == {"permanent": True, "clientside": False}
        assert isinstance(made.serializer, serializer.URLSafeCookieSerializer)
        assert factory().defaults == {"permanent": False, "clientside": True}

    def test_positional_arguments_stand_in_gimlets_order(self, backend):
        """[KEEP] 1.3: secret, backend, clientside, cookie_name_temporary, …_permanent, encryption_key, permanent."""
        made = factory(SECRET.encode(), backend=backend)
        assert made.defaults["clientside"] is False
        from coatcheck.compat.gimlet.factories import session_factory_factory

        made = session_factory_factory(SECRET, backend, True, "n", "p", "00" * 32, True)
        assert made.defaults == {"permanent": True, "clientside": True}
        assert made.channel_names == {"perm": "p", "nonperm": "n"}

    def test_no_secret_is_a_type_error(self):
        """[KEEP] 1.3: None is a TypeError."""
        with pytest.raises(TypeError):
            factory(None)
        for empty in ("", b"", [], [""]):
            with pytest.raises(ValueError, match="secret is required"):
                factory(empty)
        with pytest.raises(TypeError, match="must be str or bytes, not int"):
            factory([SECRET, 1])

    def test_the_middleware_passes_on_its_arguments(self, backend):
        """[KEEP] 1.2: the 4th positional argument is the backend; attributes."""
        app = Actions("mine")
        middleware = SessionMiddleware(app, SECRET, "mine", backend, True)
        assert middleware.app is app
        assert middleware.environ_key == "mine"
        assert middleware.session_factory.backend is backend
        assert middleware.session_factory.defaults["clientside"] is True
        browser = Browser(middleware)
        browser.get("/set/a/b")
        assert browser.text("/get/a") == "b"

    def test_an_exception_of_the_application_propagates_and_nothing_is_written(self, backend):
        """[KEEP] 1.2."""
        browser = Browser(SessionMiddleware(Actions(), SECRET, backend=backend))
        browser.get("/set/a/kept")
        before = dict(backend), dict(browser.cookies)
        with pytest.raises(LookupError):
            browser.get("/fail/a")
        assert (dict(backend), browser.cookies) == before
        assert browser.text("/get/a") == "kept"

    def test_the_session_is_made_for_every_request_and_reads_no_backend_until_it_is_used(self):
        """[KEEP] 1.2."""
        backend = OldBackend()
        visitor = Visitor(backend=backend)
        visitor.visit(put(a=1))
        backend.calls.clear()
        visitor.visit()
        visitor.visit(lambda session: session.channels["perm"].id)
        assert backend.calls == []
        visitor.visit(lambda session: session["a"])
        assert [call for call, _ in backend.calls] == ["get", "get"]

    def test_a_backend_with_no_more_than_get_and_set_works(self):
        """[KEEP] 1.9: users subclass BaseBackend; 7.1: any object with the two methods."""
        visitor = Visitor(backend=OldBackend())
        visitor.visit(put(a=1))
        assert visitor.visit(dict) == {"a": 1}

        class NoBase:
            def __init__(self):
                self.records = {}

            def __getitem__(self, key):
                return self.records[key]

            def __setitem__(self, key, value):
                self.records[key] = value

        visitor = Visitor(backend=NoBase())
        visitor.visit(put(a=1))
        old = visitor.copy()
        assert visitor.visit(dict) == {"a": 1}
        visitor.visit(Session.invalidate)
        assert old.visit(dict) == {}, "what knows no removing is emptied"

    def test_a_subclass_of_a_backend_that_overrides_one_method_is_asked_by_it(self, redis_backend):
        class Shouting(type(redis_backend)):
            def __getitem__(self, key):
                return {name: value.upper() for name, value in super().__getitem__(key).items()}

        shouting = Shouting(client=redis_backend.client)
        visitor = Visitor(backend=shouting)
        visitor.visit(put(a="quiet"))
        assert visitor.visit(dict) == {"a": "QUIET"}

    def test_attributes(self, make):
        """[KEEP] 1.5."""
        session = make()
        assert session.flushed is False
        assert session.channels.keys() == {"perm", "nonperm"}
        assert isinstance(session.channels["perm"], SessionChannel)
        assert session.default_channel is session.channels["perm"]
        assert session.has_backend is False
        assert make(backend={}).has_backend is True
        assert session.id == session.channels["perm"].id
        assert isinstance(session.id, bytes)
        assert len(unhexlify(session.id)) == 16
        assert isinstance(session.created_timestamp, int)
        made = datetime.fromtimestamp(session.created_timestamp, UTC).replace(tzinfo=None)
        assert session.created_time == made == session.channels["perm"].created_time
        assert session.response_callback(None, None) is None

    def test_get_without_options_looks_everywhere_and_with_options_in_one_place(self, backend):
        """[KEEP] 1.5 get."""
        session = Visitor(backend=backend).arrive()
        session.set("c", "client", clientside=True)
        session.set("s", "server")
        session.set("p", "perm", permanent=True)
        assert [session.get(key) for key in "csp"] == ["client", "server", "perm"]
        assert session.get("x") is None
        assert session.get("x", 7) == 7
        assert session.get("c", permanent=False) is None, "with a backend, the server's side is meant"
        assert session.get("c", clientside=True) == "client"
        assert session.get("s", clientside=False) == "server"
        assert session.get("s", clientside=True) is None
        assert session.get("p", permanent=True) == "perm"
        assert session.get("p", permanent=False) is None
        assert session.get("c", DEFAULT, DEFAULT, DEFAULT) == "client"

    def test_without_a_backend_a_serverside_key_is_a_value_error(self, make):
        """[TEST] 1.5 option check: for set, get and save."""
        session = make()
        for call in (
            lambda: session.set("a", 1, clientside=False),
            lambda: session.get("a", clientside=False),
            lambda: session.save(clientside=False),
        ):
            with pytest.raises(ValueError, match="no backend present is not supported"):
                call()

    def test_clientside_is_not_sticky(self, visitor, backend):
        """[KEEP] 1.5: a key set clientside and then plainly is on the server only."""
        visitor.visit(lambda session: session.set("a", 1, clientside=True))
        assert backend == {}
        visitor.visit(put(a=2))
        assert list(backend.values()) == [{"a": 2}]
        assert visitor.arrive().channels["nonperm"].client_data == {}

    def test_setting_moves_a_key_between_all_four_places(self, visitor):
        """[TEST] 1.5 set: out of every other place."""
        places = [(p, c) for p in (True, False) for c in (True, False)]
        for permanent, clientside in [*places, *reversed(places)]:
            visitor.visit(lambda s, p=permanent, c=clientside: s.set("a", [p, c], permanent=p, clientside=c))
            session = visitor.arrive()
            assert session["a"] == [permanent, clientside]
            assert len(session) == 1
            assert session.is_permanent("a") is permanent
            held = session.channels["perm" if permanent else "nonperm"]
            assert ("a" in held.client_data, "a" in held.backend_data) == (clientside, not clientside)

    def test_del_and_the_rest_of_a_mutable_mapping(self, visitor):
        """[KEEP] 1.5: KeyError(key); in, len, iter, keys, items, ==."""

        def use(session):
            with pytest.raises(KeyError, match="gone"):
                session["gone"]
            with pytest.raises(KeyError, match="gone"):
                del session["gone"]
            session["a"] = 1
            session.set("b", 2, clientside=True, permanent=True)
            assert session == {"a": 1, "b": 2}
            assert sorted(session.items()) == [("a", 1), ("b", 2)]
            assert session.pop("b") == 2
            assert session.setdefault("c", 3) == 3
            assert session.popitem()[0] in ("a", "c")
            assert len(session) == 1

        visitor.visit(use)

    def test_a_key_in_one_channel_only_and_repr_of_a_channel(self, visitor):
        """[KEEP] 1.5 SessionChannel: `in`, get, set, delete."""
        channel = visitor.arrive().channels["nonperm"]
        channel.set("a", 1)
        channel.set("b", 2, clientside=True)
        assert ("a" in channel, "b" in channel, "c" in channel) == (True, True, False)
        assert (channel.get("a"), channel.get("b"), channel.get("b", clientside=True)) == (1, 2, 2)
        assert sorted(channel) == ["a", "b"]
        assert len(channel) == 2
        channel.delete("a")
        channel.delete("b")
        assert len(channel) == 0
        with pytest.raises(KeyError):
            channel.delete("a")
        assert SessionChannel(b"x", 0, {b"x": {"k": 1}}, fresh=False).get("k") == 1

    def test_a_channel_alone_reads_and_writes_its_own_record(self):
        """[FREE] 1.5: backend_read, backend_write."""
        backend = {}
        channel = SessionChannel(b"x", 0, backend, fresh=False)
        channel.set("a", 1)
        channel.backend_write()
        assert backend == {b"x": {"a": 1}}
        assert not channel.backend_dirty
        again = SessionChannel(b"x", 0, backend, fresh=False)
        again.backend_read()
        assert again.backend_data == {"a": 1}

    def test_a_channel_without_a_backend_writes_no_record(self):
        channel = SessionChannel(b"x", 0, None, fresh=False)
        channel.set("a", 1)
        channel.backend_write()
        assert channel.backend_dirty

    def test_save_with_options_writes_a_cookie_as_well(self, visitor):
        visitor.visit(lambda session: session.set("a", [1], clientside=True))
        visitor.visit(lambda session: (session["a"].append(2), session.save(clientside=True)))
        assert visitor.sent == {"gimlet-n"}
        assert visitor.visit(dict) == {"a": [1, 2]}

    def test_a_request_without_an_environ_is_enough(self):
        """[KEEP] 1.5: it needs cookies, and at the end scheme."""
        visitor = Visitor()
        visitor.visit(put(a=1))
        session = visitor.factory(DummyRequest(cookies=visitor.cookies))
        assert session["a"] == 1

    def test_write_callback_sets_flushed_and_can_come_twice(self, visitor, backend):
        session = visitor.arrive()
        session["a"] = 1
        first, second = visitor.leave(session), visitor.leave(session)
        assert session.flushed
        assert len(set_cookies(first)) == 2
        assert set_cookies(second) == {}


class TestLazyCookies:
    """[FIX] 1.8, within 7.2: no cookie for a request that leaves nothing to come back to."""

    @pytest.mark.parametrize(
        "look",
        [
            lambda session: None,
            lambda session: session.get("a"),
            lambda session: "a" in session,
            list,
            len,
            repr,
            Session.peek_flash,
            Session.pop_flash,
            lambda session: session.is_permanent("a"),
            Session.save,
            Session.clear,
        ],
        ids=range(11),
    )
    @pytest.mark.parametrize("has_backend", [True, False])
    def test_a_new_visitor_who_puts_nothing_in_gets_no_cookie(self, look, has_backend):
        visitor = Visitor(backend={} if has_backend else None)
        visitor.visit(look)
        assert visitor.sent == set()
        assert not visitor.options["backend"]

    @pytest.mark.parametrize("name", ["id", "created_timestamp", "created_time", "created"])
    def test_what_is_handed_out_sticks(self, name):
        """7.2 (c)."""
        visitor = Visitor()
        told = visitor.visit(lambda session: getattr(session, name))
        assert visitor.sent == {"gimlet-n", "gimlet-p"}
        assert visitor.visit(lambda session: getattr(session, name)) == told

    def test_an_untouched_response_has_no_header_of_ours_and_a_used_one_varies(self, visitor):
        visitor.visit()
        assert "Vary" not in visitor.response.headers
        visitor.visit(lambda session: session.get("a"))
        assert visitor.response.headers["Vary"] == "Cookie"
        assert "Cache-Control" not in visitor.response.headers
        visitor.visit(put(a=1))
        assert visitor.response.headers["Cache-Control"] == "no-store"

    def test_a_bad_cookie_is_replaced_though_nothing_is_touched(self, caplog):
        """7.2 (a)."""
        visitor = Visitor({"gimlet-p": "garbage"})
        visitor.visit()
        assert visitor.sent == {"gimlet-n", "gimlet-p"}
        assert "contained bad sig" in caplog.text
        visitor.visit()
        assert visitor.sent == set()

    def test_a_visitor_whose_browser_was_closed_gets_no_new_cookie_before_something_is_put_in(self, visitor):
        visitor.visit(put(a=1))
        del visitor.cookies["gimlet-n"]
        visitor.visit(dict)
        assert visitor.sent == set()
        visitor.visit(put(a=2))
        assert visitor.sent == {"gimlet-n"}


class TestFixes:
    """[FIX] 1.2, 1.5, 1.6, 1.7, each by name."""

    def test_fix_a_third_positional_argument_that_is_no_string_is_the_backend(self, backend):
        """1.2: as gimlet's own documentation calls it."""
        browser = Browser(SessionMiddleware(Actions(), SECRET, backend))
        browser.get("/set/a/b")
        assert list(backend.values()) == [{"a": "b"}]
        assert SessionMiddleware(Actions(), SECRET, None).session_factory.backend is None

    def test_fix_a_refused_set_leaves_the_old_value(self, make):
        """1.5: check first."""
        session = make()
        session["a"] = "old"
        with pytest.raises(ValueError, match="no backend"):
            session.set("a", "new", clientside=False)
        assert session["a"] == "old"

    def test_fix_save_of_a_channel_that_was_not_loaded_loses_nothing(self, visitor, backend):
        """1.5: it overwrote the record with {}."""
        visitor.visit(put(a=1))
        visitor.visit(lambda session: session.set("p", 1, permanent=True))
        before = dict(backend)
        for options in ({}, {"permanent": True}, {"permanent": False}, {"clientside": False}):
            visitor.visit(lambda session, options=options: session.save(**options))
            assert backend == before
        assert visitor.visit(dict) == {"a": 1, "p": 1}

    @pytest.mark.parametrize("permanent", [True, False])
    @pytest.mark.parametrize("clientside", [True, False])
    def test_fix_save_covers_the_place_where_the_changed_key_really_is(self, visitor, permanent, clientside):
        """1.5: it covered the default place only."""
        visitor.visit(lambda session: session.set("a", [1], permanent=permanent, clientside=clientside))

        def change(session):
            session["a"].append(2)
            session.save()

        visitor.visit(change)
        assert visitor.visit(dict) == {"a": [1, 2]}
        visitor.visit(lambda session: (session["a"].append(3), session.changed()))
        assert visitor.visit(dict) == {"a": [1, 2, 3]}

    def test_save_with_options_writes_that_place(self, visitor):
        """[KEEP] 1.5 save."""
        visitor.visit(lambda session: session.set("a", [1], permanent=True))
        visitor.visit(lambda session: (session["a"].append(2), session.save(permanent=True)))
        assert visitor.visit(dict) == {"a": [1, 2]}

    def test_a_change_in_place_without_save_is_lost_with_every_backend(self, visitor):
        """7.7, also with a dict as the backend, which hands out its own objects."""
        visitor.visit(put(a=[1]))
        visitor.visit(lambda session: session["a"].append(2))
        assert visitor.visit(dict) == {"a": [1]}

    def test_fix_invalidate_really_ends_the_session(self, visitor, backend):
        """1.5 security: the old cookies still opened it."""
        visitor.visit(put(user="frodo"))
        visitor.visit(lambda session: session.set("p", 1, permanent=True))
        thief = visitor.copy()
        assert thief.visit(dict) == {"user": "frodo", "p": 1}
        visitor.visit(Session.invalidate)
        assert backend == {}
        assert thief.visit(dict) == {}
        assert visitor.visit(dict) == {}
        assert visitor.cookies != thief.cookies

    def test_fix_what_was_under_way_does_not_bring_an_ended_session_back(self, stored):
        visitor = Visitor(backend=stored)
        visitor.visit(put(user="frodo"))
        thief = visitor.copy()
        late = visitor.arrive()
        late["seen"] = 1
        visitor.visit(Session.invalidate)
        response = thief.leave(late)
        assert set_cookies(response) == {}
        assert thief.visit(dict) == {}

    def test_what_was_under_way_does_not_bring_an_ended_session_back_in_a_dict(self, visitor, backend):
        visitor.visit(put(a=1))
        late = visitor.arrive()
        late["b"] = 2
        visitor.copy().visit(Session.invalidate)
        visitor.leave(late)
        assert backend == {}

    def test_a_channel_from_before_invalidate_is_empty_and_its_record_is_not_read(self, visitor, monkeypatch):
        visitor.visit(put(a=1))
        session, asked = visitor.arrive(), []
        old = session.channels["nonperm"]
        session.invalidate()
        monkeypatch.setattr("coatcheck.compat.gimlet.session.read_records", lambda *_: asked.append(1) or {})
        assert len(old) == 0
        assert asked == []

    def test_a_change_that_can_not_be_stored_is_an_error(self):
        class Full(dict):
            def __setitem__(self, key, value):
                raise OSError("full")

        full = Visitor(backend=Full())
        with pytest.raises(OSError, match="full"):
            full.visit(put(a=1))
        assert full.cookies == {}

    def test_what_is_put_in_after_invalidate_goes_to_the_new_session(self, visitor, backend):
        visitor.visit(put(user="frodo"))
        old = visitor.copy()

        def sign_out(session):
            session.invalidate()
            session.flash("bye")

        visitor.visit(sign_out)
        assert visitor.visit(Session.pop_flash) == ["bye"]
        assert old.visit(dict) == {}

    def test_fix_a_message_flashed_in_a_later_request_than_the_first_is_not_lost(self):
        """1.6: the list was changed in place, and never marked."""
        for options in ({"backend": {}}, {}):
            visitor = Visitor(**options)
            for message in ("one", "two", "three"):
                visitor.visit(lambda session, message=message: session.flash(message))
            assert visitor.visit(Session.peek_flash) == ["one", "two", "three"]
            assert visitor.visit(Session.pop_flash) == ["one", "two", "three"]
            assert visitor.visit(Session.pop_flash) == []

    def test_flash_queues_are_apart(self, visitor):
        """[TEST] 1.6: under '_f_' + queue."""
        visitor.visit(lambda session: session.flash("x", queue="q"))
        assert visitor.visit(dict) == {"_f_q": ["x"]}
        assert visitor.visit(Session.peek_flash) == []

    def test_the_rest_of_pyramids_session(self, visitor):
        """1.6: new, created, changed()."""
        assert visitor.visit(lambda session: session.new) is True
        visitor.visit(put(a=1))
        assert visitor.visit(lambda session: session.new) is False
        assert visitor.visit(lambda session: session.created == session.created_timestamp)

    def test_fix_an_error_of_the_backend_is_not_masked_by_in(self):
        """1.5: a TypeError while loading became "argument of type 'SessionChannel' is not iterable"."""

        class Broken:
            def __getitem__(self, key):
                raise TypeError("the backend's own")

            def __setitem__(self, key, value):
                pass

        visitor = Visitor(backend=Broken())
        visitor.visit(put(a=1))
        for look in (lambda session: "a" in session, lambda session: "a" in session.channels["perm"]):
            with pytest.raises(TypeError, match="the backend's own"):
                visitor.visit(look)

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

    def test_repr_shows_keys_and_no_values(self, visitor):
        visitor.visit(put(card="1234-5678"))
        shown = visitor.visit(repr)
        assert "card" in shown
        assert "1234" not in shown

    def test_fix_one_id_for_all_that_one_request_does(self, visitor, backend):
        def use(session):
            ids = {session.id, session.id}
            session["a"] = 1
            session.set("b", 2, permanent=True)
            session["c"] = 3
            return ids | {session.id}

        (told,) = visitor.visit(use)
        assert visitor.visit(lambda session: session.id) == told
        assert len(backend) == 2

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

    def test_threads_of_one_process_share_a_factory(self, backend):
        made, failed = factory(backend=backend), []

        def come():
            try:
                visitor = Visitor(backend=backend)
                visitor.factory = made
                for number in range(20):
                    visitor.visit(put(a=number))
                    assert visitor.visit(dict) == {"a": number}
            except BaseException as error:  # noqa: BLE001 - told below
                failed.append(error)

        threads = [threading.Thread(target=come) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failed == []
        assert len(backend) == 8


def test_the_response_may_be_any_that_has_a_list_of_headers():
    class Bare:
        headerlist = []  # noqa: RUF012 - stands for a response

    session = factory()(Request.blank("/"))
    session["a"] = 1
    session.write_callback(session.request, Bare)
    assert [name for name, _ in Bare.headerlist].count("Set-Cookie") == 2
