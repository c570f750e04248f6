"""A synchronous store that is used from an event loop: each batch is one hop to a thread."""

import asyncio
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from contextvars import ContextVar

import pytest

from coatcheck.errors import StoreFull, StoreTimeout
from coatcheck.model.ports import Conflict, Entry, Found, Write
from coatcheck.stores.threaded import ThreadedStore
from tests import loops
from tests.servers.process import until

KEY = bytes(16)
ENTRY = Entry("ada", KEY, 1, 2)
WRITE = Write(key=KEY, data=bytes(9), expires=1)
THREADS = "coatcheck-store"


def soon(seconds=20.0):
    return time.monotonic() + seconds


def threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith(THREADS)]


class Recording:
    """A store that notes its calls, and whose calls wait while `gate` is shut."""

    index = "beside"

    def __init__(self, *, shut=False, answers=None):
        self.calls, self.threads, self.done = [], [], []
        self.answers = answers or {}
        self.gate = threading.Event()
        if not shut:
            self.gate.set()

    def __getattr__(self, name):
        def call(*args):
            self.calls.append((name, args))
            self.threads.append(threading.current_thread())
            assert self.gate.wait(60)
            self.done.append(name)
            answer = self.answers.get(name)
            if isinstance(answer, Exception):
                raise answer
            return answer

        return call

    def close(self):
        self.done.append("close")


CALLS = {
    "load": (([KEY], 7), [Found(bytes(9), 1)]),
    "write": (([WRITE], 7), [Conflict(None)]),
    "remove": (([KEY], 7), [True]),
    "note": (([ENTRY], 7), None),
    "sessions_of": (("ada", 7, 10, ENTRY), [ENTRY]),
    "index_may_be_incomplete": ((), "a reason"),
    "forget": (([ENTRY],), None),
    "count": ((7,), 3),
    "sweep": ((7, 10), 4),
    "ping": ((), None),
}


@pytest.mark.parametrize("name", CALLS)
@loops.on_each_loop
async def test_each_method_is_passed_on_and_answered(name):
    args, answer = CALLS[name]
    plain = Recording(answers={name: answer})
    store = ThreadedStore(plain)
    deadline = soon()
    assert await getattr(store, name)(*args, deadline) == answer
    ((called, (*given, inner)),) = plain.calls
    assert (called, tuple(given)) == (name, args)
    assert deadline - 0.06 < inner < deadline - 0.04  # so that the store's own timeout comes back in time
    assert plain.threads[0].name.startswith(THREADS)
    await store.close()


def test_it_says_of_its_index_what_the_store_says_and_that_loads_wait():
    store = ThreadedStore(Recording())
    assert (store.index, store.loads_in_place) == ("beside", False)


@loops.on_each_loop
async def test_an_error_of_the_store_is_the_callers():
    store = ThreadedStore(Recording(answers={"write": StoreFull("no room")}))
    with pytest.raises(StoreFull, match="no room"):
        await store.write([WRITE], 7, soon())
    await store.close()


@loops.on_each_loop
async def test_a_store_that_keeps_its_deadline_names_itself_in_the_timeout():
    class Bounded:
        index = "none"

        def load(self, keys, now, deadline):
            time.sleep(max(0, deadline - time.monotonic()))
            raise StoreTimeout("the server at h:1 did not answer", ambiguous=False)

        def close(self):
            pass

    store = ThreadedStore(Bounded())
    for _ in range(3):
        with pytest.raises(StoreTimeout) as caught:
            await store.load([KEY], 7, soon(0.3))
        if "h:1" in str(caught.value):
            break
    else:
        raise AssertionError("the general error came first, three times")
    await store.close()


# Deadlines


@pytest.mark.promise("20", "F-02")
@pytest.mark.parametrize("name", CALLS)
@loops.on_each_loop
async def test_a_call_that_does_not_come_back_is_a_timeout_and_only_a_change_is_ambiguous(name):
    plain = Recording(shut=True)
    store, began = ThreadedStore(plain), time.monotonic()
    with pytest.raises(StoreTimeout) as caught:
        await getattr(store, name)(*CALLS[name][0], soon(0.1))
    assert caught.value.ambiguous is (name in {"write", "remove", "note", "forget", "sweep"})
    assert 0.05 < time.monotonic() - began < 10
    plain.gate.set()
    await store.close()


@pytest.mark.promise("20", "F-06")
@loops.on_each_loop
async def test_a_call_that_finds_no_free_thread_in_time_is_surely_not_done():
    plain = Recording(shut=True)
    store = ThreadedStore(plain, threads=2)
    running = [asyncio.ensure_future(store.load([KEY], 7, soon())) for _ in range(2)]
    await loops.until(lambda: len(plain.calls) == 2, turns=1_000_000)
    with pytest.raises(StoreTimeout, match="busy") as caught:
        await store.write([WRITE], 7, soon(0.1))
    assert caught.value.ambiguous is False
    plain.gate.set()
    await asyncio.gather(*running)
    await store.close()
    assert [name for name, _ in plain.calls] == ["load", "load"]


@loops.on_each_loop
async def test_a_call_whose_deadline_has_passed_never_begins():
    plain = Recording()
    store = ThreadedStore(plain)
    await store.ping(soon())  # a thread is free
    for call in (store.load([KEY], 7, soon(-1)), store.write([WRITE], 7, soon(-1))):
        with pytest.raises(StoreTimeout, match="had passed") as caught:
            await call
        assert caught.value.ambiguous is False
    await store.close()
    assert [name for name, _ in plain.calls] == ["ping"]


@pytest.mark.promise("F-02")
@loops.on_each_loop
async def test_the_loop_goes_on_while_threads_wait():
    plain = Recording(shut=True)
    store = ThreadedStore(plain)
    async with loops.Heartbeat() as heart:
        waiting = asyncio.ensure_future(store.load([KEY], 7, soon()))
        await heart.some()
        assert not waiting.done()
        plain.gate.set()
        await waiting
    await store.close()


# Cancelled


@pytest.mark.promise("F-05")
@loops.on_each_loop
async def test_a_call_whose_caller_is_cancelled_goes_on_and_gives_its_connection_back_whole():
    free = ["connection"]

    class Pooled(Recording):
        def write(self, writes, now, deadline):
            connection = free.pop()
            self.calls.append("write")
            assert self.gate.wait(60)
            free.append(connection)
            self.done.append("write")
            raise StoreFull("an error that no caller waits for")

    plain = Pooled(shut=True)
    store = ThreadedStore(plain)
    writing = asyncio.ensure_future(store.write([WRITE], 7, soon()))
    await loops.until(lambda: plain.calls, turns=1_000_000)
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing
    assert free == []
    plain.gate.set()
    await store.close()
    assert free == ["connection"]
    assert plain.done == ["write", "close"]


@pytest.mark.promise("F-05")
@loops.on_each_loop
async def test_a_call_that_is_cancelled_before_a_thread_is_free_never_begins():
    plain = Recording(shut=True)
    store = ThreadedStore(plain, threads=1)
    running = asyncio.ensure_future(store.load([KEY], 7, soon()))
    await loops.until(lambda: plain.calls, turns=1_000_000)
    queued = asyncio.ensure_future(store.write([WRITE], 7, soon()))
    await asyncio.sleep(0.01)
    queued.cancel()
    with pytest.raises(asyncio.CancelledError):
        await queued
    await asyncio.sleep(0.01)
    plain.gate.set()
    await running
    await store.close()
    assert [name for name, _ in plain.calls] == ["load"]


# Threads


@pytest.mark.promise("24")
@loops.on_each_loop
async def test_there_are_never_more_threads_than_asked_for_and_none_before_the_first_call():
    before = len(threads())
    store = ThreadedStore(Recording(), threads=3)
    assert len(threads()) == before
    await asyncio.gather(*(store.load([KEY], 7, soon()) for _ in range(50)))
    assert before < len(threads()) <= before + 3
    await store.close()
    assert len(threads()) == before


@loops.on_each_loop
async def test_context_variables_stay_with_the_caller():
    variable = ContextVar("variable", default="nothing")
    variable.set("the request's")

    class Looking(Recording):
        def load(self, keys, now, deadline):
            return [variable.get()]

    store = ThreadedStore(Looking())
    assert await store.load([KEY], 7, soon()) == ["nothing"]
    await store.close()


@pytest.mark.promise("24")
@loops.on_each_loop
async def test_closing_waits_for_what_runs_and_the_next_call_opens_anew():
    plain = Recording(shut=True)
    store = ThreadedStore(plain)
    running = asyncio.ensure_future(store.load([KEY], 7, soon()))
    await loops.until(lambda: plain.calls, turns=1_000_000)
    closing = asyncio.ensure_future(store.close())
    await asyncio.sleep(0.02)
    assert not closing.done()
    plain.gate.set()
    await closing
    await running
    assert plain.done == ["load", "close"]
    await store.load([KEY], 7, soon())
    await store.close()
    assert plain.done == ["load", "close"] * 2


@pytest.mark.promise("24")
@loops.on_each_loop
async def test_closing_goes_on_when_its_caller_is_cancelled(monkeypatch):
    begin = threading.Event()

    class Late(ThreadPoolExecutor):
        """Its threads take no work before `begin`, so that the work can still be cancelled."""

        def __init__(self, *args, **options):
            super().__init__(*args, initializer=begin.wait, **options)

    plain = Recording()
    store = ThreadedStore(plain)
    await store.load([KEY], 7, soon())
    monkeypatch.setattr("coatcheck.stores.threaded.ThreadPoolExecutor", Late)
    closing = asyncio.ensure_future(store.close())
    await asyncio.sleep(0.01)
    closing.cancel()
    with suppress(asyncio.CancelledError):
        await closing
    begin.set()
    await loops.until(lambda: "close" in plain.done, turns=1_000_000)
    assert threads() == []


def test_closing_a_store_that_was_never_used_closes_the_store_within():
    plain = Recording()
    loops.run(ThreadedStore(plain).close())
    assert plain.done == ["close"]


@pytest.mark.promise("24")
def test_one_loop_after_another_leaves_no_threads_behind():
    store, before = ThreadedStore(Recording(), threads=2), len(threads())
    for _ in range(5):
        for loop in loops.LOOPS:
            loops.run(store.load([KEY], 7, soon()), loop)
    assert len(threads()) <= before + 2
    loops.run(store.close())
    assert len(threads()) == before


@pytest.mark.promise("24")
def test_a_loop_that_ends_while_a_call_runs_leaves_it_to_its_thread():
    plain = Recording(shut=True)
    store = ThreadedStore(plain)

    async def give_up():
        asyncio.ensure_future(store.load([KEY], 7, soon()))  # noqa: RUF006 - cancelled as the loop ends
        await loops.until(lambda: plain.calls, turns=1_000_000)

    asyncio.run(give_up())
    plain.gate.set()
    until(lambda: plain.done == ["load"], "it is done")
    loops.run(store.close())


@pytest.mark.promise("F-18", "24")
def test_a_child_of_a_fork_has_threads_of_its_own():
    plain = Recording(answers={"load": ["found"]})
    store = ThreadedStore(plain)
    loops.run(store.load([KEY], 7, soon()))
    child = os.fork()
    if child == 0:
        status = 1
        try:

            async def work():
                assert await store.load([KEY], 7, soon(5)) == ["found"]
                await store.close()

            asyncio.run(work())
            status = 0
        finally:
            os._exit(status)
    _, status = os.waitpid(child, 0)
    assert status == 0
    assert loops.run(store.load([KEY], 7, soon())) == ["found"]
    loops.run(store.close())


@pytest.mark.promise("F-18", "24")
def test_a_child_of_a_fork_that_only_closes_does_not_wait_for_its_parents_threads():
    plain = Recording(shut=True)
    store = ThreadedStore(plain)

    async def begin():
        loading = asyncio.ensure_future(store.load([KEY], 7, soon()))
        await loops.until(lambda: plain.calls, turns=1_000_000)
        child = os.fork()
        if child == 0:
            os._exit(_closed(store))
        plain.gate.set()
        await loading
        return child

    child = loops.run(begin())
    _, status = os.waitpid(child, 0)
    assert status == 0
    loops.run(store.close())


def _closed(store):
    try:
        # In a thread, since the child still is inside the loop of its parent.
        thread = threading.Thread(target=lambda: asyncio.run(asyncio.wait_for(store.close(), 5)))
        thread.start()
        thread.join(60)
        return 0 if "close" in store._store.done else 1
    except BaseException:  # noqa: BLE001 - a child must never go on as its parent
        return 2
