"""Stores around a store."""

import asyncio
import inspect

import pytest

from coatcheck import testing
from coatcheck.errors import StoreFull, StoreTimeout, StoreUnavailable
from coatcheck.model.ports import AsyncStore, Life, Store
from coatcheck.model.record import Create, Record
from coatcheck.stores.memory import MemoryStore
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
    awaitable,
)

KEY = bytes(16)
RECORD = Record(key=KEY, secret=bytes(32), secret_at=1, created=1, last_used=1, expires=100)
CALLS = {
    "load": ([KEY], 5),
    "apply": ([Create(RECORD)],),
    "enroll": ("ada", Life(KEY, 1), 100),
    "lives_of": ("ada", 5),
    "count": (5,),
    "sweep": (5, 10),
    "ping": (),
    "close": (),
}
SYNC = [StoreWrapper, CountingStore, FailingStore, PausingStore]
ASYNC = [AsyncStoreWrapper, AsyncCountingStore, AsyncFailingStore, AsyncPausingStore]


def call(store, name, *arguments):
    """What a store of either colour answers."""
    answer = getattr(store, name)(*arguments)
    return asyncio.run(wait_for(answer)) if inspect.isawaitable(answer) else answer


async def wait_for(answer):
    return await answer


def both(sync, other):
    return [pytest.param(sync, MemoryStore, id="sync"), pytest.param(other, async_memory, id="async")]


def async_memory():
    return awaitable(MemoryStore())


def test_every_method_of_the_port_is_tried():
    assert set(CALLS) == {name for name in vars(Store) if not name.startswith("_")} - {"capabilities"}


@pytest.mark.parametrize(
    ("wrapper", "memory"),
    [(wrapper, MemoryStore) for wrapper in SYNC] + [(wrapper, async_memory) for wrapper in ASYNC],
)
def test_whatever_is_called_is_passed_on_and_answered_as_without_it(wrapper, memory):
    plain, wrapped = memory(), wrapper(memory())
    assert wrapped.capabilities == plain.capabilities
    for name, arguments in CALLS.items():
        assert call(wrapped, name, *arguments) == call(plain, name, *arguments)
    assert call(wrapped.store, "load", [KEY], 5) == [RECORD]


@pytest.mark.parametrize(("sync", "other"), list(zip(SYNC, ASYNC, strict=True)))
def test_the_two_colours_have_the_same_methods(sync, other):
    def public(of):
        return {name for name in dir(of) if not name.startswith("_")}

    assert public(sync) == public(other)
    for name in set(CALLS):
        assert inspect.signature(getattr(sync, name)) == inspect.signature(getattr(Store, name))
        assert inspect.signature(getattr(other, name)) == inspect.signature(getattr(AsyncStore, name))


@pytest.mark.parametrize(("counting", "memory"), both(CountingStore, AsyncCountingStore))
def test_a_counting_store_notes_what_was_called_and_with_what(counting, memory):
    store = counting(memory())
    call(store, "load", [KEY], 5)
    call(store, "apply", [])
    call(store, "load", [], 6)
    assert store.counts == {"load": 2, "apply": 1}
    assert store.sequence == ["load", "apply", "load"]
    assert store.calls[0] == Call("load", ([KEY], 5))
    store.reset()
    assert store.counts == {}
    assert store.sequence == []


@pytest.mark.parametrize(("failing", "memory"), both(FailingStore, AsyncFailingStore))
class TestAFailingStore:
    def test_raises_what_it_was_given_until_it_recovers(self, failing, memory):
        store = failing(memory())
        error = StoreUnavailable("down")
        store.fail("load", "apply", error=error)
        for name in ("load", "apply", "load"):
            with pytest.raises(StoreUnavailable) as caught:
                call(store, name, *CALLS[name])
            assert caught.value is error
        call(store, "ping")
        store.recover()
        assert call(store, "load", [KEY], 5) == [None]

    def test_raises_as_often_as_it_was_told(self, failing, memory):
        store = failing(memory())
        store.fail("ping", error=StoreUnavailable("down"), times=2)
        for _ in range(2):
            with pytest.raises(StoreUnavailable):
                call(store, "ping")
        call(store, "ping")

    def test_does_nothing_of_what_it_refuses(self, failing, memory):
        store = failing(memory())
        store.fail("apply", error=StoreFull("no room"), times=1)
        with pytest.raises(StoreFull):
            call(store, "apply", [Create(RECORD)])
        assert call(store, "load", [KEY], 5) == [None]

    def test_can_lose_the_answer_to_what_it_did(self, failing, memory):
        store = failing(memory())
        store.fail("apply", error=StoreTimeout("no answer", ambiguous=True), done=True)
        with pytest.raises(StoreTimeout):
            call(store, "apply", [Create(RECORD)])
        assert call(store, "load", [KEY], 5) == [RECORD]


def test_everything_that_the_kit_exports_is_there():
    assert testing.__all__ == sorted(testing.__all__)
    for name in testing.__all__:
        assert getattr(testing, name).__doc__
