"""Work that waits for servers, written once for threads and event loops.

Such work is a generator. It yields a function of redis-py's with arguments, and is sent the result. `driven` calls the
function in this thread; `driven_async` awaits it, since redis-py's async connections have the same methods.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Generator, Sequence
from typing import Any, TypeAlias, TypeVar, cast

from coatcheck.errors import StoreError
from coatcheck.stores.redis.sockets import this_call_ends_at

__all__ = ["SENT", "Calls", "driven", "driven_async", "together"]

_T = TypeVar("_T")
_Call: TypeAlias = "tuple[Callable[..., Any], tuple[Any, ...]]"
Calls: TypeAlias = "Generator[_Call, Any, _T]"
SENT: _Call = (object, ())
"""Yielded in place of a call, for `together`: the commands are sent, and replies are read next."""


def driven(calls: Calls[_T], deadline: float) -> _T:
    """Do the work in this thread. Its sockets raise `TimeoutError` after `deadline` (monotonic seconds)."""
    this_call_ends_at(deadline)
    try:
        call, arguments = next(calls)
        while True:
            try:
                result = call(*arguments)
            except BaseException as error:  # noqa: BLE001 - the work decides what becomes of it
                call, arguments = calls.throw(error)
            else:
                call, arguments = calls.send(result)
    except StopIteration as end:
        answer: _T = end.value
        return answer


async def driven_async(calls: Calls[_T], deadline: float) -> _T:
    """Do the work in this event loop. After `deadline`, each of its calls raises `TimeoutError`."""
    async with asyncio.timeout(deadline - time.monotonic()) as limit:
        try:
            call, arguments = next(calls)
            while True:
                try:
                    result = await call(*arguments)
                except BaseException as error:  # noqa: BLE001 - as above
                    by_limit = isinstance(error, asyncio.CancelledError) and limit.expired()
                    call, arguments = calls.throw(TimeoutError() if by_limit else error)
                    # The limit interrupts one call only. Those that follow must not wait.
                    while limit.expired():
                        call, arguments = calls.throw(TimeoutError())
                else:
                    call, arguments = calls.send(result)
        except StopIteration as end:
            answer: _T = end.value
            return answer


def together(exchanges: Sequence[Calls[_T]]) -> Calls[list[_T | StoreError]]:
    """Run several exchanges at a time: all send their commands before the first one reads its replies.

    Each yields `SENT` once. An exchange that fails has its `StoreError` as its result.
    """
    results: list[_T | StoreError | None] = [None] * len(exchanges)
    try:
        for _ in ("send", "read"):
            for place, exchange in enumerate(exchanges):
                if results[place] is None:
                    results[place] = yield from _until_sent(exchange)
    finally:
        for exchange in exchanges:
            exchange.close()  # if the caller was cancelled
    return cast("list[_T | StoreError]", results)


def _until_sent(exchange: Calls[_T]) -> Calls[_T | StoreError | None]:
    """Run an exchange until it has sent its commands (the result is None), or from there to its end."""
    try:
        call = next(exchange)
        while call is not SENT:
            try:
                result = yield call
            except Exception as error:  # noqa: BLE001 - the exchange decides what becomes of it
                call = exchange.throw(error)
            else:
                call = exchange.send(result)
    except StopIteration as end:
        answer: _T = end.value
        return answer
    except StoreError as error:
        return error
    return None
