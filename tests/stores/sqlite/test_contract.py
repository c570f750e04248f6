"""The SQLite store keeps the contract, and the promises about changes, sync and async."""

import pytest

from coatcheck.testing.contract import StoreContract
from tests.stores.changes_indexed import IndexedChanges
from tests.stores.sqlite.harness import AsyncSQLiteHarness, SQLiteHarness


class TestSQLite(StoreContract):
    @pytest.fixture
    def harness(self):
        return SQLiteHarness()


class TestAsyncSQLite(StoreContract):
    @pytest.fixture
    def harness(self):
        return AsyncSQLiteHarness()


class TestChanges(IndexedChanges):
    @pytest.fixture(params=[SQLiteHarness, AsyncSQLiteHarness], ids=["sync", "async"])
    def harness(self, request):
        return request.param()
