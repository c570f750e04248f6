"""A network that refuses, falls silent, delays or trickles; and more callers than connections.

A call then ends within its deadline with a `StoreError`, which says whether a write may have been done; no answer is ever
another call's; and the store recovers by itself.
"""

import asyncio
import os
import statistics
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
import redis
import redis.asyncio

from coatcheck.errors import StoreError, StoreTimeout, StoreUnavailable
from coatcheck.stores.redis import AsyncRedisStore, RedisStore, async_from_url
from coatcheck.testing.shim import awaitable
from tests.awake import awake
from tests.loops import Heartbeat, run
from tests.servers.process import HOST, free_port, until
from tests.servers.redis import single
from tests.stores.redis.scene import (
    SYNC_AND_ASYNC,
    data_of,
    item,
    now_ms,
    opened,
    recovered,
    soon,
    staged,
)

pytestmark = pytest.mark.servers
LONG = 10  # seconds; ever so much more than any deadline here


def timed(call, *arguments):
    """What it raised, or the failure among its answers, and the seconds that it took."""
    start = awake()
    try:
        answers = call(*arguments)
    except StoreError as error:
        return error, awake() - start
    (error,) = answers or [None]
    assert isinstance(error, StoreError), "it did not fail"
    return error, awake() - start


def operations(scene, write):
    """Each operation of a store, on something that is there."""
    return {
        "load": lambda: scene.load(write.key),
        "load several": lambda: scene.load(write.key, os.urandom(16)),
        "write": lambda: scene.write(item(over=write)),
        "remove": lambda: scene.store.remove([write.key], scene.now, scene.deadline),
        "note": lambda: scene.store.note([scene.entry()], scene.now, scene.deadline),
        "sessions_of": lambda: scene.store.sessions_of("ada", scene.now, 10, None, scene.deadline),
        "index_may_be_incomplete": lambda: scene.store.index_may_be_incomplete(scene.deadline),
        "forget": lambda: scene.store.forget([scene.entry()], scene.deadline),
        "count": lambda: scene.store.count(scene.now, scene.deadline),
        "sweep": lambda: scene.store.sweep(scene.now, 10, scene.deadline),
        "ping": lambda: scene.store.ping(scene.deadline),
    }


WRITING = {"write", "remove", "note", "forget"}
OPERATIONS = [*operations(None, None)]


# F-01: connections are refused


@pytest.mark.promise("F-01", "20")
@SYNC_AND_ASYNC
def test_while_connections_are_refused_every_call_says_so_and_soon_at_once(kind, redis_server, prefix):
    with staged(kind, redis_server, prefix) as scene:
        write = scene.put()
        assert scene.load(write.key) == [write.data]
        scene.proxy.down()
        failures = [timed(scene.load, write.key) for _ in range(50)]
        assert all(isinstance(error, StoreUnavailable) for error, _ in failures)
        assert not any(isinstance(error, StoreTimeout) for error, _ in failures)
        # The breaker is open: nothing waits for a connection any more.
        assert statistics.median(seconds for _, seconds in failures[10:]) < 0.5
        for call in operations(scene, write).values():
            error, _ = timed(call)
            assert isinstance(error, StoreUnavailable)
            assert not error.ambiguous
        assert scene.data(write.key) == write.data
        assert scene.recover() < 5
        assert scene.load(write.key) == [write.data]


@pytest.mark.promise("F-01", "20")
@SYNC_AND_ASYNC
def test_an_open_breaker_lets_one_call_try_now_and_then(kind, redis_server, prefix):
    with staged(kind, redis_server, prefix, patience=0.3) as scene:
        scene.put()
        scene.proxy.down()
        for _ in range(10):
            timed(scene.store.ping, scene.deadline)
        scene.proxy.silent = True
        scene.proxy.up()
        with scene.proxy.counting() as counted:
            start, calls = time.monotonic(), 0
            while time.monotonic() - start < 1.5:
                timed(scene.store.ping, scene.deadline)
                calls += 1
        took = time.monotonic() - start
        # It rests half a second each time.
        assert 1 <= counted.connections <= 3 * (took / 0.5 + 2)
        assert calls > 10 * counted.connections
        assert scene.recover() < 5


@pytest.mark.promise("F-01")
@SYNC_AND_ASYNC
def test_no_server_at_all_is_unavailable_and_names_it_without_its_password(kind):
    port = free_port()
    with opened(kind, f"redis://shop:secret-word@{HOST}:{port}") as store:
        with pytest.raises(StoreUnavailable, match=f"{HOST}:{port}") as raised:
            store.ping(soon())
        assert "secret-word" not in f"{raised.value} {raised.value!r} {raised.value.__cause__!r} {store!r}"
        assert not raised.value.ambiguous


@pytest.mark.promise("F-01")
@SYNC_AND_ASYNC
def test_a_server_that_was_restarted_is_used_again(kind):
    with single() as server, opened(kind, server.url) as store:
        store.ping(soon())
        server.restart()
        store.ping(soon())
        assert list(store.load([bytes(16)], 0, soon())) == [None]


@pytest.mark.promise("F-01")
@SYNC_AND_ASYNC
def test_a_cluster_that_is_not_there_is_unavailable_in_every_way(kind):
    with opened(kind, f"redis+cluster://{HOST}:{free_port()}") as store:
        now = now_ms()
        for _ in range(4):  # the breaker opens
            for call in (
                lambda: store.ping(soon()),
                lambda: store.count(now, soon()),
                lambda: store.load([bytes(16)], now, soon()),
                lambda: store.load([bytes(16), bytes(15) + b"1"], now, soon()),
                lambda: store.write([item()], now, soon()),
                lambda: store.sessions_of("ada", now, 10, None, soon()),
            ):
                error, seconds = timed(call)
                assert isinstance(error, StoreUnavailable)
                assert not error.ambiguous
                assert seconds < LONG
        assert "times in a row" in str(error)


@pytest.mark.promise("F-01", "24")
@SYNC_AND_ASYNC
def test_a_store_that_was_closed_is_used_again(kind, redis_server, prefix):
    with staged(kind, redis_server, prefix) as scene:
        write = scene.put()
        for _ in range(3):
            assert scene.load(write.key) == [write.data]
            if kind == "sync":
                scene.store.close()
                scene.store.close()
            else:
                scene.store.portal.call(scene.store.store.close())
            until(lambda: not scene.proxy._links, "nothing is connected")


# F-02: silence


@pytest.mark.promise("F-02", "20", "L")
@pytest.mark.parametrize("operation", OPERATIONS)
@SYNC_AND_ASYNC
def test_in_silence_a_call_ends_with_its_deadline(kind, operation, redis_server, prefix):
    with staged(kind, redis_server, prefix, patience=0.6) as scene:
        write = scene.put()
        scene.store.note([], scene.now, scene.deadline)
        recovered(scene.store)
        call = operations(scene, write)[operation]
        scene.proxy.silent = True
        began = time.monotonic()
        error, seconds = timed(call)
        assert time.monotonic() - began >= 0.8 * 0.6
        assert isinstance(error, StoreTimeout)
        assert "did not answer" in str(error)
        # `note` asks the server's policy first.
        assert error.ambiguous == (operation in WRITING - {"note"})
        assert seconds < 1.9 * 0.6  # not as long again for another try
        assert scene.recover() < 5


@pytest.mark.promise("F-02", "20")
@SYNC_AND_ASYNC
def test_in_silence_before_anything_is_connected_too(kind, redis_server, prefix):
    with staged(kind, redis_server, prefix, patience=0.6) as scene:
        scene.proxy.silent = True
        error, seconds = timed(scene.write, item())
        assert isinstance(error, StoreTimeout) or kind == "sync"
        assert seconds < 1.9 * 0.6


@pytest.mark.promise("F-02", "20")
@SYNC_AND_ASYNC
def test_a_reply_that_trickles_ends_with_the_deadline(kind, redis_server, prefix):
    with staged(kind, redis_server, prefix, patience=0.6) as scene:
        write = scene.put(bytes(1_000_000))
        scene.proxy.slice = 1  # something arrives all the time
        error, seconds = timed(scene.load, write.key)
        assert isinstance(error, StoreTimeout)
        assert seconds < 1.9 * 0.6


CLIENTS = {
    "sync": lambda port: RedisStore(redis.Redis(host=HOST, port=port)),
    "sync without a time-out": lambda port: RedisStore(
        redis.Redis(host=HOST, port=port, socket_timeout=None)
    ),
    "async": lambda port: AsyncRedisStore(redis.asyncio.Redis(host=HOST, port=port)),
}


@pytest.mark.promise("F-02", "20")
@pytest.mark.parametrize("trouble", ["dead", "silent", "trickling"])
@pytest.mark.parametrize("client", CLIENTS)
def test_a_client_of_the_applications_with_redis_pys_defaults_is_bounded_by_the_deadline(
    client, trouble, redis_server, prefix
):
    """redis-py's own ten retries take 3.6 seconds on a dead server, and 6.2 or for ever on a silent one."""
    with staged("sync", redis_server, prefix) as scene:
        write = item(bytes(1_000_000))

        async def scenario():
            its = awaitable(CLIENTS[client](scene.proxy.port))
            assert list(await its.write([write], scene.now, soon())) == [None]
            if trouble == "dead":
                scene.proxy.down()
            scene.proxy.silent = trouble == "silent"
            scene.proxy.slice = 1 if trouble == "trickling" else None
            for _ in range(3):
                start = awake()
                with pytest.raises(StoreUnavailable):
                    await its.load([write.key], scene.now, soon(0.6))
                assert awake() - start < 1.9 * 0.6
            scene.proxy.heal()
            await its.close()

        asyncio.run(scenario())


@pytest.mark.promise("F-02", "20")
def test_in_silence_many_threads_all_end_with_their_deadline(redis_server, prefix):
    with staged("sync", redis_server, prefix, patience=0.5, max_connections=4) as scene:
        write = scene.put()
        recovered(scene.store)
        scene.proxy.silent = True
        with ThreadPoolExecutor(24) as pool:
            failures = list(pool.map(lambda _: timed(scene.load, write.key), range(48)))
        assert all(isinstance(error, StoreUnavailable) for error, _ in failures)
        assert max(seconds for _, seconds in failures) < 2.5
        assert scene.recover() < 5
        scene.patience = 20
        with ThreadPoolExecutor(24) as pool:
            found = list(pool.map(lambda _: scene.load(write.key), range(48)))
        assert found == [[write.data]] * 48


@pytest.mark.promise("F-02", "20")
def test_in_silence_the_event_loop_turns_on(redis_server, prefix):
    deadline = 2.0

    async def scenario(scene):
        store = async_from_url(f"redis://{HOST}:{scene.proxy.port}/0", prefix=prefix)
        write = scene.put()
        assert (await store.load([write.key], scene.now, soon()))[0].data == write.data
        scene.proxy.silent = True

        async def ask():
            start = awake()
            with pytest.raises(StoreUnavailable):
                await store.load([os.urandom(16)], scene.now, soon(deadline))
            return awake() - start

        async with Heartbeat() as heart:
            took = await asyncio.gather(*(ask() for _ in range(100)))
        assert max(took) < 1.9 * deadline
        assert heart.beats > 10
        assert heart.longest < 0.5 * deadline
        scene.proxy.heal()
        start = awake()
        while True:
            try:
                assert (await store.load([write.key], scene.now, soon()))[0].data == write.data
                break
            except StoreUnavailable:
                assert awake() - start < 5
                await asyncio.sleep(0.02)
        await store.close()

    with staged("sync", redis_server, prefix) as scene:
        run(scenario(scene))


@pytest.mark.promise("F-02", "20")
@SYNC_AND_ASYNC
def test_while_one_call_tries_a_silent_server_no_other_does(kind, redis_server, prefix):
    """Otherwise all would wait, one after the other, for those that try to come to their end."""
    with staged(kind, redis_server, prefix, patience=1.8) as scene, ThreadPoolExecutor(1) as pool:
        scene.proxy.down()
        for _ in range(10):  # until the breaker is open
            timed(scene.load, os.urandom(16))
        scene.proxy.silent = True
        scene.proxy.up()
        until_one_tries = time.monotonic() + LONG
        while True:
            tries = pool.submit(timed, scene.load, os.urandom(16))
            time.sleep(0.1)
            if not tries.done():
                break
            assert time.monotonic() < until_one_tries
        time.sleep(0.7)  # after half a second, another would be let through
        _, seconds = timed(scene.load, os.urandom(16))
        assert seconds < 0.5
        assert not tries.done()
        scene.proxy.down()
        tries.result()


@pytest.mark.promise("F-02", "20")
@SYNC_AND_ASYNC
def test_delays_within_the_deadline_are_only_delays(kind, redis_server, prefix):
    with staged(kind, redis_server, prefix) as scene:
        write = item()
        scene.proxy.latency = 0.03
        assert scene.write(write) == [None]
        assert scene.load(write.key) == [write.data]


# F-03, F-04: connections that end


@pytest.mark.promise("F-04")
@SYNC_AND_ASYNC
def test_a_connection_that_timed_out_is_never_used_again(kind, redis_server, prefix):
    with staged(kind, redis_server, prefix, patience=0.3) as scene:
        one, other = scene.put(b"one"), scene.put(b"other")
        recovered(scene.store)
        scene.proxy.silent = True
        timed(scene.load, one.key)
        scene.proxy.silent = False
        scene.patience = 20
        recovered(scene.store)
        for _ in range(3):
            assert scene.load(other.key) == [other.data]


@pytest.mark.promise("F-04")
@SYNC_AND_ASYNC
def test_connections_may_break_as_often_as_they_like(kind, redis_server, prefix):
    with staged(kind, redis_server, prefix) as scene:
        write = scene.put()
        for _ in range(130):  # the drivers' pools count to a hundred
            scene.proxy.reset()
            assert scene.load(write.key) == [write.data]


@pytest.mark.promise("F-03", "L")
@SYNC_AND_ASYNC
def test_a_write_whose_answer_is_lost_is_sent_once_and_told(kind, redis_server, prefix):
    with staged(kind, redis_server, prefix) as scene:
        first, second = scene.put(), scene.put()
        writes = {
            "create": item(),
            "replace": item(over=first),
            "end": item(b"", over=second, live=False, urgent=True),
        }
        scene.write(item(), item(urgent=True))  # the server knows the scripts
        for write in writes.values():
            recovered(scene.store)
            scene.proxy.drop_replies()
            with scene.proxy.counting() as counted:
                error, _ = timed(scene.write, write)
            scene.proxy.heal()
            assert isinstance(error, StoreUnavailable)
            assert error.ambiguous
            assert counted.connections == 0, "it was sent again"
            assert scene.data(write.key) == write.data


@pytest.mark.promise("F-03", "L")
@SYNC_AND_ASYNC
def test_a_read_whose_answer_is_lost_is_repeated_once(kind, redis_server, prefix):
    with staged(kind, redis_server, prefix) as scene:
        write = scene.put()
        recovered(scene.store)
        scene.proxy.drop_replies()
        with scene.proxy.counting() as counted:
            error, _ = timed(scene.load, write.key)
        assert isinstance(error, StoreUnavailable)
        assert counted.connections == 1
        assert not error.ambiguous
        scene.recover()


@pytest.mark.promise("F-03", "L")
@SYNC_AND_ASYNC
def test_a_connection_that_the_server_has_ended_is_noticed_before_anything_is_sent(
    kind, redis_server, prefix
):
    with opened(kind, redis_server.url, prefix=prefix) as store:
        now, write = now_ms(), item()
        assert list(store.write([write], now, soon())) == [None]
        for body in (b"second", b"third"):
            redis_server.ask("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
            time.sleep(0.05)  # an event loop hears of it in its next turn
            # Sent on that connection, it could not be told whether it was done.
            write = item(body, over=write)
            assert list(store.write([write], now, soon())) == [None]


# F-06: more callers than connections


@pytest.mark.promise("F-06")
@SYNC_AND_ASYNC
def test_a_caller_that_finds_all_connections_taken_waits_for_one(kind, redis_server, prefix):
    with staged(kind, redis_server, prefix, max_connections=2) as scene:
        write = scene.put()
        scene.proxy.latency = 0.01
        with scene.proxy.counting() as counted, ThreadPoolExecutor(12) as pool:
            found = list(pool.map(lambda _: scene.load(write.key), range(36)))
        assert found == [[write.data]] * 36
        assert counted.connections == 2


@pytest.mark.promise("F-06")
@SYNC_AND_ASYNC
def test_a_caller_that_waits_too_long_for_a_connection_is_told_that_nothing_was_done(
    kind, redis_server, prefix
):
    with staged(kind, redis_server, prefix, patience=0.4, max_connections=2) as scene:
        before = [scene.put() for _ in range(60)]
        writes = [item(b"pears", over=write) for write in before]
        recovered(scene.store)
        scene.write(item())
        scene.proxy.latency = 0.03
        outcomes = {}

        def send(write):
            try:
                (outcomes[write.key],) = scene.write(write)
            except StoreError as error:
                outcomes[write.key] = error

        threads = [threading.Thread(target=send, args=(write,)) for write in writes]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(60)
        assert len(outcomes) == len(writes)
        late = [error for error in outcomes.values() if isinstance(error, StoreError)]
        assert any("max_connections" in str(error) for error in late)
        assert all(isinstance(error, StoreTimeout) for error in late)
        for old, write in zip(before, writes, strict=True):
            outcome, data = outcomes[write.key], scene.data(write.key)
            if outcome is None:
                assert data == write.data
            elif not outcome.ambiguous:
                assert data == old.data
        until(lambda: len(scene.proxy._links) <= 2, "all others are closed")
        scene.recover()


@pytest.mark.promise("F-06")
def test_half_cancelled_crowds_leave_no_connection_behind(redis_server, prefix):
    async def scenario(scene):
        store = async_from_url(f"redis://{HOST}:{scene.proxy.port}/0", prefix=prefix, max_connections=3)
        writes = [scene.put(data_of(b"%d" % number)) for number in range(50)]
        scene.proxy.latency = 0.001
        for turn in range(10):
            loads = [asyncio.create_task(store.load([write.key], scene.now, soon())) for write in writes]
            await asyncio.sleep(0.002 * turn)
            for load in loads[turn % 5 :: 5]:
                load.cancel()
            answers = await asyncio.gather(*loads, return_exceptions=True)
            for write, answer in zip(writes, answers, strict=True):
                assert isinstance(answer, asyncio.CancelledError) or answer[0].data == write.data
        scene.proxy.latency = 0
        found = await asyncio.gather(*(store.load([write.key], scene.now, soon()) for write in writes))
        assert [each.data for (each,) in found] == [write.data for write in writes]
        assert len(store._loops.here().idle) <= 3
        await store.close()
        assert len(store._loops._objects) == 0

    with staged("sync", redis_server, prefix) as scene:
        run(scenario(scene))


@SYNC_AND_ASYNC
def test_a_url_with_a_wrong_password_fails_within_the_deadline(kind, redis_tls, prefix):
    url = redis_tls.url.replace(":the-stores-password@", ":wrong@")
    with opened(kind, url, prefix=prefix, **redis_tls.options) as store:
        error, seconds = timed(store.ping, soon(5))
        assert isinstance(error, StoreUnavailable)
        assert "wrong" not in str(error)
        assert seconds < 5
