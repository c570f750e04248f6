"""The state machine finds the fault of a store or an engine, without being told where to look."""

import pytest
from hypothesis import HealthCheck, Phase, seed, settings

from tests.machine.model import StoreMachine
from tests.stores import test_changes_bite as engines
from tests.stores.harnesses import MemoryHarness
from tests.testing import twins_of_bytes as of_bytes
from tests.testing import twins_of_time as of_time
from tests.testing import twins_of_users as of_users
from tests.testing.stores import NoIndexStore, SeparateIndexStore
from tests.testing.twin import Twin

STORES = [
    of_bytes.ComparesNothing,
    of_bytes.ComparesAnyVersionItHad,
    of_bytes.KeepsText,
    of_time.ExpiresASecondEarly,
    of_time.KeepsTheFirstExpiry,
    of_time.SweepsByTheKeyAlone,
    of_time.SweepsMoreThanItWasTold,
    of_time.CountsTheDead,
    of_time.CountsTombstones,
    of_users.OldestFirst,
    of_users.KeepsTheFirstEntry,
    of_users.KeepsTheEntryOfAnEnd,
    of_users.TheFirstNoteStands,
    of_users.ListsEveryone,
]
ENGINES = [engines.writes_back_the_copy_that_was_read, engines.destroys_without_a_condition]


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
    # A seed, so that a fault is found after the same number of examples each time.
    seed(3)(machine)
    machine.TestCase().runTest()


@pytest.mark.parametrize("twin", STORES)
def test_the_fault_of_a_store_is_found(twin):
    with pytest.raises((AssertionError, ExceptionGroup)):
        run(twin, examples=500)


@pytest.mark.parametrize("twin", ENGINES)
def test_the_fault_of_an_engine_is_found(twin, monkeypatch):
    twin(monkeypatch)
    with pytest.raises((AssertionError, ExceptionGroup)):
        run(Twin, examples=500)


@pytest.mark.parametrize("store", [Twin, SeparateIndexStore, NoIndexStore])
def test_nothing_is_found_that_is_not_there(store):
    run(store, examples=15)


def test_a_machine_without_a_harness_is_told_what_it_lacks():
    with pytest.raises(NotImplementedError, match="needs a method `harness`"):
        StoreMachine().harness()
