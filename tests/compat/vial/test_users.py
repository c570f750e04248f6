"""Sessions of users: sections 2.1 and 2.3, and the layout of their sets (2.4)."""

import time

import pytest

from coatcheck.compat.vial import Vial
from tests.servers.process import HOST

pytestmark = pytest.mark.servers


def of_user(vial, user, **settings):
    session = vial.UserSession(user=user, **settings)
    assert session.save()
    return session


def wait_until(condition):
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline


def test_the_layout_is_the_old_one(one_redis, database, raw):
    """[KEEP] 2.4: a hash of texts, and a set of full session keys."""
    session = of_user(Vial(HOST, one_redis.port, database, "ns"), 7)
    key = b"ns:session:" + session.id
    assert sorted(raw.keys()) == sorted([key, b"ns:user:7"])
    fields = raw.hgetall(key)
    assert fields.keys() == {b"_created", b"_accessed", b"_user_id"}
    assert fields[b"_user_id"] == b"7"
    assert repr(float(fields[b"_created"])).encode() == fields[b"_created"]
    assert raw.smembers("ns:user:7") == {key}
    without = of_user(Vial(HOST, one_redis.port, database), 7)
    assert raw.smembers("user:7") == {b"session:" + without.id}


def test_a_user_is_what_was_set_and_text_after_a_reload(vial):
    """[KEEP] 2.3: `_user_id`, str after reload; whatever was set before."""
    session = of_user(vial, 12345)
    assert session.user == 12345
    assert vial.UserSession(session.id).user == "12345"
    assert vial.Session(session.id)["_user_id"] == "12345"
    assert set(vial.get_for_user(12345)) == set(vial.get_for_user("12345")) == {session.id}
    assert vial.UserSession().user is None


def test_a_user_has_a_life_of_his_own(vial, raw):
    """[KEEP] 2.3: `user_expires` if a user is set, else `expires`."""
    lives = {"expires": 100, "user_expires": 200}
    session = vial.UserSession(**lives)
    session.save()
    assert 50 < raw.ttl(session._key) <= 100
    session.user = "7"
    assert 50 < raw.ttl(session._key) <= 100
    session.save()
    assert 150 < raw.ttl(session._key) <= 200
    raw.expire(session._key, 5)
    vial.UserSession(session.id, **lives).refresh()
    assert 150 < raw.ttl(session._key) <= 200
    vial.Session(session.id, expires=300).refresh()
    assert 250 < raw.ttl(session._key) <= 300


def test_the_arguments_stand_in_their_order(vial):
    """[KEEP] 2.3: UserSession(id, user, user_expires, **session_kwargs)."""
    session = vial.UserSession(None, "7", 100, expires=200, key_length=32)
    assert (session.user, session._user_expires, session._expires) == ("7", 100_000, 200_000)
    session.save()
    assert len(session.id) == 44


def test_logging_the_user_out_makes_no_user_none(vial, raw):
    """[FIX] 2.3: `user = None` added the key to a set `user:None`."""
    session = of_user(vial, "7")
    session["cart"] = "1"
    session.user = None
    session.save()
    assert raw.keys() == [session._key]
    again = vial.UserSession(session.id)
    assert (again.user, again["cart"]) == (None, "1")
    assert list(vial.get_for_user("7")) == []


@pytest.mark.parametrize("way", ["del", "clear", "pop"])
def test_however_the_user_goes_he_leaves_the_set(vial, raw, way):
    session = vial.UserSession(of_user(vial, "7").id)
    if way == "del":
        del session["_user_id"]
    elif way == "clear":
        session.clear()
    else:
        session.pop("_user_id")
    session.save()
    assert raw.keys() == [session._key]


def test_the_set_is_that_of_the_stored_user(vial, raw):
    """Whoever changed the user meanwhile: the session is in the set of the one it has, and in no other."""
    first = of_user(vial, "7")
    other = vial.UserSession(first.id)
    first.user = "8"
    first.save()
    other.user = "9"
    other.save()
    assert [list(vial.get_for_user(user)) for user in "789"] == [[], [], [first.id]]
    assert sorted(raw.keys()) == sorted([first._key, b"user:9"])


def test_ids_are_whole_where_the_namespace_has_a_colon(one_redis, database):
    """[FIX] 2.1: ids were cut from keys at the second colon."""
    vial = Vial(HOST, one_redis.port, database, "shop:eu")
    session = of_user(vial, "7")
    assert list(vial.get_for_user("7")) == [session.id]
    vial.delete_for_user("7")
    assert vial.UserSession(session.id).is_new


def test_what_has_expired_is_not_listed(vial, raw):
    """[FIX] 2.1: ids of expired sessions stayed listed for ever."""
    session, gone = of_user(vial, "7"), of_user(vial, "7")
    raw.pexpire(gone._key, 1)
    wait_until(lambda: not raw.exists(gone._key))
    assert list(vial.get_for_user("7")) == [session.id]
    assert raw.smembers("user:7") == {session._key}


def test_signing_in_takes_out_what_has_expired(vial, raw):
    """[FIX] 2.3: the user sets were not cleaned."""
    raw.sadd("user:7", *(f"session:{number}" for number in range(50)))
    session = of_user(vial, "7")
    assert raw.smembers("user:7") == {session._key}


def test_signing_in_looks_at_a_hundred_of_many(vial, raw):
    raw.sadd("user:7", *(f"session:{number}" for number in range(1000)))
    of_user(vial, "7")
    assert 899 <= raw.scard("user:7") <= 902
    assert len(list(vial.get_for_user("7"))) == 1
    assert raw.scard("user:7") == 1


def test_a_set_lives_as_long_as_the_longest_of_its_sessions(vial, raw):
    """[FIX] 2.3: the user sets had no TTL."""
    first = of_user(vial, "7", user_expires=1000)
    assert 900 < raw.ttl("user:7") <= 1000
    of_user(vial, "7", user_expires=100)
    assert 900 < raw.ttl("user:7") <= 1000
    vial.UserSession(first.id, user_expires=5000).refresh()
    assert 4900 < raw.ttl("user:7") <= 5000
    assert raw.ttl("user:7") >= raw.ttl(first._key)
    short = of_user(vial, "7", user_expires=100)
    vial.UserSession(short.id, user_expires=100).refresh()
    assert 4900 < raw.ttl("user:7") <= 5000
    forever = of_user(vial, "7", user_expires=False)
    assert raw.ttl("user:7") == -1
    forever.delete()
    assert list(vial.get_for_user("7"))
    assert 4900 < raw.ttl("user:7") <= 5000


def test_a_session_that_shall_live_for_ever_takes_its_set_along(vial, raw):
    session = of_user(vial, "7")
    vial.UserSession(session.id, user_expires=False).refresh()
    assert raw.ttl("user:7") == -1


def test_a_set_of_the_old_library_gets_its_life(vial, raw):
    """[FIX] 2.3, for sets that are there already."""
    session = of_user(vial, "7")
    raw.persist("user:7")
    vial.UserSession(session.id).save()
    assert raw.ttl("user:7") > 80_000
    raw.persist("user:7")
    list(vial.get_for_user("7"))
    assert raw.ttl("user:7") > 80_000


def test_a_session_that_fell_out_of_its_set_is_back_after_a_save(vial, raw):
    """[FREE] 2.3: a session reloaded without `user=` did not re-add itself."""
    session = of_user(vial, "7")
    raw.delete("user:7")
    vial.UserSession(session.id).save()
    assert list(vial.get_for_user("7")) == [session.id]


def test_deleting_one_session_takes_it_out_of_the_set(vial, raw):
    session, other = of_user(vial, "7"), of_user(vial, "7")
    again = vial.UserSession(session.id)
    assert again.user == "7"
    again.delete()
    assert raw.smembers("user:7") == {other._key}
    assert again.user is None


def test_rotating_moves_it_in_the_set(vial, raw):
    """[FIX] 2.3: session fixation: the same id before and after login."""
    anonymous = vial.UserSession()
    anonymous["cart"] = "1"
    anonymous.save()
    planted = anonymous.id
    visitor = vial.UserSession(planted)
    visitor.user = "7"
    visitor.rotate()
    visitor.save()
    assert vial.UserSession(planted).is_new
    assert vial.UserSession(visitor.id)["cart"] == "1"
    visitor.rotate()
    visitor.save()
    assert raw.smembers("user:7") == {visitor._key}
    before = visitor._key
    raw.sadd("user:7", *(f"session:{number}" for number in range(5000)))  # so that tidying would miss it
    visitor.rotate()
    visitor.save()
    assert raw.smismember("user:7", [before, visitor._key]) == [0, 1]


def test_deleting_all_sessions_of_a_user_leaves_those_of_others(vial, raw):
    mine = [of_user(vial, "7") for _ in range(3)]
    other = of_user(vial, "8")
    vial.delete_for_user("7")
    assert sorted(raw.keys()) == sorted([other._key, b"user:8"])
    for session in mine:
        session["late"] = "1"
        assert session.save() is False
    assert sorted(raw.keys()) == sorted([other._key, b"user:8"])


def test_keys_of_another_namespace_are_not_cut_into_ids(vial, raw):
    session = of_user(vial, "7")
    stray = of_user(Vial(connection=vial._connection, namespace="other"), "7")
    raw.sadd("user:7", stray._key)
    assert list(vial.get_for_user("7")) == [session.id]


def test_a_user_may_be_any_text(vial):
    for user in ("", "None", "a:b*", "ü", 0, b"raw"):
        session = of_user(vial, user)
        assert list(vial.get_for_user(user)) == [session.id], user


def test_side_by_side_warns_and_keeps_the_sets(one_redis, database, raw):
    """`side_by_side=True`: an old server adds to a set and does not lengthen it."""
    with pytest.warns(UserWarning, match="side_by_side=True"):
        vial = Vial(HOST, one_redis.port, database, side_by_side=True)
    session = of_user(vial, "7")
    assert raw.ttl("user:7") == -1
    assert raw.ttl(session._key) > 80_000
    for left in (100, 1_000_000):
        raw.expire("user:7", left)
        vial.UserSession(session.id).refresh()
        assert raw.ttl("user:7") == -1
    raw.expire("user:7", 100)
    assert list(vial.get_for_user("7")) == [session.id]
    assert raw.ttl("user:7") == -1
    with pytest.warns(UserWarning, match="side_by_side=True"):
        direct = type(session)(user="7", connection=vial._connection, side_by_side=True)
    raw.expire("user:7", 100)
    direct.save()
    assert raw.ttl("user:7") == -1


def test_the_old_library_reads_what_we_write(vial, raw):
    """What an old server asks: EXISTS, HGET of each name, HGETALL, SMEMBERS; and what it does with the answers."""
    session = of_user(vial, "7")
    session["color"], session["n"] = "blue", 1
    session.save()
    assert raw.exists(session._key) == 1
    assert [raw.hget(session._key, name).decode("utf8") for name in (b"color", b"n", b"_user_id")] == [
        "blue",
        "1",
        "7",
    ]
    assert raw.type(session._key) == b"hash"
    assert [key.split(b":", 2)[-1] for key in raw.smembers("user:7")] == [session.id]
    # … and it saves: HMSET of its whole cache, EXPIRE, SADD.
    raw.hset(session._key, mapping={"color": "red", "_accessed": "1.5"})
    raw.expire(session._key, 86400)
    raw.sadd("user:7", session._key)
    again = vial.UserSession(session.id)
    assert (again["color"], again["n"], again.user) == ("red", "1", "7")
    assert again.save()
