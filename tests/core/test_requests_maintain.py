from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coatcheck.core.calls import Done, Load
from coatcheck.core.lifecycle import LOOKED_AT, change_of, maintenance_of, outcome_of, pending_token
from coatcheck.core.state import Status, clear_fields
from coatcheck.errors import CannotSendCookie, StoreFull, StoreUnavailable
from coatcheck.http.token import handle_of
from coatcheck.model.record import APPLIED, Applied, Refused, Update, settle
from tests.core.scene import (
    DAY,
    HOUR,
    NOW,
    ROTATING,
    SETTINGS,
    Scene,
    a_record,
    a_token,
    close,
    cookie_of,
    held,
    make_settings,
    save,
    sets,
)

TOKEN = a_token()
HANDLE = handle_of(TOKEN.key)
DOWN = StoreUnavailable("down")


# At the end of a request: what costs nothing


@pytest.mark.promise("2")
def test_a_session_that_was_only_read_asks_nothing():
    for settings in (SETTINGS, ROTATING):
        scene = Scene(settings).holds(a_record(fields={"a": [1]}, settings=settings))
        assert scene.session["a"] == [1]
        played = close(scene)
        assert (played.asked, played.told, played.result) == ([], [], LOOKED_AT)


@pytest.mark.promise("5")
@pytest.mark.parametrize("status", [Status.NEW, Status.LATE])
def test_an_anonymous_visit_that_puts_nothing_in_stores_and_says_nothing(status):
    scene = Scene().is_in(status)
    clear_fields(scene.state)
    scene.session.rotate()
    scene.state.limits = (HOUR, DAY)
    scene.session.sign_out()
    scene.session.pop("a", None)
    scene.session.permanent = True
    played = close(scene)
    assert (played.asked, played.told, played.result) == ([], [], LOOKED_AT)


@pytest.mark.promise("2")
@given(
    secret=st.integers(1, 2),
    previous=st.sampled_from([None, 1, 2]),
    current=st.booleans(),
    settings=st.sampled_from([SETTINGS, make_settings(rotate_every=timedelta(minutes=10))]),
    later=st.sampled_from([0, HOUR // 2, HOUR]),
)
def test_where_nothing_is_due_the_flow_would_do_nothing(secret, previous, current, settings, later):
    record = a_record(
        a_token(secret=secret),
        previous=previous and a_token(secret=previous).secret_hash,
        settings=settings,
    )
    scene = Scene(settings).holds(record, a_token(current=current))
    before = vars(scene.state).copy()
    if scene.requests.nothing_is_due(scene.state, NOW + later):
        played = close(scene, now=NOW + later)
        assert (played.asked, played.told, played.result) == ([], [], LOOKED_AT)
        assert vars(scene.state) == before


@pytest.mark.parametrize("cookie", [{"cookie_set": TOKEN}, {"cookie_cleared": True}])
def test_a_cookie_that_is_still_to_be_sent_is_due(cookie):
    scene = Scene().holds(a_record())
    vars(scene.state).update(cookie)
    assert not scene.requests.nothing_is_due(scene.state, NOW)


def test_a_session_that_was_only_read_runs_no_flow():
    scene = Scene().holds(a_record())
    assert scene.requests.nothing_is_due(scene.state, NOW)
    assert scene.requests.nothing_is_due(Scene().is_in(Status.NEW).state, NOW)
    assert not scene.requests.nothing_is_due(scene.state, NOW + HOUR)


# At the end of a request: what is due, best effort


@pytest.mark.promise("4")
def test_a_slide_that_is_due_is_one_write_and_no_cookie():
    scene = Scene().holds(a_record())
    played = close(scene, [APPLIED], now=NOW + HOUR)
    (change,) = played.changes()
    assert isinstance(change, Update)
    assert change.used
    assert change.secret_hash == TOKEN.secret_hash
    assert played.told == []
    assert played.result == LOOKED_AT
    assert scene.state.record.last_used == NOW + HOUR


@pytest.mark.promise("14")
def test_a_periodic_rotation_that_is_due_sends_the_derived_token():
    scene = Scene(ROTATING).holds(a_record(settings=ROTATING))
    played = close(scene, [APPLIED], now=NOW + 2 * HOUR)
    (change,) = played.changes()
    assert change.rotate.derived
    assert sets(played, ROTATING.ring.successor(TOKEN), ROTATING)
    assert [(event.kind, event.handle, event.reason) for event in played.told] == [
        ("rotated", HANDLE, "periodic")
    ]
    assert scene.dice.asked == []


@pytest.mark.parametrize("writes", [False, True])
def test_where_another_ring_has_rotated_first_no_cookie_goes_out_that_would_open_nothing(writes):
    # Two processes, one of which has the new secret of the ring already.
    scene = Scene(ROTATING).holds(a_record(settings=ROTATING))
    if writes:
        scene.session["a"] = 1
    theirs = a_record(a_token(secret=7), previous=TOKEN.secret_hash, fields={"a": 1} if writes else {})
    played = close(scene, [Done(Applied(rotated=False), held(theirs))], now=NOW + 2 * HOUR)
    assert (cookie_of(played), played.told) == (None, [])
    assert scene.state.token.secret_hash == TOKEN.secret_hash
    assert scene.session.get("a") == (1 if writes else None)
    assert scene.state.record == theirs


@pytest.mark.promise("14")
def test_the_first_sight_of_the_new_secret_is_noted_without_a_cookie():
    new = ROTATING.ring.successor(TOKEN)
    scene = Scene(ROTATING).holds(a_record(new, previous=TOKEN.secret_hash, settings=ROTATING), new)
    played = close(scene, [APPLIED])
    assert played.changes()[0].seen
    assert cookie_of(played) is None


@pytest.mark.promise("2")
@pytest.mark.parametrize("error", [DOWN, StoreFull("full")])
def test_maintenance_that_fails_is_told_and_never_fails_the_request(error):
    scene = Scene(ROTATING).holds(a_record(settings=ROTATING, user="ada", signed_in=NOW))
    played = close(scene, error, now=NOW + 2 * HOUR)
    (event,) = played.told
    assert (event.kind, event.handle, event.user) == ("unavailable", HANDLE, "ada")
    assert type(error).__name__ in event.reason
    assert played.result == LOOKED_AT


@pytest.mark.promise("2")
@pytest.mark.parametrize("refusal", [Refused.CHANGED, Refused.GONE, Refused.UNREADABLE])
@pytest.mark.parametrize("current", [True, False])
def test_maintenance_that_is_refused_sends_no_cookie(refusal, current):
    # Somebody signed in or out meanwhile: a cookie now would undo that.
    token = a_token(current=current)
    scene = Scene(ROTATING).holds(a_record(settings=ROTATING), token)
    played = close(scene, [refusal], now=NOW + 2 * HOUR)
    assert cookie_of(played) is None


@pytest.mark.promise("F-21")
def test_a_token_signed_by_an_older_secret_goes_out_with_a_new_signature():
    scene = Scene().holds(a_record(), a_token(current=False))
    played = play_through(scene, a_record())
    assert sets(played, TOKEN)


@pytest.mark.promise("14")
def test_a_visitor_who_shows_the_old_secret_of_a_rotation_gets_the_new_one():
    new = ROTATING.ring.successor(TOKEN)
    record = a_record(new, previous=TOKEN.secret_hash, settings=ROTATING)
    scene = Scene(ROTATING).holds(record, TOKEN)
    assert sets(play_through(scene, record), new, ROTATING)


@pytest.mark.promise("14")
def test_a_rotation_that_was_begun_is_completed_where_the_setting_was_switched_off_since():
    new = SETTINGS.ring.successor(TOKEN)
    record = a_record(new, previous=TOKEN.secret_hash)
    assert sets(play_through(Scene().holds(record, TOKEN), record), new)
    for value in (None, 1):
        scene = Scene().holds(record, new)
        if value is not None:
            scene.session["a"] = value
        played = close(scene, [APPLIED])
        assert played.changes()[0].seen
        assert (scene.state.token, scene.state.status, cookie_of(played)) == (new, Status.LIVE, None)


def play_through(scene, stored):
    """Close against a store that holds `stored`, whether it is asked or not."""

    def answer(call):
        if isinstance(call, Load):
            return [stored]
        results = [settle(stored, change) for change in call.changes]
        return [
            result.answer if result.state is None else Done(result.answer, held(result.state))
            for result in results
        ]

    return close(scene, otherwise=answer)


def test_a_request_that_writes_gets_the_new_signature_too():
    scene = Scene().holds(a_record(), a_token(current=False))
    scene.session["a"] = 1
    assert sets(play_through(scene, a_record()), TOKEN)


@pytest.mark.promise("14")
def test_a_request_that_writes_with_the_old_secret_of_a_rotation_gets_the_new_one_too():
    new = ROTATING.ring.successor(TOKEN)
    record = a_record(new, previous=TOKEN.secret_hash, settings=ROTATING)
    scene = Scene(ROTATING).holds(record, TOKEN)
    scene.session["a"] = 1
    assert sets(play_through(scene, record), new, ROTATING)


def test_what_is_pending_is_not_sent_where_the_store_can_not_confirm_it():
    scene = Scene().holds(a_record(), a_token(current=False))
    played = close(scene, DOWN)
    assert (played.kinds, cookie_of(played)) == (["unavailable"], None)


@pytest.mark.promise("13")
@pytest.mark.parametrize("shows", ["an older signature", "the previous secret"])
def test_a_request_under_way_while_another_signs_in_sends_no_cookie_that_would_undo_it(shows):
    # It only read, and its session changed its secret before the response left.
    if shows == "an older signature":
        settings, token = SETTINGS, a_token(current=False)
        record = a_record(token)
    else:
        settings, token = ROTATING, TOKEN
        record = a_record(ROTATING.ring.successor(token), previous=token.secret_hash, settings=ROTATING)
    signed_in = a_record(a_token(secret=9), user="ada", signed_in=NOW, settings=settings)
    scene = Scene(settings).holds(record, token)
    played = play_through(scene, signed_in)
    assert cookie_of(played) is None


def test_a_request_that_failed_does_no_maintenance():
    scene = Scene(ROTATING).holds(a_record(settings=ROTATING))
    played = close(scene, now=NOW + 5 * HOUR, failed=True)
    assert (played.asked, cookie_of(played)) == ([], None)


def test_after_the_head_no_maintenance_is_done():
    scene = Scene(ROTATING).holds(a_record(settings=ROTATING))
    assert close(scene, now=NOW + 5 * HOUR, head_sent=True).asked == []


# The short ways, which budgets need, decide like the long ones


@st.composite
def requests(draw):
    settings = draw(st.sampled_from([SETTINGS, ROTATING]))
    scene = Scene(settings)
    token = a_token(current=draw(st.booleans()))
    status = draw(st.sampled_from([Status.LIVE, Status.LIVE, Status.NEW, Status.LATE]))
    if status is Status.LIVE:
        new = settings.ring.successor(token)
        rotated = draw(st.booleans())
        record = a_record(
            new if rotated else token,
            previous=token.secret_hash if rotated else None,
            seen=draw(st.sampled_from([0, NOW])) if rotated else 0,
            settings=settings,
            fields={"a": 1, "b": [1]},
        )
        scene.holds(record, draw(st.sampled_from([token, new])) if rotated else token)
    else:
        scene.is_in(status, token)
    intents = [
        lambda session: session.get("a"),
        lambda session: session.setdefault("b", [1]),
        lambda session: session.update(a=1),
        lambda session: session.update(a=2),
        lambda session: session.get("b", []).append(1),
        lambda session: session.pop("c", None),
        lambda session: session.destroy(),
        lambda session: session.rotate(),
        lambda session: setattr(session, "permanent", True),
        lambda session: session.sign_in("ada"),
        lambda session: session.flash("hello"),
        lambda session: session.csrf_token(),
    ]
    for intend in draw(st.lists(st.sampled_from(intents), max_size=2)):
        intend(scene.session)
    return scene, NOW + draw(st.sampled_from([0, HOUR, 3 * HOUR])), draw(st.booleans())


@given(requests())
def test_a_request_that_asks_nothing_by_the_short_way_would_have_asked_nothing_by_the_long_one(request):
    scene, now, head_sent = request
    try:
        asked = next(scene.requests.close(scene.state, now, failed=False, head_sent=head_sent), None)
    except CannotSendCookie:
        return
    if asked is not None:
        return
    state = scene.state
    wanted = state.wanted({})
    assert change_of(state, scene.settings, now, scene.dice, wanted) in ((None, None), (None, state.token))
    assert state.to_destroy == ()
    if not head_sent:
        assert maintenance_of(state, scene.settings, now) is None
        assert pending_token(state, scene.settings) is None
    assert outcome_of(state, scene.settings, now) == LOOKED_AT


def test_a_cookie_that_is_still_to_be_sent_stays_where_another_ring_has_rotated():
    scene = Scene(ROTATING).holds(a_record(settings=ROTATING))
    scene.session.permanent = True
    save(scene, [APPLIED])
    scene.session["a"] = 1
    theirs = a_record(a_token(secret=7), previous=TOKEN.secret_hash, fields={"a": 1}, permanent=True)
    played = close(scene, [Done(Applied(), held(theirs))])
    assert "Max-Age" in cookie_of(played)


@pytest.mark.promise("2")
def test_what_is_due_is_done_also_behind_edits_that_may_be_stored():
    scene = Scene().holds(a_record())
    scene.state.doubt = DOWN
    played = close(scene, [APPLIED], now=NOW + HOUR)
    assert (played.calls, played.result) == (["Apply"], LOOKED_AT)
