"""The store in memory keeps the contract that ships in `coatcheck.testing`, and what it promises with the engine."""

import asyncio
import os

import pytest

from coatcheck.model.ports import Entry, Write
from coatcheck.stores.memory import AsyncMemoryStore, MemoryStore
from coatcheck.testing.contract import StoreContract
from tests.stores.changes import Changes
from tests.stores.changes_indexed import IndexedChanges
from tests.stores.harnesses import AsyncMemoryHarness, MemoryHarness
from tests.testing.stores import NoIndexStore, SeparateIndexStore

DEADLINE = float("inf")


def write(store, key, now, expires, over=None):
    """Store something, over an earlier write or where nothing lies."""
    new = Write(key=key, data=os.urandom(8), expires=expires, expected=over and over.data)
    assert store.write([new], now, DEADLINE) == [None]
    return new


def key(number):
    return number.to_bytes(16, "big")


class TestWhatIsHeld:
    def test_expired_data_goes_as_new_keys_come_two_for_each(self):
        store = MemoryStore()
        for number in range(100):
            write(store, key(number), now=0, expires=1_000)
        for number in range(100, 130):
            write(store, key(number), now=1_000, expires=2_000)
        assert len(store._found) == 70
        for number in range(130, 170):
            write(store, key(number), now=1_000, expires=2_000)
        assert len(store._found) == 70
        assert list(store._found) == [key(number) for number in range(100, 170)]

    def test_a_key_that_slides_a_thousand_times_takes_the_room_of_one(self):
        store, last = MemoryStore(), None
        for now in range(1_000):
            last = write(store, key(0), now, now + 100, over=last)
        assert len(store._found) == len(store._heap) == len(store._due) == 1
        assert store.sweep(1_098, 10, DEADLINE) == 0
        assert store.sweep(1_099, 10, DEADLINE) == 1
        assert [*store._found, *store._written, *store._heap, *store._due] == []

    def test_a_key_whose_end_came_nearer_is_swept_once(self):
        store = MemoryStore()
        write(store, key(0), 0, 100, over=write(store, key(0), 0, 1_000))
        assert store.sweep(100, 10, DEADLINE) == 1
        assert store.sweep(1_000, 10, DEADLINE) == 0
        assert [*store._heap, *store._due] == []

    def test_nothing_is_left_of_removed_data_once_it_would_have_expired(self):
        store = MemoryStore()
        write(store, key(0), 0, 100)
        assert store.remove([key(0)], 0, DEADLINE) == [True]
        assert store.sweep(100, 10, DEADLINE) == 0
        assert [*store._found, *store._written, *store._heap, *store._due] == []

    def test_nothing_is_left_of_a_user_without_sessions(self):
        store, entry = MemoryStore(), Entry("ada", key(0), 0, 100)
        write = Write(key=key(0), data=bytes(8), expires=100, entry=entry)
        assert store.write([write], 0, DEADLINE) == [None]
        assert store.remove([key(0)], 0, DEADLINE) == [True]
        assert store._users == {}


def test_an_event_loop_can_work_on_a_store_of_synchronous_code():
    store = MemoryStore()
    new = write(store, key(0), 0, 100)
    (found,) = asyncio.run(AsyncMemoryStore(store).load([key(0)], 0, DEADLINE))
    assert found.data == new.data


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
