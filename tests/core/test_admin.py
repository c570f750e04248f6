from __future__ import annotations

import pytest

from coatcheck.core.calls import Load, Ping, Sweep
from coatcheck.errors import CannotSendCookie, SessionGone, StoreUnavailable
from coatcheck.http.token import handle_of
from coatcheck.model.record import APPLIED, Destroy, Refused, Tombstone, Unreadable
from tests.core.scene import (
    DAY,
    HOUR,
    NOW,
    Scene,
    a_record,
    a_token,
    ending,
    packed,
    play,
)

TOKEN = a_token()
HANDLE = handle_of(TOKEN.key)
DOWN = StoreUnavailable("down")


# From outside


def open_for_edit(handle, *answers, now=NOW):
    scene = Scene()
    played = play(scene.admin.open_for_edit(scene.state, now, handle), *answers)
    return scene, played


@pytest.mark.promise("4")
def test_an_edit_stores_its_changes_without_counting_as_use():
    scene, played = open_for_edit(HANDLE, [a_record(fields={"a": 1}, user="ada", signed_in=NOW)])
    assert played.asked == [Load([TOKEN.key])]
    scene.session["a"] = 2
    (change,) = play(scene.admin.close_edit(scene.state, NOW + HOUR, HANDLE), [APPLIED]).changes()
    assert (change.used, change.secret_hash, dict(change.set)) == (False, None, packed(a=2))


def test_an_edit_that_changes_nothing_asks_nothing():
    scene, _ = open_for_edit(HANDLE, [a_record()])
    assert play(scene.admin.close_edit(scene.state, NOW + HOUR, HANDLE)).asked == []


@pytest.mark.parametrize(
    "found", [None, Tombstone(TOKEN.key, NOW + 1), Unreadable("damaged"), a_record(created=NOW - 2 * DAY)]
)
def test_an_edit_of_a_session_that_is_not_there_is_an_error(found):
    with pytest.raises(SessionGone) as caught:
        open_for_edit(HANDLE, [found])
    assert caught.value.handle == HANDLE


@pytest.mark.promise("20")
def test_an_edit_while_the_store_fails_is_that_error_and_not_an_absence():
    with pytest.raises(StoreUnavailable) as caught:
        open_for_edit(HANDLE, [DOWN])
    assert caught.value is DOWN


@pytest.mark.parametrize("handle", ["", "x", "A" * 32, "../x"])
def test_an_edit_of_what_is_no_handle_is_an_error_without_asking_the_store(handle):
    with pytest.raises(SessionGone):
        open_for_edit(handle)


def test_an_edit_of_a_session_that_ended_meanwhile_is_an_error():
    scene, _ = open_for_edit(HANDLE, [a_record()])
    scene.session["a"] = 1
    with pytest.raises(SessionGone) as caught:
        play(scene.admin.close_edit(scene.state, NOW, HANDLE), [Refused.GONE])
    assert caught.value.handle == HANDLE


def test_an_edit_can_end_the_session():
    scene, _ = open_for_edit(HANDLE, [a_record()])
    scene.session.destroy()
    played = play(scene.admin.close_edit(scene.state, NOW, HANDLE), [APPLIED])
    assert played.changes() == [ending()]
    assert played.kinds == ["destroyed"]


@pytest.mark.promise("V")
def test_an_edit_can_not_sign_in_or_rotate():
    scene, _ = open_for_edit(HANDLE, [a_record()])
    with pytest.raises(CannotSendCookie):
        scene.session.sign_in("ada")
    with pytest.raises(CannotSendCookie):
        scene.session.rotate()


def test_an_edit_never_makes_a_session_that_nobody_holds():
    scene, _ = open_for_edit(HANDLE, [a_record()])
    scene.session.destroy()
    scene.session["a"] = 1

    def answer(call):
        (change,) = call.changes
        assert isinstance(change, Destroy)
        return [APPLIED]

    flow = scene.requests.save(scene.state, NOW, head_sent=False)
    with pytest.raises(CannotSendCookie):
        play(flow, otherwise=answer)


def test_revoking_ends_the_session_and_tells():
    played = play(Scene().admin.revoke(HANDLE, NOW), [APPLIED])
    # Without a condition, so that it ends also what can't be read.
    assert played.changes() == [Destroy(key=TOKEN.key, at=NOW)]
    assert [(event.kind, event.handle) for event in played.told] == [("revoked", HANDLE)]
    assert played.result is True


def test_revoking_what_is_not_there_is_false():
    played = play(Scene().admin.revoke(HANDLE, NOW), [Refused.GONE])
    assert (played.result, played.told) == (False, [])
    assert play(Scene().admin.revoke("no handle", NOW)).result is False


def test_sweeping_goes_on_until_a_batch_is_not_full():
    played = play(Scene().admin.sweep(10), 10, 10, 3)
    assert played.asked == [Sweep(10)] * 3
    assert played.result == 23


def test_counting_and_pinging_are_one_call_each():
    assert play(Scene().admin.count(), 7).result == 7
    played = play(Scene().admin.ping(), None)
    assert (played.asked, played.result) == ([Ping()], None)
