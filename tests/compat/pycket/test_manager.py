"""What a manager does, on what stands in for a handler, as the old library's own tests have it.

Lines of the specification are named in brackets: by number of its chapter, and what they pin.
"""

import pickle
from importlib import import_module
from types import SimpleNamespace

import pytest
import redis

from coatcheck.compat.pycket._manager import Manager
from coatcheck.compat.pycket.driver import MemcachedDriver, RedisDriver
from coatcheck.compat.pycket.notification import NotificationManager
from coatcheck.compat.pycket.session import ConfigurationError, SessionManager
from coatcheck.compat.pycket01.notification import NotificationManager as NotificationManager01
from coatcheck.compat.pycket01.session import SessionManager as SessionManager01
from coatcheck.compat.pycket01.session import create_mixin
from coatcheck.errors import NotStorable
from tests.compat.pycket.conftest import settings_for
from tests.compat.pycket.site import StubHandler, StubVisitor
from tests.servers.process import HOST, until

pytestmark = pytest.mark.servers


def test_the_names_are_where_they_have_always_been():
    """[3 names] [4 names: without driver and ConfigurationError]"""
    names = {
        "pycket.session": ("SessionManager", "SessionMixin", "ConfigurationError", "create_mixin"),
        "pycket.notification": ("NotificationManager", "NotificationMixin"),
        "pycket.driver": ("Driver", "RedisDriver", "MemcachedDriver", "DriverFactory"),
        "pycket01.session": ("SessionManager", "SessionMixin", "create_mixin"),
        "pycket01.notification": ("NotificationManager", "NotificationMixin"),
    }
    for module, expected in names.items():
        found = import_module(f"coatcheck.compat.{module}")
        assert set(expected) <= set(found.__all__)
        assert all(hasattr(found, name) for name in found.__all__)


@pytest.fixture(params=["redis", "memcached", "0.1"])
def kind(request, redis_port, memcached_port):
    """Each generation on each of its engines: its managers, settings, and how a raw value is got."""
    if request.param == "0.1":
        settings = {"pycket_redis": {"host": HOST, "port": redis_port}}
        return SimpleNamespace(
            session=SessionManager01, notifications=NotificationManager01, settings=settings, name="dataset"
        )
    port = redis_port if request.param == "redis" else memcached_port
    settings = settings_for(request.param, port)
    return SimpleNamespace(
        session=SessionManager, notifications=NotificationManager, settings=settings, name="session"
    )


@pytest.fixture
def handler(kind):
    return StubHandler(kind.settings)


@pytest.fixture
def session(kind, handler):
    return kind.session(handler)


@pytest.fixture
def notifications(kind, handler):
    return kind.notifications(handler)


def raw(manager):
    """What really lies in the store."""
    return manager._driver().load(manager.handler.session_id).raw


class TestSession:
    def test_set_and_get_with_a_default(self, session):
        """[3.2 set, get]"""
        session.set("foo", ["bar", "baz"])
        assert session.get("foo") == ["bar", "baz"]
        assert session.get("nothing") is None
        assert session.get("nothing", "instead") == "instead"

    def test_what_is_set_lies_in_the_store_at_once_as_a_pickle_of_the_bare_dict(self, session):
        """[3.2 immediately persisted] [3.5 pickle of a plain dict] [7.3] [4 raw pickles]"""
        session.set("some-object", {"foo": "bar"})
        assert pickle.loads(raw(session)) == {"some-object": {"foo": "bar"}}
        session.set("some-object2", 2)
        assert pickle.loads(raw(session)) == {"some-object": {"foo": "bar"}, "some-object2": 2}

    def test_another_handler_of_the_visitor_sees_it_at_once(self, kind, handler, session):
        """[3.2 visible at once across handlers]"""
        other = kind.session(StubHandler(kind.settings, handler.session_id))
        session["foo"] = 1
        assert other["foo"] == 1
        other["foo"] = 2
        assert session["foo"] == 2

    def test_a_missing_name_in_brackets_is_a_key_error_and_so_is_none(self, kind, session):
        """[3.2 KeyError text, also if the stored value is None] [4 KeyError text of 0.1]"""
        session.set("none", None)
        for name in ("missing", "none"):
            with pytest.raises(KeyError) as caught:
                session[name]
            assert caught.value.args == (f"{name} not found in {kind.name}",)

    def test_deleting_ignores_names_that_are_missing_and_always_writes(self, session):
        """[3.2 delete]"""
        session.set("a", 1)
        session.set("b", 2)
        session.delete("a", "missing")
        assert pickle.loads(raw(session)) == {"b": 2}
        del session["b"]
        del session["b"]
        assert pickle.loads(raw(session)) == {}

    def test_deleting_from_a_known_visitor_who_has_no_record_writes_an_empty_one(self, session):
        """[3.2 delete always writes]"""
        session.delete("missing")
        assert pickle.loads(raw(session)) == {}

    def test_names_by_keys_iteration_and_in(self, session):
        """[3.2 keys, iterkeys, iter, in]"""
        assert "foo" not in session
        session.set("foo", "FOO")
        session.set("bar", "BAR")
        assert "foo" in session
        assert sorted(session.keys()) == sorted(session.iterkeys()) == sorted(session) == ["bar", "foo"]

    def test_an_empty_manager_is_true_though_it_has_a_length(self, session):
        """[3.2 a manager is always truthy]"""
        assert session
        assert len(session) == 0
        session["a"] = 1
        assert len(session) == 1

    def test_what_a_dict_has_beside(self, session):
        """[3.2 no len, items, values, pop, update, clear (add)]"""
        session.update({"a": 1}, b=2)
        assert dict(session.items()) == {"a": 1, "b": 2}
        assert sorted(session.values()) == [1, 2]
        assert session.setdefault("a", 5) == 1
        assert session.setdefault("c", 5) == 5
        assert session.pop("c") == 5
        assert session.pop("c", None) is None
        with pytest.raises(KeyError):
            session.pop("c")
        session.clear()
        assert pickle.loads(raw(session)) == {}

    def test_a_value_changed_in_place_is_not_stored(self, session):
        """[3.2 in-place mutation is not persisted]"""
        value = ["a"]
        session["list"] = value
        value.append("b")
        session["list"].append("c")
        session["other"] = 1
        assert session["list"] == ["a"]

    def test_it_ends_a_day_after_the_last_write(self, kind, session):
        """[3.2 EXPIRE_SECONDS] [3.4 86400] [FIX 3.4 not atomic: written with its expiry]"""
        assert session._driver().EXPIRE_SECONDS == 24 * 60 * 60
        session["a"] = 1
        if session._driver().__class__ is RedisDriver:
            assert 86300 < session._driver().client.ttl(session.handler.session_id) <= 86400

    def test_the_expiry_can_be_set_on_the_driver_and_in_01_on_the_manager(self, kind, session):
        """[3.2 overridable: manager.driver.EXPIRE_SECONDS] [4 manager.EXPIRE_SECONDS = 1]"""
        (session if kind.name == "dataset" else session.driver).EXPIRE_SECONDS = 1
        session["foo"] = "bar"
        until(lambda: session.get("foo") is None, "the session has expired")

    def test_each_write_begins_the_day_anew_and_reading_does_not(self, redis_settings, dbs):
        """[3.2 counted from the last write; reads do not extend]"""
        session = SessionManager(StubHandler(redis_settings))
        session["a"] = 1
        dbs(0).expire(session.handler.session_id, 100)
        session.get("a")
        assert dbs(0).ttl(session.handler.session_id) <= 100
        session["a"] = 1
        assert dbs(0).ttl(session.handler.session_id) > 86000

    def test_a_value_that_is_not_plain_is_refused_where_it_is_set(self, session):
        """[FIX 3.4 pickle: builtins only]"""
        session["before"] = 1
        with pytest.raises(NotStorable, match="SimpleNamespace"):
            session["bad"] = [SimpleNamespace()]
        assert pickle.loads(raw(session)) == {"before": 1}


class TestNotifications:
    def test_one_is_read_once(self, notifications):
        """[3.3 read once]"""
        for value in ("bar", 0, "", []):
            notifications.set("foo", value)
            assert notifications.get("foo") == value
            assert notifications.get("foo") is None
        notifications["foo"] = "bar"
        assert notifications["foo"] == "bar"
        with pytest.raises(KeyError):
            notifications["foo"]
        notifications["foo"] = "bar"
        assert notifications.pop("foo") == "bar"
        assert notifications.pop("foo", "none left") == "none left"
        with pytest.raises(KeyError):
            notifications.pop("foo")

    def test_the_store_has_it_no_more_once_it_was_read(self, notifications):
        """[3.3 deletes the name] [3.5]"""
        notifications.set("foo", "bar")
        assert pickle.loads(raw(notifications)) == {"foo": "bar"}
        notifications.get("foo")
        assert pickle.loads(raw(notifications)) == {}

    def test_looking_does_not_take(self, notifications):
        """[3.3 in, keys, iteration do not consume]"""
        notifications.set("foo", "bar")
        assert "foo" in notifications
        assert list(notifications) == list(notifications.keys()) == ["foo"]
        assert list(notifications.items()) == [("foo", "bar")]
        assert list(notifications.values()) == ["bar"]
        assert notifications.get("foo") == "bar"

    def test_a_default_is_returned_and_nothing_is_written(self, notifications):
        """[FIX 3.3 get(missing, default) writes an empty record]"""
        assert notifications.get("foo", "Default") == "Default"
        assert raw(notifications) is None

    def test_none_stays(self, notifications):
        """[3.3 value None: not deleted]"""
        notifications.set("nn", None)
        assert notifications.get("nn") is None
        assert "nn" in notifications

    def test_names_of_the_session_and_of_notifications_are_apart(self, session, notifications):
        """[3.3 same cookie, other category] [FIX 3.3 memcached: same record as the session]"""
        session.set("foo", "foo-session")
        notifications.set("foo", "foo-notification")
        assert notifications.get("foo") == "foo-notification"
        assert notifications.get("foo") is None
        assert session.get("foo") == "foo-session"


class TestId:
    def test_a_stand_in_gets_exactly_the_old_keywords(self, kind):
        """[3.1 exactly these keywords reach set_secure_cookie] [3.2 id is a str] [7.4]"""
        visitor = StubVisitor(kind.settings)
        kind.session(visitor).set("foo", 1)
        ((name, value, expires_days, expires),) = visitor.cookies
        assert (name, expires_days, expires) == ("PYCKET_ID", None, None)
        assert isinstance(value, str)
        assert len(value) == 36

    def test_a_new_visitor_keeps_his_id_for_the_request(self, kind):
        """[FIX 3.2 the worst bug: one id per request, shared by session and notifications] [7.4 remember the id]"""
        visitor = StubVisitor(kind.settings)
        kind.session(visitor).set("foo", 1)
        kind.session(visitor).set("bar", 2)
        kind.notifications(visitor).set("note", "hi")
        assert kind.session(visitor).get("foo") == 1
        assert dict(kind.session(visitor).items()) == {"foo": 1, "bar": 2}
        assert kind.notifications(visitor).get("note") == "hi"
        assert len(visitor.cookies) == 1

    def test_a_new_visitor_who_only_reads_gets_no_cookie(self, kind):
        """[3.2 a read sets a cookie too: FREE]"""
        visitor = StubVisitor(kind.settings)
        session = kind.session(visitor)
        assert session.get("foo") is None
        session.delete("foo")
        assert kind.notifications(visitor).get("foo") is None
        assert visitor.cookies == []

    def test_the_options_of_the_cookie_are_passed_on(self, kind):
        """[3.1 cookies] [7.4 'St. Neversday']"""
        for options in ({"foo": "bar"}, {"expires": "St. Neversday"}, {"expires_days": "St. Neversday"}):
            visitor, taken = StubVisitor(kind.settings), {}
            own = {"pycket_cookies": options} if kind.name == "dataset" else {}
            inner = visitor.settings.get("pycket")
            visitor.settings = {**visitor.settings, **own}
            if inner:
                visitor.settings = {"pycket": {**inner, "cookies": options}}
            visitor.set_secure_cookie = lambda name, value, taken=taken, **given: taken.update(given)
            kind.session(visitor).set("foo", 1)
            assert taken == {"expires": None, "expires_days": None, **options}

    def test_the_settings_stay_as_they_are(self, kind):
        """[FIX 3.1 the cookies' dict is mutated] [FIX 4 redis_settings['db'] is written]"""
        visitor = StubVisitor(kind.settings)
        if kind.name == "dataset":
            visitor.settings["pycket_cookies"] = {}
        else:
            visitor.settings["pycket"]["cookies"] = {}
        before = repr(visitor.settings)
        kind.session(visitor).set("foo", 1)
        kind.notifications(visitor).set("foo", 1)
        assert repr(visitor.settings) == before

    def test_bytes_as_tornado_gives_them_and_text_name_the_same_session(self, kind, handler, session):
        """[3.2 bytes on Python 3; used as is] [FIX 3.4 memcached with bytes ids never worked] [7.6]"""
        session["a"] = 1
        assert kind.session(StubHandler(kind.settings, handler.session_id.encode()))["a"] == 1

    def test_a_new_id_takes_everything_along(self, kind, handler, session, notifications):
        """[3.2 an id is adopted (no rotation): offer rotation]"""
        handler.set_secure_cookie = lambda name, value, **_: setattr(handler, "session_id", value)
        session["user"] = "ada"
        notifications["note"] = "hi"
        old = handler.session_id
        session.rotate()
        assert handler.session_id != old
        assert session["user"] == "ada"
        assert notifications["note"] == "hi"
        for kept in (session, notifications):
            assert kept._driver().load(old).raw is None

    def test_destroying_leaves_nothing_under_the_id(self, kind, handler, session, notifications):
        """[FIX logging out really ends the session]"""
        handler.set_secure_cookie = lambda name, value, **_: setattr(handler, "session_id", value)
        session["user"] = "ada"
        notifications["note"] = "hi"
        old = handler.session_id
        session.destroy()
        assert session.get("user") is None
        session["bye"] = 1
        assert handler.session_id != old
        assert dict(session.items()) == {"bye": 1}
        for ended in (session, notifications):
            assert ended._driver().load(old).raw is None

    def test_rotating_or_destroying_what_is_not_there_makes_nothing(self, kind):
        visitor = StubVisitor(kind.settings)
        session = kind.session(visitor)
        session.rotate()
        session.destroy()
        session.save()
        assert visitor.cookies == []


class TestSettings:
    def test_without_settings_or_engine_there_is_an_error_at_the_first_access(self):
        """[3.1 ConfigurationError] [3.1 raised when the manager is made]"""
        for settings, told in (
            ({}, 'The "pycket" configurations are missing'),
            ({"pycket": {}}, 'The "pycket" configurations are missing'),
            ({"pycket": {"no": "engine"}}, "You must define an engine to be used with pycket"),
        ):
            handler = StubHandler({})
            handler.settings = settings
            with pytest.raises(ConfigurationError, match=told):
                handler.session.get("something")
            with pytest.raises(ConfigurationError, match=told):
                _ = handler.notifications

    def test_another_engine_is_not_supported(self):
        """[3.1 ValueError: Engine "%s" is not supported]"""
        with pytest.raises(ValueError, match='Engine "cassette-tape" is not supported'):
            _ = StubHandler({"engine": "cassette-tape"}).session

    def test_the_engine_chooses_the_driver(self):
        """[3.1 engine]"""
        assert isinstance(StubHandler({"engine": "redis"}).session.driver, RedisDriver)
        assert isinstance(StubHandler({"engine": "memcached"}).session.driver, MemcachedDriver)

    def test_a_manager_has_its_handler_its_settings_and_its_driver(self, redis_settings):
        """[3.2 class attributes; instance: handler, settings, driver] [3.3 STORAGE_CATEGORY]"""
        handler = StubHandler(redis_settings)
        manager = SessionManager(handler)
        assert (manager.handler, manager.settings) == (handler, redis_settings)
        assert SessionManager.SESSION_ID_NAME == "PYCKET_ID"
        assert SessionManager.STORAGE_CATEGORY == "db_sessions"
        assert NotificationManager.STORAGE_CATEGORY == "db_notifications"
        assert SessionManager.driver is None
        assert issubclass(NotificationManager, SessionManager)

    def test_the_databases_can_be_chosen_and_db_is_overwritten(self, redis_settings, dbs):
        """[3.1 db_sessions / db_notifications become db; a db given is overwritten]"""
        storage = {**redis_settings["storage"], "db": 9, "db_sessions": 10, "db_notifications": 11}
        handler = StubHandler({**redis_settings, "storage": storage})
        handler.session["a"] = 1
        handler.notifications["b"] = 2
        assert handler.session.driver.client.connection_pool._available_connections[0].db == 10
        assert handler.notifications.driver.client.connection_pool._available_connections[0].db == 11
        assert pickle.loads(dbs(10)[handler.session_id]) == {"a": 1}
        assert pickle.loads(dbs(11)[handler.session_id]) == {"b": 2}

    def test_the_manager_is_made_once_per_handler(self, redis_settings):
        """[3.2 h.session is h.session; attributes '__session_manager', '__notification_manager']"""
        handler = StubHandler(redis_settings)
        assert handler.session is handler.session
        assert handler.notifications is handler.notifications
        assert getattr(handler, "__session_manager") is handler.session
        assert getattr(handler, "__notification_manager") is handler.notifications
        assert create_mixin(handler, "__session_manager", list) is handler.session


def test_the_base_of_managers_does_nothing_by_itself():
    one = Manager(StubHandler({}))
    for call in (one._driver, one._drivers, one._cookies):
        with pytest.raises(NotImplementedError):
            call()


class TestFirstGeneration:
    def test_both_settings_are_optional(self):
        """[4 both optional: {} works]"""
        handler = StubHandler({})
        handler.settings = {}
        session = SessionManager01(handler)
        kwargs = session._driver().client.connection_pool.connection_kwargs
        assert (kwargs["host"], kwargs["port"], kwargs["db"]) == ("localhost", 6379, 0)

    def test_attributes(self, redis_port, dbs):
        """[4 DB, DB_SETTING, EXPIRE_SECONDS, dataset None until first used]"""
        assert (SessionManager01.DB, SessionManager01.DB_SETTING) == (0, "db_sessions")
        assert (NotificationManager01.DB, NotificationManager01.DB_SETTING) == (1, "db_notifications")
        assert SessionManager01.EXPIRE_SECONDS == 86400
        storage = {"host": HOST, "port": redis_port, "db": 9, "db_sessions": 10, "db_notifications": 11}
        handler = StubHandler({"pycket_redis": storage})
        session, notifications = SessionManager01(handler), NotificationManager01(handler)
        assert session.dataset is None
        session["a"] = 1
        notifications["b"] = 2
        assert session.dataset.connection_pool._available_connections[0].db == 10
        assert notifications.dataset.connection_pool._available_connections[0].db == 11
        assert handler.session_id.encode() in dbs(10).keys(handler.session_id)

    def test_settings_are_got_with_exactly_these_arguments(self):
        """[4 handler.settings.get('pycket_redis', {})]"""
        asked = []

        class StubSettings(dict):
            def get(self, name, default):
                asked.append((name, default))
                return {"socket_connect_timeout": 30, "port": 1, "host": HOST}

        handler = StubHandler({})
        handler.settings = StubSettings()
        manager = SessionManager01(handler)
        with pytest.raises(redis.ConnectionError):
            manager.get("something")
        assert set(map(repr, asked)) == {repr(("pycket_redis", {}))}

    def test_a_client_may_be_assigned(self, redis_port, dbs):
        """[4 dataset]"""
        handler = StubHandler({"pycket_redis": {}})
        session = SessionManager01(handler)
        session.dataset = dbs(5)
        session["a"] = 1
        assert pickle.loads(dbs(5)[handler.session_id]) == {"a": 1}
