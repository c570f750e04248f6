from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from coatcheck.model.lifetimes import is_alive, milliseconds, moment, slide_is_due
from coatcheck.model.record import Lifetimes, Record

pytestmark = pytest.mark.promise("16")

SECOND, HOUR, DAY = 1_000, 3_600_000, 86_400_000
NOW = 2_000_000_000_000
LIMITS = Lifetimes(idle=2 * HOUR, absolute=10 * HOUR, remember_idle=10 * DAY, remember_absolute=30 * DAY)


def a_record(*, created=NOW, last_used=None, permanent=False, signed_in=0, lifetimes=LIMITS, expires=None):
    last_used = created if last_used is None else last_used
    return Record(
        key=b"k" * 16,
        secret=b"s" * 32,
        secret_at=created,
        created=created,
        last_used=last_used,
        expires=lifetimes.expiry(start=signed_in or created, last_used=last_used, permanent=permanent)
        if expires is None
        else expires,
        permanent=permanent,
        signed_in=signed_in,
        user="ada" if signed_in else None,
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
    assert is_alive(record, NOW, LIMITS)
    assert is_alive(record, NOW + limit - 1, LIMITS)
    assert not is_alive(record, NOW + limit, LIMITS)
    assert not is_alive(record, NOW + limit + 1, LIMITS)


@pytest.mark.parametrize(("permanent", "limit"), [(False, 10 * HOUR), (True, 30 * DAY)])
def test_a_session_in_use_still_ends_at_the_absolute_limit(permanent, limit):
    record = a_record(permanent=permanent, last_used=NOW + limit - HOUR)
    assert is_alive(record, NOW + limit - 1, LIMITS)
    assert not is_alive(record, NOW + limit, LIMITS)


def test_both_limits_count_from_the_sign_in():
    record = a_record(signed_in=NOW + 9 * HOUR, last_used=NOW + 18 * HOUR)
    assert is_alive(record, NOW + 19 * HOUR - 1, LIMITS)
    assert not is_alive(record, NOW + 19 * HOUR, LIMITS)


def test_limits_that_became_shorter_hold_for_records_that_are_stored():
    record = a_record()
    shorter = replace(LIMITS, idle=HOUR)
    assert is_alive(record, NOW + HOUR - 1, shorter)
    assert not is_alive(record, NOW + HOUR, shorter)
    assert not is_alive(
        a_record(last_used=NOW + 2 * HOUR), NOW + 3 * HOUR, replace(LIMITS, absolute=3 * HOUR)
    )


def test_limits_that_became_longer_do_not_lengthen_what_is_stored():
    record = a_record()
    longer = replace(LIMITS, idle=9 * HOUR)
    assert is_alive(record, NOW + 2 * HOUR - 1, longer)
    assert not is_alive(record, NOW + 2 * HOUR, longer)


@pytest.mark.promise("F-17")
def test_a_clock_that_was_set_back_ends_nothing():
    assert is_alive(a_record(), NOW - DAY, LIMITS)


_spans = st.integers(1, 100)


@given(_spans, _spans, _spans, _spans, _spans, _spans, _spans, st.booleans(), st.sampled_from([0, 5, 50]))
def test_whether_a_session_is_alive_and_when_it_expires_are_one_rule(
    idle, absolute, remember_idle, remember_absolute, used, after, expires, permanent, signed_in
):
    limits = Lifetimes(
        idle=idle, absolute=absolute, remember_idle=remember_idle, remember_absolute=remember_absolute
    )
    record = a_record(created=1, last_used=used, permanent=permanent, signed_in=signed_in, expires=expires)
    ends = limits.expiry(start=record.start, last_used=used, permanent=permanent)
    assert is_alive(record, after, limits) is (after < min(ends, expires))


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
    assert not slide_is_due(record, NOW, limits)
    assert not slide_is_due(record, NOW + due - 1, limits)
    assert slide_is_due(record, NOW + due, limits)


@pytest.mark.promise("4")
def test_a_slide_of_a_permanent_session_counts_by_its_own_limit():
    limits = replace(LIMITS, remember_idle=100 * SECOND)
    assert slide_is_due(a_record(permanent=True, lifetimes=limits), NOW + 10 * SECOND, limits)
    assert not slide_is_due(a_record(lifetimes=limits), NOW + 10 * SECOND, limits)


@pytest.mark.promise("4")
def test_a_clock_that_was_set_back_makes_no_slide_due():
    assert not slide_is_due(a_record(), NOW - DAY, LIMITS)
