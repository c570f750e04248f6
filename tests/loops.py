"""Coroutine functions as tests: under asyncio and under uvloop, leaving nothing running and nothing unsaid."""

import asyncio
import functools
import gc
import inspect
from contextlib import suppress

import pytest
import uvloop

from tests.awake import awake

LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
PATIENCE = 120  # seconds; only a test that is about to fail waits so long


def run(work, loop="asyncio"):
    """The result of a coroutine, in a loop of its own, which must be left as it was found."""
    complaints = []

    async def watched():
        asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
        async with asyncio.timeout(PATIENCE):
            result = await work
        await quiet()
        return result

    gc.freeze()  # so that collecting below looks only at what is new
    try:
        with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
            result = runner.run(watched())
            gc.collect()  # an exception that nobody retrieved is told of when its future goes
            runner.run(asyncio.sleep(0))
    finally:
        gc.unfreeze()
    assert complaints == [], complaints
    return result


async def quiet():
    """Return when nothing runs but the caller; what is still running after many turns of the loop is a leak."""
    for _ in range(100):
        leaked = asyncio.all_tasks() - {asyncio.current_task()}
        if not leaked:
            return
        await asyncio.sleep(0)
    raise AssertionError(f"left running: {leaked}")


async def until(condition, turns=1_000):
    """Let the loop turn until `condition` holds."""
    for _ in range(turns):
        if condition():
            return
        await asyncio.sleep(0)
    raise AssertionError("it did not come to that")


def on_each_loop(test):
    """Makes a test of a coroutine function."""

    def runs(*args, loop, **kwargs):
        run(test(*args, **kwargs), loop)

    functools.update_wrapper(runs, test)
    del runs.__wrapped__  # pytest would look for the fixtures of that
    signature = inspect.signature(test)
    its_loop = inspect.Parameter("loop", inspect.Parameter.KEYWORD_ONLY)
    runs.__signature__ = signature.replace(parameters=[*signature.parameters.values(), its_loop])
    return pytest.mark.parametrize("loop", LOOPS)(runs)


class Heartbeat:
    """Beats while the loop turns, and knows the longest time for which it did not."""

    every = 0.001

    async def __aenter__(self):
        self.longest = 0.0
        self.beats = 0
        self._beaten = asyncio.Event()
        self._task = asyncio.create_task(self._beat())
        await asyncio.sleep(0)
        return self

    async def __aexit__(self, *_):
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task

    async def _beat(self):
        last = awake()
        while True:
            await asyncio.sleep(self.every)
            now = awake()
            self.longest = max(self.longest, now - last - self.every)
            self.beats += 1
            self._beaten.set()
            self._beaten = asyncio.Event()
            last = now

    async def some(self, beats=20):
        """Return after so many beats."""
        for _ in range(beats):
            await self._beaten.wait()
