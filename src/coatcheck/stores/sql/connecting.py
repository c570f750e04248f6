"""Connecting by a deadline.

psycopg and PyMySQL have a timeout for parts of it only, and psycopg none below 2 seconds. Here all of it ends at one
moment: each address that is tried, the login, and the statements that a new connection is prepared with. Looking up the
host's name is left to the system's own timeouts.

In async, connecting is cancelled at the deadline.
"""

from __future__ import annotations

import io
import socket
import time
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from functools import cache
from typing import Any

from coatcheck.stores.sql.bounds import Reader, bounded, bounds_for
from coatcheck.stores.sql.greenlets import refuse_late_patch

__all__ = ["UNTIL", "connect"]

UNTIL: ContextVar[float] = ContextVar("coatcheck.stores.sql.until")
"""When connecting must have come to its end (`time.monotonic`)."""


def connect(dialect: Any, options: Mapping[str, Any]) -> Any:
    """A connection of the dialect's driver, as SQLAlchemy wants it.

    Raises:
        Exception: The driver's, or an `OSError`.
    """
    if dialect.is_async:
        made = dialect.connect(**options)
        driver = made.driver_connection
    else:
        makers: dict[str, Callable[[Any, Mapping[str, Any]], Any]] = {
            "psycopg": _psycopg,
            "pymysql": _pymysql,
        }
        made = driver = makers[dialect.driver](dialect, options)
    if dialect.driver == "psycopg":
        # For what SQLAlchemy asks a new connection first. The call that connects sets its own afterwards.
        bounds_for(dialect)(driver, UNTIL.get())
    return made


def _psycopg(dialect: Any, options: Mapping[str, Any]) -> Any:
    refuse_late_patch()
    return _bounded_class(dialect.dbapi.Connection).connect(**options)


@cache
def _bounded_class(connection: Any) -> Any:
    class Connection(connection):  # type: ignore[misc] # psycopg need not be installed
        """psycopg's connection. Its coroutine for connecting is the one place through which all waiting goes."""

        @classmethod
        def _connect_gen(cls, *args: Any, **options: Any) -> Any:
            return bounded(super()._connect_gen(*args, **options), UNTIL.get())

    return Connection


def _pymysql(dialect: Any, options: Mapping[str, Any]) -> Any:
    until = UNTIL.get()
    driver = dialect.dbapi.connect(**options, defer_connect=True, write_timeout=_left(until))
    driver.connect(_socket_to(driver.host, driver.port, until))
    return driver


class _Socket(socket.socket):
    until: float

    def makefile(self, *_: Any, **__: Any) -> Any:
        """PyMySQL reads all replies from this file."""
        return io.BufferedReader(Reader(self, self.until))


def _socket_to(host: str, port: int, until: float) -> _Socket:
    """A socket that is connected to the first of the host's addresses that answers."""
    failed: OSError = TimeoutError()
    for family, kind, protocol, _, address in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM):
        made = _Socket(family, kind, protocol)
        try:
            made.until = until
            made.settimeout(_left(until))
            made.connect(address)
            made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        except OSError as error:
            failed = error
            made.close()
        else:
            return made
    raise failed


def _left(until: float) -> float:
    return max(0.001, until - time.monotonic())
