"""The settings of a manager, in both generations."""

import pickle

import pytest
import redis

from coatcheck.compat.pycket._manager import Manager
from coatcheck.compat.pycket.driver import MemcachedDriver, RedisDriver
from coatcheck.compat.pycket.notification import NotificationManager
from coatcheck.compat.pycket.session import ConfigurationError, SessionManager
from coatcheck.compat.pycket01.notification import NotificationManager as NotificationManager01
from coatcheck.compat.pycket01.session import SessionManager as SessionManager01
from coatcheck.compat.pycket01.session import create_mixin
from tests.compat.pycket.site import StubHandler
from tests.servers.process import HOST

pytestmark = pytest.mark.servers


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
