"""What is special to the SQLite store for an event loop: its work in place, and its thread."""

import asyncio
import inspect
import random
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from coatcheck.errors import StoreTimeout
from coatcheck.model.ports import Conflict, Found
from coatcheck.stores import threaded
from coatcheck.stores.sqlite import AsyncSQLiteStore, SQLiteStore
from tests.loops import Heartbeat, on_each_loop, until
from tests.stores.sqlite.scene import NOW, Connections, after, ending, new, signed_in, soon, words

CHILDREN = Path(__file__).with_name("children_async.py")


@contextmanager
def child(function, *arguments):
    """A process that runs the function until the block ends; it must end well."""
    command = [sys.executable, "-W", "error", str(CHILDREN), function, *map(str, arguments)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, text=True, **pipes) as process:
        assert process.stdout.readline() == "ready\n", process.communicate()
        yield
        _, complaints = process.communicate("x", timeout=30)
    assert (process.returncode, complaints) == (0, "")


@contextmanager
def others_writing(path):
    """Another connection has the write lock; reads don't notice."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield


@contextmanager
def locked_for_all(path):
    """Another connection has the file for itself, as SQLite does while it mends the log of a process that was killed."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        connection.execute("BEGIN EXCLUSIVE")
        yield


OTHERS = set()
"""The threads that earlier tests left, for instance the pages of the documentation, which close no store."""


@pytest.fixture(autouse=True)
def _threads_of_others():
    OTHERS.clear()
    OTHERS.update(threading.enumerate())


def its_threads():
    threads = set(threading.enumerate()) - OTHERS
    return [thread for thread in threads if thread.name.startswith("coatcheck-store")]


async def put(store, *writes):
    assert await store.write(writes, NOW, soon()) == [None] * len(writes)
    return writes[0]


def found(write):
    return Found(write.data, write.data[:8])


def test_it_takes_the_same_arguments_as_the_synchronous_one():
    assert inspect.signature(AsyncSQLiteStore) == inspect.signature(SQLiteStore)
    for name, method in inspect.getmembers(SQLiteStore, inspect.isfunction):
        if not name.startswith("_"):
            theirs = inspect.signature(getattr(AsyncSQLiteStore, name))
            assert list(theirs.parameters) == list(inspect.signature(method).parameters)


@on_each_loop
async def test_every_operation_is_the_synchronous_stores(path):
    store = AsyncSQLiteStore(path, ballast=0)
    assert (store.index, store.loads_in_place) == ("within", True)
    one, other = signed_in("ada", NOW + 1), signed_in("ada")
    await put(store, one, other)
    assert await store.write([new(key=one.key)], NOW, soon()) == [Conflict(found(one))]
    assert await store.load([one.key, bytes(16)], NOW, soon()) == [found(one), None]
    assert await store.sessions_of("ada", NOW, 1, None, soon()) == [one.entry]
    assert await store.sessions_of("ada", NOW, 9, one.entry, soon()) == [other.entry]
    assert await store.count(NOW, soon()) == 2
    await put(store, ending(one))
    assert await store.sweep(NOW + 30_000, 10, soon()) == 1
    assert await store.remove([one.key, other.key], NOW, soon()) == [False, True]
    assert await store.count(NOW, soon()) == 0
    await store.ping(soon())
    await store.close()


# In place, and in the thread


@pytest.mark.promise("B")
@on_each_loop
async def test_reading_is_done_in_place_without_a_turn_of_the_loop_or_a_thread(path):
    store = AsyncSQLiteStore(path, ballast=0)
    for keys in ([bytes(16)], [bytes(16), bytes([1] * 16)]):
        with pytest.raises(StopIteration) as end:
            store.load(keys, NOW, soon()).send(None)
        assert end.value.value == [None] * len(keys)
    assert its_threads() == []
    await store.close()


@on_each_loop
async def test_reading_waits_for_no_writer(path):
    store = AsyncSQLiteStore(path, ballast=0)
    write = await put(store, new())
    with others_writing(path):
        for _ in range(3):
            with pytest.raises(StopIteration) as end:
                store.load([write.key], NOW, soon()).send(None)
            assert end.value.value == [found(write)]
    await store.close()


@pytest.mark.promise("F-05")
@on_each_loop
async def test_a_cancelled_read_leaves_the_others_their_own_answers(path):
    store = AsyncSQLiteStore(path, ballast=0)
    writes = [new(number) for number in range(50)]
    await put(store, *writes)
    await store.close()
    with locked_for_all(path):
        readings = [asyncio.create_task(store.load([write.key], NOW, soon())) for write in writes]
        await until(its_threads)
        for task in readings[::2]:
            task.cancel()
        await asyncio.sleep(0)
    outcomes = await asyncio.gather(*readings, return_exceptions=True)
    assert outcomes[1::2] == [[found(write)] for write in writes[1::2]]
    assert all(isinstance(outcome, asyncio.CancelledError) for outcome in outcomes[::2])
    await store.close()


@pytest.mark.promise("F-05", "F-14")
@on_each_loop
async def test_a_cancelled_write_is_stored_whole_or_not_at_all(path):
    store = AsyncSQLiteStore(path, ballast=0)
    with others_writing(path):
        writing = [asyncio.create_task(store.write([new(n), new(n + 100)], NOW, soon())) for n in range(20)]
        await until(its_threads)
        for task in writing[::2]:
            task.cancel()
        await until(lambda: all(task.done() for task in writing[::2]))
        for _ in range(3):  # the pool is told of it by callbacks of the loop, while its thread still waits
            await asyncio.sleep(0)
    outcomes = await asyncio.gather(*writing, return_exceptions=True)
    assert outcomes[1::2] == [[None, None]] * 10
    there = await store.load([new(n).key for n in range(20)], NOW, soon())
    theirs = await store.load([new(n + 100).key for n in range(20)], NOW, soon())
    assert [each is None for each in there] == [each is None for each in theirs]
    assert None not in there[1::2]
    # The first was under way in the thread already; the others had not begun, and were dropped.
    assert [each is not None for each in there[::2]] == [True] + [False] * 9
    await store.close()


@pytest.mark.promise("F-05")
@on_each_loop
async def test_reads_during_which_the_store_is_closed_are_answered(path):
    store = AsyncSQLiteStore(path, ballast=0)
    writes = [new(number) for number in range(50)]
    await put(store, *writes)
    await store.close()
    with locked_for_all(path):
        readings = [asyncio.create_task(store.load([write.key], NOW, soon())) for write in writes]
        await until(its_threads)
        everything = asyncio.gather(*readings, store.close())
        for _ in range(20):
            await asyncio.sleep(0)
        assert not everything.done()
    assert (await everything)[:-1] == [[found(write)] for write in writes]


@pytest.mark.promise("F-02", "20")
@on_each_loop
async def test_reading_moves_to_the_thread_when_sqlite_is_busy_and_the_loop_turns(path):
    store = AsyncSQLiteStore(path, ballast=0)
    async with Heartbeat() as heart:
        with locked_for_all(path):
            readings = [asyncio.create_task(store.load([bytes([n] * 16)], NOW, soon())) for n in range(4)]
            await until(its_threads)
            await heart.some()
            assert not any(task.done() for task in readings)
        assert await asyncio.gather(*readings) == [[None]] * 4
    assert heart.longest < 10  # the deadline would be 20
    await store.close()


@pytest.mark.promise("F-02", "20")
@on_each_loop
async def test_reading_that_stays_busy_is_a_timeout_and_the_loop_turns_meanwhile(path, monkeypatch):
    monkeypatch.setattr(threaded, "_WAY_BACK", 10)  # a busy machine may not run the thread for a while
    store = AsyncSQLiteStore(path, ballast=0)
    async with Heartbeat() as heart:
        with locked_for_all(path), pytest.raises(StoreTimeout, match="locked") as raised:
            await store.load([bytes(16)], NOW, soon(3))
        assert heart.beats >= 5
    assert not raised.value.ambiguous
    assert await store.load([bytes(16)], NOW, soon()) == [None]
    await store.close()


@pytest.mark.promise("F-02", "20")
@on_each_loop
async def test_writing_waits_for_others_in_the_thread_and_the_loop_turns(path):
    store = AsyncSQLiteStore(path, ballast=0)
    async with Heartbeat() as heart:
        with others_writing(path):
            writing = asyncio.create_task(store.write([new()], NOW, soon()))
            await until(its_threads)
            await heart.some()
            assert not writing.done()
        assert await writing == [None]
    assert heart.longest < 10
    await store.close()


@pytest.mark.promise("F-02", "20")
@on_each_loop
async def test_writing_that_stays_locked_out_is_surely_not_done(path, monkeypatch):
    monkeypatch.setattr(threaded, "_WAY_BACK", 10)  # as above
    store = AsyncSQLiteStore(path, ballast=0)
    write = new()
    with others_writing(path):
        with pytest.raises(StoreTimeout, match="locked") as raised:
            await store.write([write], NOW, soon(3))
        assert not raised.value.ambiguous
    assert await store.load([write.key], NOW, soon()) == [None]
    await store.close()


@pytest.mark.promise("F-02", "L")
@pytest.mark.parametrize("call", ["write", "remove", "sweep", "count"])
@on_each_loop
async def test_a_disk_that_hangs_is_a_timeout_which_tells_if_a_write_had_begun(path, call):
    store = AsyncSQLiteStore(path, ballast=0)
    waiting, begun, old = new(), new(), new(expires=NOW)
    await put(store, old)
    inside, leave = threading.Event(), threading.Event()
    really_use = store._store._connections.use

    def hang(*arguments, **more):
        inside.set()
        assert leave.wait(60)
        return really_use(*arguments, **more)

    store._store._connections.use = hang
    calls = {
        "write": lambda: store.write([begun], NOW, soon(0.05)),
        "remove": lambda: store.remove([old.key], NOW, soon(0.05)),
        "sweep": lambda: store.sweep(NOW, 1, soon(0.05)),
        "count": lambda: store.count(NOW, soon(0.05)),
    }
    tasks = [
        asyncio.create_task(calls[call]()),
        asyncio.create_task(store.write([waiting], NOW, soon(0.05))),
    ]
    outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    assert inside.is_set()
    assert all(isinstance(outcome, StoreTimeout) for outcome in outcomes)
    assert [outcome.ambiguous for outcome in outcomes] == [call != "count", False]
    assert "sessions.db did not answer" in str(outcomes[0])
    assert "sessions.db were busy" in str(outcomes[1])
    leave.set()
    await store.close()  # waits for the thread
    there = await store.load([begun.key, waiting.key, old.key], NOW, soon())
    assert there == [
        found(begun) if call == "write" else None,
        None,
        None if call in {"remove", "sweep"} else found(old),
    ]
    await store.close()


@pytest.mark.promise("B")
@on_each_loop
async def test_a_batch_is_one_hop_and_one_transaction(path, monkeypatch):
    connections = Connections(monkeypatch)
    store = AsyncSQLiteStore(path, ballast=0)
    await store.ping(soon())
    hops, really_submit = [], store._pool.submit
    store._pool.submit = lambda *job: hops.append(job) or really_submit(*job)
    connections.verbs()
    await put(store, *(new() for _ in range(20)))
    assert connections.verbs() == ["BEGIN", *["INSERT"] * 20, "COMMIT"]
    assert len(hops) == 1
    await asyncio.gather(*(put(store, new()) for _ in range(10)))
    assert len(its_threads()) == 1
    await store.close()


# The loop is never held up


async def requests(store, writes, count):
    """So many loads and changes, 64 at a time, of which each sees its own record."""

    async def worker():
        while left:
            number = left.pop()
            write = pick.choice(writes)
            (there,) = await store.load([write.key], NOW, soon())
            assert there.data[8:] == write.data[8:]
            if number % 3 == 0:
                change = after(write, write.data[8:], expected=there.version)
                (answer,) = await store.write([change], NOW, soon())
                assert answer is None or answer.found.data[8:] == write.data[8:]

    pick = random.Random(0)
    left = list(range(count))
    await asyncio.gather(*(worker() for _ in range(64)))


@pytest.mark.promise("F-02", "20")
@on_each_loop
async def test_the_loop_turns_during_5000_requests_beside_another_process_that_writes(path, record_property):
    store = AsyncSQLiteStore(path, ballast=0)
    writes = [new(body=b"%d" % number) for number in range(200)]
    await put(store, *writes)
    gaps = {}
    for noise, count in (("write_without_a_pause", 5_000), ("hold_the_write_lock", 100)):
        with child(noise, path, *([2] if noise == "hold_the_write_lock" else [])):
            async with Heartbeat() as heart:
                began = time.perf_counter()
                await requests(store, writes, count)
                took = time.perf_counter() - began
        gaps[noise] = heart.longest
        record_property(
            noise, f"{count} requests in {took:.2f} s, loop held up for {heart.longest * 1e3:.1f} ms at most"
        )
        print(f"{noise}: {count} requests in {took:.2f} s, longest gap {heart.longest * 1e3:.1f} ms")
    # The target is 50 ms. A busy machine alone may cost more, but not the 2 s for which the lock was held.
    assert max(gaps.values()) < 1.5
    await store.close()


# Forks, and the end


@pytest.mark.promise("F-18", "24")
def test_a_store_that_was_used_goes_on_in_parent_and_child_after_a_fork(path):
    quiet = ("-W", "ignore:This process:DeprecationWarning")  # … is multi-threaded, and forks
    command = [sys.executable, *quiet, str(CHILDREN), "fork_after_use", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=90, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    expected = {f"{name}{number}".encode() for name in ("parent", "child") for number in range(20)}
    assert len(there := words(path, bytes(16))) == 40
    assert set(there) == expected


@pytest.mark.promise("24")
@on_each_loop
async def test_closing_waits_for_the_work_of_the_thread_and_the_loop_turns(path):
    store = AsyncSQLiteStore(path, ballast=0)
    writes = [new() for _ in range(3)]
    async with Heartbeat() as heart:
        with others_writing(path):
            writing = [asyncio.create_task(store.write([write], NOW, soon())) for write in writes]
            await until(its_threads)
            closing_down = asyncio.create_task(store.close())
            await heart.some()
            assert not closing_down.done()
        await closing_down
    assert await asyncio.gather(*writing) == [[None]] * 3
    with closing(SQLiteStore(path, ballast=0)) as other:
        assert other.count(NOW, soon()) == 3


@on_each_loop
async def test_closing_that_is_cancelled_closes_all_the_same(path):
    store = AsyncSQLiteStore(path, ballast=0)
    with others_writing(path):
        writing = asyncio.create_task(store.write([new()], NOW, soon()))
        await until(its_threads)
        closing_down = asyncio.create_task(store.close())
        await asyncio.sleep(0)
        closing_down.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing_down
    assert await writing == [None]
    await until(lambda: not store._store._connections._open, turns=1_000_000)
    assert its_threads() == []


@pytest.mark.promise("24")
@on_each_loop
async def test_a_closed_store_has_no_thread_or_connection_and_works_again(path, monkeypatch):
    connections = Connections(monkeypatch)
    store = AsyncSQLiteStore(path, ballast=0)
    write = await put(store, new())
    for times in (1, 2):
        assert (len(its_threads()), len(connections.open)) == (1, 1)
        for _ in range(times):
            await store.close()
        for thread in its_threads():
            await asyncio.to_thread(thread.join, 10)
        assert (its_threads(), connections.open) == ([], set())
        assert await store.load([write.key], NOW, soon()) == [found(write)]
        write = await put(store, after(write))
    await store.close()


@pytest.mark.promise("24")
def test_one_store_serves_one_loop_after_another(path):
    store = AsyncSQLiteStore(path, ballast=0)
    for number in range(3):

        async def use(number=number):
            await put(store, new(number))
            assert await store.load([new(number).key], NOW, soon()) != [None]

        asyncio.run(use())
    assert len(its_threads()) == 1
    asyncio.run(store.close())
