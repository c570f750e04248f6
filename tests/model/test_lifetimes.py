from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from coatcheck.model.lifetimes import LATEST, Lifetimes, milliseconds, moment
from coatcheck.model.record import Record, Update

pytestmark = pytest.mark.promise("16")

SECOND, HOUR, DAY = 1_000, 3_600_000, 86_400_000
NOW = 2_000_000_000_000
LIMITS = Lifetimes(idle=2 * HOUR, absolute=10 * HOUR, remember_idle=10 * DAY, remember_absolute=30 * DAY)


def ends(lifetimes, start, last_used, *, permanent=False, idle=0, absolute=0):
    """When a record ends by its limits."""
    idle, absolute = lifetimes.limits(permanent=permanent, idle=idle, absolute=absolute)
    return min(last_used + idle, start + absolute)


def a_record(
    *, created=NOW, last_used=None, permanent=False, signed_in=0, lifetimes=LIMITS, expires=None, **own
):
    last_used = created if last_used is None else last_used
    return Record(
        key=b"k" * 16,
        secret_hash=b"s" * 32,
        secret_at=created,
        created=created,
        last_used=last_used,
        expires=ends(lifetimes, signed_in or created, last_used, permanent=permanent, **own)
        if expires is None
        else expires,
        permanent=permanent,
        signed_in=signed_in,
        user="ada" if signed_in else None,
        **own,
    )


@pytest.mark.parametrize(
    ("span", "expected"),
    [
        (timedelta(0), 0),
        (timedelta(milliseconds=1), 1),
        (timedelta(seconds=1), 1_000),
        (timedelta(days=2, seconds=3), 2 * DAY + 3 * SECOND),  # `.seconds` alone would forget the days
        (timedelta(days=400), 400 * DAY),
        (timedelta(microseconds=1_499), 1),
        (timedelta(milliseconds=-5), -5),
    ],
)
def test_a_span_becomes_whole_milliseconds(span, expected):
    assert milliseconds(span) == expected


@given(st.integers(0, 400 * DAY))
def test_no_millisecond_of_a_span_is_lost(span):
    assert milliseconds(timedelta(milliseconds=span)) == span


@given(st.integers(0, 4_000_000_000_000))
def test_a_moment_is_aware_and_exact_to_the_millisecond(at):
    seen = moment(at)
    assert seen.tzinfo is UTC
    assert (seen - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(milliseconds=1) == at


@pytest.mark.parametrize(("permanent", "limit"), [(False, 2 * HOUR), (True, 10 * DAY)])
def test_an_idle_session_is_alive_until_its_limit_and_not_a_millisecond_longer(permanent, limit):
    record = a_record(permanent=permanent)
    assert record.is_alive(NOW, LIMITS)
    assert record.is_alive(NOW + limit - 1, LIMITS)
    assert not record.is_alive(NOW + limit, LIMITS)
    assert not record.is_alive(NOW + limit + 1, LIMITS)


@pytest.mark.parametrize(("permanent", "limit"), [(False, 10 * HOUR), (True, 30 * DAY)])
def test_a_session_in_use_still_ends_at_the_absolute_limit(permanent, limit):
    record = a_record(permanent=permanent, last_used=NOW + limit - HOUR)
    assert record.is_alive(NOW + limit - 1, LIMITS)
    assert not record.is_alive(NOW + limit, LIMITS)


def test_both_limits_count_from_the_sign_in():
    record = a_record(signed_in=NOW + 9 * HOUR, last_used=NOW + 18 * HOUR)
    assert record.is_alive(NOW + 19 * HOUR - 1, LIMITS)
    assert not record.is_alive(NOW + 19 * HOUR, LIMITS)


def test_limits_that_became_shorter_hold_for_records_that_are_stored():
    record = a_record()
    shorter = replace(LIMITS, idle=HOUR)
    assert record.is_alive(NOW + HOUR - 1, shorter)
    assert not record.is_alive(NOW + HOUR, shorter)
    assert not a_record(last_used=NOW + 2 * HOUR).is_alive(NOW + 3 * HOUR, replace(LIMITS, absolute=3 * HOUR))


def test_limits_that_became_longer_do_not_lengthen_what_is_stored():
    record = a_record()
    longer = replace(LIMITS, idle=9 * HOUR)
    assert record.is_alive(NOW + 2 * HOUR - 1, longer)
    assert not record.is_alive(NOW + 2 * HOUR, longer)


@pytest.mark.promise("F-17")
def test_a_clock_that_was_set_back_ends_nothing():
    assert a_record().is_alive(NOW - DAY, LIMITS)


_spans = st.integers(1, 100)


@given(_spans, _spans, _spans, _spans, _spans, _spans, _spans, st.booleans(), st.sampled_from([0, 5, 50]))
def test_whether_a_session_is_alive_and_when_it_expires_are_one_rule(
    idle, absolute, remember_idle, remember_absolute, used, after, expires, permanent, signed_in
):
    limits = Lifetimes(
        idle=idle, absolute=absolute, remember_idle=remember_idle, remember_absolute=remember_absolute
    )
    record = a_record(created=1, last_used=used, permanent=permanent, signed_in=signed_in, expires=expires)
    end = ends(limits, record.start, used, permanent=permanent)
    assert record.is_alive(after, limits) is (after < min(end, expires))


@pytest.mark.promise("4")
@pytest.mark.parametrize(
    ("idle", "permanent", "due"),
    [
        (2 * HOUR, False, 12 * 60 * SECOND),
        (20 * HOUR, False, HOUR),
        (10 * HOUR, False, HOUR),
        (10 * SECOND, False, SECOND),
        (2 * HOUR, True, HOUR),
    ],
)
def test_a_slide_is_due_after_a_tenth_of_the_idle_limit_and_an_hour_at_most(idle, permanent, due):
    limits = replace(LIMITS, idle=idle)
    record = a_record(permanent=permanent, lifetimes=limits)
    assert not record.slide_is_due(NOW, limits)
    assert not record.slide_is_due(NOW + due - 1, limits)
    assert record.slide_is_due(NOW + due, limits)


@pytest.mark.promise("4")
def test_a_slide_of_a_permanent_session_counts_by_its_own_limit():
    limits = replace(LIMITS, remember_idle=100 * SECOND)
    assert a_record(permanent=True, lifetimes=limits).slide_is_due(NOW + 10 * SECOND, limits)
    assert not a_record(lifetimes=limits).slide_is_due(NOW + 10 * SECOND, limits)


@pytest.mark.promise("4", "16")
@pytest.mark.parametrize("permanent", [False, True])
@pytest.mark.parametrize("signed_in", [0, NOW])
def test_a_session_in_use_does_not_end_by_limits_that_have_grown_since(permanent, signed_in):
    before = Lifetimes(idle=900 * SECOND, absolute=DAY, remember_idle=900 * SECOND, remember_absolute=DAY)
    after = Lifetimes(idle=12 * HOUR, absolute=9 * DAY, remember_idle=12 * HOUR, remember_absolute=9 * DAY)
    record = a_record(lifetimes=before, permanent=permanent, signed_in=signed_in)
    assert not record.slide_is_due(NOW + SECOND, before)
    assert record.slide_is_due(NOW + SECOND, after)


@pytest.mark.promise("4")
@given(_spans, _spans, _spans, _spans, _spans, st.sampled_from([0, 1]), st.sampled_from([None, "ada"]))
def test_after_a_slide_none_is_due(idle, absolute, stored, covered, at, own, user):
    limits = Lifetimes(idle=10 * idle, absolute=absolute, remember_idle=10 * idle, remember_absolute=absolute)
    record = a_record(created=1, signed_in=1 if user else 0, expires=at + stored, idle=10 * own * idle)
    record = replace(record, user=user, covered=covered)
    slid = record.apply(Update(b"k" * 16, at=at, secret_hash=b"s" * 32, used=True, lifetimes=limits, grace=0))
    assert not slid.slide_is_due(at, limits)


@pytest.mark.promise("4")
def test_a_clock_that_was_set_back_makes_no_slide_due():
    assert not a_record().slide_is_due(NOW - DAY, LIMITS)


# Limits of the session's own


@pytest.mark.parametrize("permanent", [False, True])
@pytest.mark.parametrize(
    ("idle", "absolute"), [(HOUR, 0), (0, 3 * HOUR), (HOUR, 3 * HOUR), (99 * DAY, 99 * DAY)]
)
def test_a_session_s_own_limits_come_before_those_of_the_settings(permanent, idle, absolute):
    settings = (10 * DAY, 30 * DAY) if permanent else (2 * HOUR, 10 * HOUR)
    expected = idle or settings[0], absolute or settings[1]
    assert LIMITS.limits(permanent=permanent, idle=idle, absolute=absolute) == expected
    record = a_record(permanent=permanent, idle=idle, absolute=absolute)
    end = NOW + min(expected)
    assert record.expires == end
    assert (record.is_alive(end - 1, LIMITS), record.is_alive(end, LIMITS)) == (True, False)
    assert record.until(LIMITS) == NOW + expected[1]
    slide = min(expected[0] // 10, HOUR)
    assert record.slide_is_due(NOW + slide, LIMITS)
    assert not record.slide_is_due(NOW + slide - 1, LIMITS)


def test_how_long_a_session_can_live_at_all_counts_from_its_start():
    assert a_record().until(LIMITS) == NOW + 10 * HOUR
    assert a_record(permanent=True).until(LIMITS) == NOW + 30 * DAY
    assert a_record(signed_in=NOW + HOUR).until(LIMITS) == NOW + 11 * HOUR


def test_the_latest_moment_is_one_that_a_datetime_can_hold():
    assert moment(LATEST).year == 9999
    with pytest.raises(ValueError, match="10000"):
        moment(LATEST + 1)
