"""The cost of each call on Memcached, in round trips and commands as a proxy counts them."""

import asyncio
import threading

import pytest

from coatcheck.model.ports import Conflict
from coatcheck.stores.memcached import AsyncMemcachedStore
from tests import loops
from tests.servers.memcached import prefix
from tests.servers.proxy import Proxy
from tests.stores.memcached.scene import after, answer_to, ending, found, new, now, opened, put, soon

pytestmark = [pytest.mark.servers, pytest.mark.promise("2", "3")]


def trips(proxy, work):
    with proxy.counting() as counted:
        work()
    return counted.round_trips


def test_each_call_takes_the_round_trips_that_the_page_names(proxy, mode):
    with opened(mode, f"127.0.0.1:{proxy.port}", prefix=prefix()) as store:
        first, second = new(), new()
        assert trips(proxy, lambda: put(store, first)) == 1
        put(store, second)
        keys = [first.key, second.key, bytes(16)]
        assert trips(proxy, lambda: store.load(keys, now(), soon())) == 1
        version = found(store, first.key).version
        assert trips(proxy, lambda: put(store, after(first, expected=version))) == 1
        # With a revision in place of the token: the token is read first.
        assert trips(proxy, lambda: put(store, after(second))) == 2
        # A conflict tells what lies there.
        assert trips(proxy, lambda: answer_to(store, new(key=first.key))) == 2
        assert trips(proxy, lambda: answer_to(store, after(first))) == 1
        assert trips(proxy, lambda: answer_to(store, after(first, expected=1))) == 2
        assert trips(proxy, lambda: store.remove([first.key, second.key], now(), soon())) == 2
        assert trips(proxy, lambda: store.ping(soon())) == 1
        assert trips(proxy, lambda: store.sweep(now(), 10, soon())) == 0
        assert trips(proxy, lambda: store.load([], now(), soon())) == 0


def test_a_batch_of_loads_is_one_command_to_each_server(memcached, proxy, mode):
    with Proxy(memcached.port) as another:
        servers = [f"127.0.0.1:{proxy.port}", f"127.0.0.1:{another.port}"]
        with opened(mode, servers, prefix=prefix()) as store:
            writes = [new() for _ in range(40)]
            assert store.write(writes, now(), soon()) == [None] * 40
            with proxy.counting() as one, another.counting() as other:
                lies = store.load([write.key for write in writes], now(), soon())
            assert [item.data for item in lies] == [write.data for write in writes]
            assert (one.round_trips, other.round_trips) == (1, 1)


def test_tokens_for_a_batch_of_revisions_are_read_in_one_round_trip(proxy, mode):
    with opened(mode, f"127.0.0.1:{proxy.port}", prefix=prefix()) as store:
        writes = [put(store) for _ in range(10)]
        changes = [*map(after, writes[:9]), ending(writes[9])]
        with proxy.counting() as counted:
            assert store.write(changes, now(), soon()) == [None] * 10
        assert counted.round_trips == 1 + 10
        with proxy.counting() as counted:
            answers = store.write([after(write) for write in writes], now(), soon())
        assert [type(answer) for answer in answers] == [Conflict] * 10
        assert counted.round_trips == 1


def test_a_batch_is_one_hop_to_a_thread_for_each_server(memcached, proxy, monkeypatch):
    hops = []
    submit = AsyncMemcachedStore.__mro__[1]._call

    async def counted(self, call, *args, **options):
        hops.append(call.__name__)
        return await submit(self, call, *args, **options)

    monkeypatch.setattr(AsyncMemcachedStore.__mro__[1], "_call", counted)

    async def play():
        store = AsyncMemcachedStore([memcached.address, f"127.0.0.1:{proxy.port}"], prefix=prefix())
        writes = [new() for _ in range(30)]
        assert await store.write(writes, now(), soon()) == [None] * 30
        await store.load([write.key for write in writes], now(), soon())
        await store.remove([write.key for write in writes], now(), soon())
        await store.close()

    loops.run(play())
    assert hops == ["write", "write", "load", "load", "remove", "remove"]


def test_calls_one_after_another_use_one_connection_and_parallel_ones_few(proxy):
    async def play():
        store = AsyncMemcachedStore(f"127.0.0.1:{proxy.port}", prefix=prefix())
        write = new()
        with proxy.counting() as counted:
            await store.write([write], now(), soon())
            for _ in range(10):
                await store.load([write.key], now(), soon())
        assert counted.connections == 1
        with proxy.counting() as counted:
            await asyncio.gather(*(store.load([write.key], now(), soon()) for _ in range(100)))
        assert counted.connections < 8
        await store.close()

    loops.run(play())
    assert [thread for thread in threading.enumerate() if thread.name.startswith("coatcheck-store")] == []
