"""The ways in which what somebody awaits is cancelled. Each comes back when that has happened."""

import asyncio
from contextlib import suppress

import anyio
import pytest


async def by_cancel(work):
    task = asyncio.current_task()
    asyncio.get_running_loop().call_soon(task.cancel)
    with suppress(asyncio.CancelledError):
        await work
    task.uncancel()


async def by_timeout(work):
    with suppress(TimeoutError):
        async with asyncio.timeout(0):
            await work


async def by_task_group(work):
    async def fail():
        raise ZeroDivisionError

    with suppress(ExceptionGroup):
        async with asyncio.TaskGroup() as group:
            group.create_task(fail())
            await work


async def by_move_on_after(work):
    with anyio.move_on_after(0):
        await work


async def by_cancel_scope(work):
    with anyio.CancelScope() as scope:
        asyncio.get_running_loop().call_soon(scope.cancel)
        await work


async def by_anyio_task_group(work):
    async def cancel():
        group.cancel_scope.cancel()

    async with anyio.create_task_group() as group:
        group.start_soon(cancel)
        await work


async def by_cancelled_scope(work):
    """Where any waiting raises at once."""
    with anyio.CancelScope() as scope:
        scope.cancel()
        await work


WAYS = (
    by_cancel,
    by_timeout,
    by_task_group,
    by_move_on_after,
    by_cancel_scope,
    by_cancelled_scope,
    by_anyio_task_group,
)
BY_ANY_WAY = pytest.mark.parametrize("cancelled", WAYS)
