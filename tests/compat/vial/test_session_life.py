"""The life of a session of vial: its expiry and its end."""

import logging
import time
from datetime import timedelta

import pytest
import redis

from coatcheck.compat.vial import Session
from coatcheck.errors import ConfigurationError
from tests.compat.vial.conftest import saved

pytestmark = pytest.mark.servers


def test_loading_lengthens_the_life_by_what_the_loading_instance_says(vial, raw):
    """[KEEP] 2.2: sliding; the expiry is not stored, the loading instance's value is applied."""
    session = saved(vial, settings={"expires": 100})
    assert 50 < raw.ttl(session._key) <= 100
    assert not vial.Session(session.id).is_new
    assert raw.ttl(session._key) > 80_000
    assert not vial.Session(session.id, expires=False).is_new
    assert raw.ttl(session._key) == -1
    vial.Session(session.id, expires=timedelta(seconds=200)).get("x")
    assert 150 < raw.ttl(session._key) <= 200


@pytest.mark.parametrize("never", [False, None, 0, timedelta(0)])
def test_false_none_and_nought_are_for_ever(vial, raw, never):
    """[TEST] 2.2: False (None, 0) = never expires."""
    session = saved(vial, settings={"expires": never})
    assert raw.ttl(session._key) == -1


def test_refreshing_begins_the_life_anew(vial, raw):
    """[KEEP] 2.2: EXPIRE, else PERSIST."""
    session = saved(vial)
    raw.expire(session._key, 5)
    session.refresh()
    assert raw.ttl(session._key) > 80_000
    again = vial.Session(session.id, expires=False)
    again.refresh()
    assert raw.ttl(session._key) == -1


def test_a_life_of_less_than_a_second_is_one(vial, raw):
    session = saved(vial, settings={"expires": timedelta(milliseconds=900_500)})
    assert 899_000 < raw.pttl(session._key) <= 900_500


@pytest.mark.parametrize("expires", [-1, timedelta(seconds=-1), "1", True, float("nan"), 10**20])
def test_nonsense_is_refused_when_the_session_is_made(expires):
    with pytest.raises(ConfigurationError, match="expires"):
        Session(expires=expires)


@pytest.mark.parametrize("how", ["deleted", "expired", "moved"])
def test_a_session_that_ended_does_not_come_back(vial, raw, how, caplog):
    """[FIX] 2.2: a record deleted or expired meanwhile was re-created by save()."""
    first = saved(vial, a="1")
    late = vial.Session(first.id)
    assert late["a"] == "1"
    other = vial.Session(first.id)
    if how == "deleted":
        assert other.delete()
    elif how == "expired":
        raw.pexpire(first._key, 1)
        deadline = time.monotonic() + 30
        while raw.exists(first._key) and time.monotonic() < deadline:
            pass
    else:
        other.rotate()
        other.save()
    keys = raw.keys()
    late["a"] = "2"
    with caplog.at_level(logging.WARNING, "coatcheck.compat.vial"):
        assert late.save() is False
        assert late.save() is False
    assert raw.keys() == keys
    assert first._key not in keys
    assert "dropped" in caplog.text
    assert first.id.decode() not in caplog.text


def test_the_maker_of_a_session_that_ended_does_not_bring_it_back(vial, raw):
    """[FIX] 2.2, as above, for the instance that was never read."""
    first = saved(vial, a="1")
    vial.Session(first.id).delete()
    first["a"] = "2"
    assert first.save() is False
    assert raw.keys() == []


def test_deleting_ends_a_session(vial, raw):
    """[add] 2.2: there was no way to delete one session."""
    first = saved(vial, a="1")
    session = vial.Session(first.id)
    assert session.delete() is True
    assert raw.keys() == []
    assert vial.Session(first.id).is_new
    assert session.id is None
    assert session.is_new
    assert "a" not in session
    assert session.delete() is False
    session["bye"] = "1"
    session.save()
    assert session.id != first.id
    assert set(raw.hkeys(session._key)) == {b"_created", b"_accessed", b"bye"}


def test_deleting_works_where_redis_is_full(vial, raw):
    session, of_user = saved(vial, a="1"), saved(vial, "UserSession", settings={"user": "7"})
    by_user = saved(vial, "UserSession", settings={"user": "8"})
    raw.config_set("maxmemory", 1)
    try:
        with pytest.raises(redis.exceptions.OutOfMemoryError):
            raw.set("x", "y")
        session["a"] = "2"
        with pytest.raises(redis.exceptions.ResponseError, match="maxmemory"):
            session.save()
        assert vial.Session(session.id)["a"] == "1"
        assert session.delete()
        assert of_user.delete()
        vial.delete_for_user("8")
    finally:
        raw.config_set("maxmemory", 0)
    assert raw.keys() == []
    assert by_user.save() is False
