"""Threads, event loops, forks and processes: none gets at another's connection, and no change is lost between them."""

import asyncio
import gc
import os
import threading
import traceback
import weakref
from concurrent.futures import ThreadPoolExecutor

import pytest

from coatcheck import AsyncSessions, Sessions
from coatcheck.stores.redis import async_from_url, from_url
from tests.loops import on_each_loop
from tests.servers.fixtures_redis import IN_A_CLUSTER
from tests.servers.process import HOST
from tests.servers.proxy import Proxy
from tests.stores.editing import (
    OPTIONS,
    processes_keep_all_their_edits,
    tasks_keep_all_their_edits,
    threads_keep_all_their_edits,
)
from tests.stores.redis.scene import Scene, item, now_ms, soon

pytestmark = pytest.mark.servers


@pytest.fixture
def scene(redis_server, prefix):
    store = from_url(redis_server.url, prefix=prefix)
    yield Scene(None, store, store, 20)
    store.close()


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


def connections_of(pool):
    return {connection._sock.getsockname() for connection in pool.idle}


@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
@pytest.mark.promise("F-18", "24")
def test_a_fork_uses_none_of_its_parents_connections(scene):
    pool = scene.store._servers
    markers = [scene.put(b"%d" % number) for number in range(40)]
    parents = connections_of(pool)
    assert len(parents) == 1

    def load_all():
        for write in markers * 20:
            assert scene.load(write.key) == [write.data]
        assert not connections_of(pool) & parents

    results = []
    threads = [threading.Thread(target=lambda: results.append(in_a_child(load_all))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for write in markers * 20:
        assert scene.load(write.key) == [write.data]
    for thread in threads:
        thread.join()
    assert results == [True] * 3
    assert connections_of(pool) == parents


@IN_A_CLUSTER
@pytest.mark.filterwarnings("ignore:This process:DeprecationWarning")
@pytest.mark.promise("F-18", "24")
def test_a_fork_of_a_process_that_uses_a_cluster_has_connections_of_its_own(redis_cluster, prefix):
    store = from_url(redis_cluster.url, prefix=prefix)
    scene = Scene(None, store, store, 20)
    markers = [scene.put(b"%d" % number) for number in range(20)]
    pools = list(store._servers._pools.values())
    parents = set().union(*map(connections_of, pools))

    def load_all():
        for write in markers:
            assert scene.load(write.key) == [write.data]
        assert not set().union(*map(connections_of, pools)) & parents

    assert in_a_child(load_all)
    load_here = [scene.load(write.key) for write in markers]
    assert load_here == [[write.data] for write in markers]
    assert set().union(*map(connections_of, pools)) == parents
    store.close()


@pytest.mark.promise("F-18", "24")
def test_an_async_store_in_a_fork_makes_connections_of_its_own(scene, redis_server, prefix):
    store = async_from_url(redis_server.url, prefix=prefix)
    write = scene.put()

    async def load():
        (found,) = await store.load([write.key], scene.now, soon())
        assert found.data == write.data
        return {each._writer.get_extra_info("sockname") for each in store._loops.here().idle}

    async def parent():
        mine = await load()
        loop = asyncio.get_running_loop()

        def child():
            scheduled = len(loop._ready)
            assert not asyncio.run(load()) & mine
            gc.collect()
            # What is the parent's stays: at its end it would speak to the parent's loop.
            assert len(loop._ready) == scheduled

        # As `gunicorn --preload` does, but for the loop that is running: the child leaves it alone.
        assert await loop.run_in_executor(None, in_a_child, child)
        assert await load() == mine
        await store.close()

    asyncio.run(parent())


@pytest.mark.promise("F-18", "24")
@pytest.mark.filterwarnings(
    "ignore::ResourceWarning",
    "ignore::pytest.PytestUnraisableExceptionWarning",  # of the loop that is just closed
)
def test_each_loop_has_connections_of_its_own_and_a_closed_loop_is_let_go(scene, redis_server, prefix):
    store = async_from_url(redis_server.url, prefix=prefix)
    write = scene.put()

    async def load():
        return [found.data for found in await store.load([write.key], scene.now, soon())]

    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(lambda _: asyncio.run(load()), range(12))) == [[write.data]] * 12
    assert store._loops._objects == {}

    # One that is closed without a word is let go when the next one comes.
    loop = asyncio.new_event_loop()
    loop.run_until_complete(load())
    loop.close()
    assert len(store._loops._objects) == 1

    async def last():
        await load()
        assert len(store._loops._objects) == 1
        await store.close()

    asyncio.run(last())
    gone = weakref.ref(loop)
    del loop
    gc.collect()
    assert gone() is None


@pytest.mark.promise("24")
@pytest.mark.filterwarnings(
    "ignore::ResourceWarning",
    "ignore::pytest.PytestUnraisableExceptionWarning",  # of the loop that is just closed
)
def test_closing_a_store_leaves_a_closed_loop_alone(redis_server, prefix):
    store = async_from_url(redis_server.url, prefix=prefix)
    loop = asyncio.new_event_loop()
    loop.run_until_complete(store.ping(soon()))
    loop.close()
    asyncio.run(store.close())
    del store, loop
    gc.collect()  # their warnings are of this test


@pytest.mark.promise("24")
def test_closing_a_store_in_one_loop_closes_it_in_the_others(redis_server, prefix):
    with Proxy(redis_server.port) as proxy:
        store = async_from_url(f"redis://{HOST}:{proxy.port}", prefix=prefix)

        async def first():
            await store.ping(soon())
            assert len(proxy._links) == 1
            await asyncio.get_running_loop().run_in_executor(None, asyncio.run, second())
            for _ in range(1_000):
                if not proxy._links:
                    break
                await asyncio.sleep(0.01)
            assert not proxy._links
            await store.ping(soon())

        async def second():
            await store.ping(soon())
            assert len(proxy._links) == 2
            await store.close()

        asyncio.run(first())


@pytest.mark.promise("F-06")
def test_threads_share_as_many_connections_as_they_need_at_a_time(redis_server, prefix):
    with Proxy(redis_server.port) as proxy:
        store = from_url(f"redis://{HOST}:{proxy.port}", prefix=prefix)
        write, now = item(), now_ms()
        assert list(store.write([write], now, soon())) == [None]
        with proxy.counting() as counted, ThreadPoolExecutor(8) as threads:
            for (found,) in threads.map(lambda _: store.load([write.key], now, soon()), range(400)):
                assert found.data == write.data
        assert counted.connections <= 8
        store.close()


# Sessions


@pytest.mark.promise("6", "M")
def test_a_hundred_threads_of_two_stores_keep_all_their_edits(redis_server, prefix):
    with (
        Sessions(from_url(redis_server.url, prefix=prefix), **OPTIONS) as one,
        Sessions(from_url(redis_server.url, prefix=prefix), **OPTIONS) as other,
    ):
        threads_keep_all_their_edits(one, other)


@pytest.mark.promise("6", "M")
@on_each_loop
async def test_a_hundred_tasks_of_two_stores_keep_all_their_edits(redis_server, prefix):
    url = redis_server.url
    async with (
        AsyncSessions(async_from_url(url, prefix=prefix), **OPTIONS) as one,
        AsyncSessions(async_from_url(url, prefix=prefix), **OPTIONS) as other,
    ):
        await tasks_keep_all_their_edits(one, other, from_url(url, prefix=prefix))


def two_processes(url, prefix):
    store = from_url(url, prefix=prefix)
    processes_keep_all_their_edits(store, "tests.stores.redis.children", url, prefix)


@pytest.mark.promise("6", "M")
def test_a_hundred_requests_in_each_of_two_processes_keep_all_their_edits(redis_server, prefix):
    two_processes(redis_server.url, prefix)


@IN_A_CLUSTER
@pytest.mark.promise("6", "M")
def test_in_a_cluster_two_processes_keep_all_their_edits(redis_cluster, prefix):
    two_processes(redis_cluster.url, prefix)


@pytest.mark.promise("11")
def test_what_twenty_take_at_once_only_one_gets(redis_server, prefix):
    with Sessions(from_url(redis_server.url, prefix=prefix), **OPTIONS) as sessions:
        for _ in range(5):
            session = sessions.open(b"")
            session["ticket"] = 1
            header = sessions.close(session).set_cookie.split(";")[0].encode()
            barrier = threading.Barrier(20)

            def take(header=header, barrier=barrier):
                visit = sessions.open(header)
                sessions.load(visit)
                barrier.wait(30)
                return sessions.take(visit, "ticket")

            with ThreadPoolExecutor(20) as threads:
                taken = [future.result() for future in [threads.submit(take) for _ in range(20)]]
            assert sorted(map(len, taken)) == [0] * 19 + [1]
