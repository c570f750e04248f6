"""Work that waits for servers: its limit in time, and several exchanges at a time."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from types import SimpleNamespace
from typing import ClassVar

import pytest

from coatcheck.errors import StoreTimeout, StoreUnavailable
from coatcheck.stores.breaker import Breaker
from coatcheck.stores.redis import async_from_url
from coatcheck.stores.redis.calls import SENT, driven, driven_async, together
from coatcheck.stores.redis.pools import Pool
from coatcheck.stores.redis.scripts import Command, packed
from tests.awake import awake
from tests.servers.process import HOST
from tests.stores.redis.scene import soon, staged


def exchange(name, log, *, fails_at=None):
    """An exchange that notes its steps."""
    try:
        for step in ("send", "read"):
            if step == fails_at:
                raise StoreUnavailable(name)
            yield log.append, (f"{step} {name}",)
            if step == "send":
                yield SENT
    except GeneratorExit:
        log.append(f"closed {name}")
        raise
    return name


@pytest.mark.promise("3")
def test_all_exchanges_send_before_the_first_one_reads():
    log = []
    results = driven(together([exchange("a", log), exchange("b", log)]), soon())
    assert results == ["a", "b"]
    assert log == ["send a", "send b", "read a", "read b"]


@pytest.mark.parametrize("step", ["send", "read"])
def test_an_exchange_that_fails_fails_alone(step):
    log = []
    failed, result = driven(together([exchange("a", log, fails_at=step), exchange("b", log)]), soon())
    assert isinstance(failed, StoreUnavailable)
    assert result == "b"
    assert log.index("read b") == len(log) - 1


@pytest.mark.servers
@pytest.mark.promise("F-03")
def test_an_exchange_that_is_repeated_is_not_taken_for_one_that_has_only_sent(redis_server, prefix):
    with staged("sync", redis_server, prefix) as scene:
        read = [Command(b"", packed(b"GET", os.urandom(16)), reads=True)]
        pool = scene.store._servers
        both = lambda: driven(together([pool.exchange(read, soon(), pauses=True) for _ in range(2)]), soon())
        assert both() == [[None], [None]]
        scene.proxy.drop_replies()
        assert all(isinstance(failed, StoreUnavailable) for failed in both())


@pytest.mark.promise("F-05")
def test_when_the_caller_is_cancelled_every_exchange_ends():
    log = []
    work = together([exchange("a", log), exchange("b", log)])
    for _ in range(3):  # both have sent
        call, arguments = work.send(None)
        call(*arguments)
    with pytest.raises(asyncio.CancelledError) as raised:
        work.throw(asyncio.CancelledError())
    assert log[-2:] == ["closed a", "closed b"], raised  # whose traceback refers to them still


@pytest.mark.promise("F-02")
def test_in_async_all_calls_of_some_work_together_end_with_the_deadline():
    def work():
        failures = 0
        for _ in range(3):
            try:
                yield asyncio.sleep, (20,)
            except TimeoutError:
                failures += 1
        return failures

    start = awake()
    assert asyncio.run(driven_async(work(), soon(0.1))) == 3
    assert awake() - start < 5


class Line:
    """A connection that gives these replies; an exception is raised."""

    made: ClassVar[list[Line]] = []

    def __init__(self, *replies):
        self.replies, self.is_open = list(replies), True
        self.made.append(self)

    def connect(self):
        pass

    def can_read(self):
        return False

    def send_packed_command(self, _data):
        pass

    def read_response(self):
        reply = self.replies.pop(0)
        if isinstance(reply, Exception):
            raise reply
        return reply

    def disconnect(self):
        self.is_open = False


def a_pool():
    settings = SimpleNamespace(connection_class=Line, connection_kwargs={})
    return Pool(settings, "redis://a", 1, Breaker("redis://a", failures=2), is_async=False)


READ = [Command(b"", b"GET", reads=True)]


@pytest.mark.promise("F-06")
def test_an_exchange_that_fails_while_others_wait_for_replies_is_not_repeated_with_their_turns_taken():
    pool = a_pool()
    for _ in range(3):
        pool.idle.append(Line(ConnectionResetError()))
        Line.made.clear()
        (failed,) = driven(together([pool.exchange(READ, soon(), pauses=True)]), soon())
        assert isinstance(failed, StoreUnavailable)
        assert not failed.ambiguous
        assert Line.made == []
        assert pool.turns.acquire(blocking=False)
        pool.turns.release()
    pool.idle.append(Line(b"found"))  # an old connection that was closed is no failure of the server
    assert driven(pool.exchange(READ, soon()), soon()) == [b"found"]


@pytest.mark.promise("20")
@pytest.mark.parametrize("reads", [True, False])
def test_a_reply_for_which_another_server_left_no_time_is_no_failure_of_this_one(reads):
    pool = a_pool()
    for _ in range(3):
        connection = Line(b"found")
        pool.idle.append(connection)
        deadline = time.monotonic() + 0.05
        exchange = pool.exchange([Command(b"", b"SET", reads=reads)], deadline, pauses=True)
        call, arguments = next(exchange)
        while (call, arguments) != SENT:
            call, arguments = exchange.send(call(*arguments))
        time.sleep(0.06)
        with pytest.raises(StoreTimeout, match="no time was left to read the reply of redis://a") as caught:
            next(exchange)
        assert caught.value.ambiguous is not reads
        assert not connection.is_open
    pool.idle.append(Line(b"found"))
    assert driven(pool.exchange(READ, soon()), soon()) == [b"found"]


@pytest.mark.promise("F-06")
def test_a_turn_that_comes_too_late_is_given_back_and_nothing_is_sent():
    class Late:
        released = 0

        def acquire(self, _blocking, timeout):
            time.sleep(timeout * 0.97)
            return True

        def release(self):
            self.released += 1

    pool, turns = a_pool(), Late()
    pool.turns = turns
    for number in range(1, 4):
        Line.made.clear()
        deadline = time.monotonic() + 0.1
        with pytest.raises(StoreTimeout, match="max_connections") as caught:
            driven(pool.exchange(READ, deadline), deadline)
        assert not caught.value.ambiguous
        assert (turns.released, Line.made) == (number, [])


@pytest.mark.promise("24")
def test_in_a_forked_process_all_is_made_anew_before_another_thread_can_see_it(monkeypatch):
    pool, seen, made = a_pool(), [], threading.Semaphore
    pool._pid = -1  # the parent's

    def make(most):
        seen.append(pool._pid)
        return made(most)

    monkeypatch.setattr(threading, "Semaphore", make)
    parents = pool.turns
    pool.idle.append(Line(b"the parent's"))
    with pytest.raises(StoreUnavailable):  # a new connection, which has no reply to give
        driven(pool.exchange(READ, soon()), soon())
    assert seen == [-1]
    assert pool.turns is not parents
    assert pool._pid == os.getpid()


@pytest.mark.servers
@pytest.mark.promise("F-02")
def test_who_waits_for_a_connection_waits_until_the_deadline_and_is_told(redis_server, prefix):
    async def scenario(scene):
        store = async_from_url(f"redis://{HOST}:{scene.proxy.port}", prefix=prefix, max_connections=1)
        await store.load([bytes(16)], scene.now, soon())
        scene.proxy.silent = True
        first = asyncio.create_task(store.load([bytes(16)], scene.now, soon()))
        await asyncio.sleep(0)  # it has the connection
        with pytest.raises(StoreTimeout, match="all 1 connections"):
            await store.load([bytes(16)], scene.now, soon(0.2))
        scene.proxy.heal()
        assert await first == [None]
        await store.close()

    with staged("sync", redis_server, prefix) as scene:
        asyncio.run(scenario(scene))
