from __future__ import annotations

from datetime import timedelta

import pytest

from coatcheck.core import lifecycle
from coatcheck.core.lifecycle import (
    LOOKED_AT,
    Outcome,
    ending_of,
    is_held,
    maintenance_of,
    outcome_of,
    pending_token,
)
from coatcheck.core.state import Status
from coatcheck.http.token import Ring
from coatcheck.model.record import (
    Destroy,
    Holder,
    Rotation,
    Update,
)
from tests.core.scene import (
    DAY,
    HOUR,
    MINUTE,
    NEW_SECRET,
    NOW,
    OLD_SECRET,
    ROTATING,
    SECOND,
    SETTINGS,
    Scene,
    a_record,
    a_token,
    make_settings,
)

TOKEN = a_token()


# maintenance_of: what a session that was only looked at owes


def maintenance(record, now, settings=SETTINGS, token=TOKEN):
    scene = Scene(settings).holds(record, token)
    return maintenance_of(scene.state, settings, now)


def test_without_a_record_or_without_its_visitor_nothing_is_owed():
    assert maintenance_of(Scene().is_in(Status.NEW).state, SETTINGS, NOW) is None
    assert maintenance_of(Scene().edits(a_record()).state, SETTINGS, NOW + 5 * HOUR) is None


@pytest.mark.promise("4")
def test_use_is_noted_once_an_hour_at_most():
    record = a_record()
    assert maintenance(record, NOW) is None
    assert maintenance(record, NOW + HOUR - 1) is None
    slide = maintenance(record, NOW + HOUR)
    assert slide == Update(
        key=TOKEN.key,
        at=NOW + HOUR,
        lifetimes=SETTINGS.lifetimes,
        grace=MINUTE,
        secret_hash=TOKEN.secret_hash,
    )
    assert record.apply(slide).expires == NOW + HOUR + DAY
    assert maintenance(record.apply(slide), NOW + 2 * HOUR - 1) is None


@pytest.mark.promise("14")
def test_the_secret_rotates_when_it_is_old_enough_and_only_where_it_is_asked_for():
    record = a_record(last_used=NOW + 2 * HOUR - 1, settings=ROTATING)
    assert maintenance(record, NOW + 2 * HOUR - 1, ROTATING) is None
    due = maintenance(record, NOW + 2 * HOUR, ROTATING)
    assert due.rotate == Rotation(ROTATING.ring.successor(TOKEN).secret_hash, derived=True)
    assert due.secret_hash == TOKEN.secret_hash
    assert maintenance(record, NOW + 2 * HOUR, SETTINGS) is None


def test_the_age_of_a_secret_counts_from_its_last_change():
    record = a_record(secret_at=NOW + HOUR, last_used=NOW + 3 * HOUR - 1, settings=ROTATING)
    assert maintenance(record, NOW + 3 * HOUR - 1, ROTATING) is None
    assert maintenance(record, NOW + 3 * HOUR, ROTATING).rotate is not None


@pytest.mark.promise("14")
def test_all_requests_that_rotate_at_once_agree_on_the_next_secret():
    record = a_record(settings=ROTATING)
    first = maintenance(record, NOW + 2 * HOUR, ROTATING)
    second = maintenance(record, NOW + 2 * HOUR + 5, ROTATING)
    after = record.apply(first)
    assert after.apply(second).secret_hash == after.secret_hash == first.rotate.secret_hash


@pytest.mark.promise("14")
def test_the_new_secret_is_noted_as_seen_once_by_the_visitor_who_shows_it():
    old, new = TOKEN, a_token(secret=2)
    record = a_record(new, previous=old.secret_hash, settings=ROTATING)
    assert maintenance(record, NOW, ROTATING, token=old) is None
    noted = maintenance(record, NOW, ROTATING, token=new)
    assert noted.seen
    assert record.apply(noted).seen == NOW
    assert maintenance(record.apply(noted), NOW + 1, ROTATING, token=new) is None


@pytest.mark.promise("14")
def test_the_old_secret_rotates_nothing_during_the_grace():
    record = a_record(a_token(secret=2), previous=TOKEN.secret_hash, settings=ROTATING)
    due = maintenance(record, NOW + 5 * HOUR, ROTATING, token=TOKEN)
    assert due is not None
    assert due.rotate is None
    assert not due.seen


@pytest.mark.promise("14")
def test_the_old_secret_stays_good_for_the_whole_grace_however_often_secrets_rotate():
    settings = make_settings(rotate_every=timedelta(seconds=10), rotation_grace=timedelta(seconds=60))
    first = TOKEN
    record = a_record(first)
    second = settings.ring.successor(first)
    record = record.apply(maintenance(record, NOW + 10 * SECOND, settings, token=first))
    record = record.apply(maintenance(record, NOW + 11 * SECOND, settings, token=second))
    assert record.seen == NOW + 11 * SECOND
    for after in range(11, 71):
        token = second if second.secret_hash == record.secret_hash else settings.ring.successor(second)
        due = maintenance(record, NOW + after * SECOND, settings, token=token)
        record = record if due is None else record.apply(due)
        assert is_held(record, first, settings, NOW + after * SECOND), (
            f"{after - 11} s after the new one was seen"
        )


@pytest.mark.promise("14")
def test_the_next_rotation_waits_until_the_old_secret_is_no_longer_good():
    old, new = TOKEN, a_token(secret=2)
    seen = NOW + 3 * HOUR
    unseen = a_record(new, previous=old.secret_hash, last_used=seen, settings=ROTATING)
    due = maintenance(unseen, seen, ROTATING, token=new)
    assert (due.seen, due.rotate) == (True, None)
    record = unseen.apply(due)
    assert maintenance(record, seen + MINUTE - 1, ROTATING, token=new) is None
    assert maintenance(record, seen + MINUTE, ROTATING, token=new).rotate is not None
    assert maintenance(record, seen + MINUTE, ROTATING, token=old) is None


# pending_token: the cookie that must go out although nothing changed it


def owed(record, token, settings=SETTINGS):
    return pending_token(Scene(settings).holds(record, token).state, settings)


def test_a_visitor_with_the_current_token_gets_no_cookie():
    assert owed(a_record(), TOKEN) is None
    assert pending_token(Scene().is_in(Status.NEW).state, SETTINGS) is None
    assert pending_token(Scene().edits(a_record()).state, SETTINGS) is None


def test_a_token_signed_by_an_older_secret_is_signed_anew():
    token = a_token(current=False)
    assert owed(a_record(), token) is token


def test_a_visitor_who_still_shows_the_old_secret_gets_the_new_one():
    successor = ROTATING.ring.successor(TOKEN)
    record = a_record(successor, previous=TOKEN.secret_hash)
    assert owed(record, TOKEN, ROTATING).secret == successor.secret


@pytest.mark.promise("14")
def test_a_rotation_under_an_older_secret_of_the_ring_is_found_again():
    settings = make_settings(secret=[NEW_SECRET, OLD_SECRET], rotate_every=timedelta(hours=1))
    successor = Ring(OLD_SECRET, purpose="__Host-session").successor(TOKEN)
    record = a_record(successor, previous=TOKEN.secret_hash)
    assert owed(record, TOKEN, settings).secret == successor.secret


def test_a_rotation_under_a_secret_that_the_ring_has_lost_owes_nothing():
    successor = Ring(OLD_SECRET, purpose="__Host-session").successor(TOKEN)
    assert owed(a_record(successor, previous=TOKEN.secret_hash), TOKEN, ROTATING) is None


# outcome_of: what the response says


@pytest.mark.promise("H")
def test_a_session_that_was_looked_at_varies():
    scene = Scene().is_in(Status.NEW)
    assert outcome_of(scene.state, SETTINGS, NOW) == Outcome(None, vary=True)


def test_a_new_token_goes_out_signed_for_as_long_as_the_browser_lasts():
    scene = Scene().holds(a_record())
    scene.state.cookie_set = TOKEN
    outcome = outcome_of(scene.state, SETTINGS, NOW)
    assert outcome == Outcome(SETTINGS.template.set(SETTINGS.ring.sign(TOKEN), max_age=None), vary=True)
    assert "Max-Age" not in outcome.set_cookie


@pytest.mark.parametrize(
    ("bookkeeping", "after", "seconds"),
    [
        ({}, 0, 90 * 86_400),
        ({}, 10 * DAY, 80 * 86_400),
        ({"signed_in": NOW + DAY, "user": "ada"}, 10 * DAY, 81 * 86_400),
        ({}, 999, 90 * 86_400 - 1),
    ],
)
def test_a_permanent_session_s_cookie_lasts_until_its_absolute_limit(bookkeeping, after, seconds):
    scene = Scene().holds(a_record(permanent=True, **bookkeeping))
    scene.state.cookie_set = TOKEN
    assert f"; Max-Age={seconds};" in outcome_of(scene.state, SETTINGS, NOW + after).set_cookie


@pytest.mark.promise("H")
def test_a_cookie_that_is_cleared_goes_out_with_the_same_attributes():
    scene = Scene().is_in(Status.NEW, TOKEN)
    scene.state.cookie_cleared = True
    assert outcome_of(scene.state, SETTINGS, NOW) == Outcome(SETTINGS.template.clear(), vary=True)


# ending_of: whose session ends


@pytest.mark.promise("12")
@pytest.mark.parametrize("user", [None, "ada"])
def test_a_session_ends_for_whoever_the_request_saw_in_it(user):
    record = a_record(user=user, signed_in=NOW if user else 0)
    assert ending_of(record, SETTINGS, NOW + 5) == Destroy(key=TOKEN.key, at=NOW + 5, holder=Holder(user))


@pytest.mark.promise("16")
def test_the_cookie_of_a_permanent_session_lasts_as_long_as_its_own_absolute_limit():
    scene = Scene().holds(a_record(permanent=True, absolute=300 * DAY))
    scene.state.cookie_set = TOKEN
    assert f"; Max-Age={300 * 86_400};" in outcome_of(scene.state, SETTINGS, NOW).set_cookie


def test_a_session_that_was_looked_at_and_needs_nothing_says_so():
    assert outcome_of(Scene().holds(a_record()).state, SETTINGS, NOW) == LOOKED_AT


def test_the_rules_stand_where_the_life_cycle_says_they_stand():
    for name in ("judge", "change_of", "fresh", "ending_of", "maintenance_of", "pending_token"):
        assert f"`{name}`" in lifecycle.__doc__
        assert callable(getattr(lifecycle, name))
