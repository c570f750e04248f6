"""The id of a session of vial: given, made up, taken, rotated."""

import os
from base64 import urlsafe_b64encode

import pytest

from coatcheck.compat.vial import Session, Vial
from coatcheck.errors import ConfigurationError
from tests.compat.vial.conftest import saved

pytestmark = pytest.mark.servers


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
