"""Memcached keeps the contract of every store, and the promises about changes, on one server and on two."""

import asyncio
import tempfile
import time

import pytest

from coatcheck.stores.memcached import AsyncMemcachedStore, MemcachedStore
from coatcheck.testing.contract import Harness, StoreContract
from tests.servers.memcached import Memcached, prefix
from tests.stores.changes import Changes

pytestmark = pytest.mark.servers


class MemcachedHarness(Harness):
    """A prefix of its own on the worker's servers. Time really goes by."""

    make = MemcachedStore

    def __init__(self, *servers):
        super().__init__()
        self.servers, self.prefix = servers, prefix()

    async def open(self):
        return self.make([server.address for server in self.servers], prefix=self.prefix)

    async def plant(self, key, data):
        self.server(key).write(self.name(key), data)

    async def raw(self, key):
        return self.server(key).read(self.name(key))

    def server(self, key):
        names = [server.address for server in self.servers]
        (place,) = MemcachedStore(names, prefix=self.prefix).shares([key])
        return self.servers[place]

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


class TestMemcached(StoreContract, index="none"):
    @pytest.fixture
    def harness(self, memcached):
        return MemcachedHarness(memcached)


@pytest.fixture(scope="module")
def another():
    with (
        tempfile.TemporaryDirectory(prefix="coatcheck-memcached-") as directory,
        Memcached(directory) as server,
    ):
        yield server


class TestAsyncTwoMemcached(StoreContract, index="none"):
    """The async store calls the sync one in threads, so each of them need not be tried on both."""

    @pytest.fixture
    def harness(self, memcached, another):
        return AsyncMemcachedHarness(memcached, another)


class TestChangesOnMemcached(Changes):
    @pytest.fixture(params=[MemcachedHarness, AsyncMemcachedHarness], ids=["sync", "async"])
    def harness(self, request, memcached):
        return request.param(memcached)
