"""Stores that fail on request."""

import asyncio

import pytest

from coatcheck.errors import StoreFull, StoreTimeout, StoreUnavailable
from coatcheck.stores.memory import MemoryStore
from coatcheck.testing import AsyncFailingStore, FailingStore, awaitable
from tests.testing.items import DEADLINE, KEY, NOW, OTHER, data, item, lost_to

LOST = StoreTimeout("no answer")


class Sync:
    """A failing store over memory."""

    def __init__(self):
        self.memory = MemoryStore()
        self.store = FailingStore(self.memory)

    def hook(self, function):
        return function

    def call(self, name, *arguments):
        return getattr(self.store, name)(*arguments)

    def write(self, *writes):
        return self.call("write", writes, NOW, DEADLINE)

    def load(self, *keys):
        return self.call("load", keys, NOW, DEADLINE)


class Async(Sync):
    """The same for an async one."""

    def __init__(self):
        super().__init__()
        self.store = AsyncFailingStore(awaitable(self.memory))

    def hook(self, function):
        async def awaited():
            function()

        return awaited

    def call(self, name, *arguments):
        return asyncio.run(getattr(self.store, name)(*arguments))


@pytest.fixture(params=[Sync, Async])
def failing(request):
    return request.param()


def test_it_raises_its_error_until_it_recovers(failing):
    error = StoreUnavailable("down")
    failing.store.fail("load", "write", error=error)
    for _ in range(2):
        for name, items in (("load", [KEY]), ("write", [item()])):
            with pytest.raises(StoreUnavailable) as caught:
                failing.call(name, items, NOW, DEADLINE)
            assert caught.value is error
    failing.call("ping", DEADLINE)
    failing.store.recover()
    assert failing.load(KEY) == [None]


def test_it_fails_as_often_as_it_was_told(failing):
    failing.store.fail("ping", error=StoreUnavailable("down"), times=2)
    for _ in range(2):
        with pytest.raises(StoreUnavailable):
            failing.call("ping", DEADLINE)
    failing.call("ping", DEADLINE)


def test_a_call_that_fails_is_not_carried_out(failing):
    failing.store.fail("write", error=StoreFull("no room"))
    with pytest.raises(StoreFull):
        failing.write(item())
    assert data(failing.memory) is None


def test_a_lost_answer_is_that_of_a_call_that_was_carried_out(failing):
    written = item()
    failing.store.fail("write", error=LOST, done=True)
    with pytest.raises(StoreTimeout):
        failing.write(written)
    assert data(failing.memory) == written.data


def test_another_writer_comes_in_between_a_lost_answer_and_its_error(failing):
    first = item()
    second = item(over=first)
    seen = []

    def another():
        seen.append(failing.memory.write([second], NOW, DEADLINE))

    failing.store.fail("write", error=LOST, times=1, done=True, then=failing.hook(another))
    with pytest.raises(StoreTimeout):
        failing.write(first)
    assert seen == [[None]]
    assert data(failing.memory) == second.data


def test_a_late_write_lands_just_before_the_next_one(failing):
    late = item()
    failing.store.fail("write", error=LOST, times=1, done="late")
    with pytest.raises(StoreTimeout):
        failing.write(late)
    assert failing.load(KEY) == [None]
    assert lost_to(failing.write(item()), late)


def test_a_late_write_lands_when_it_is_told_and_once(failing):
    late = item()
    failing.store.fail("write", error=LOST, times=1, done="late")
    with pytest.raises(StoreTimeout):
        failing.write(late)
    failing.call("land")
    assert data(failing.memory) == late.data
    failing.memory.remove([KEY], NOW, DEADLINE)
    failing.call("land")
    assert data(failing.memory) is None


@pytest.mark.parametrize("done", [False, True, "late"])
def test_the_failure_of_one_item_is_its_answer_and_the_others_are_passed_on(failing, done):
    writes = [item(KEY), item(OTHER), item(b"x" * 16)]
    failing.store.fail("write", error=LOST, times=1, keys={OTHER}, done=done)
    assert failing.write(writes[0]) == [None]  # it holds none of the keys, and does not count
    assert failing.write(writes[1], writes[2]) == [LOST, None]
    assert data(failing.memory, writes[2].key) == writes[2].data
    assert data(failing.memory, OTHER) == (writes[1].data if done is True else None)
    failing.call("land")
    assert data(failing.memory, OTHER) == (writes[1].data if done else None)


def test_all_items_of_a_call_may_be_those_that_fail(failing):
    failing.store.fail("load", error=LOST, keys={KEY, OTHER})
    assert failing.load(OTHER, KEY) == [LOST, LOST]
