"""Every store holds what a plain dict would."""

import pytest
from hypothesis import settings

from tests.machine.model import StoreMachine
from tests.stores.harnesses import MemoryHarness, SQLiteHarness

pytestmark = pytest.mark.promise("6", "12", "13", "16", "17")


class MemoryMachine(StoreMachine):
    def harness(self):
        return MemoryHarness()


class SQLiteMachine(StoreMachine):
    def harness(self):
        return SQLiteHarness()


MACHINES = [MemoryMachine, SQLiteMachine]
SHORT = settings(max_examples=30, stateful_step_count=40, deadline=None)
LONG = settings(max_examples=5_000, stateful_step_count=60, deadline=None)


@pytest.mark.parametrize("machine", MACHINES)
def test_a_store_holds_what_a_dict_would(machine):
    machine.TestCase.settings = SHORT
    machine.TestCase().runTest()


@pytest.mark.soak
@pytest.mark.parametrize("machine", MACHINES)
def test_a_store_holds_what_a_dict_would_for_long(machine):
    machine.TestCase.settings = LONG
    machine.TestCase().runTest()
