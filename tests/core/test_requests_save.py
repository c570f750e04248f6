"""Saving in the middle of a request, and changes after the head has left."""

from __future__ import annotations

import pytest

from coatcheck.core.state import Status
from coatcheck.errors import CannotSendCookie, NotStorable
from coatcheck.model import codec
from coatcheck.model.record import APPLIED, Edit
from tests.core.scene import (
    HOUR,
    NOW,
    ROTATING,
    Scene,
    a_record,
    a_token,
    answered,
    close,
    cookie_of,
    ending,
    packed,
    save,
    sets,
)

TOKEN = a_token()


# At the end of a request: after the head


@pytest.mark.promise("23")
@pytest.mark.parametrize(
    "intend",
    [
        lambda session: session.sign_in("ada"),
        lambda session: session.rotate(),
        lambda session: setattr(session, "permanent", True),
    ],
    ids=["sign_in", "rotate", "permanent"],
)
def test_after_the_head_what_needs_a_cookie_is_an_error_and_nothing_is_written(intend):
    scene = Scene().holds(a_record())
    scene.session["a"] = 1
    intend(scene.session)
    with pytest.raises(CannotSendCookie):
        close(scene, head_sent=True)
    with pytest.raises(CannotSendCookie):
        save(scene, head_sent=True)


def test_after_the_head_a_new_session_is_an_error_and_nothing_is_written():
    scene = Scene().is_in(Status.NEW)
    scene.session["a"] = 1
    with pytest.raises(CannotSendCookie):
        close(scene, head_sent=True)


def test_after_the_head_a_change_is_stored_as_ever():
    scene = Scene(ROTATING).holds(a_record(settings=ROTATING))
    scene.session["a"] = 1
    played = close(scene, [APPLIED], head_sent=True, now=NOW + 5 * HOUR)
    assert dict(played.changes()[0].set) == packed(a=1)


def test_after_the_head_a_session_can_be_ended():
    scene = Scene().holds(a_record())
    scene.session.sign_out()
    assert close(scene, [APPLIED], head_sent=True).changes() == [ending()]


def test_after_the_head_a_session_is_ended_even_where_what_was_put_in_afterwards_can_not_be_kept():
    # A log-out in a streamed response, and a message that says so: the message is lost, the log-out must not be.
    scene = Scene().holds(a_record())
    scene.session.sign_out()
    scene.session.flash("bye")
    flow = scene.requests.close(scene.state, NOW, failed=False, head_sent=True)
    asked = next(flow)
    assert list(asked.changes) == [ending()]
    assert flow.send(answered(asked, [APPLIED])).kind == "destroyed"
    with pytest.raises(CannotSendCookie):
        next(flow)


# save


@pytest.mark.promise("3")
def test_saving_stores_what_changed_so_far_and_the_end_only_what_came_after():
    scene = Scene().holds(a_record(fields={"cart": [1]}))
    cart = scene.session["cart"]
    cart.append(2)
    (change,) = save(scene, [APPLIED]).changes()
    assert change.edits["cart"].data == codec.encode([1, 2])
    assert scene.state.wanted({}) == ({}, {}, frozenset())
    cart.append(3)
    scene.session["a"] = 1
    (change,) = close(scene, [APPLIED]).changes()
    assert dict(change.set) == packed(a=1)
    # What it last sent is the base of what it does next.
    assert change.edits["cart"] == Edit(*[codec.encode(cart) for cart in ([1, 2, 3], [1, 2], [1, 2])])


def test_saving_nothing_asks_nothing_and_does_no_maintenance():
    scene = Scene(ROTATING).holds(a_record(settings=ROTATING))
    assert save(scene, now=NOW + 5 * HOUR).asked == []


def test_the_cookie_of_what_was_saved_goes_out_with_the_head():
    scene = Scene().is_in(Status.NEW)
    scene.session["a"] = 1
    save(scene, [APPLIED])
    assert sets(close(scene), scene.state.token)


@pytest.mark.promise("H")
def test_the_cookie_goes_out_once():
    scene = Scene().is_in(Status.NEW)
    scene.session["a"] = 1
    assert cookie_of(close(scene, [APPLIED])) is not None
    assert cookie_of(close(scene)) is None


@pytest.mark.promise("21")
def test_saving_what_can_not_be_stored_writes_nothing():
    scene = Scene().holds(a_record(fields={"a": []}))
    scene.session["b"] = 1
    scene.session["a"].append(object())
    with pytest.raises(NotStorable):
        save(scene)


def test_a_save_of_a_sign_in_holds_the_next_one_to_the_new_secret():
    scene = Scene().holds(a_record())
    scene.session.sign_in("ada")
    save(scene, [APPLIED])
    scene.session["a"] = 1
    (change,) = close(scene, [APPLIED]).changes()
    assert change.secret_hash == scene.state.token.secret_hash != TOKEN.secret_hash
    assert change.rotate is None
    assert change.sign_in is None
