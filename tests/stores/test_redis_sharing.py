"""Threads, event loops, forks and processes: none gets at another's socket, and no change is lost between them."""

import asyncio
import gc
import multiprocessing
import os
import threading
import traceback
from concurrent.futures import ThreadPoolExecutor

import pytest

from coatcheck.model.record import Applied, Create, Record, Update
from coatcheck.stores._redis_words import Command, packed
from coatcheck.stores.redis import from_url
from coatcheck.stores.redis_async import from_url as async_from_url
from coatcheck.testing.contract.harness import LIFETIMES, Bench
from tests.servers.process import HOST
from tests.servers.proxy import Proxy
from tests.stores.redis_single import PATIENT, RedisHarness, command, new_prefix

pytestmark = pytest.mark.servers


@pytest.fixture
def bench(redis_port):
    harness = RedisHarness(redis_port)
    bench = Bench(harness)
    yield bench
    harness.inspector.close()


def in_a_child(work):
    """Run `work` in a fork of this process; whether it went well."""
    pid = os.fork()
    if not pid:
        try:
            work()
        except BaseException:  # noqa: BLE001 - told to the parent by the status
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(pid, 0)
    return status == 0


@pytest.mark.promise("F-18", "24")
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
def test_a_fork_uses_none_of_its_parents_connections(bench):
    store = bench.harness.inspector
    markers = [bench.record(fields={"marker": b"%d" % number}) for number in range(40)]
    store.apply([Create(record) for record in markers])

    def load_all():
        mine = command(store, "CLIENT", "ID")
        assert mine != parents
        for record in markers * 20:
            assert store.load([record.key], bench.start) == [record]

    parents = command(store, "CLIENT", "ID")
    results = []
    threads = [threading.Thread(target=lambda: results.append(in_a_child(load_all))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for record in markers * 20:
        assert store.load([record.key], bench.start) == [record]
    for thread in threads:
        thread.join()
    assert results == [True] * 3
    assert command(store, "CLIENT", "ID") is not None


@pytest.mark.promise("F-18", "24")
def test_an_async_store_in_a_fork_makes_connections_of_its_own(bench):
    harness = bench.harness
    front = async_from_url(harness.url, prefix=harness.prefix, **PATIENT)
    record = bench.record()

    async def client_id():
        return (await front._store._exchange([Command(b"", packed(b"CLIENT", b"ID"))]))[0]

    async def parent():
        await front.apply([Create(record)])
        mine = await client_id()

        def child():
            async def work():
                assert await client_id() != mine
                assert await front.load([record.key], bench.start) == [record]

            asyncio.run(work())

        # As `gunicorn --preload` does, but for the loop that is running: the child leaves it alone.
        loop = asyncio.get_running_loop()
        assert await loop.run_in_executor(None, in_a_child, child)
        assert await client_id() == mine
        assert await front.load([record.key], bench.start) == [record]
        await front.close()

    asyncio.run(parent())


@pytest.mark.promise("F-18", "24")
def test_each_loop_has_connections_of_its_own_and_a_closed_loop_is_let_go(bench):
    harness = bench.harness
    front = async_from_url(harness.url, prefix=harness.prefix, **PATIENT)
    record = bench.record()
    harness.inspector.apply([Create(record)])

    async def load():
        return await front.load([record.key], bench.start)

    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(lambda _: asyncio.run(load()), range(12))) == [[record]] * 12

    async def last():
        await load()
        assert len(front._store._loops._servers) == 1
        await front.close()

    asyncio.run(last())
    gc.collect()


@pytest.mark.promise("F-06")
def test_threads_share_as_many_connections_as_they_need_at_a_time(bench, redis_port):
    with Proxy(redis_port) as proxy:
        store = from_url(f"redis://{HOST}:{proxy.port}", prefix=new_prefix(), **PATIENT)
        record = bench.record()
        store.apply([Create(record)])
        with proxy.counting() as counted, ThreadPoolExecutor(8) as threads:
            for found in threads.map(lambda _: store.load([record.key], bench.start), range(400)):
                assert found == [record]
        assert counted.connections <= 8
        store.close()


def change_its_own_fields(url, prefix, record, name, at):
    """A hundred requests of one process, each with a field of its own."""
    store = from_url(url, prefix=prefix, **PATIENT)

    def change(number):
        update = Update(key=record.key, at=at, lifetimes=LIFETIMES, set={f"{name}{number}": b"1"})
        return store.apply([update])

    with ThreadPoolExecutor(8) as threads:
        answers = list(threads.map(change, range(100)))
    assert answers == [[Applied()]] * 100
    store.close()


@pytest.mark.promise("6")
def test_a_hundred_requests_in_each_of_two_processes_keep_all_their_fields(bench):
    harness = bench.harness
    record = bench.record(fields={})
    harness.inspector.apply([Create(record)])
    spawn = multiprocessing.get_context("spawn")
    processes = [
        spawn.Process(
            target=change_its_own_fields,
            args=(harness.url, harness.prefix, record, name, bench.start),
        )
        for name in ("a", "b")
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    (found,) = harness.inspector.load([record.key], bench.start)
    assert isinstance(found, Record)
    assert set(found.fields) == {f"{name}{number}" for name in "ab" for number in range(100)}


@pytest.mark.promise("11")
def test_what_twenty_take_at_once_only_one_gets(bench):
    store = bench.harness.inspector
    for _ in range(5):
        record = bench.record(fields={"flash": b"hello"})
        store.apply([Create(record)])
        barrier = threading.Barrier(20)

        def take(record=record, barrier=barrier):
            barrier.wait(30)
            return store.apply([bench.update(record, take=("flash",))])[0].taken

        with ThreadPoolExecutor(20) as threads:
            taken = [future.result() for future in [threads.submit(take) for _ in range(20)]]
        assert sorted(map(len, taken)) == [0] * 19 + [1]
