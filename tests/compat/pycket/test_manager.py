"""The manager of a session, and that of notifications, on what stands in for a handler, as the old library's own tests have it.

Lines of the specification are named in brackets: by number of its chapter, and what they pin.
"""

import pickle
from importlib import import_module
from types import SimpleNamespace

import pytest

from coatcheck.compat.pycket.driver import RedisDriver
from coatcheck.compat.pycket.session import SessionManager
from coatcheck.errors import NotStorable
from tests.compat.pycket.site import StubHandler, raw
from tests.servers.process import until

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
