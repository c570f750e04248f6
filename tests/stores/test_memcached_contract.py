"""Memcached keeps the contract of every store, in both colours, on one server and on two."""

import asyncio
import time

import pytest
from hypothesis import settings

from benchmarks.memcached_bench import WAITING
from coatcheck.stores.memcached import MemcachedStore
from coatcheck.stores.memcached_async import AsyncMemcachedStore
from coatcheck.testing import ManualClock
from coatcheck.testing.contract import Harness, StoreContract
from tests.machine.model import StoreMachine
from tests.servers.memcached import memcached, prefix  # noqa: F401 - a fixture

pytestmark = pytest.mark.servers
LACKS = {"users", "count"}


class MemcachedHarness(Harness):
    """A prefix of its own on the worker's server; time goes by in truth."""

    make = MemcachedStore

    def __init__(self, server):
        super().__init__()
        self.server, self.prefix = server, prefix()

    async def open(self):
        # A busy machine may keep a thread waiting for longer than one who waits for a page would.
        return self.make(self.server.address, prefix=self.prefix, **WAITING)

    async def plant(self, key, data):
        self.server.write(self.name(key), data)

    async def raw(self, key):
        return self.server.read(self.name(key))

    def name(self, key):
        return f"{self.prefix}{key.hex()}".encode()

    @property
    def now(self):
        return time.time_ns() // 1_000_000

    async def advance(self, seconds):
        # And a little more: the server's clock goes in whole seconds.
        await asyncio.sleep(seconds + 0.3)


class AsyncMemcachedHarness(MemcachedHarness):
    make = AsyncMemcachedStore


class TestMemcached(StoreContract, lacks=LACKS):
    @pytest.fixture
    def harness(self, memcached):  # noqa: F811
        return MemcachedHarness(memcached)


class TestAsyncMemcached(StoreContract, lacks=LACKS):
    @pytest.fixture
    def harness(self, memcached):  # noqa: F811
        return AsyncMemcachedHarness(memcached)


class ModelHarness(MemcachedHarness):
    """Its clock can be moved: the server keeps what it was given for as long as in truth, and the reader judges."""

    def __init__(self, server):
        super().__init__(server)
        self.clock = ManualClock(time.time())

    now = Harness.now

    async def advance(self, seconds):
        self.clock.advance(seconds)


class AsyncModelHarness(ModelHarness):
    make = AsyncMemcachedStore


SHORT = settings(max_examples=15, stateful_step_count=40, deadline=None)
LONG = settings(max_examples=1_000, stateful_step_count=60, deadline=None)


def machine(kind, server):
    class Machine(StoreMachine):
        def harness(self):
            return kind(server)

    return Machine.TestCase


@pytest.mark.promise("6", "12", "13", "16")
@pytest.mark.parametrize("kind", [ModelHarness, AsyncModelHarness])
def test_memcached_holds_what_a_dict_would(kind, memcached):  # noqa: F811
    case = machine(kind, memcached)
    case.settings = SHORT
    case().runTest()


@pytest.mark.promise("6", "12", "13", "16")
@pytest.mark.soak
@pytest.mark.parametrize("kind", [ModelHarness, AsyncModelHarness])
def test_memcached_holds_what_a_dict_would_for_long(kind, memcached):  # noqa: F811
    case = machine(kind, memcached)
    case.settings = LONG
    case().runTest()
