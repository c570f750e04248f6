"""One way to call a store of either colour."""

import asyncio
import inspect
import threading

from coatcheck.model.ports import AsyncRevokesAll, AsyncStore, RevokesAll, Store
from coatcheck.stores.memory import AsyncMemoryStore, MemoryStore
from coatcheck.testing import AwaitableStore, awaitable


def test_an_async_store_is_left_as_it_is():
    store = AsyncMemoryStore()
    assert awaitable(store) is store


def test_a_sync_store_can_be_awaited():
    store = awaitable(MemoryStore())
    assert asyncio.run(store.load([bytes(16)], 0)) == [None]
    assert store.capabilities == MemoryStore.capabilities


def test_it_calls_in_place_or_in_threads_as_it_is_told():
    class Where(MemoryStore):
        def count(self, now):
            return threading.get_ident()

    assert asyncio.run(awaitable(Where()).count(0)) == threading.get_ident()
    assert asyncio.run(awaitable(Where(), threads=True).count(0)) != threading.get_ident()


def test_it_has_every_method_of_the_port_and_none_else():
    def methods(of):
        return {name for name in vars(of) if not name.startswith("_")}

    assert methods(AsyncStore) == methods(Store)
    assert methods(AsyncRevokesAll) == methods(RevokesAll)
    assert methods(AwaitableStore) == methods(AsyncStore) | methods(AsyncRevokesAll)
    for name in methods(AwaitableStore) - {"capabilities"}:
        assert inspect.iscoroutinefunction(getattr(AwaitableStore, name))
        port = AsyncStore if name in methods(AsyncStore) else AsyncRevokesAll
        expected = inspect.signature(getattr(port, name))
        assert inspect.signature(getattr(AwaitableStore, name)) == expected
