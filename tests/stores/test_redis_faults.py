"""What the network does to a Redis store: refuse, fall silent, delay; and more callers than connections.

A call then ends within its deadline with a `StoreError`; what is stored is the old or the new record, never a mixture;
no answer is ever another call's; and the store recovers by itself.
"""

import asyncio
import os
import statistics
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from coatcheck.errors import StoreError, StoreTimeout, StoreUnavailable
from coatcheck.model.record import Applied, Create
from coatcheck.stores import redis_async
from tests.loops import Heartbeat, run
from tests.servers.process import HOST
from tests.stores.redis_scene import BOTH_COLOURS, opened, recovered, staged

pytestmark = pytest.mark.servers


def timed(call, *arguments):
    """What it raised, and the seconds that it took."""
    start = time.monotonic()
    try:
        call(*arguments)
    except StoreError as error:
        return error, time.monotonic() - start
    raise AssertionError("it did not fail")


# F-01: connections are refused


@pytest.mark.promise("F-01", "20")
@BOTH_COLOURS
def test_while_connections_are_refused_every_call_says_so_and_soon_at_once(colour, redis_server, prefix):
    with staged(colour, redis_server, prefix) as scene:
        record = scene.stored()
        assert scene.store.load([record.key], scene.now) == [record]
        scene.proxy.down()
        failures = [timed(scene.store.load, [record.key], scene.now) for _ in range(50)]
        assert all(isinstance(error, StoreUnavailable) for error, _ in failures)
        assert not any(isinstance(error, StoreTimeout) for error, _ in failures)
        # The breaker is open: nobody waits for a connection any more.
        assert statistics.median(seconds for _, seconds in failures[10:]) < 0.05
        for change in (*scene.changes(record).values(),):
            error, _ = timed(scene.store.apply, [change])
            assert isinstance(error, StoreUnavailable)
        assert scene.found(record) == record
        assert scene.recover() < 5
        assert scene.store.load([record.key], scene.now) == [record]


@pytest.mark.promise("F-01", "20")
@BOTH_COLOURS
def test_an_open_breaker_lets_one_call_try_now_and_then(colour, redis_server, prefix):
    with staged(colour, redis_server, prefix, deadline=timedelta(seconds=0.1)) as scene:
        scene.stored()
        scene.proxy.down()
        for _ in range(10):
            timed(scene.store.ping)
        scene.proxy.silent = True
        scene.proxy.up()
        with scene.proxy.counting() as counted:
            start, calls = time.monotonic(), 0
            while time.monotonic() - start < 1.5:
                timed(scene.store.ping)
                calls += 1
        took = time.monotonic() - start
        # It rests half a second each time; what was let through may try again within its deadline.
        assert 1 <= counted.connections <= 3 * (took / 0.5 + 2)
        assert calls > 10 * counted.connections
        assert scene.recover() < 5


# F-02: silence


@pytest.mark.promise("F-02", "20")
@pytest.mark.parametrize("operation", ["load", "apply", "ping"])
@BOTH_COLOURS
def test_in_silence_a_call_ends_with_its_deadline(colour, operation, redis_server, prefix):
    deadline = 1.5
    with staged(colour, redis_server, prefix, deadline=timedelta(seconds=deadline)) as scene:
        record = scene.stored()
        recovered(scene.store)
        scene.proxy.silent = True
        arguments = {
            "load": ([record.key], scene.now),
            "apply": ([scene.update(record, set={"a": b"3"})],),
            "ping": (),
        }
        error, seconds = timed(getattr(scene.store, operation), *arguments[operation])
        assert isinstance(error, StoreTimeout)
        assert error.ambiguous == (operation == "apply")
        assert 0.8 * deadline <= seconds < 1.9 * deadline  # not as long again for another try
        assert scene.recover() < 5


@pytest.mark.promise("F-02", "20")
def test_in_silence_many_threads_all_end_with_their_deadline(redis_server, prefix):
    with staged("sync", redis_server, prefix, deadline=timedelta(seconds=0.5), max_connections=4) as scene:
        record = scene.stored()
        recovered(scene.store)
        scene.proxy.silent = True
        with ThreadPoolExecutor(24) as pool:
            failures = list(pool.map(lambda _: timed(scene.store.load, [record.key], scene.now), range(48)))
        assert all(isinstance(error, StoreUnavailable) for error, _ in failures)
        assert max(seconds for _, seconds in failures) < 2.5
        assert scene.recover() < 5
        with ThreadPoolExecutor(24) as pool:
            assert (
                list(pool.map(lambda _: scene.store.load([record.key], scene.now), range(48)))
                == [[record]] * 48
            )


@pytest.mark.promise("F-02", "20")
def test_in_silence_the_event_loop_turns_on(redis_server, prefix):
    deadline = 2.0

    async def scenario(scene):
        url = f"redis://{HOST}:{scene.proxy.port}/0"
        store = redis_async.from_url(url, prefix=prefix, deadline=timedelta(seconds=deadline))
        record = scene.stored()
        assert await store.load([record.key], scene.now) == [record]
        scene.proxy.silent = True

        async def ask():
            start = time.monotonic()
            with pytest.raises(StoreUnavailable):
                await store.load([os.urandom(16)], scene.now)
            return time.monotonic() - start

        async with Heartbeat() as heart:
            took = await asyncio.gather(*(ask() for _ in range(100)))
        assert max(took) < 5 * deadline
        assert heart.beats > 10
        assert heart.longest < 0.5 * deadline
        scene.proxy.heal()
        start = time.monotonic()
        while True:
            try:
                assert await store.load([record.key], scene.now) == [record]
                break
            except StoreUnavailable:
                assert time.monotonic() - start < 5
                await asyncio.sleep(0.02)
        await store.close()

    with staged("sync", redis_server, prefix) as scene:
        run(scenario(scene))


@pytest.mark.promise("F-01", "20")
def test_while_one_tries_a_silent_server_nobody_else_does(redis_server, prefix):
    """Batches are few: if each carried one who tries, all others would wait for those to come to their end."""
    deadline = 6.0

    async def scenario(scene):
        url = f"redis://{HOST}:{scene.proxy.port}/0"
        store = redis_async.from_url(url, prefix=prefix, deadline=timedelta(seconds=deadline))

        async def ask():
            with pytest.raises(StoreUnavailable):
                await store.load([os.urandom(16)], scene.now)

        scene.proxy.down()
        for _ in range(10):  # until the breaker is open
            await ask()
        scene.proxy.silent = True
        scene.proxy.up()
        tries = asyncio.create_task(ask())
        while (await asyncio.wait([tries], timeout=0.1))[0]:
            tries = asyncio.create_task(ask())
        await asyncio.sleep(0.7)  # after half a second, others were let through too
        start = time.monotonic()
        await ask()
        assert time.monotonic() - start < deadline / 3
        assert not tries.done()
        scene.proxy.down()
        await tries
        await store.close()

    with staged("sync", redis_server, prefix) as scene:
        run(scenario(scene))


@pytest.mark.promise("F-02", "20")
@BOTH_COLOURS
def test_delays_within_the_deadline_are_only_delays(colour, redis_server, prefix):
    with staged(colour, redis_server, prefix) as scene:
        record = scene.record()
        scene.proxy.latency = 0.03
        assert scene.store.apply([Create(record)]) == [Applied()]
        assert scene.store.load([record.key], scene.now) == [record]


# F-06: more callers than connections


@pytest.mark.promise("F-06")
def test_who_waits_too_long_for_a_connection_is_told_that_nothing_was_done(redis_server, prefix):
    with staged("sync", redis_server, prefix, deadline=timedelta(seconds=0.4), max_connections=2) as scene:
        records = [scene.stored() for _ in range(60)]
        recovered(scene.store)
        scene.proxy.latency = 0.03
        outcomes = {}

        def write(record):
            try:
                outcomes[record.key] = scene.store.apply([scene.update(record, set={"a": b"3"})])
            except StoreError as error:
                outcomes[record.key] = error

        threads = [threading.Thread(target=write, args=(record,)) for record in records]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)
        assert len(outcomes) == len(records)
        late = [error for error in outcomes.values() if isinstance(error, StoreError)]
        assert late
        assert all(isinstance(error, StoreTimeout) for error in late)
        for record in records:
            outcome, found = outcomes[record.key], scene.found(record)
            if not isinstance(outcome, StoreError):
                assert found.fields["a"] == b"3"
            elif not outcome.ambiguous:
                assert found == record
        assert open_connections(redis_server, scene) <= 3  # two, and the truth's
        scene.recover()


def open_connections(server, scene):
    with server.client() as client:
        return sum(
            entry["name"] == "" and entry["cmd"] not in {"client|list", "ping"}
            for entry in client.client_list()
        )


@pytest.mark.promise("F-06")
def test_half_cancelled_crowds_leave_no_connection_behind(redis_server, prefix):
    async def scenario(scene):
        url = f"redis://{HOST}:{scene.proxy.port}/0"
        store = redis_async.from_url(url, prefix=prefix, max_connections=3)._store
        records = [scene.stored() for _ in range(50)]
        scene.proxy.latency = 0.001
        for turn in range(10):
            loads = [asyncio.create_task(store.load([record.key], scene.now)) for record in records]
            await asyncio.sleep(0.002 * turn)
            for load in loads[turn % 5 :: 5]:
                load.cancel()
            answers = await asyncio.gather(*loads, return_exceptions=True)
            for record, answer in zip(records, answers, strict=True):
                assert isinstance(answer, asyncio.CancelledError) or answer == [record]
        scene.proxy.latency = 0
        assert len(scene.proxy._links) <= 3
        assert await asyncio.gather(*(store.load([record.key], scene.now) for record in records)) == [
            [record] for record in records
        ]
        await store.close()

    with staged("sync", redis_server, prefix) as scene:
        run(scenario(scene))


@pytest.mark.promise("F-01", "20")
def test_a_url_with_a_wrong_password_fails_within_the_deadline(redis_tls, prefix):
    url = redis_tls.url.replace(":the-stores-password@", ":wrong@")
    with opened("sync", url, prefix=prefix, **redis_tls.options) as store:
        error, seconds = timed(store.ping)
        assert isinstance(error, StoreUnavailable)
        assert "wrong" not in str(error)
        assert seconds < 5
