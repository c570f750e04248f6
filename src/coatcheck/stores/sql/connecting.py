"""Connecting by a deadline.

psycopg and PyMySQL have a timeout for parts of it only, and psycopg none below 2 seconds. Here all of it ends at one
moment: each address that is tried, the login, and the statements that a new connection is prepared with. Looking up the
host's name is left to the system's own timeouts.

In async, connecting is cancelled at the deadline.
"""

from __future__ import annotations

import io
import socket
import ssl
import time
from collections.abc import Callable, Mapping
from contextvars import ContextVar
from functools import cache
from typing import Any

from coatcheck.stores.sql.bounds import Reader, bounded, bounds_for
from coatcheck.stores.sql.greenlets import refuse_late_patch

__all__ = ["MADE", "UNTIL", "connect"]

UNTIL: ContextVar[float] = ContextVar("coatcheck.stores.sql.until")
"""When connecting must have come to its end (`time.monotonic`)."""
MADE: ContextVar[Any] = ContextVar("coatcheck.stores.sql.made")
"""The driver's connection that was made last. If what it is asked first fails, SQLAlchemy drops it without closing it."""


def connect(dialect: Any, options: Mapping[str, Any]) -> Any:
    """A connection of the dialect's driver, as SQLAlchemy wants it.

    Raises:
        Exception: The driver's, or an `OSError`.
    """
    makers: dict[str, Callable[[Any, Mapping[str, Any]], Any]] = {"psycopg": _psycopg, "pymysql": _pymysql}
    made = dialect.connect(**options) if dialect.is_async else makers[dialect.driver](dialect, options)
    driver = getattr(made, "driver_connection", made)
    MADE.set(driver)
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
            connects: Any = super()
            return bounded(connects._connect_gen(*args, **options), UNTIL.get())  # noqa: SLF001 - of its own base

    return Connection


def _pymysql(dialect: Any, options: Mapping[str, Any]) -> Any:
    left = _left()
    driver = dialect.dbapi.connect(**options, defer_connect=True, read_timeout=left, write_timeout=left)
    if driver.ssl:  # as each server is asked for, unless the URL says otherwise
        driver.ctx.sslsocket_class = _TLSSocket
    driver.connect(_socket_to(_places_of(driver)))
    return driver


def _places_of(driver: Any) -> list[tuple[int, int, int, Any]]:
    """Where the server can be reached: family, kind, protocol and address of a socket each."""
    if driver.unix_socket:
        return [(socket.AF_UNIX, socket.SOCK_STREAM, 0, driver.unix_socket)]
    return [
        (family, kind, protocol, address)
        for family, kind, protocol, _, address in socket.getaddrinfo(
            driver.host, driver.port, type=socket.SOCK_STREAM
        )
    ]


class _Bounded:
    def makefile(self, *_: Any, **__: Any) -> Any:
        """PyMySQL reads all replies from this file."""
        return io.BufferedReader(Reader(self, UNTIL.get()))


class _Socket(_Bounded, socket.socket):
    pass


class _TLSSocket(_Bounded, ssl.SSLSocket):
    pass


def _socket_to(places: list[tuple[int, int, int, Any]]) -> _Socket:
    """A socket that is connected to the first of the places that answers."""
    failed: OSError = TimeoutError()
    for family, kind, protocol, address in places:
        made = _Socket(family, kind, protocol)
        try:
            made.settimeout(_left())
            made.connect(address)
            if family != socket.AF_UNIX:
                made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
        except OSError as error:
            failed = error
            made.close()
        else:
            return made
    raise failed


def _left() -> float:
    return max(0.001, UNTIL.get() - time.monotonic())
