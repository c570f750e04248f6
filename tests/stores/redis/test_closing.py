"""Closing a store closes every connection: those that are in use, and those that don't end by themselves."""

import asyncio
import gc
import warnings
from concurrent.futures import ThreadPoolExecutor

import pytest
import uvloop

from coatcheck.errors import StoreError
from coatcheck.stores.redis import async_from_url, store
from tests.servers.process import until
from tests.stores.redis.scene import SYNC_AND_ASYNC, soon, staged

pytestmark = [pytest.mark.servers, pytest.mark.promise("24")]


@SYNC_AND_ASYNC
def test_a_connection_that_is_in_use_is_closed_when_it_is_given_back(kind, redis_server, prefix):
    with staged(kind, redis_server, prefix) as scene, ThreadPoolExecutor(1) as threads:
        write = scene.put()
        scene.load(write.key)
        scene.proxy.latency = 0.2
        loading = threads.submit(scene.load, write.key)
        until(lambda: not idle_in(scene), "the connection is in use")
        if kind == "sync":
            scene.store.close()
        else:
            scene.store.portal.call(scene.store.store.close())
        assert loading.result() == [write.data]
        until(lambda: not scene.proxy._links, "it is closed")


def idle_in(scene):
    inner = getattr(scene.store, "store", scene.store)
    servers = inner._servers if inner is scene.store else next(iter(inner._loops._objects.values()))
    return servers.idle


def test_one_that_does_not_say_goodbye_is_closed_all_the_same_and_so_are_the_others(
    redis_server, prefix, monkeypatch
):
    monkeypatch.setattr(store, "_CLOSING", 0.1)

    async def scenario():
        its = async_from_url(redis_server.url, prefix=prefix)
        await asyncio.gather(*(its.ping(soon()) for _ in range(4)))
        connections = list(its._loops.here().idle)
        assert len(connections) == 4
        goodbye = type(connections[0]).disconnect

        async def disconnect(connection, *, nowait=False):
            if not nowait:
                await asyncio.sleep(20)
            await goodbye(connection, nowait=nowait)

        for connection in connections[:2]:
            monkeypatch.setattr(connection, "disconnect", disconnect.__get__(connection))
        await its.close()
        assert not any(connection.is_connected for connection in connections)

    asyncio.run(scenario())


def test_with_tls_no_socket_of_a_failed_call_outlives_the_loop(redis_tls):
    async def failed():
        store = async_from_url(redis_tls.url, **redis_tls.options)
        await store.load([bytes(16)], 0, soon())
        redis_tls.server.pause()  # it does not say goodbye
        with pytest.raises(StoreError):
            await store.load([bytes(16)], 0, soon(0.2))
        await store.close()

    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always", ResourceWarning)
        try:
            asyncio.run(failed())
        finally:
            redis_tls.server.resume()
        gc.collect()
    assert [str(one.message) for one in told] == []


@pytest.mark.filterwarnings("ignore:loop is closed:ResourceWarning")
@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")  # by asyncio itself, of what it leaves open
@pytest.mark.parametrize(
    "new_loop", [asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"]
)
@pytest.mark.parametrize("servers", ["redis_server", "redis_cluster"])
def test_a_loop_that_is_closed_without_notice_keeps_no_connection(servers, new_loop, prefix, request):
    servers = request.getfixturevalue(servers)
    its = async_from_url(servers.url, prefix=prefix)

    gc.collect()
    gc.disable()
    try:
        before = connections_of(servers)
        for _ in range(5):
            loop = new_loop()
            loop.run_until_complete(its.ping(soon()))
            loop.close()
        asyncio.run(its.ping(soon()))
        until(lambda: connections_of(servers) <= before, "the servers have no connection of theirs")
    finally:
        gc.enable()
        gc.collect()  # asyncio's warnings come now, and not in the next test


def connections_of(servers):
    """How many the servers have."""
    nodes = getattr(servers, "nodes", [servers])
    return sum(node.told("clients")["connected_clients"] for node in nodes)
