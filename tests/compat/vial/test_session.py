"""What a session of vial must do as before ([KEEP]), and what it must not ([FIX]): section 2.2."""

import logging
import os
import time
from base64 import urlsafe_b64encode
from datetime import timedelta

import pytest
import redis

import coatcheck.compat.vial._redis as commands
from coatcheck.compat.vial import Session, Vial
from coatcheck.errors import ConfigurationError
from tests.servers.process import HOST

pytestmark = pytest.mark.servers


def saved(vial, kind="Session", *, settings=None, **fields):
    session = getattr(vial, kind)(**(settings or {}))
    session.update(fields)
    assert session.save()
    return session


def test_making_a_session_asks_nothing():
    """[TEST] 2.2: no I/O, here not even for one with an id."""
    nowhere = Vial(port=1)
    assert nowhere.Session().id is None
    assert nowhere.Session("abc").id == "abc"


def test_a_new_session_reads_nothing():
    """[FIX] 2.2: an unsaved session read the hash named "None"."""
    session = Vial(port=1).Session()
    with pytest.raises(KeyError, match="color"):
        session["color"]
    assert session.get("color", "red") == "red"
    assert session.refresh() is None


def test_an_unsaved_session_does_not_read_what_others_put_under_none(vial, raw):
    """[FIX] 2.2, as above."""
    raw.hset("None", "color", "blue")
    assert "color" not in vial.Session()


def test_a_client_can_not_choose_its_id(vial, raw):
    """[KEEP] 2.2: an unknown id is shown, and replaced by the save."""
    session = vial.Session(id="chosen")
    assert session.id == "chosen"
    assert session.is_new
    assert set(session) == {b"_created", b"_accessed"}
    session["color"] = "blue"
    session.save()
    assert session.id != "chosen"
    assert not raw.exists("session:chosen")
    assert vial.Session(session.id)["color"] == "blue"


def test_nor_by_saving_without_a_look(vial, raw):
    session = vial.Session(id="chosen")
    session["color"] = "blue"
    assert session.save()
    assert raw.keys() == [b"session:" + session.id]
    assert {b"_created", b"_accessed", b"color"} == set(raw.hkeys(session._key))


@pytest.mark.parametrize(
    "id_", ["", "a b", "../x", "a:b", "x" * 5000, "é", "\ud800", "a\n", b"\xff", b"a\x00", "a=b", "*", 5.5]
)
def test_what_never_was_an_id_is_not_asked_for(id_):
    session = Vial(port=1).Session(id=id_)
    assert session.is_new
    assert session.id == id_
    assert len(session) == 2


@pytest.mark.parametrize("as_text", [True, False])
def test_an_id_may_be_text_or_bytes(vial, as_text):
    """[KEEP] 2.2: `id` given as str or bytes."""
    session = saved(vial, color="blue")
    id_ = session.id.decode() if as_text else session.id
    again = vial.Session(id_)
    assert again["color"] == "blue"
    assert again.id == id_


def test_ids_are_random_bytes_in_base64(vial):
    """[KEEP] 2.2: bytes, 344 characters for 256."""
    assert len(saved(vial).id) == 344
    assert len(saved(vial, settings={"key_length": 32}).id) == 44
    assert isinstance(saved(vial).id, bytes)


def test_ids_that_can_be_guessed_are_refused():
    with pytest.raises(ConfigurationError, match="key_length"):
        Session(key_length=15)


def test_an_id_that_is_taken_is_not_taken_over(vial, raw, monkeypatch):
    """[KEEP] 2.2: loops until the key does not exist; here a few times, not for ever."""
    victim = saved(vial, settings={"key_length": 16}, color="blue")
    before = raw.hgetall(victim._key)
    numbers = [b"\0" * 16, b"\1" * 16]
    raw.rename(victim._key, b"session:" + urlsafe_b64encode(numbers[0]))
    monkeypatch.setattr(os, "urandom", lambda size: numbers.pop(0) if len(numbers) > 1 else numbers[0])
    session = vial.Session(key_length=16)
    assert session.save()
    assert session.id == urlsafe_b64encode(b"\1" * 16)
    assert raw.hgetall(b"session:" + urlsafe_b64encode(b"\0" * 16)) == before
    session["n"] = 1
    session.rotate()
    with pytest.raises(RuntimeError, match="random"):
        session.save()
    assert raw.hgetall(session._key).get(b"n") is None
    with pytest.raises(RuntimeError, match="random"):
        vial.Session(key_length=16).save()


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


def test_rotating_moves_the_session_to_a_new_id(vial, raw):
    """[add] 2.2: no id rotation at login."""
    first = saved(vial, a="1")
    session = vial.Session(first.id)
    session.rotate()
    assert session.id == first.id
    session["b"] = "2"
    assert session.save()
    assert session.id != first.id
    assert raw.keys() == [session._key]
    again = vial.Session(session.id)
    assert (again["a"], again["b"]) == ("1", "2")
    assert raw.ttl(session._key) > 80_000
    assert vial.Session(first.id).is_new


def test_a_rotation_whose_answer_was_lost_is_done_once(vial, raw, monkeypatch):
    """redis-py asks again when a connection breaks before the answer came."""
    session = saved(vial, a="1")
    send = vial._connection.execute_command

    def twice(*args, **options):
        send(*args, **options)
        return send(*args, **options)

    monkeypatch.setattr(vial._connection, "execute_command", twice)
    session.rotate()
    assert session.save()
    assert raw.keys() == [session._key]
    new = saved(vial, b="1")
    assert sorted(raw.keys()) == sorted([session._key, new._key])


def test_a_key_of_another_program_is_no_session(vial, raw):
    raw.set("session:abc", "of another program")
    session = vial.Session("abc")
    assert session.is_new
    session["a"] = "1"
    session.save()
    assert raw.get("session:abc") == b"of another program"


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
