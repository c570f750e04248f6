from __future__ import annotations

import pytest

from coatcheck.core.calls import Remove
from coatcheck.core.lifecycle import LOOKED_AT
from coatcheck.core.state import Status
from coatcheck.errors import StoreUnavailable
from coatcheck.http.token import handle_of
from coatcheck.model.record import APPLIED, Destroy, Holder, Refused
from tests.core.scene import (
    NOW,
    SETTINGS,
    Scene,
    a_record,
    a_token,
    answered,
    close,
    cookie_of,
    ending,
    save,
    sets,
)

TOKEN = a_token()
HANDLE = handle_of(TOKEN.key)
DOWN = StoreUnavailable("down")


# At the end of a request: ending the session


@pytest.mark.promise("12")
def test_a_session_that_was_ended_is_destroyed_and_its_cookie_cleared():
    scene = Scene().holds(a_record(user="ada", signed_in=NOW))
    scene.session.sign_out()
    played = close(scene, [APPLIED])
    assert played.changes() == [ending(user="ada")]
    assert cookie_of(played) == SETTINGS.template.clear()
    assert [(event.kind, event.handle, event.user) for event in played.told] == [("destroyed", HANDLE, "ada")]


@pytest.mark.promise("V")
def test_what_is_put_in_after_the_end_goes_to_a_new_session_and_only_its_cookie_goes_out():
    scene = Scene().holds(a_record(fields={"a": 1}))
    scene.session["lost"] = 1
    scene.session.sign_out()
    scene.session.flash("bye")
    played = close(scene, [APPLIED, APPLIED])
    create, destroy = played.changes()
    assert destroy == ending()
    assert create.record.key != TOKEN.key
    assert len(create.record.fields) == 1
    assert sets(played, scene.state.token)
    assert played.kinds == ["destroyed", "created"]


@pytest.mark.promise("V")
def test_signing_out_and_in_again_is_a_new_session():
    scene = Scene().holds(a_record(fields={"a": 1}, user="ada", signed_in=NOW))
    scene.session.sign_out()
    scene.session.sign_in("grace")
    played = close(scene, [APPLIED, APPLIED])
    create, destroy = played.changes()
    assert (create.record.user, dict(create.record.fields)) == ("grace", {})
    assert destroy.key == TOKEN.key
    assert played.kinds == ["destroyed", "created", "signed_in"]


@pytest.mark.promise("12")
def test_a_session_that_another_request_has_ended_keeps_that_one_s_cookie():
    scene = Scene().holds(a_record(), a_token(current=False))
    scene.session.sign_out()
    played = close(scene, [Refused.GONE])
    assert (played.told, cookie_of(played)) == ([], None)


@pytest.mark.promise("12")
@pytest.mark.parametrize("refusal", [Refused.GONE, Refused.CHANGED, Refused.UNREADABLE])
def test_what_is_put_in_behind_an_ending_that_came_too_late_is_dropped_and_its_record_taken_back(refusal):
    scene = Scene().holds(a_record())
    scene.session.sign_out()
    scene.session.flash("bye")
    played = close(scene, [APPLIED, refusal], [True])
    assert played.asked[1] == Remove([played.changes()[0].key])
    assert (played.kinds[-1], cookie_of(played)) == ("dropped", None)
    assert (scene.state.status, dict(scene.session)) == (Status.LATE, {})


@pytest.mark.promise("12")
def test_behind_an_ending_that_came_too_late_a_record_that_was_not_stored_is_not_taken_back():
    scene = Scene().holds(a_record())
    scene.session.sign_out()
    scene.session.flash("bye")
    played = close(scene, [DOWN, Refused.GONE])
    assert (played.calls, played.kinds[-1], cookie_of(played)) == (["Apply"], "dropped", None)


@pytest.mark.promise("12")
def test_an_ending_that_meets_another_user_ends_nothing_and_is_told():
    scene = Scene().holds(a_record())
    scene.session.sign_out()
    played = close(scene, [Refused.CHANGED])
    (event,) = played.told
    assert (event.kind, event.reason) == ("dropped", "another user has signed in since")
    assert played.result == LOOKED_AT


@pytest.mark.promise("12", "13")
@pytest.mark.parametrize("refusal", [Refused.GONE, Refused.CHANGED])
def test_behind_an_ending_that_came_too_late_a_sign_in_stands(refusal):
    scene = Scene().holds(a_record())
    scene.session.sign_out()
    scene.session.sign_in("ada")
    played = close(scene, [APPLIED, refusal])
    assert sets(played, scene.state.token)
    assert played.kinds[-2:] == ["created", "signed_in"]


def test_a_session_that_was_made_and_ended_in_one_request_sends_no_cookie():
    scene = Scene().is_in(Status.NEW)
    scene.session["a"] = 1
    save(scene, [APPLIED])
    scene.session.sign_out()
    played = close(scene, [APPLIED])
    assert isinstance(played.changes()[0], Destroy)
    assert cookie_of(played) is None


def test_a_session_that_signed_in_and_ended_in_one_request_clears_the_cookie():
    scene = Scene().holds(a_record())
    scene.session.sign_in("ada")
    save(scene, [APPLIED])
    scene.session.sign_out()
    assert cookie_of(close(scene, [APPLIED])) == SETTINGS.template.clear()


def test_a_new_session_s_cookie_is_not_cleared_at_the_end_of_a_streamed_response():
    scene = Scene().holds(a_record())
    scene.session.sign_out()
    scene.session["a"] = 1
    assert sets(close(scene, [APPLIED, APPLIED]), scene.state.token)
    scene.session["a"] = 2
    assert cookie_of(close(scene, [APPLIED], head_sent=True)) is None


@pytest.mark.promise("12")
def test_two_ends_in_one_request_end_both_sessions():
    scene = Scene().holds(a_record())
    scene.session.sign_out()
    scene.session["a"] = 1
    save(scene, [APPLIED, APPLIED])
    second = scene.state.record.key
    scene.session.sign_out()
    played = close(scene, [APPLIED])
    assert played.changes() == [Destroy(key=second, at=NOW, holder=Holder(None))]
    assert cookie_of(played) == SETTINGS.template.clear()


@pytest.mark.promise("12")
def test_an_end_that_can_not_be_stored_is_raised_and_stays_wanted():
    scene = Scene().holds(a_record())
    scene.session.sign_out()
    with pytest.raises(StoreUnavailable):
        close(scene, DOWN)
    assert close(scene, [APPLIED], failed=True).changes() == [ending()]


def an_ending_that_failed():
    """A request that ended its session and began another one, of which only the second is stored."""
    scene = Scene().holds(a_record())
    scene.session.sign_out()
    scene.session["a"] = 1
    with pytest.raises(StoreUnavailable):
        close(scene, [APPLIED, DOWN])
    return scene


@pytest.mark.promise("12")
def test_a_session_that_was_begun_beside_an_ending_that_failed_keeps_its_cookie():
    scene = an_ending_that_failed()
    played = close(scene, [APPLIED])
    assert played.changes() == [ending()]
    assert sets(played, scene.state.token)


@pytest.mark.promise("12")
def test_an_ending_that_came_too_late_at_its_second_try_takes_nothing_from_the_session_begun_beside_it():
    scene = an_ending_that_failed()
    scene.session["b"] = 2
    played = close(scene, [APPLIED, Refused.GONE])
    assert played.calls == ["Apply"]
    assert dict(scene.session) == {"a": 1, "b": 2}


@pytest.mark.promise("23")
def test_what_can_not_be_stored_does_not_keep_a_request_that_failed_from_ending_its_session():
    scene = Scene().holds(a_record())
    scene.session.sign_out()
    scene.session["a"] = []
    scene.session["a"].append(object())
    assert close(scene, [APPLIED], failed=True).changes() == [ending()]


@pytest.mark.promise("12")
def test_a_session_that_was_ended_beside_an_ending_that_failed_twice_ends_with_it():
    scene = an_ending_that_failed()
    second = scene.state.token
    scene.session["b"] = 2
    flow = scene.requests.close(scene.state, NOW, failed=False, head_sent=False)
    asked = next(flow)
    scene.session.sign_out()  # another task
    told = flow.send(answered(asked, [APPLIED, DOWN]))
    assert told.kind == "unavailable"
    with pytest.raises(StoreUnavailable):
        next(flow)
    assert {change.key for change in close(scene, [APPLIED, APPLIED]).changes()} == {TOKEN.key, second.key}


def test_an_ending_that_came_too_late_in_a_visit_without_a_cookie_is_told_without_a_handle():
    scene = Scene().is_in(Status.NEW)
    scene.session["a"] = 1
    save(scene, [APPLIED])
    scene.session.sign_out()
    scene.session["b"] = 2
    played = close(scene, [APPLIED, Refused.GONE], None)
    assert [(event.kind, event.handle) for event in played.told] == [("dropped", None)]
