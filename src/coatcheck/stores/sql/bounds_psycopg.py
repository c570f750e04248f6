"""Deadlines for psycopg, which waits in one documented method of its connections."""

from __future__ import annotations

import time
from collections.abc import Generator
from typing import Any, TypeVar

from psycopg import waiting
from psycopg.abc import PQGen

from coatcheck.stores.sql.bounds import Bounds

__all__ = ["AsyncPsycopgBounds", "PsycopgBounds"]

_T = TypeVar("_T")
_INTERVAL = 0.05  # seconds: how late the end may be noticed


class PsycopgBounds(Bounds):
    """Replaces `psycopg.Connection.wait`, which waits for as long as the connection stands."""

    def __init__(self, driver: Any, until: float) -> None:
        super().__init__(driver, until)
        driver.wait = self._wait

    def _wait(self, gen: PQGen[_T], interval: float = 0, timeout: float | None = None) -> _T:
        del interval, timeout
        return waiting.wait(_bounded(gen, self._until), self._driver.pgconn.socket, interval=_INTERVAL)

    def undo(self) -> None:
        """See `Bounds.undo`."""
        del self._driver.wait


class AsyncPsycopgBounds(Bounds):
    """Replaces `psycopg.AsyncConnection.wait`, which waits for the server for seconds when it is cancelled."""

    def __init__(self, driver: Any, until: float) -> None:
        super().__init__(driver, until)
        driver.wait = self._wait

    async def _wait(self, gen: PQGen[_T], interval: float = 0, timeout: float | None = None) -> _T:  # noqa: ASYNC109 - psycopg's own
        del interval, timeout
        return await waiting.wait_async(gen, self._driver.pgconn.socket, interval=_INTERVAL)

    def undo(self) -> None:
        """See `Bounds.undo`."""
        del self._driver.wait


def _bounded(gen: PQGen[_T], until: float) -> Generator[Any, Any, _T]:
    """`gen`, which is told every so often that nothing has come; until the end."""
    try:
        wish = next(gen)
        while True:
            ready = yield wish
            if time.monotonic() > until:
                raise TimeoutError
            wish = gen.send(ready)
    except StopIteration as stop:
        answer: _T = stop.value
        return answer
