from __future__ import annotations

import pytest
from msgspec.structs import replace

from coatcheck.core.calls import Done, Load
from coatcheck.core.lifecycle import LOOKED_AT
from coatcheck.core.state import Status, clear_fields
from coatcheck.errors import DecodeError, StoreError, StoreFull, StoreUnavailable
from coatcheck.model.fields import CSRF, Flash
from coatcheck.model.record import APPLIED, Applied, Refused, Tombstone, Unreadable
from tests.core.scene import (
    DAY,
    NOW,
    Scene,
    a_record,
    a_token,
    close,
    held,
    load,
    make_settings,
    packed,
    play,
    save,
    take,
)

TOKEN = a_token()
DOWN = StoreUnavailable("down")


# take


@pytest.mark.promise("11")
def test_taking_removes_in_one_write_and_gives_back_what_was_there():
    scene = Scene().holds(a_record(fields={"a": 1, "b": [2], "c": 3}))
    played = take(scene, ["b", "missing", "a", "a"], [Applied(packed(a=1, b=[2]))])
    assert played.result == {"a": 1, "b": [2]}
    (change,) = played.changes()
    assert change.take == ("b", "a")
    assert change.secret_hash == TOKEN.secret_hash
    assert change.used
    assert dict(scene.session) == {"c": 3}
    assert close(scene).asked == []


@pytest.mark.promise("11")
def test_what_comes_behind_a_take_begins_with_what_it_left():
    scene = Scene().holds(a_record(fields={"a": 1, "b": 2}))
    take(scene, ["a"], [Applied(packed(a=1))])
    scene.session["c"] = 3
    (known,) = close(scene, [APPLIED]).asked[0].known
    assert dict(known.state.fields) == packed(b=2)


def test_taking_what_is_not_there_asks_nothing():
    scene = Scene().holds(a_record(fields={"a": 1}))
    assert take(scene, ["b", "c"]).result == {}
    assert take(Scene().is_in(Status.NEW), ["a"]).result == {}
    assert take(scene, []).asked == []


@pytest.mark.promise("11")
def test_of_two_who_take_the_second_gets_nothing():
    scene = Scene().holds(a_record(fields={"a": 1, "b": 2}))
    played = take(scene, ["a", "b"], [Applied(packed(b=2))])
    assert played.result == {"b": 2}
    assert dict(scene.session) == {}


@pytest.mark.promise("11")
def test_what_another_request_has_changed_meanwhile_is_what_is_taken():
    scene = Scene().holds(a_record(fields={"a": 1}))
    assert take(scene, ["a"], [Applied(packed(a="newer"))]).result == {"a": "newer"}


def test_a_pending_value_is_taken_in_place_of_the_stored_one_and_both_are_gone():
    scene = Scene().holds(a_record(fields={"a": 1, "n": [1]}))
    scene.session["a"] = "pending"
    scene.session["n"].append(2)
    scene.session["new"] = "pending too"
    played = take(scene, ["a", "n", "new"], [Applied(packed(a=1, n=[1]))])
    assert played.result == {"a": "pending", "n": [1, 2], "new": "pending too"}
    assert played.changes()[0].take == ("a", "n")
    assert dict(scene.session) == {}
    assert close(scene).asked == []


def test_taking_what_another_request_has_changed_encodes_no_other_field():
    scene = Scene().holds(a_record(fields={"a": [1], "n": [1]}))
    assert scene.session["a"] == [1]
    scene.session["n"].append(object())  # an error only for the one who stores it
    assert take(scene, ["a"], [Applied(packed(a=[2]))]).result == {"a": [2]}


def test_a_pending_value_is_taken_even_where_the_stored_one_has_gone():
    scene = Scene().holds(a_record(fields={"a": 1}))
    scene.session["a"] = 2
    assert take(scene, ["a"], [Applied()]).result == {"a": 2}


def test_pending_values_alone_are_taken_without_asking_the_store():
    scene = Scene().is_in(Status.NEW)
    scene.session["a"] = 1
    played = take(scene, ["a"])
    assert (played.asked, played.result) == ([], {"a": 1})
    assert close(scene).asked == []


def test_what_was_removed_before_can_not_be_taken():
    scene = Scene().holds(a_record(fields={"a": 1, "b": 2}))
    del scene.session["a"]
    assert take(scene, ["a"]).result == {}
    clear_fields(scene.state)
    assert take(scene, ["b"]).result == {}


@pytest.mark.parametrize("answer", [DOWN, [DOWN], [StoreFull("full")]], ids=["all", "each", "full"])
def test_taking_that_fails_is_an_error_and_takes_nothing(answer):
    scene = Scene().holds(a_record(fields={"a": 1}))
    with pytest.raises(StoreError):
        take(scene, ["a"], answer)
    assert isinstance(scene.state.met, StoreError)
    assert dict(scene.session) == {"a": 1}


@pytest.mark.parametrize("refusal", [Refused.GONE, Refused.CHANGED])
def test_taking_from_a_session_that_has_ended_gives_only_what_this_request_had_set(refusal):
    scene = Scene().holds(a_record(fields={"a": 1}))
    scene.session["b"] = 2
    played = take(scene, ["a", "b"], [refusal])
    assert played.result == {"b": 2}
    assert played.kinds == ["dropped"]
    assert scene.state.status is Status.LATE
    assert close(scene).result == LOOKED_AT


@pytest.mark.promise("10")
def test_a_field_that_can_not_be_read_is_an_error_before_it_is_gone():
    record = replace(a_record(), fields={"a": b"\xc1"})
    scene = Scene().holds(record)
    with pytest.raises(DecodeError) as caught:
        take(scene, ["a"])
    assert caught.value.field == "a"


def test_taking_in_an_edit_asks_for_no_secret():
    scene = Scene().edits(a_record(fields={"a": 1}))
    (change,) = take(scene, ["a"], [Applied(packed(a=1))]).changes()
    assert (change.secret_hash, change.used) == (None, False)


@pytest.mark.promise("16")
def test_taking_just_after_the_record_s_end_by_our_own_reckoning_goes_by_the_store_s_word():
    scene = Scene().holds(a_record(fields={"a": 1}))
    slid = a_record(last_used=NOW + DAY, fields={})
    answer = [Done(Applied(packed(a=1)), held(slid))]
    assert take(scene, ["a"], answer, now=NOW + 2 * DAY).result == {"a": 1}


def test_the_private_fields_are_not_for_the_taking():
    scene = Scene().holds(a_record(fields={CSRF: "t0ken", "a": 1}))
    assert take(scene, [CSRF]).result == {}


@pytest.mark.promise("11")
def test_messages_are_taken_the_oldest_first_and_are_gone():
    scene = Scene().holds(a_record())
    for message in ("first", "second", "third"):
        scene.session.flash(message, "note")
    save(scene, [APPLIED])
    stored = dict(scene.state.record.fields)
    played = play(scene.requests.take_flashes(scene.state, NOW), [Applied(stored)])
    assert played.result == [Flash("note", "first"), Flash("note", "second"), Flash("note", "third")]
    assert scene.session.peek_flashes() == []


@pytest.mark.promise("11")
def test_messages_that_another_response_has_taken_are_not_shown_again():
    scene = Scene().holds(a_record())
    scene.session.flash("one")
    scene.session.flash("two")
    save(scene, [APPLIED])
    (_, two) = sorted(scene.state.record.fields)
    left = {two: scene.state.record.fields[two]}
    assert play(scene.requests.take_flashes(scene.state, NOW), [Applied(left)]).result == [
        Flash("info", "two")
    ]


# is_live


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        (a_record(), True),
        (a_record(a_token(secret=2)), False),
        (None, False),
        (Tombstone(TOKEN.key, NOW + 1), False),
        (Unreadable("damaged"), False),
        (a_record(created=NOW - 2 * DAY), False),
    ],
    ids=["live", "another secret", "gone", "tombstone", "unreadable", "expired"],
)
def test_whether_a_session_is_live_is_the_store_s_word_of_now(found, expected):
    scene = Scene().holds(a_record())
    played = play(scene.requests.is_live(scene.state, NOW), [found])
    assert played.asked == [Load([TOKEN.key])]
    assert played.result is expected


def test_a_visitor_without_a_session_is_not_live():
    scene = Scene().is_in(Status.NEW)
    assert play(scene.requests.is_live(scene.state, NOW)).result is False


@pytest.mark.promise("20")
@pytest.mark.parametrize("outage", ["closed", "anonymous"])
def test_whether_a_session_is_live_is_not_known_while_the_store_fails(outage):
    scene = Scene(make_settings(outage=outage))
    scene.comes_with(TOKEN)
    load(scene, DOWN)
    with pytest.raises(StoreUnavailable):
        play(scene.requests.is_live(scene.state, NOW))
    assert scene.state.met is DOWN


@pytest.mark.promise("20")
def test_a_store_that_fails_while_it_is_asked_whether_a_session_is_live_is_remembered():
    scene = Scene().holds(a_record())
    with pytest.raises(StoreUnavailable):
        play(scene.requests.is_live(scene.state, NOW), DOWN)
    assert scene.state.met is DOWN


def test_a_session_held_from_outside_is_live_whatever_its_secret():
    scene = Scene().edits(a_record())
    assert play(scene.requests.is_live(scene.state, NOW), [a_record(a_token(secret=2))]).result is True


@pytest.mark.parametrize("name", [["a", "b"], 5, None, b"a"], ids=repr)
def test_a_name_that_is_no_str_is_refused_by_its_type(name):
    scene = Scene().holds(a_record(fields={"a": 1}))
    with pytest.raises(TypeError, match=type(name).__name__):
        take(scene, [name])
