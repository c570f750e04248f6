"""Every store keeps the contract that ships in `coatcheck.testing`."""

import pytest

from coatcheck.stores.memory import MemoryStore
from coatcheck.stores.sqlite import SQLiteStore
from coatcheck.testing.contract import StoreContract
from tests.stores.harnesses import MemoryHarness, SQLiteHarness


class TestMemory(StoreContract):
    @pytest.fixture
    def harness(self):
        return MemoryHarness()


class TestSQLite(StoreContract):
    @pytest.fixture
    def harness(self):
        return SQLiteHarness()


@pytest.mark.parametrize("store", [MemoryStore, SQLiteStore])
def test_the_embedded_stores_can_do_everything_so_that_no_test_is_skipped(store):
    capabilities = store.capabilities
    assert (capabilities.users, capabilities.tombstones, capabilities.count) == (True, True, True)
