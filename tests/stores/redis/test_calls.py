"""Work that waits for servers: its limit in time, and several exchanges at a time."""

import asyncio
import os
import time

import pytest

from coatcheck.errors import StoreUnavailable
from coatcheck.stores.redis.calls import SENT, driven, driven_async, together
from coatcheck.stores.redis.scripts import Command, packed
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

    start = time.monotonic()
    assert asyncio.run(driven_async(work(), soon(0.1))) == 3
    assert time.monotonic() - start < 5
