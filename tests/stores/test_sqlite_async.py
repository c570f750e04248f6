"""What is special to the SQLite store for an event loop: what it does in place, and what in its thread."""

import asyncio
import inspect
import random
import sqlite3
import subprocess
import sys
import threading
import time
from contextlib import closing, contextmanager
from datetime import timedelta
from pathlib import Path

import pytest

from benchmarks.sqlite_bench import NOW, a_record, fields, update
from coatcheck import AsyncSessions
from coatcheck.errors import StoreError, StoreTimeout, StoreUnavailable
from coatcheck.model.record import APPLIED, Create
from coatcheck.stores.coalesce import Coalesced
from coatcheck.stores.sqlite import SQLiteStore
from coatcheck.stores.sqlite_async import AsyncSQLiteStore
from tests.loops import Heartbeat, on_each_loop, until

CHILDREN = Path(__file__).with_name("sqlite_async_children.py")
SECRET = "t3Kq9VnWcX0bRz7uYh2LdPfJ8sMgA5eQoTiN1rBxGvE"


@pytest.fixture
def path(tmp_path):
    return tmp_path / "sessions.db"


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
    """Somebody has the write lock; those who read don't notice."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("BEGIN IMMEDIATE")
        yield


@contextmanager
def locked_for_all(path):
    """Somebody has the file for himself, as SQLite does while it mends the log of one that was killed."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute("PRAGMA locking_mode = EXCLUSIVE")
        connection.execute("BEGIN EXCLUSIVE")
        yield


def its_threads():
    return [thread for thread in threading.enumerate() if thread.name.startswith("coatcheck-sqlite")]


def test_it_takes_the_same_arguments_as_the_synchronous_one():
    assert inspect.signature(AsyncSQLiteStore) == inspect.signature(SQLiteStore)


@on_each_loop
async def test_the_url_gives_it_with_coalescing_in_front(path):
    async with AsyncSessions.from_url(
        f"sqlite:///{path}", secret=SECRET, deadline=timedelta(seconds=1)
    ) as sessions:
        assert isinstance(sessions.store, Coalesced)
        assert isinstance(sessions.store._store, AsyncSQLiteStore)
        await sessions.ping()


# In place, and in the thread


@on_each_loop
async def test_reading_is_done_in_place_without_a_turn_of_the_loop_or_a_thread(path):
    store = AsyncSQLiteStore(path, ballast=0)
    for keys in ([bytes(16)], [bytes(16), bytes([1] * 16)]):
        with pytest.raises(StopIteration) as end:
            store.load(keys, NOW).send(None)
        assert end.value.value == [None] * len(keys)
    assert its_threads() == []
    await store.close()


@on_each_loop
async def test_reading_waits_for_no_writer(path):
    store = AsyncSQLiteStore(path, ballast=0)
    record = a_record()
    await store.apply([Create(record)])
    with others_writing(path):
        for _ in range(3):
            with pytest.raises(StopIteration) as end:
                store.load([record.key], NOW).send(None)
            assert end.value.value == [record]
    await store.close()


@pytest.mark.promise("B")
@on_each_loop
async def test_many_who_ask_in_one_turn_of_the_loop_are_read_for_in_one_statement_and_get_their_own(
    path, monkeypatch
):
    said, really_connect = [], sqlite3.connect

    def connect(*args, **kwargs):
        connection = really_connect(*args, **kwargs)
        connection.set_trace_callback(said.append)
        return connection

    monkeypatch.setattr(sqlite3, "connect", connect)
    store = AsyncSQLiteStore(path, ballast=0)
    records = [a_record() for _ in range(300)]
    await store.apply([Create(record) for record in records])

    async def load(*wanted):
        return await store.load([record.key for record in wanted], NOW)

    for _ in range(20):  # whoever asks alone for a while is answered at once
        assert await load(records[0]) == [records[0]]
    said.clear()
    absent = a_record()
    wanted = [(record, absent, record) for record in records]
    assert await asyncio.gather(*(load(*some) for some in wanted)) == [[mine, None, mine] for mine in records]
    assert len(said) <= 20 + 300 / 128 + 1
    said.clear()
    readings = [asyncio.create_task(load(record)) for record in records[:100]]
    await asyncio.sleep(0)
    for task in readings[::2]:
        task.cancel()
    outcomes = await asyncio.gather(*readings, return_exceptions=True)
    assert outcomes[1::2] == [[record] for record in records[1:100:2]]
    assert all(isinstance(outcome, asyncio.CancelledError) for outcome in outcomes[::2])
    assert len(said) == 1
    await store.close()


@pytest.mark.parametrize("turns_alone", [0, 1_000], ids=["together", "each alone"])
@on_each_loop
async def test_those_who_read_while_sqlite_is_busy_and_the_store_is_closed_are_answered(path, turns_alone):
    store = AsyncSQLiteStore(path, ballast=0, deadline=timedelta(seconds=20))
    records = [a_record() for _ in range(50)]
    await store.apply([Create(record) for record in records])
    store._store._connections._close_idle()
    store._alone = turns_alone
    with locked_for_all(path):
        everybody = asyncio.gather(*(store.load([record.key], NOW) for record in records), store.close())
        for _ in range(20):
            await asyncio.sleep(0)
        assert not everybody.done()
    assert (await everybody)[:-1] == [[record] for record in records]


@pytest.mark.promise("F-05")
@on_each_loop
async def test_those_whose_reading_somebody_cancels_are_told(path):
    store = AsyncSQLiteStore(path, ballast=0, deadline=timedelta(seconds=20))
    store._alone = 0
    with locked_for_all(path):
        readings = [asyncio.create_task(store.load([bytes([n] * 16)], NOW)) for n in range(3)]
        await until(lambda: store._reading)
        await asyncio.sleep(0)
        for task in store._reading:
            task.cancel()
        for error in await asyncio.gather(*readings, return_exceptions=True):
            assert isinstance(error, StoreUnavailable)
    await store.close()


@pytest.mark.promise("B")
@on_each_loop
async def test_an_error_is_told_to_each_who_asked_in_that_turn_as_his_own(path):
    store = AsyncSQLiteStore(path, ballast=0, deadline=timedelta(seconds=0.02))
    for error in (StoreTimeout, StoreError):
        if error is StoreError:
            await store.close()
        store._alone = 0
        with locked_for_all(path):
            readings = [store.load([bytes([n] * 16)], NOW) for n in range(5)]
            errors = await asyncio.gather(*readings, return_exceptions=True)
        assert all(isinstance(told, error) for told in errors)
        assert len(set(map(id, errors))) == 5


@pytest.mark.promise("F-02", "20")
@on_each_loop
async def test_reading_moves_to_the_thread_when_sqlite_is_busy_and_the_loop_turns(path):
    store = AsyncSQLiteStore(path, ballast=0, deadline=timedelta(seconds=20))
    async with Heartbeat() as heart:
        with locked_for_all(path):
            readings = [asyncio.create_task(store.load([bytes([n] * 16)], NOW)) for n in range(4)]
            await until(its_threads)
            await heart.some()
            assert not any(task.done() for task in readings)
        assert await asyncio.gather(*readings) == [[None]] * 4
    assert heart.longest < 10  # the deadline would be 20
    await store.close()


@pytest.mark.promise("F-02", "20")
@on_each_loop
async def test_reading_that_stays_busy_is_a_timeout_and_the_loop_turns_meanwhile(path):
    store = AsyncSQLiteStore(path, ballast=0, deadline=timedelta(seconds=0.05))
    async with Heartbeat() as heart:
        with locked_for_all(path), pytest.raises(StoreTimeout):
            await store.load([bytes(16)], NOW)
        assert heart.beats >= 5
    assert await store.load([bytes(16)], NOW) == [None]
    await store.close()


@pytest.mark.promise("F-02", "20")
@on_each_loop
async def test_writing_waits_for_others_in_the_thread_and_the_loop_turns(path):
    store = AsyncSQLiteStore(path, ballast=0, deadline=timedelta(seconds=20))
    record = a_record()
    async with Heartbeat() as heart:
        with others_writing(path):
            writing = asyncio.create_task(store.apply([Create(record)]))
            await until(its_threads)
            await heart.some()
            assert not writing.done()
        assert await writing == [APPLIED]
    assert heart.longest < 10
    await store.close()


@pytest.mark.promise("B")
@on_each_loop
async def test_what_arrives_while_others_write_is_one_transaction(path, monkeypatch):
    said, really_connect = [], sqlite3.connect

    def connect(*args, **kwargs):
        connection = really_connect(*args, **kwargs)
        connection.set_trace_callback(said.append)
        return connection

    monkeypatch.setattr(sqlite3, "connect", connect)
    store = Coalesced(AsyncSQLiteStore(path, ballast=0, deadline=timedelta(seconds=20)))
    record = a_record(fields={})
    await store.apply([Create(record)])
    with others_writing(path):
        said.clear()
        writing = []
        for number in range(50):
            change = update(record, set={f"field{number}": b"1"})
            writing.append(asyncio.create_task(store.apply([change])))
            for _ in range(4):
                await asyncio.sleep(0)
    assert await asyncio.gather(*writing) == [[APPLIED]] * 50
    assert len(fields(path, record)) == 50
    await store.close()
    # Two batches of one were on their way, and the other 48 changes left together.
    assert [len(changes) for changes in transactions(said)] == [1, 1, 48]


def transactions(said):
    """The updates of each transaction that was committed."""
    committed, current = [], []
    for statement in said:
        match statement.split()[0]:
            case "BEGIN":
                current = []
            case "UPDATE":
                current.append(statement)
            case "COMMIT":
                committed.append(current)
    return committed


# The loop is never held up


async def requests(store, records, count):
    """So many loads and changes, 64 at a time, of which each sees its own record."""

    async def worker():
        while left:
            number = left.pop()
            record = pick.choice(records)
            if number % 3 == 0:
                (answer,) = await store.apply([update(record, set={"n": b"%d" % number})])
                assert answer == APPLIED
            else:
                (found,) = await store.load([record.key], NOW)
                assert (found.key, found.fields["own"]) == (record.key, record.fields["own"])

    pick = random.Random(0)
    left = list(range(count))
    await asyncio.gather(*(worker() for _ in range(64)))


@pytest.mark.promise("F-02", "20")
@on_each_loop
async def test_the_loop_turns_during_5000_requests_beside_another_process_that_writes(path, record_property):
    store = Coalesced(AsyncSQLiteStore(path, ballast=0, deadline=timedelta(seconds=25)))
    records = [a_record(fields={"own": b"%d" % number}) for number in range(200)]
    await store.apply([Create(record) for record in records])
    gaps = {}
    for noise, count in (("write_without_a_pause", 5_000), ("hold_the_write_lock", 500)):
        with child(noise, path, *([0.4] if noise == "hold_the_write_lock" else [])):
            async with Heartbeat() as heart:
                began = time.perf_counter()
                await requests(store, records, count)
                took = time.perf_counter() - began
        gaps[noise] = heart.longest
        record_property(
            noise, f"{count} requests in {took:.2f} s, loop held up for {heart.longest * 1e3:.1f} ms at most"
        )
        print(f"{noise}: {count} requests in {took:.2f} s, longest gap {heart.longest * 1e3:.1f} ms")
    # The target is 50 ms. A busy machine alone may cost more, but not the 400 ms for which the lock was held.
    assert gaps["hold_the_write_lock"] < 0.3
    assert gaps["write_without_a_pause"] < 0.5
    await store.close()


# Forks, and the end


@pytest.mark.promise("F-18", "24")
def test_a_store_that_was_used_goes_on_in_parent_and_child_after_a_fork(path):
    quiet = ("-W", "ignore:This process:DeprecationWarning")  # … is multi-threaded, and forks
    command = [sys.executable, *quiet, str(CHILDREN), "fork_after_use", str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=90, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    with closing(SQLiteStore(path, ballast=0)) as store:
        (found,) = store.load([bytes(16)], NOW)
    assert found.fields.keys() == {f"{who}{number}" for who in ("parent", "child") for number in range(20)}


@pytest.mark.promise("24")
@on_each_loop
async def test_closing_waits_for_what_the_thread_has_still_to_do_and_the_loop_turns(path):
    store = AsyncSQLiteStore(path, ballast=0, deadline=timedelta(seconds=20))
    records = [a_record() for _ in range(3)]
    async with Heartbeat() as heart:
        with others_writing(path):
            writing = [asyncio.create_task(store.apply([Create(record)])) for record in records]
            await until(its_threads)
            closing_down = asyncio.create_task(store.close())
            await heart.some()
            assert not closing_down.done()
        await closing_down
    assert await asyncio.gather(*writing) == [[APPLIED]] * 3
    with closing(SQLiteStore(path, ballast=0)) as other:
        assert other.count(NOW) == 3


@on_each_loop
async def test_closing_that_is_cancelled_closes_all_the_same(path):
    store = AsyncSQLiteStore(path, ballast=0, deadline=timedelta(seconds=20))
    with others_writing(path):
        writing = asyncio.create_task(store.apply([Create(a_record())]))
        await until(its_threads)
        threads = its_threads()
        closing_down = asyncio.create_task(store.close())
        await asyncio.sleep(0)
        closing_down.cancel()
        with pytest.raises(asyncio.CancelledError):
            await closing_down
    assert await writing == [APPLIED]
    for thread in threads:
        await asyncio.to_thread(thread.join, 10)
    assert not store._store._connections._open


@pytest.mark.promise("24")
@on_each_loop
async def test_a_closed_store_refuses_work_and_can_be_closed_again(path):
    store = AsyncSQLiteStore(path, ballast=0)
    await store.load([bytes(16)], NOW)
    await store.close()
    await store.close()
    for refused in (store.apply([Create(a_record())]), store.count(NOW), store.ping()):
        with pytest.raises(StoreUnavailable, match="closed"):
            await refused
    with pytest.raises(StoreError, match="closed"):
        await store.load([bytes(16)], NOW)
