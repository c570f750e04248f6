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
    def abandon(self) -> None: ...


_S = TypeVar("_S", bound=_Servers)
_inherited: list[object] = []
"""Of a parent process. Kept, since what they would do at their end goes to the parent's event loops."""


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
                self._servers.pop(other).abandon()
                self._ends.pop(other, None)
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
        """Close the connections of the running loop, and have those of other loops closed by them."""
        here = asyncio.get_running_loop()
        for loop, servers in list(self._servers.items()):
            if loop is here:
                await self._ends[loop].aclose()
            else:
                self._servers.pop(loop, None)
                with suppress(RuntimeError):
                    loop.call_soon_threadsafe(servers.abandon)
