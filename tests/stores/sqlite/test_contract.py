"""The SQLite store keeps the contract that ships in `coatcheck.testing`, sync and async."""

import pytest

from coatcheck.testing.contract import StoreContract
from tests.stores.sqlite.harness import AsyncSQLiteHarness, SQLiteHarness


class TestSQLite(StoreContract):
    @pytest.fixture
    def harness(self):
        return SQLiteHarness()


class TestAsyncSQLite(StoreContract):
    @pytest.fixture
    def harness(self):
        return AsyncSQLiteHarness()
