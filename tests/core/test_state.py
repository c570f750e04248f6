"""What a request wants of its session: what it forgets, and what it keeps in mind."""

from __future__ import annotations

import pytest

from coatcheck.core.calls import Apply
from coatcheck.core.state import Status, clear_fields, remove_field
from coatcheck.errors import TooLarge
from coatcheck.model import codec
from coatcheck.model.record import APPLIED
from tests.core.scene import DAY, HOUR, NOW, Scene, a_record, a_token, answered, close, packed, save


def changed(scene):
    """The change that the end of the request makes."""
    (change,) = close(scene, [APPLIED]).changes()
    return change


# Ending


@pytest.mark.promise("V")
def test_what_was_wanted_of_a_session_that_ended_is_not_wanted_of_the_next_one():
    scene = Scene().holds(a_record(fields={"cart": [1]}))
    scene.session["cart"].append(2)
    scene.session.rotate()
    scene.session.permanent = True
    scene.state.limits = (HOUR, DAY)
    scene.session.sign_out()
    scene.session["a"] = 1
    create, _ = close(scene, [APPLIED, APPLIED]).changes()
    record = create.record
    assert (record.permanent, record.idle, record.absolute, record.fields) == (False, 0, 0, packed(a=1))


@pytest.mark.promise("V")
def test_what_the_ended_session_held_can_be_put_into_the_next_one():
    scene = Scene().holds(a_record(fields={"cart": [1]}))
    cart = scene.session["cart"]
    scene.session.sign_out()
    scene.session["cart"] = cart
    create, _ = close(scene, [APPLIED, APPLIED]).changes()
    assert create.record.fields == packed(cart=[1])


@pytest.mark.parametrize("limits", [(HOUR, DAY), (DAY, HOUR)])
def test_a_new_session_ends_at_the_nearer_of_its_own_limits(limits):
    scene = Scene().is_in(Status.NEW)
    scene.session["a"] = 1
    scene.state.limits = limits
    assert changed(scene).record.expires == NOW + HOUR


# Clearing


@pytest.mark.promise("8")
def test_what_was_edited_before_everything_was_cleared_or_it_was_removed_does_not_count():
    for end in (lambda state: remove_field(state, "a"), clear_fields):
        scene = Scene().holds(a_record(fields={"a": [1]}))
        scene.session["a"].append(2)
        end(scene.state)
        assert ("a" in scene.session, list(scene.session), scene.session.get("a")) == (False, [], None)
        change = changed(scene)
        assert (change.set, change.edits) == ({}, {})


def test_what_was_read_and_cleared_is_set_again_even_to_its_old_value():
    scene = Scene().holds(a_record(fields={"a": [1]}))
    value = scene.session["a"]
    clear_fields(scene.state)
    scene.session["a"] = value
    assert changed(scene).set == packed(a=[1])


def test_what_was_cleared_and_stored_is_not_cleared_again():
    scene = Scene().holds(a_record(fields={"a": 1}))
    clear_fields(scene.state)
    save(scene, [APPLIED])
    scene.session["b"] = 1
    assert not changed(scene).clear


@pytest.mark.promise("13")
def test_clearing_behind_a_sign_in_of_another_user_still_clears_what_comes_in_meanwhile():
    scene = Scene().holds(a_record(user="ada", signed_in=NOW))
    scene.session.sign_in("grace")
    clear_fields(scene.state)
    assert changed(scene).clear


@pytest.mark.promise("6")
def test_what_another_task_clears_while_the_store_is_asked_stays_to_be_cleared():
    scene = Scene().holds(a_record(fields={"a": 1}))
    scene.session["b"] = 1
    flow = scene.requests.close(scene.state, NOW, failed=False, head_sent=False)
    wish = next(flow)
    assert isinstance(wish, Apply)
    clear_fields(scene.state)
    with pytest.raises(StopIteration):
        flow.send(answered(wish, [APPLIED]))
    assert changed(scene).clear
    assert dict(scene.session) == {}


# What is stored is not wanted any more


def test_what_was_carried_out_is_not_wanted_any_more():
    scene = Scene().holds(a_record())
    scene.session.rotate()
    scene.session.permanent = True
    scene.state.limits = (HOUR, DAY)
    scene.session.sign_in("ada")
    save(scene, [APPLIED])
    state = scene.state
    assert (state.rotate, state.permanent, state.limits, state.sign_in) == (0, None, None, None)


@pytest.mark.promise("6")
def test_what_was_read_removed_and_stored_is_set_again_even_to_its_old_value():
    scene = Scene().holds(a_record(fields={"a": 1}))
    value = scene.session["a"]
    del scene.session["a"]
    save(scene, [APPLIED])
    scene.session["a"] = value
    assert changed(scene).set == packed(a=1)


@pytest.mark.promise("8")
def test_what_was_assigned_and_stored_is_still_looked_into():
    scene = Scene().holds(a_record())
    scene.session["a"] = value = [1]
    save(scene, [APPLIED])
    value.append(2)
    assert changed(scene).edits["a"].data == codec.encode([1, 2])


# Names and sizes


def test_each_field_has_its_name_once_and_what_was_put_in_and_removed_has_none():
    scene = Scene().holds(a_record(fields={"a": 1, "b": 2}))
    scene.session["a"] = 2
    scene.session["c"] = 3
    scene.session["d"] = 4
    del scene.session["d"], scene.session["b"]
    assert (list(scene.session), len(scene.session)) == (["a", "c"], 2)


@pytest.mark.promise("21")
def test_a_field_may_be_as_large_as_a_whole_session_to_the_byte():
    scene = Scene().holds(a_record())
    limit = scene.state.settings.max_bytes
    text = "x" * (limit - len("name") - len(codec.encode("x" * limit)) + limit)
    scene.session["name"] = text
    with pytest.raises(TooLarge):
        scene.session["name"] = text + "x"
    assert scene.session["name"] == text


@pytest.mark.promise("12")
def test_a_request_that_lost_its_session_sends_neither_a_new_nor_a_deleting_cookie():
    scene = Scene().holds(a_record())
    scene.state.cookie_set, scene.state.cookie_cleared = a_token(), True
    scene.state.lose()
    assert (scene.state.cookie_set, scene.state.cookie_cleared) == (None, False)
    assert scene.state.status is Status.LATE
