"""One way to call any store."""

import asyncio
import inspect
import threading

from coatcheck.model.ports import AsyncStore, Store
from coatcheck.stores.memory import AsyncMemoryStore, MemoryStore
from coatcheck.testing import AwaitableStore, awaitable
from tests.testing.items import DEADLINE


def test_an_async_store_is_left_as_it_is():
    store = AsyncMemoryStore()
    assert awaitable(store) is store


def test_a_sync_store_can_be_awaited():
    store = awaitable(MemoryStore())
    assert asyncio.run(store.load([bytes(16)], 0, DEADLINE)) == [None]
    assert store.index == "within"


def test_it_calls_in_place_or_in_threads_as_it_is_told_and_says_so():
    class Where(MemoryStore):
        def count(self, now, deadline):
            return threading.get_ident()

    in_place, in_threads = awaitable(Where()), awaitable(Where(), threads=True)
    assert asyncio.run(in_place.count(0, DEADLINE)) == threading.get_ident()
    assert asyncio.run(in_threads.count(0, DEADLINE)) != threading.get_ident()
    assert (in_place.loads_in_place, in_threads.loads_in_place) == (True, False)


def test_it_has_every_method_of_the_port_and_no_other():
    def public(of):
        return {name for name in vars(of) if not name.startswith("_")}

    assert public(AsyncStore) == public(Store) | {"loads_in_place"}
    assert public(AwaitableStore) == public(AsyncStore)
    for name in public(Store) - {"index"}:
        assert inspect.iscoroutinefunction(getattr(AwaitableStore, name))
        expected = inspect.signature(getattr(AsyncStore, name))
        assert inspect.signature(getattr(AwaitableStore, name)) == expected
