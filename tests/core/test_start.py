"""What is looked at when a manager starts: the index of users, other sites on the store, and clocks."""

from __future__ import annotations

import secrets
from dataclasses import replace

import pytest

from coatcheck.core.calls import CheckIndex, Load, Writes
from coatcheck.core.start import NOTE, clock_warning, look_around
from coatcheck.core.users import Users
from coatcheck.errors import StoreFull, StoreUnavailable
from coatcheck.http.token import Ring
from coatcheck.model.format import is_beside
from coatcheck.model.ports import Found
from tests.core.scene import NOW, SETTINGS, Dice

OURS, THEIRS, OTHER = (secrets.token_urlsafe(32) for _ in range(3))
DOWN = StoreUnavailable("down")


def ring(*given, purpose="session"):
    return Ring(list(given), purpose=purpose)


def looked(ring, found, index="within", doubt=None, written=None, settings=SETTINGS):
    """The warnings, and what was written."""
    flow = look_around(Users(settings, index, Dice()), ring, Dice(), NOW)
    writes, answer = [], None
    try:
        while True:
            call = flow.send(answer)
            match call:
                case CheckIndex():
                    answer = doubt
                    if isinstance(doubt, Exception):
                        call, answer = flow.throw(doubt), None
                case Load(keys):
                    assert keys == [NOTE]
                    answer = [found]
                case Writes([write]):
                    writes.append(write)
                    answer = [written]
    except StopIteration as stop:
        return stop.value, writes


def note_of(ring):
    (write,) = looked(ring, None)[1]
    return Found(write.data, b"version")


def test_the_first_site_leaves_a_note_that_is_no_session_and_no_secret():
    warnings, (write,) = looked(ring(OURS, OTHER), None)
    assert warnings == []
    assert (write.key, write.expected, write.live, write.entry) == (NOTE, None, False, None)
    assert write.expires > NOW
    assert len(write.data) == 9 + 2 * 8
    assert is_beside(write.data)
    assert looked(ring(OURS, OTHER, purpose="another cookie"), Found(write.data, b""))[1] == []


def test_a_site_that_starts_again_says_and_writes_nothing():
    assert looked(ring(OURS), note_of(ring(OURS))) == ([], [])


def test_secrets_that_are_replaced_one_after_the_other_are_no_other_site():
    for before, after in (((OURS,), (OTHER, OURS)), ((OTHER, OURS), (OTHER,)), ((OTHER,), (THEIRS, OTHER))):
        warnings, (write,) = looked(ring(*after), note_of(ring(*before)))
        assert (warnings, write.expected) == ([], b"version")
        assert note_of(ring(*after)).data[8:] == write.data[8:]


def test_a_note_of_other_secrets_is_a_warning_once_and_is_replaced():
    (warning,), (write,) = looked(ring(OURS), note_of(ring(THEIRS)))
    assert 'prefix="shop:"' in warning
    assert looked(ring(OURS), Found(write.data, b"")) == ([], [])
    assert len(looked(ring(THEIRS), Found(write.data, b""))[0]) == 1


@pytest.mark.parametrize("found", [DOWN, Found(b"", b""), Found(b"12345678", b"")])
def test_a_note_that_can_not_be_read_is_no_other_site(found):
    assert looked(ring(OURS), found)[0] == []


def test_a_note_that_can_not_be_stored_is_no_error():
    assert looked(ring(OURS), None, written=StoreFull("full"))[0] == []


def test_an_index_beside_the_records_that_may_lose_entries_is_a_warning():
    assert looked(ring(OURS), note_of(ring(OURS)), "beside", "it evicts") == (["it evicts"], [])
    assert looked(ring(OURS), note_of(ring(OURS)), "beside") == ([], [])


@pytest.mark.parametrize(
    ("theirs", "said"),
    [
        (None, ""),
        (NOW - 5_000, ""),
        (NOW + 6_000, ""),
        (NOW - 5_001, "5 s ahead of"),
        (NOW - 60_000, "60 s ahead of"),
        (NOW + 61_000, "60 s behind"),
    ],
)
def test_a_clock_that_is_more_than_five_seconds_off_is_a_warning(theirs, said):
    told = clock_warning(theirs, NOW, NOW + 1_000)
    assert (told is None) if not said else (said in told)


def test_where_epochs_end_sessions_the_index_need_not_be_complete():
    by_epoch = replace(SETTINGS, revocation="epoch")
    assert looked(ring(OURS), note_of(ring(OURS)), "beside", "it evicts", settings=by_epoch) == ([], [])
