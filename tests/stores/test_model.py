"""The engine on a store holds what a plain dict would."""

import pytest
from hypothesis import settings

from tests.machine.model import StoreMachine
from tests.stores.harnesses import AsyncMemoryHarness, MemoryHarness
from tests.stores.sqlite.harness import AsyncSQLiteHarness, SQLiteHarness
from tests.testing.stores import NoIndexStore, SeparateIndexStore

pytestmark = pytest.mark.promise("6", "12", "13", "16", "17")


class MemoryMachine(StoreMachine):
    def harness(self):
        return MemoryHarness()


class AsyncMemoryMachine(StoreMachine):
    def harness(self):
        return AsyncMemoryHarness()


class SeparateIndexMachine(StoreMachine):
    def harness(self):
        return MemoryHarness(SeparateIndexStore())


class NoIndexMachine(StoreMachine):
    def harness(self):
        return MemoryHarness(NoIndexStore())


class SQLiteMachine(StoreMachine):
    def harness(self):
        return SQLiteHarness()


class AsyncSQLiteMachine(StoreMachine):
    def harness(self):
        return AsyncSQLiteHarness()


MACHINES = [MemoryMachine, AsyncMemoryMachine, SeparateIndexMachine, NoIndexMachine]
MACHINES += [SQLiteMachine, AsyncSQLiteMachine]
SHORT = settings(max_examples=25, stateful_step_count=40, deadline=None)
LONG = settings(max_examples=3_000, stateful_step_count=60, deadline=None)


@pytest.mark.parametrize("machine", MACHINES)
def test_a_store_holds_what_a_dict_would(machine):
    machine.TestCase.settings = SHORT
    machine.TestCase().runTest()


@pytest.mark.soak
@pytest.mark.parametrize("machine", MACHINES)
def test_a_store_holds_what_a_dict_would_for_long(machine):
    machine.TestCase.settings = LONG
    machine.TestCase().runTest()
