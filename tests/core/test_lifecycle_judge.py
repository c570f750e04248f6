from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from coatcheck.core import lifecycle
from coatcheck.core.lifecycle import (
    is_held,
)
from coatcheck.core.state import Status
from coatcheck.model.record import (
    Tombstone,
    Unreadable,
)
from tests.core.scene import (
    DAY,
    HOUR,
    MINUTE,
    NOW,
    ROTATING,
    SECOND,
    SETTINGS,
    a_record,
    a_token,
    held,
    make_settings,
)

TOKEN = a_token()


# judge: which session a request holds


def judge(tokens, states, settings, now):
    return lifecycle.judge(tokens, [held(state) for state in states], settings, now)


def record_in(verdict):
    return None if verdict.held is None else verdict.held.state


def test_nothing_in_the_store_is_a_new_visitor():
    verdict = judge([TOKEN], [None], SETTINGS, NOW)
    assert verdict == lifecycle.Verdict(Status.NEW)


def test_a_live_record_with_the_token_s_secret_is_held():
    record = a_record()
    verdict = judge([TOKEN], [record], SETTINGS, NOW)
    assert (verdict.status, verdict.token, record_in(verdict)) == (Status.LIVE, TOKEN, record)


@pytest.mark.promise("13")
@pytest.mark.parametrize(
    ("after", "expected"),
    [(0, Status.LATE), (119_999, Status.LATE), (120_000, Status.NEW), (HOUR, Status.NEW)],
)
def test_another_secret_is_late_within_the_window_and_a_stranger_after_it(after, expected):
    record = a_record(a_token(secret=2), created=NOW - DAY // 2, secret_at=NOW)
    verdict = judge([TOKEN], [record], SETTINGS, NOW + after)
    assert (verdict.status, verdict.token, record_in(verdict)) == (expected, None, None)


@pytest.mark.promise("13")
def test_the_late_window_is_the_setting_s():
    record = a_record(a_token(secret=2))
    settings = make_settings(late_window=timedelta(seconds=5))
    assert judge([TOKEN], [record], settings, NOW + 5 * SECOND - 1).status is Status.LATE
    assert judge([TOKEN], [record], settings, NOW + 5 * SECOND).status is Status.NEW


@pytest.mark.promise("12")
def test_a_tombstone_makes_late_until_it_expires():
    tombstone = Tombstone(TOKEN.key, NOW + 30 * SECOND)
    assert judge([TOKEN], [tombstone], SETTINGS, NOW + 30 * SECOND - 1).status is Status.LATE
    assert judge([TOKEN], [tombstone], SETTINGS, NOW + 30 * SECOND).status is Status.NEW


@pytest.mark.promise("14")
def test_the_previous_secret_opens_until_the_grace_after_the_new_one_was_seen():
    unseen = a_record(a_token(secret=2), previous=TOKEN.secret_hash, last_used=NOW + 2 * HOUR)
    seen = replace(unseen, seen=NOW + HOUR)
    assert judge([TOKEN], [unseen], ROTATING, NOW + 2 * HOUR).status is Status.LIVE
    assert judge([TOKEN], [seen], ROTATING, NOW + HOUR + MINUTE - 1).status is Status.LIVE
    assert judge([TOKEN], [seen], ROTATING, NOW + HOUR + MINUTE).status is Status.NEW
    assert is_held(seen, TOKEN, ROTATING, NOW + HOUR + MINUTE - 1)
    assert not is_held(seen, TOKEN, ROTATING, NOW + HOUR + MINUTE)


@pytest.mark.promise("16")
def test_an_expired_record_is_not_held_and_not_late_but_told():
    record = a_record(user="ada", signed_in=NOW)
    verdict = judge([TOKEN], [record], SETTINGS, record.expires)
    assert (verdict.status, record_in(verdict), verdict.expired) == (Status.NEW, None, (record,))
    assert judge([TOKEN], [record], SETTINGS, record.expires - 1).status is Status.LIVE


def test_an_expired_record_with_another_secret_is_not_late():
    record = a_record(a_token(secret=2), secret_at=NOW + DAY - 1)
    verdict = judge([TOKEN], [record], SETTINGS, record.expires)
    assert (verdict.status, verdict.expired) == (Status.NEW, (record,))


@pytest.mark.promise("10")
def test_what_can_not_be_read_is_an_anonymous_visitor_and_told():
    verdict = judge([TOKEN], [Unreadable("damaged")], SETTINGS, NOW)
    assert (verdict.status, verdict.unreadable) == (Status.NEW, ((TOKEN.key, "damaged"),))


@pytest.mark.promise("H")
def test_of_several_tokens_the_only_live_one_wins_wherever_it_stands():
    tokens = [a_token(key) for key in (1, 2, 3, 4)]
    record = a_record(tokens[2])
    found = {
        1: None,
        2: a_record(a_token(2, secret=9)),
        3: record,
        4: Tombstone(tokens[3].key, NOW + SECOND),
    }
    for order in ((1, 2, 3, 4), (3, 4, 2, 1), (4, 3, 1, 2)):
        verdict = judge([tokens[at - 1] for at in order], [found[at] for at in order], SETTINGS, NOW)
        assert (verdict.status, record_in(verdict), verdict.token) == (Status.LIVE, record, tokens[2])
        assert verdict.competing == ()


@pytest.mark.promise("H")
def test_of_several_live_sessions_none_is_taken_in_any_order():
    tokens = [a_token(1), a_token(2)]
    records = [a_record(token) for token in tokens]
    for step in (1, -1):
        verdict = judge(tokens[::step], records[::step], SETTINGS, NOW)
        assert (verdict.status, verdict.token, record_in(verdict)) == (Status.NEW, None, None)
        assert sorted(held.state.key for held in verdict.competing) == [tokens[0].key, tokens[1].key]


def test_a_late_token_beside_several_live_ones_makes_nobody_late():
    tokens = [a_token(1), a_token(2), a_token(3, secret=8)]
    found = [a_record(tokens[0]), a_record(tokens[1]), a_record(a_token(3, secret=9))]
    assert judge(tokens, found, SETTINGS, NOW).status is Status.NEW


@pytest.mark.promise("H")
@pytest.mark.parametrize(
    "late", [a_record(a_token(1, secret=9)), Tombstone(a_token(1).key, NOW + 1)], ids=repr
)
def test_one_late_token_makes_late_whatever_comes_behind_it(late):
    tokens = [a_token(key) for key in (1, 2, 3)]
    stranger = a_record(a_token(2, secret=9), created=NOW - HOUR)
    found = [late, stranger, Tombstone(tokens[2].key, NOW)]
    assert judge(tokens, found, SETTINGS, NOW).status is Status.LATE


def test_both_secrets_of_one_rotation_are_one_session_held_by_the_newer():
    old, new = a_token(secret=1), a_token(secret=2)
    record = a_record(new, previous=old.secret_hash)
    for tokens in ([old, new], [new, old]):
        verdict = judge(tokens, [record, record], ROTATING, NOW)
        assert (verdict.status, verdict.token, verdict.competing) == (Status.LIVE, new, ())


@pytest.mark.promise("H")
@given(st.permutations(["live", "late", "tombstone", "expired", "unreadable", "gone"]))
def test_the_order_of_cookies_never_decides(order):
    tokens = {name: a_token(key) for key, name in enumerate(sorted(order), 1)}
    found = {
        "live": a_record(tokens["live"]),
        "late": a_record(a_token(tokens["late"].key[0], secret=9)),
        "tombstone": Tombstone(tokens["tombstone"].key, NOW + SECOND),
        "expired": a_record(tokens["expired"], created=NOW - 2 * DAY),
        "unreadable": Unreadable("damaged"),
        "gone": None,
    }
    verdict = judge([tokens[name] for name in order], [found[name] for name in order], SETTINGS, NOW)
    assert record_in(verdict) == found["live"]
    without = [name for name in order if name != "live"]
    verdict = judge([tokens[name] for name in without], [found[name] for name in without], SETTINGS, NOW)
    assert (verdict.status, record_in(verdict)) == (Status.LATE, None)


@pytest.mark.promise("13")
def test_a_late_window_of_nothing_makes_every_old_cookie_a_stranger_s():
    settings = make_settings(late_window=timedelta(0))
    assert judge([TOKEN], [a_record(a_token(secret=2))], settings, NOW).status is Status.NEW
