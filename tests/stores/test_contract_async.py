"""Every async store keeps the contract that ships in `coatcheck.testing`, and holds what a plain dict would."""

import asyncio
import random

import pytest
from hypothesis import settings

from coatcheck.model.ports import Capabilities
from coatcheck.stores.coalesce import Coalesced
from coatcheck.stores.memory import AsyncMemoryStore
from coatcheck.stores.sqlite_async import AsyncSQLiteStore
from coatcheck.testing import AsyncStoreWrapper
from coatcheck.testing.contract import StoreContract
from tests.machine.model import StoreMachine
from tests.stores.harnesses import MemoryHarness, SQLiteHarness


class SlowStore(AsyncStoreWrapper):
    """Takes some turns of the loop before it does what it was asked, and some before it says so."""

    capabilities = Capabilities()

    def __init__(self, store):
        super().__init__(store)
        self.turns = random.Random(0)

    async def around(self, call, send):
        await self.wait()
        answer = await send()
        await self.wait()
        return answer

    async def wait(self):
        for _ in range(self.turns.randrange(6)):
            await asyncio.sleep(0)


class AsyncMemoryHarness(MemoryHarness):
    def __init__(self):
        self.inner = AsyncMemoryStore()
        super().__init__(self.inner._store)

    async def open(self):
        return self.inner


class SlowHarness(AsyncMemoryHarness):
    def __init__(self):
        super().__init__()
        self.front = Coalesced(SlowStore(self.inner), largest_batch=7)

    async def open(self):
        return self.front


class AsyncSQLiteHarness(SQLiteHarness):
    async def open(self):
        return AsyncSQLiteStore(self.path, ballast=0)


class CoalescedSQLiteHarness(SQLiteHarness):
    async def open(self):
        return Coalesced(AsyncSQLiteStore(self.path, ballast=0))


class TestAsyncMemory(StoreContract):
    @pytest.fixture
    def harness(self):
        return AsyncMemoryHarness()


class TestCoalescedOverASlowStore(StoreContract):
    @pytest.fixture
    def harness(self):
        return SlowHarness()


class TestAsyncSQLite(StoreContract):
    @pytest.fixture
    def harness(self):
        return AsyncSQLiteHarness()


class TestCoalescedSQLite(StoreContract):
    @pytest.fixture
    def harness(self):
        return CoalescedSQLiteHarness()


class AsyncMemoryMachine(StoreMachine):
    def harness(self):
        return AsyncMemoryHarness()


class SlowMachine(StoreMachine):
    def harness(self):
        return SlowHarness()


class AsyncSQLiteMachine(StoreMachine):
    def harness(self):
        return AsyncSQLiteHarness()


class CoalescedSQLiteMachine(StoreMachine):
    def harness(self):
        return CoalescedSQLiteHarness()


MACHINES = [AsyncMemoryMachine, SlowMachine, AsyncSQLiteMachine, CoalescedSQLiteMachine]
SHORT = settings(max_examples=12, stateful_step_count=40, deadline=None)
LONG = settings(max_examples=2_000, stateful_step_count=60, deadline=None)


@pytest.mark.promise("6", "12", "13", "16", "17")
@pytest.mark.parametrize("machine", MACHINES)
def test_an_async_store_holds_what_a_dict_would(machine):
    machine.TestCase.settings = SHORT
    machine.TestCase().runTest()


@pytest.mark.promise("6", "12", "13", "16", "17")
@pytest.mark.soak
@pytest.mark.parametrize("machine", MACHINES)
def test_an_async_store_holds_what_a_dict_would_for_long(machine):
    machine.TestCase.settings = LONG
    machine.TestCase().runTest()
