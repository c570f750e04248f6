"""Fields of a session of vial ([KEEP]): writing, reading, deleting, and sessions that meet ([FIX])."""

import pytest
import redis

import coatcheck.compat.vial._redis as commands
from coatcheck.compat.vial import Session, Vial
from tests.compat.vial.conftest import saved
from tests.servers.process import HOST

pytestmark = pytest.mark.servers


def test_a_record_never_is_without_an_expiry(vial, raw, one_redis, database):
    """[FIX] 2.2: four round trips, not atomic: a crash left a record without TTL."""
    with raw.monitor() as monitor:
        session = saved(vial, color="blue", size="XL")
        session["color"] = "red"
        del session["size"]
        session.save()
        session["end"] = 1
        vial._connection.echo("end")
        told = []
        for said in monitor.listen():
            if said["command"].startswith("ECHO"):
                break
            if said["client_type"] != "lua":
                told.append(said["command"].split()[0])
    outer = [name for name in told if name not in ("EVAL", "CLIENT", "HELLO", "SELECT")]
    assert outer == ["EVALSHA", "EVALSHA"]


def test_two_instances_that_change_different_fields_both_stand(vial, raw):
    """[FIX] 2.2: lost updates, since the whole cache was written."""
    first = saved(vial, a="1", b="1")
    one, two = vial.Session(first.id), vial.Session(first.id)
    assert [one["a"], one["b"], two["a"], two["b"]] == ["1"] * 4
    one["a"] = "2"
    two["b"] = "2"
    one.save()
    two.save()
    assert raw.hmget(first._key, "a", "b") == [b"2", b"2"]


def test_what_was_only_read_is_not_written(vial, raw):
    """[FIX] 2.2: write only changed fields."""
    first = saved(vial, a="1")
    reader = vial.Session(first.id)
    assert reader["a"] == "1"
    raw.hset(first._key, "a", "2")
    reader["b"] = "1"
    reader.save()
    assert raw.hget(first._key, "a") == b"2"


def test_what_was_saved_is_not_written_again(vial, raw):
    """[FIX] 2.2, as above, for what the instance itself set or removed earlier."""
    session = saved(vial, a="1", b="1")
    del session["b"]
    session.save()
    raw.hset(session._key, mapping={"a": "2", "b": "2"})
    session["c"] = "1"
    session.save()
    assert raw.hmget(session._key, "a", "b") == [b"2", b"2"]


def test_a_miss_is_looked_up_again_after_a_save(vial, raw):
    """[TEST] 7.5: a miss goes to Redis, also on an instance that has read and saved."""
    session = vial.Session(saved(vial, a="1").id)
    assert session.get("color") is None
    del session["a"]
    session.save()
    raw.hset(session._key, mapping={"color": "blue", "a": "2"})
    assert (session["color"], session["a"]) == ("blue", "2")


def test_what_was_removed_is_not_asked_for():
    session = Vial(port=1).Session("abc")
    del session["a"]
    assert "a" not in session


def test_values_are_texts_after_a_reload_and_what_they_were_before(vial, raw):
    """[KEEP] 2.2: on the wire str(value); the same instance returns the object."""
    values = {"int": 1, "float": 3.0, "true": True, "list": [1], "empty": "", "uni": "héllo €"}
    session = saved(vial, **values)
    assert {name: session[name] for name in values} == values
    texts = {"int": "1", "float": "3.0", "true": "True", "list": "[1]", "empty": "", "uni": "héllo €"}
    again = vial.Session(session.id)
    assert {name: again[name] for name in values} == texts
    assert raw.hget(session._key, "uni") == "héllo €".encode()


def test_bytes_that_are_no_text_come_back_as_bytes(vial):
    """[FREE] 2.2: better than a UnicodeDecodeError."""
    session = saved(vial, blob=b"\xff\x00")
    assert session["blob"] == b"\xff\x00"
    assert vial.Session(session.id)["blob"] == b"\xff\x00"
    assert bytearray(b"ab") not in session


def test_names_that_are_no_text_are_one_name(vial):
    """[FREE] 2.2: 5 was kept as 5 and as b'5'."""
    session = vial.Session()
    session[5] = "five"
    assert session["5"] == session[b"5"] == session[5] == "five"
    session.save()
    assert set(vial.Session(session.id)) == {b"_created", b"_accessed", b"5"}


def test_deleting_what_is_missing_is_no_error(vial):
    """[KEEP] 2.2."""
    session = saved(vial)
    del session["missing"]
    assert session.save()
    del vial.Session()["missing"]


def test_what_is_deleted_is_gone_at_once(vial):
    """[FIX] 2.2: until saved it was still `in`, counted, iterated, and read as None."""
    first = saved(vial, a="1", b="1")
    session = vial.Session(first.id)
    del session["a"]
    session["b"] = None
    assert "a" not in session
    assert "b" not in session
    assert len(session) == 2
    assert set(session) == {b"_created", b"_accessed"}
    with pytest.raises(KeyError, match="a"):
        session["a"]
    session["a"] = "2"
    assert session.pop("a") == "2"
    assert session.pop("a", "default") == "default"
    session.save()
    assert set(vial.Session(first.id)) == {b"_created", b"_accessed"}


@pytest.mark.parametrize("stored", [True, False])
@pytest.mark.timeout(60)
def test_clearing_ends(vial, stored):
    """[FIX] 2.2: `clear()` never ended."""
    session = vial.Session(saved(vial, a="1", b="2").id) if stored else vial.Session()
    session["c"] = "3"
    session.clear()
    assert dict(session) == {}
    assert session.save()
    assert set(vial.Session(session.id)) <= {b"_created", b"_accessed"}
    assert not vial.Session(session.id).is_new


@pytest.mark.timeout(60)
def test_taking_items_one_by_one_ends(vial):
    """[FIX] 2.2: `popitem()` kept returning the same key."""
    session = vial.Session(saved(vial, a="1", b="2").id)
    taken = {}
    while session:
        name, value = session.popitem()
        assert name not in taken
        taken[name] = value
    assert taken.keys() == {b"_created", b"_accessed", b"a", b"b"}
    with pytest.raises(KeyError):
        session.popitem()


def test_counting_and_iterating_keep_unsaved_changes(vial):
    """[FIX] 2.2: HGETALL was merged over the cache."""
    session = vial.Session(saved(vial, a="1", b="1").id)
    session["a"] = "2"
    del session["b"]
    session["c"] = "3"
    assert len(session) == 4
    assert set(session) == {b"_created", b"_accessed", b"a", b"c"}
    assert (session["a"], session.get("b"), session["c"]) == ("2", None, "3")
    session.expunge()
    assert dict(session).keys() == {b"_created", b"_accessed", b"a", b"b"}


def test_a_saved_session_always_has_something(vial, raw):
    """Redis keeps no empty hash, so a session that was emptied would be gone."""
    session = saved(vial, a="1")
    session.expunge()
    assert session.save()
    again = vial.Session(session.id)
    again.clear()
    assert again.save()
    assert raw.hkeys(session._key) == [b"_accessed"]


def test_a_client_that_decodes_is_welcome(one_redis, database):
    with redis.Redis(HOST, one_redis.port, database, decode_responses=True) as client:
        session = Session(connection=client)
        session["blob"] = b"\xff"
        session["a"] = "é"
        session.save()
        again = Session(session.id, connection=client)
        assert (again["blob"], again["a"]) == (b"\xff", "é")
        assert all(isinstance(name, bytes) for name in again)
        vial = Vial(connection=client)
        of_user = vial.UserSession(user="7")
        of_user.save()
        assert list(vial.get_for_user("7")) == [of_user.id]


def test_errors_of_redis_stay_what_they_were():
    """[KEEP] exceptions: redis-py's own."""
    with pytest.raises(redis.exceptions.ConnectionError):
        Vial(HOST, 1).Session("abc")["a"]


def test_scripts_are_found_again_after_a_restart(vial, raw):
    session = saved(vial, a="1")
    raw.script_flush()
    assert vial.Session(session.id)["a"] == "1"


def test_sessions_without_a_client_share_connections(one_redis, database):
    """[FIX] pooled connections: `Session(host=, port=)` opened one per session."""
    here = {"host": HOST, "port": one_redis.port, "db": database}
    pools = {id(Session(**here)._connection.connection_pool) for _ in range(3)}
    pools |= {id(Vial(**here)._connection.connection_pool)}
    assert len(pools) == 1
    assert Vial(HOST, one_redis.port, 1)._connection.connection_pool is not commands._pool(**here)
    assert commands._pool(**here).connection_kwargs["socket_timeout"] == 5


def test_nothing_of_a_session_stands_in_its_repr(vial):
    session = saved(vial, color="blue")
    assert session.id.decode() not in repr(session)
    assert "blue" not in repr(session)
