"""The store in memory keeps the contract that ships in `coatcheck.testing`, and what it promises with the engine."""

import pytest

from coatcheck.testing.contract import StoreContract
from tests.stores.changes import Changes
from tests.stores.changes_indexed import IndexedChanges
from tests.stores.harnesses import AsyncMemoryHarness, MemoryHarness
from tests.testing.stores import NoIndexStore, SeparateIndexStore


class TestMemory(StoreContract):
    @pytest.fixture
    def harness(self):
        return MemoryHarness()


class TestAsyncMemory(StoreContract):
    @pytest.fixture
    def harness(self):
        return AsyncMemoryHarness()


class TestChanges(IndexedChanges):
    @pytest.fixture
    def harness(self):
        return MemoryHarness()


class TestAsyncChanges(IndexedChanges):
    @pytest.fixture
    def harness(self):
        return AsyncMemoryHarness()


class TestChangesBesideAnIndex(IndexedChanges):
    @pytest.fixture
    def harness(self):
        return MemoryHarness(SeparateIndexStore())


class TestChangesWithoutAnIndex(Changes):
    @pytest.fixture
    def harness(self):
        return MemoryHarness(NoIndexStore())
