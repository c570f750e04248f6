"""What the old library's own 24 tests pin: the lines marked [TEST] in sections 2.1 to 2.3."""

import time

import pytest
import redis

from coatcheck.compat.vial import Session, UserSession, Vial
from tests.servers.process import HOST

pytestmark = pytest.mark.servers

DAY = 24 * 60 * 60


def test_a_session_made_without_a_vial_has_its_times(one_redis, database):
    """[TEST] 2.2: `_cache` is a dict with bytes keys."""
    session = Session(host=HOST, port=one_redis.port, db=database)
    assert {b"_created", b"_accessed"} <= set(session._cache)


def test_a_new_session_has_its_times(vial):
    session = vial.Session()
    assert isinstance(session._cache, dict)
    assert {b"_created", b"_accessed"} <= set(session._cache)


def test_a_new_session_is_new_until_it_is_saved(vial, raw):
    """[TEST] 2.2: no id until the first save; `_key` is bytes and names the hash."""
    session = vial.Session()
    assert session.is_new
    assert session.id is None
    session.save()
    assert not session.is_new
    assert isinstance(session.id, bytes)
    assert isinstance(session._key, bytes)
    assert raw.exists(session._key)


def test_a_new_session_has_two_keys_and_iterates_over_bytes(vial):
    session = vial.Session()
    assert len(session) == 2
    assert set(session) == {b"_created", b"_accessed"}


def test_a_key_is_no_id(vial):
    """[TEST] test_fetch_mapping, which asks for the session by its key, and gets a new one."""
    saved = vial.Session()
    saved.save()
    session = vial.Session(saved._key)
    assert len(session) == 2
    assert set(session) == {b"_created", b"_accessed"}


def test_what_is_added_after_a_save_is_counted_and_stored_as_text(vial, raw):
    session = vial.Session()
    session.save()
    session["one"] = 1
    session["two"] = "two"
    session["three"] = 3.0
    assert len(session) == 5
    session.save()
    assert b"one" in raw.hkeys(session._key)
    assert raw.hmget(session._key, "one", "two", "three") == [b"1", b"two", b"3.0"]


def test_names_and_values_may_be_bytes(vial):
    session = vial.Session()
    session[b"two"] = b"two"
    session.save()
    again = vial.Session(session.id)
    assert not again.is_new
    assert again[b"two"] == "two"


def test_the_time_of_access_is_that_of_the_instance(vial):
    session = vial.Session()
    accessed = session["_accessed"]
    session.save()
    assert vial.Session(session.id)["_accessed"] != accessed


@pytest.mark.parametrize("kind", ["Session", "UserSession"])
def test_a_session_lives_for_a_day(vial, raw, kind):
    session = getattr(vial, kind)()
    session.save()
    assert DAY - 60 < raw.ttl(session._key) <= DAY


def test_a_session_of_a_user_lives_for_a_day(vial, raw):
    session = vial.UserSession(user="12345")
    session.save()
    assert DAY - 60 < raw.ttl(session._key) <= DAY


@pytest.mark.parametrize("kind", ["Session", "UserSession"])
def test_false_lives_for_ever(vial, raw, kind):
    session = getattr(vial, kind)(expires=False)
    session.save()
    assert raw.ttl(session._key) == -1


def test_false_lives_for_ever_with_a_user(vial, raw):
    session = vial.UserSession(user_expires=False)
    session.user = "12345"
    session.save()
    assert raw.ttl(session._key) == -1


def test_a_miss_is_looked_up_and_a_hit_is_not(vial, raw):
    """[TEST] test_cache, 7.5: a miss goes to Redis even on the instance that made the session."""
    session = vial.Session()
    session.save()
    raw.hset(session._key, "color", "blue")
    assert session["color"] == "blue"
    raw.hset(session._key, "color", "red")
    assert session["color"] == "blue"


def test_expunging_forgets(vial, raw):
    """[TEST] test_expunge: changes that were not saved, `_created` and `_accessed` included."""
    session = vial.Session()
    session.save()
    raw.hset(session._key, "color", "blue")
    assert session["color"] == "blue"
    raw.hset(session._key, "color", "red")
    session["size"] = "XL"
    session.expunge()
    assert session._cache == {}
    assert session["color"] == "red"
    assert "size" not in session


def test_none_removes_at_the_save(vial, raw):
    session = vial.Session()
    session["color"] = "blue"
    session.save()
    session["color"] = None
    assert raw.hget(session._key, "color") == b"blue"
    session.save()
    assert raw.hget(session._key, "color") is None


def test_deleting_removes_at_the_save(vial, raw):
    session = vial.Session()
    session["color"] = "blue"
    session.save()
    del session["color"]
    assert raw.hget(session._key, "color") == b"blue"
    session.save()
    assert raw.hget(session._key, "color") is None


def test_a_namespace_is_the_beginning_of_the_key(vial):
    """[TEST] 2.1: an explicit `namespace=` wins over the Vial's."""
    session = vial.Session(namespace="vial")
    session.save()
    assert session._key.startswith(b"vial:session:")


@pytest.mark.parametrize("inline", [True, False])
def test_the_user_is_stored(vial, inline):
    session = vial.UserSession(user="12345") if inline else vial.UserSession()
    session.user = "12345"
    session.save()
    assert vial.UserSession(id=session.id).get("_user_id") == "12345"


def test_a_change_of_user_counts_from_the_save_on(vial):
    """[TEST] test_change_user."""
    session = vial.UserSession(user="12345")
    session.save()
    session.user = "23456"
    assert session.id in list(vial.get_for_user("12345"))
    session.save()
    assert session.id not in list(vial.get_for_user("12345"))
    assert session.id in list(vial.get_for_user("23456"))


def test_the_sessions_of_a_user_are_listed(vial):
    """[TEST] 2.1: a generator of ids that equal `session.id`, which is bytes."""
    sessions = [vial.UserSession(user="12345") for _ in range(2)]
    for session in sessions:
        session.save()
    listed = vial.get_for_user("12345")
    assert iter(listed) is listed
    assert set(listed) == {session.id for session in sessions}


def test_the_sessions_of_a_user_are_deleted(vial):
    """[TEST] 2.1: returns None."""
    sessions = [vial.UserSession(user="12345") for _ in range(2)]
    for session in sessions:
        session.save()
    assert vial.delete_for_user("12345") is None
    assert [vial.UserSession(id=session.id).is_new for session in sessions] == [True, True]


def test_an_unknown_user_has_no_sessions(vial):
    """[TEST] 2.1: unknown user: fine."""
    assert list(vial.get_for_user("nobody")) == []
    assert vial.delete_for_user("nobody") is None


def test_the_names_are_where_they_were():
    """[KEEP] section 2: names, `__all__`, `__doc__`, version."""
    import coatcheck.compat.vial as package
    from coatcheck.compat.vial import meta, session

    assert sorted(package.__all__) == ["Session", "UserSession", "Vial"]
    assert package.__doc__ == meta.description == "A session store backed by redis."
    assert package.__version__ == meta.version == "0.1.0"
    assert (session.Session, session.UserSession) == (Session, UserSession)
    assert issubclass(UserSession, Session)


def test_a_vial_has_a_connection_and_a_namespace(one_redis):
    """[KEEP] 2.1: `._connection` is a StrictRedis, one per Vial; `._namespace`."""
    first, second = (Vial(HOST, one_redis.port, 3, "ns") for _ in range(2))
    assert isinstance(first._connection, redis.StrictRedis)
    assert first._connection is not second._connection
    assert first._namespace == "ns"
    assert Vial()._namespace is None
    assert Vial()._connection.get_connection_kwargs()["host"] == "localhost"
    assert Vial()._connection.get_connection_kwargs()["port"] == 6379


def test_sessions_are_on_the_connection_and_in_the_namespace_of_their_vial(one_redis, database):
    """[KEEP] 2.1: `connection` is forced to the Vial's, `namespace` defaults to it."""
    vial = Vial(HOST, one_redis.port, database, "ns")
    for made in (
        vial.Session(connection=redis.Redis(port=1)),
        vial.UserSession(connection=redis.Redis(port=1)),
    ):
        assert made._connection is vial._connection
        made.save()
        assert made._key == b"ns:session:" + made.id
    assert time.time() - made["_created"] < 60
