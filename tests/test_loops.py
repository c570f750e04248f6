"""What tests of coroutines rely on: a leaked task and an exception that nobody retrieved fail the test."""

import asyncio

import pytest

from tests.loops import LOOPS, Heartbeat, run

EACH = pytest.mark.parametrize("loop", LOOPS)


@EACH
def test_a_task_that_is_left_running_fails_the_test(loop):
    left = []

    async def leak():
        left.append(asyncio.create_task(asyncio.Event().wait()))

    with pytest.raises(AssertionError, match="left running"):
        run(leak(), loop)


@EACH
def test_an_exception_that_nobody_retrieved_fails_the_test(loop):
    async def forget():
        async def fail():
            raise ZeroDivisionError

        task = asyncio.create_task(fail())
        await asyncio.wait([task])

    with pytest.raises(AssertionError, match="never retrieved"):
        run(forget(), loop)


@EACH
def test_the_heartbeat_notices_a_loop_that_is_held_up(loop):
    async def hold_up():
        async with Heartbeat() as heart:
            await heart.some(3)
            asyncio.get_running_loop().call_soon(lambda: sum(range(3_000_000)))
            await heart.some(3)
        return heart.longest

    assert run(hold_up(), loop) > 0.01
