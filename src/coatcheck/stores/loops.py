"""An object for each event loop, which is closed with its loop."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import suppress
from typing import Generic, TypeVar

__all__ = ["PerLoop", "end_socket"]

_T = TypeVar("_T")
_inherited: list[object] = []
"""The objects of a parent process. They are kept, since their end would speak to the parent's event loops."""


def end_socket(writer: asyncio.StreamWriter | None) -> None:
    """End the connection of a stream whose event loop is closed, so that nothing of it can be awaited."""
    found = None if writer is None else writer.get_extra_info("socket")
    if found is not None:
        with suppress(OSError, TypeError):  # uvloop's sockets have no `shutdown`, and end with their loop
            found.shutdown(socket.SHUT_RDWR)


class PerLoop(Generic[_T]):
    """The objects of this process's event loops, each made by `make` on first use and ended by `close`.

    A loop may be closed without notice: its asynchronous generators were not closed before, as `asyncio.run` does. Its
    object is then passed to `abandon` when the next is made; nothing of the loop can be awaited any more.

    `stores.coalesce` has a simpler class for objects that neither refer to their loop nor have to be closed.
    """

    def __init__(
        self,
        make: Callable[[], _T],
        close: Callable[[_T], Awaitable[None]],
        abandon: Callable[[_T], None] = lambda _: None,
    ) -> None:
        self._make = make
        self._close = close
        self._abandon = abandon
        self._start()

    def _start(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._objects: dict[asyncio.AbstractEventLoop, _T] = {}
        self._ends: dict[asyncio.AbstractEventLoop, AsyncGenerator[None, None]] = {}

    def here(self) -> _T:
        """The object of the running loop."""
        loop = asyncio.get_running_loop()
        found = self._objects.get(loop)
        if found is None or self._pid != os.getpid():
            found = self._made(loop)
        return found

    def _made(self, loop: asyncio.AbstractEventLoop) -> _T:
        if self._pid != os.getpid():
            _inherited.append((self._objects, self._ends))
            self._start()
        with self._lock:
            # A loop that was closed without notice would be kept for ever: its connections refer to it.
            for other in list(self._objects):
                # In another thread, a loop may take its object out meanwhile.
                if other.is_closed() and (left := self._objects.pop(other, None)) is not None:
                    self._abandon(left)
                    self._ends.pop(other, None)
            made = self._objects[loop] = self._make()
            end = self._ends[loop] = self._at_the_end_of(loop, made)
        # `asyncio.run` and the like close a loop's asynchronous generators before the loop, and so this one. Its first
        # step waits for nothing.
        with suppress(StopIteration):
            end.__anext__().send(None)
        return made

    async def _at_the_end_of(self, loop: asyncio.AbstractEventLoop, made: _T) -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
            self._objects.pop(loop, None)
            self._ends.pop(loop, None)
            await self._close(made)

    async def close(self) -> None:
        """Close the object of the running loop, and have the other loops close theirs."""
        here = asyncio.get_running_loop()
        for loop, end in list(self._ends.items()):
            if loop is here:
                await end.aclose()
            elif not loop.is_closed():
                asyncio.run_coroutine_threadsafe(_ended(end), loop)


async def _ended(end: AsyncGenerator[None, None]) -> None:
    await end.aclose()
