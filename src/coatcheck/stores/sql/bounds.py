"""Deadlines for drivers: changes to a driver's connection while the store has borrowed it.

A driver waits for a reply for as long as it was told when it connected, or for ever, and starts anew with each piece
of a reply. Here all waiting on a connection ends at one moment, also on a connection of an engine that the application
made. All of it is undone when the connection is given back.

In async, the waiting is cancelled at the deadline. There, a driver is made to let go of the connection at once.
"""

from __future__ import annotations

import io
import time
from collections.abc import Generator
from typing import Any

from sqlalchemy import Dialect

from coatcheck.stores.loops import end_socket

__all__ = ["Bounds", "Reader", "bounded", "bounds_for"]

_INTERVAL = 0.05  # seconds: how late psycopg may notice the end


class Bounds:
    """A driver without special needs: its own timeouts count."""

    def __init__(self, driver: Any, until: float) -> None:
        """Let all waiting on the driver's connection end at `until` (`time.monotonic`)."""
        self._driver = driver
        self._until = until

    def before_statement(self, left: float) -> None:
        """Called before each statement, whose answer must come within `left` seconds."""

    def undo(self) -> None:
        """Make the connection as it was."""

    def abort(self) -> None:
        """Called before the connection is closed unfinished: closing it must not wait for the server."""

    @staticmethod
    def abandon(driver: Any) -> None:
        """End a driver's connection, if there is one, without waiting: its event loop may be closed."""


class _PyMySQL(Bounds):
    """PyMySQL has no deadline for a reply, only a timeout for each piece of it, and no public way to set either."""

    def __init__(self, driver: Any, until: float) -> None:
        super().__init__(driver, until)
        self._write_timeout, self._reader = driver._write_timeout, driver._rfile  # noqa: SLF001 - see above
        self._bounded = driver._rfile = io.BufferedReader(Reader(driver._sock, until))  # noqa: SLF001

    def before_statement(self, left: float) -> None:
        self._driver._write_timeout = left  # noqa: SLF001 - it holds for all of what is written

    def undo(self) -> None:
        driver = self._driver
        driver._write_timeout = self._write_timeout  # noqa: SLF001
        if driver._rfile is self._bounded:  # noqa: SLF001
            driver._rfile = self._reader  # noqa: SLF001
        else:
            self._reader.close()  # PyMySQL has closed the connection; the socket stays open until this is closed, too


class Reader(io.RawIOBase):
    """Reads from a socket, until a moment."""

    def __init__(self, sock: Any, until: float) -> None:
        super().__init__()
        self._sock = sock
        self._until = until

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        left = self._until - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self._sock.settimeout(left)
        size: int = self._sock.recv_into(buffer)
        return size


class _Aiomysql(Bounds):
    """When aiomysql is cancelled it closes the connection, but first waits until all is sent that is left to send."""

    def __init__(self, driver: Any, until: float) -> None:
        super().__init__(driver, until)
        self._transport = driver._writer.transport  # noqa: SLF001 - there is no public way; it is gone once closed

    def abort(self) -> None:
        self._transport.abort()
        self._driver.close()

    @staticmethod
    def abandon(driver: Any) -> None:
        writer = driver and driver._writer  # noqa: SLF001 - as above
        if writer:
            driver._writer = None  # noqa: SLF001 - its finalizer would call the loop
            end_socket(writer)


class _Psycopg(Bounds):
    """psycopg waits in one documented method of its connections, `wait`, for as long as the connection stands.

    It also prepares statements that it has sent some times. They are turned off: behind a pooler in transaction mode,
    the next transaction may run on another connection, where they are not known.
    """

    def __init__(self, driver: Any, until: float) -> None:
        from psycopg import waiting  # imported by now; only its own dialects need it

        super().__init__(driver, until)
        self._waiting: Any = waiting
        self._prepare_threshold = driver.prepare_threshold
        driver.prepare_threshold = None
        driver.wait = self._wait

    def _wait(self, gen: Any, interval: float = 0, timeout: float | None = None) -> Any:
        del interval, timeout
        return self._waiting.wait(bounded(gen, self._until), self._driver.pgconn.socket, interval=_INTERVAL)

    def undo(self) -> None:
        self._driver.prepare_threshold = self._prepare_threshold
        del self._driver.wait

    @staticmethod
    def abandon(driver: Any) -> None:
        if driver is not None:
            driver.pgconn.finish()


class _AsyncPsycopg(_Psycopg):
    """When psycopg's own `wait` is cancelled, it asks the server to cancel, too, and waits seconds for that."""

    async def _wait(self, gen: Any, interval: float = 0, timeout: float | None = None) -> Any:  # noqa: ASYNC109 - psycopg's own
        del interval, timeout
        return await self._waiting.wait_async(gen, self._driver.pgconn.socket, interval=_INTERVAL)


def bounded(gen: Any, until: float) -> Generator[Any, Any, Any]:
    """Run psycopg's generator `gen`, until a moment. It is resumed at least once in each interval."""
    try:
        wish = next(gen)
        while True:
            ready = yield wish
            if time.monotonic() > until:
                raise TimeoutError
            wish = gen.send(ready)
    except StopIteration as stop:
        return stop.value


def bounds_for(dialect: Dialect) -> type[Bounds]:
    """The class for the connections of a dialect's driver."""
    psycopg = _AsyncPsycopg if dialect.is_async else _Psycopg
    return {"psycopg": psycopg, "pymysql": _PyMySQL, "aiomysql": _Aiomysql}.get(dialect.driver, Bounds)
