"""Stores around a store."""

import asyncio
import inspect

import pytest

from coatcheck import testing
from coatcheck.model.ports import AsyncStore, Entry, Store
from coatcheck.stores.memory import AsyncMemoryStore, MemoryStore
from coatcheck.testing import (
    AsyncCountingStore,
    AsyncFailingStore,
    AsyncPausingStore,
    AsyncStoreWrapper,
    Call,
    CountingStore,
    FailingStore,
    PausingStore,
    StoreWrapper,
)
from tests.testing.items import DEADLINE, KEY, item

ENTRY = Entry("ada", KEY, 1, 100)
CALLS = {
    "write": ([item(KEY, entry=ENTRY)], 5, DEADLINE),
    "load": ([KEY], 5, DEADLINE),
    "note": ([ENTRY], 5, DEADLINE),
    "sessions_of": ("ada", 5, 10, None, DEADLINE),
    "index_may_be_incomplete": (DEADLINE,),
    "forget": ([ENTRY], DEADLINE),
    "count": (5, DEADLINE),
    "sweep": (5, 10, DEADLINE),
    "ping": (DEADLINE,),
    "close": (),
    "remove": ([KEY], 5, DEADLINE),
}
SYNC = [StoreWrapper, CountingStore, FailingStore, PausingStore]
ASYNC = [AsyncStoreWrapper, AsyncCountingStore, AsyncFailingStore, AsyncPausingStore]


def call(store, name, *arguments):
    """The answer of any store."""
    answer = getattr(store, name)(*arguments)
    return asyncio.run(wait_for(answer)) if inspect.isawaitable(answer) else answer


async def wait_for(answer):
    return await answer


def methods_of(port):
    public = {name for name in vars(port) if not name.startswith("_")}
    return public - {"index", "loads_in_place"}


def test_every_method_of_the_port_is_tried():
    assert set(CALLS) == methods_of(Store)


@pytest.mark.parametrize(
    ("wrapper", "memory"),
    [(wrapper, MemoryStore) for wrapper in SYNC] + [(wrapper, AsyncMemoryStore) for wrapper in ASYNC],
)
def test_a_call_is_passed_on_and_answered_as_without_the_wrapper(wrapper, memory):
    plain, wrapped = memory(), wrapper(memory())
    assert wrapped.index == plain.index
    for name, arguments in CALLS.items():
        expected = call(plain, name, *arguments)
        assert call(wrapped, name, *arguments) == expected
        if name == "load":
            assert expected != [None]
            assert call(wrapped.store, name, *arguments) == expected


@pytest.mark.parametrize("wrapper", ASYNC)
def test_an_async_wrapper_says_whether_its_store_loads_in_place(wrapper):
    class Remote(AsyncMemoryStore):
        loads_in_place = False

    assert wrapper(AsyncMemoryStore()).loads_in_place is True
    assert wrapper(Remote()).loads_in_place is False


@pytest.mark.parametrize(("sync", "other"), list(zip(SYNC, ASYNC, strict=True)))
def test_sync_and_async_have_the_same_methods(sync, other):
    def public(of):
        return {name for name in dir(of) if not name.startswith("_")}

    assert public(sync) == public(other) - {"loads_in_place"}
    for name in CALLS:
        assert inspect.signature(getattr(sync, name)) == inspect.signature(getattr(Store, name))
        assert inspect.signature(getattr(other, name)) == inspect.signature(getattr(AsyncStore, name))


@pytest.mark.parametrize(
    ("counting", "memory"), [(CountingStore, MemoryStore), (AsyncCountingStore, AsyncMemoryStore)]
)
def test_a_counting_store_keeps_each_call_with_its_arguments(counting, memory):
    store = counting(memory())
    call(store, "load", [KEY], 5, DEADLINE)
    call(store, "write", [], 5, DEADLINE)
    call(store, "load", [], 6, DEADLINE)
    assert store.counts == {"load": 2, "write": 1}
    assert store.sequence == ["load", "write", "load"]
    assert store.calls[0] == Call("load", ([KEY], 5, DEADLINE))
    store.reset()
    assert store.counts == {}
    assert store.sequence == []


def test_everything_that_the_kit_exports_is_there():
    assert testing.__all__ == sorted(testing.__all__)
    for name in testing.__all__:
        assert getattr(testing, name).__doc__
