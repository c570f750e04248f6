"""The clock that a test moves."""

import threading
from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coatcheck.testing import ManualClock


def test_it_stands_still_until_it_is_moved():
    clock = ManualClock()
    assert clock() == clock() == 2_000_000_000.0
    assert clock.now_ms == 2_000_000_000_000


def test_it_starts_where_it_is_told():
    assert ManualClock(start=12.5)() == 12.5


@pytest.mark.parametrize("by", [1.5, timedelta(seconds=1, milliseconds=500)])
def test_it_moves_by_seconds_and_by_timedeltas(by):
    clock = ManualClock(start=10.0)
    clock.advance(by)
    assert clock() == 11.5
    assert clock.now_ms == 11_500


def test_it_moves_back_as_a_corrected_clock_does():
    clock = ManualClock(start=10.0)
    clock.advance(-2)
    assert clock() == 8.0


@given(st.integers(0, 253_402_300_799_999))
def test_its_seconds_always_read_as_its_milliseconds(now_ms):
    clock = ManualClock(start=0)
    clock.advance(now_ms / 1000)
    assert clock.now_ms == now_ms
    assert int(clock() * 1000) == round(clock() * 1000) == now_ms


def test_a_thousand_small_steps_are_one_large_one():
    clock = ManualClock()
    for _ in range(1_000):
        clock.advance(0.001)
    assert clock.now_ms == 2_000_000_001_000


def test_no_step_is_lost_when_threads_move_it():
    clock = ManualClock(start=0)

    def move():
        for _ in range(1_000):
            clock.advance(0.001)

    threads = [threading.Thread(target=move) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert clock.now_ms == 8_000


def test_it_shows_its_time():
    assert repr(ManualClock(start=1.5)) == "ManualClock(1.5)"
