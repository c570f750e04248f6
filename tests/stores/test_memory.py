"""The store in memory keeps the contract that ships in `coatcheck.testing`."""

import pytest

from coatcheck.testing.contract import StoreContract
from tests.stores.harnesses import AsyncMemoryHarness, MemoryHarness


class TestMemory(StoreContract):
    @pytest.fixture
    def harness(self):
        return MemoryHarness()


class TestAsyncMemory(StoreContract):
    @pytest.fixture
    def harness(self):
        return AsyncMemoryHarness()
