"""psycopg's connections, made to give up at a moment that the store sets.

libpq waits for an answer for as long as the connection stands, and a server that was stopped, or a network that
swallows everything, leaves it standing. All waiting of psycopg goes through one documented method; here it ends.
"""

from __future__ import annotations

import asyncio
import math
import time
from collections.abc import Generator
from typing import Any, TypeVar

from psycopg import AsyncConnection, Connection, waiting
from psycopg.abc import PQGen
from psycopg.pq import Format

from coatcheck.stores._sql_errors import Overdue

__all__ = ["BoundedAsyncConnection", "BoundedConnection"]

_T = TypeVar("_T")
_INTERVAL = 0.05  # seconds: how late the end may be noticed


class BoundedConnection(Connection[Any]):
    """A connection whose answers come until `until` (`time.monotonic`), or not at all. Bytes come as bytes."""

    until: float = math.inf

    def wait(self, gen: PQGen[_T], interval: float = _INTERVAL, timeout: float | None = None) -> _T:
        """See `psycopg.Connection.wait`. Nobody may go on with a connection of which this raised."""
        return waiting.wait(_bounded(gen, self.until), self.pgconn.socket, interval=_INTERVAL)

    def cursor(self, *args: Any, **kwargs: Any) -> Any:
        """See `psycopg.Connection.cursor`."""
        cursor = super().cursor(*args, **kwargs)
        cursor.format = Format.BINARY
        return cursor


class BoundedAsyncConnection(AsyncConnection[Any]):
    """The same for an event loop."""

    until: float = math.inf

    async def wait(self, gen: PQGen[_T], interval: float = _INTERVAL, timeout: float | None = None) -> _T:  # noqa: ASYNC109 - psycopg's own
        """See `psycopg.AsyncConnection.wait`; where that, when cancelled, waits for the server, this does not."""
        try:
            async with asyncio.timeout(None if self.until == math.inf else self.until - time.monotonic()):
                return await waiting.wait_async(gen, self.pgconn.socket, interval=_INTERVAL)
        except TimeoutError as error:
            raise Overdue from error

    def cursor(self, *args: Any, **kwargs: Any) -> Any:
        """See `psycopg.AsyncConnection.cursor`."""
        cursor = super().cursor(*args, **kwargs)
        cursor.format = Format.BINARY
        return cursor


def _bounded(gen: PQGen[_T], until: float) -> Generator[Any, Any, _T]:
    """`gen`, which is told every so often that nothing has come; until the end."""
    try:
        wish = next(gen)
        while True:
            ready = yield wish
            if time.monotonic() > until:
                raise Overdue
            wish = gen.send(ready)
    except StopIteration as stop:
        answer: _T = stop.value
        return answer
