"""The checker of histories complains of each thing that must not happen, and of nothing else."""

import pytest

from tests.stores.history import FAILED, OK, UNKNOWN, Did, History, judge


def wrote(mark, outcome=OK, at=1.0):
    visitor, session, _ = mark.split("/")
    return Did("write", visitor, session, at, at + 0.1, outcome, wrote=mark)


def read(session, *marks, at=2.0, opened=True, outcome=OK):
    return Did("read", "v", session, at, at + 0.1, outcome, saw=frozenset(marks), opened=opened)


def ended(session, at=3.0, outcome=OK):
    return Did("end", "v", session, at, at + 0.1, outcome)


A, B = "v/s/0", "v/s/1"

POSSIBLE = {
    "what was written is there": ([wrote(A), read("s", A)], {"s": {A}}),
    "what may have been written is there": ([wrote(A, UNKNOWN)], {"s": {A}}),
    "what may have been written is not there": ([wrote(A), wrote(B, UNKNOWN)], {"s": {A}}),
    "what failed is not there": ([wrote(A), wrote(B, FAILED)], {"s": {A}}),
    "what was ended is gone": ([wrote(A), ended("s"), read("s", opened=False, at=4)], {"s": None}),
    "what may have been ended is gone": ([wrote(A), ended("s", outcome=UNKNOWN)], {"s": None}),
    "what may have been ended is there": ([wrote(A), ended("s", outcome=UNKNOWN)], {"s": {A}}),
    "a read that began before the end": ([wrote(A), read("s", A, at=3.05), ended("s")], {"s": None}),
    "a read beside a write": ([wrote(A, at=1), wrote(B, at=1.95), read("s", A)], {"s": {A, B}}),
    "a read beside the end": ([wrote(A), ended("s"), read("s", opened=False, at=3.05)], {"s": None}),
    "a session that nobody wrote to": ([read("s", opened=False)], {"s": None}),
}
IMPOSSIBLE = {
    "another's mark is read": ([wrote(A), read("s", A, "w/t/7")], {"s": {A}}, "I1"),
    "another's mark is there at the end": ([wrote(A)], {"s": {A, "w/t/7"}}, "I1"),
    "what was ended is read": ([wrote(A), ended("s"), read("s", A, at=4)], {"s": None}, "I2"),
    "what was ended is there at the end": ([wrote(A), ended("s")], {"s": {A}}, "I2"),
    "what was written is lost": ([wrote(A), wrote(B)], {"s": {A}}, "I3"),
    "a session is gone that nobody ended": ([wrote(A)], {"s": None}, "I3"),
    "what was written is not seen": ([wrote(A), wrote(B), read("s", A)], {"s": {A, B}}, "I4"),
    "a visitor is logged out": ([wrote(A), read("s", opened=False)], {"s": {A}}, "I4"),
    "what failed is there": ([wrote(A), wrote(B, FAILED)], {"s": {A, B}}, "I3"),
    "what nobody wrote is there": ([wrote(A)], {"s": {A, B}}, "I3"),
}


@pytest.mark.parametrize("case", POSSIBLE)
def test_what_can_happen_is_no_violation(case):
    done, final = POSSIBLE[case]
    verdict = judge(done, final)
    assert (verdict.violations, verdict.lost) == ([], [])


@pytest.mark.parametrize("case", IMPOSSIBLE)
def test_what_can_not_happen_is_one(case):
    done, final, invariant = IMPOSSIBLE[case]
    (violation,) = judge(done, final).violations
    assert violation.startswith(invariant)


def test_a_key_without_an_expiry_is_a_violation():
    assert judge([], {}, immortal=["k"]).violations == ["I6: k has no expiry"]


def test_an_answer_that_is_neither_right_nor_a_typed_error_is_a_violation():
    did = wrote(A)
    did.complaint = "a cookie with an error"
    assert judge([did], {"s": {A}}).violations == ["I7: write of s: a cookie with an error"]


@pytest.mark.parametrize(
    ("done", "final"),
    [
        ([wrote(A, at=0), wrote(B, at=5)], {"s": {A}}),
        ([wrote(A, at=5)], {"s": None}),
        ([wrote(A, at=5), read("s", opened=False, at=8)], {"s": {A}}),
        ([wrote(A, at=0), wrote(B, at=5), read("s", A, at=8)], {"s": {A, B}}),
        ([wrote(A, at=0), ended("s", at=5)], {"s": {A}}),
    ],
)
def test_what_a_failover_lost_is_told_apart_only_if_it_was_acknowledged_then(done, final):
    during = judge(done, final, forgiven=[(4, 6)])
    assert (during.violations, len(during.lost)) == ([], 1)
    before = judge(done, final, forgiven=[(6, 9)])
    assert (len(before.violations), before.lost) == (1, [])


def test_a_failover_excuses_no_foreign_data_and_nothing_that_failed():
    assert judge([wrote(A), read("s", "w/t/7")], {"s": {A}}, forgiven=[(0, 9)]).violations
    assert judge([wrote(A), wrote(B, FAILED)], {"s": {A, B}}, forgiven=[(0, 9)]).violations


def test_a_history_notes_who_asked_when_and_what_came_of_it():
    times = iter(range(10))
    history = History(clock=lambda: next(times))
    did = history.ask("write", "v", "s", wrote=history.mark("v", "s"))
    assert (did.asked, did.outcome, did.wrote) == (0, UNKNOWN, "v/s/0")
    history.tell(did, OK)
    assert (did.told, history.counts()) == (1, {("write", OK): 1})
