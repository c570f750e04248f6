"""The session's API: what is kept of gimlet's ([KEEP] 1.2, 1.3, 1.5 to 1.8)."""

import logging
from binascii import unhexlify
from datetime import UTC, datetime

import pytest

from coatcheck.compat import gimlet
from coatcheck.compat.gimlet import compat, crypto, serializer
from coatcheck.compat.gimlet.backends.base import BaseBackend
from coatcheck.compat.gimlet.middleware import SessionMiddleware
from coatcheck.compat.gimlet.session import DEFAULT, Session, SessionChannel, log
from tests.compat.gimlet.browser import SECRET, Actions, Browser, set_cookies
from tests.compat.gimlet.conftest import Visitor, factory, put
from tests.compat.gimlet.quiet import DummyRequest


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
