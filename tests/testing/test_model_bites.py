"""The state machine finds what is wrong with a store, without being told where to look."""

import pytest
from hypothesis import HealthCheck, Phase, settings

from tests.machine.model import StoreMachine
from tests.stores.harnesses import MemoryHarness
from tests.testing import twins_of_changes as changes
from tests.testing import twins_of_time as time
from tests.testing import twins_of_users as users
from tests.testing.stores import NoTombstonesStore, SeparateIndexStore
from tests.testing.twin import Twin

FOUND = [
    changes.CreateOverwrites,
    changes.WritesBackTheCopyFromTheBeginning,
    changes.AsksNoSecret,
    changes.ForgetsTheOldSecret,
    time.NoTombstones,
    time.AsksForNoLife,
    time.LivesAMillisecondTooLong,
    time.TheLastRequestDecides,
    time.UseMovesEveryLimit,
    time.CountsTheDead,
    time.SweepsByItsFirstNote,
    time.SweepsTombstonesFirst,
    users.AMovedSessionStaysWhereItWas,
    users.TheDeadAreListed,
    users.EntriesDontSlide,
]


def machine_of(store):
    class Machine(StoreMachine):
        def harness(self):
            return MemoryHarness(store())

    return Machine


def run(store, examples):
    machine = machine_of(store)
    machine.TestCase.settings = settings(
        max_examples=examples,
        stateful_step_count=40,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    machine.TestCase().runTest()


@pytest.mark.parametrize("twin", FOUND)
def test_what_is_wrong_with_a_store_is_found(twin):
    with pytest.raises((AssertionError, ExceptionGroup)):
        run(twin, examples=500)


@pytest.mark.parametrize("store", [Twin, SeparateIndexStore, NoTombstonesStore])
def test_nothing_is_found_that_is_not_there(store):
    run(store, examples=15)


def test_a_machine_without_a_harness_is_told_what_it_lacks():
    with pytest.raises(NotImplementedError, match="needs a method `harness`"):
        StoreMachine().harness()
