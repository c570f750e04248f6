"""What belongs to one event loop: made for each loop anew, and ended with it."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import AsyncGenerator, Callable
from contextlib import suppress
from typing import Generic, Protocol, TypeVar

__all__ = ["PerLoop"]


class _Servers(Protocol):
    async def close(self) -> None: ...


_S = TypeVar("_S", bound=_Servers)
_inherited: list[object] = []
"""The connections of a parent process. Kept, since their end would speak to the parent's event loops."""


class PerLoop(Generic[_S]):
    """The servers of each event loop of this process, made by `make`."""

    def __init__(self, make: Callable[[], _S]) -> None:
        self._make = make
        self._start()

    def _start(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._servers: dict[asyncio.AbstractEventLoop, _S] = {}
        self._ends: dict[asyncio.AbstractEventLoop, AsyncGenerator[None, None]] = {}

    def here(self) -> _S:
        """Those of the running loop."""
        loop = asyncio.get_running_loop()
        servers = self._servers.get(loop)
        if servers is None or self._pid != os.getpid():
            servers = self._made(loop)
        return servers

    def _made(self, loop: asyncio.AbstractEventLoop) -> _S:
        if self._pid != os.getpid():
            _inherited.append((self._servers, self._ends))
            self._start()
        with self._lock:
            # A loop that was closed without notice would be kept for ever by its connections.
            for other in [other for other in self._servers if other.is_closed()]:
                del self._servers[other], self._ends[other]
            servers = self._servers[loop] = self._make()
            end = self._ends[loop] = self._at_the_end_of(loop, servers)
        # A loop that is shut down in order (`asyncio.run` does so) closes its asynchronous generators, and so this one
        # closes the connections in time. Its first step waits for nothing.
        with suppress(StopIteration):
            end.__anext__().send(None)
        return servers

    async def _at_the_end_of(
        self, loop: asyncio.AbstractEventLoop, servers: _S
    ) -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
            self._servers.pop(loop, None)
            self._ends.pop(loop, None)
            await servers.close()

    async def close(self) -> None:
        """Close the connections of the running loop, and have the other loops close theirs."""
        here = asyncio.get_running_loop()
        for loop, end in list(self._ends.items()):
            if loop is here:
                await end.aclose()
            elif not loop.is_closed():
                asyncio.run_coroutine_threadsafe(_ended(end), loop)


async def _ended(end: AsyncGenerator[None, None]) -> None:
    await end.aclose()
