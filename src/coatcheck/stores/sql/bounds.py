"""Deadlines for drivers: what is done to a driver's connection while the store has borrowed it.

A driver waits for a reply for as long as it was told when it connected, or for ever, and starts anew with each piece
of a reply. Here every wait ends at one moment. It works on any connection of these drivers, also on those of an
engine that the application made, and is undone when the connection is given back.

In async, the caller's `asyncio.timeout` ends the waiting. What remains to do is to let go of the connection at once.
"""

from __future__ import annotations

import io
import socket
import time
from typing import Any

from sqlalchemy import Dialect

__all__ = ["Bounds", "bounds_for"]


class Bounds:
    """A driver without special needs: its own timeouts count."""

    def __init__(self, driver: Any, until: float) -> None:
        """Let all waiting on `driver` end at `until` (`time.monotonic`)."""
        self._driver = driver
        self._until = until

    def before_statement(self, left: float) -> None:
        """A statement will be sent, with `left` seconds for its answer."""

    def undo(self) -> None:
        """Make the connection as it was."""

    def abort(self) -> None:
        """Let nothing that ends the connection wait for the server."""


class PyMySQLBounds(Bounds):
    """PyMySQL has no deadline for a reply, only a timeout for each piece of it."""

    def __init__(self, driver: Any, until: float) -> None:
        super().__init__(driver, until)
        self._timeouts = driver._read_timeout, driver._write_timeout  # noqa: SLF001 - there is no public way
        self._reader = driver._rfile  # noqa: SLF001
        self._bounded = io.BufferedReader(_Reader(driver._sock, until))  # noqa: SLF001
        driver._rfile = self._bounded  # noqa: SLF001

    def before_statement(self, left: float) -> None:
        """See `Bounds.before_statement`. The timeout of a write holds for all of it."""
        self._driver._read_timeout = self._driver._write_timeout = left  # noqa: SLF001

    def undo(self) -> None:
        """See `Bounds.undo`."""
        driver = self._driver
        driver._read_timeout, driver._write_timeout = self._timeouts  # noqa: SLF001
        if driver._rfile is self._bounded:  # noqa: SLF001
            driver._rfile = self._reader  # noqa: SLF001
        else:
            self._reader.close()  # PyMySQL has closed the connection; the socket stays open until this is closed, too


class AiomysqlBounds(Bounds):
    """aiomysql lets what is left to send be sent before it closes a connection, also when it is cancelled."""

    def __init__(self, driver: Any, until: float) -> None:
        super().__init__(driver, until)
        self._transport = driver._writer.transport  # noqa: SLF001 - there is no public way

    def abort(self) -> None:
        """See `Bounds.abort`."""
        self._transport.abort()
        self._driver.close()


class _Reader(io.RawIOBase):
    """Reads from a socket, until a moment."""

    def __init__(self, sock: socket.socket, until: float) -> None:
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
        return self._sock.recv_into(buffer)


def bounds_for(dialect: Dialect) -> type[Bounds]:
    """The class for the connections of a dialect's driver."""
    if dialect.driver == "psycopg":
        from coatcheck.stores.sql.bounds_psycopg import AsyncPsycopgBounds, PsycopgBounds

        return AsyncPsycopgBounds if dialect.is_async else PsycopgBounds
    return {"pymysql": PyMySQLBounds, "aiomysql": AiomysqlBounds}.get(dialect.driver, Bounds)
