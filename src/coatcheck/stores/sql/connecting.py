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
from collections.abc import Mapping
from contextvars import ContextVar
from functools import cache
from typing import Any

from coatcheck.stores.sql.bounds import Reader, bounded, bounds_for
from coatcheck.stores.sql.greenlets import refuse_late_patch, refuse_late_sockets

__all__ = ["MADE", "UNTIL", "connect"]

UNTIL: ContextVar[float] = ContextVar("coatcheck.stores.sql.until")
"""When connecting must have come to its end (`time.monotonic`)."""
MADE: ContextVar[Any] = ContextVar("coatcheck.stores.sql.made")
"""The driver's connection that was made last. If what it is asked first fails, SQLAlchemy drops it without closing it."""

_SSL = 2048
"""The flag by which a server of MySQL says that it has TLS, and a client that it will use it (CLIENT_SSL)."""
_NO_TLS = 2026
"""The code of MySQL's clients for failures of TLS (CR_SSL_CONNECTION_ERROR)."""


def connect(dialect: Any, options: Mapping[str, Any]) -> Any:
    """A connection of the dialect's driver, as SQLAlchemy wants it.

    Raises:
        Exception: The driver's, or an `OSError`.
    """
    made = _psycopg(dialect, options) if dialect.driver == "psycopg" else _mysql(dialect, **options)
    driver = getattr(made, "driver_connection", made)
    MADE.set(driver)
    if dialect.driver == "psycopg":
        # For what SQLAlchemy asks a new connection first. The call that connects sets its own afterwards.
        bounds_for(dialect)(driver, UNTIL.get())
    return made


def _psycopg(dialect: Any, options: Mapping[str, Any]) -> Any:
    driver = dialect.dbapi
    # psycopg goes on to the next host after an error of its own only.
    silence = driver.OperationalError if "," in options.get("host", "") else None
    if dialect.is_async:
        kind = _bounded_class(driver.AsyncConnection, silence)
        return dialect.connect(**options, async_creator_fn=kind.connect)
    refuse_late_patch()
    return _bounded_class(driver.Connection, silence).connect(**options)


@cache
def _bounded_class(connection: Any, silence: type[Exception] | None) -> Any:
    class Connection(connection):  # type: ignore[misc] # psycopg need not be installed
        """psycopg's connection. Its coroutine for connecting is the one place through which all waiting goes."""

        @classmethod
        def _connect_gen(cls, *args: Any, **options: Any) -> Any:
            connects: Any = super()
            gen = connects._connect_gen(*args, **options)  # noqa: SLF001 - of its own base
            if silence is None:
                return (yield from bounded(gen, UNTIL.get()))
            try:
                return (yield from bounded(gen, time.monotonic() + _left() / 2))
            except TimeoutError as error:
                raise silence("the host is silent") from error

    return Connection


def _mysql(dialect: Any, *, ssl: ssl.SSLContext | None, ssl_required: bool, **options: Any) -> Any:
    if dialect.is_async:
        made = _mysql_class(dialect.dbapi.aiomysql.Connection, dialect.dbapi.OperationalError).made
        return dialect.connect(**options, ssl=ssl, ssl_required=ssl_required, async_creator_fn=made)
    refuse_late_sockets(_Socket)
    # PyMySQL requires TLS where it is given a context. Where it prefers TLS, it makes a context for each connection, and
    # reads all certificates of the system for it: some ten connections at once would exceed the deadline. So it is told
    # afterwards that it prefers TLS.
    options["ssl_disabled"] = not ssl_required
    options["ssl"] = ssl if ssl_required else None
    left = _left()
    driver = dialect.dbapi.connect(**options, defer_connect=True, read_timeout=left, write_timeout=left)
    if ssl is not None:
        driver.ssl = True
        driver.ctx = ssl
        driver.ctx.sslsocket_class = _TLSSocket
    driver.connect(_socket_to(_places_of(driver)))
    return driver


@cache
def _mysql_class(base: Any, error: Any) -> Any:
    class Connection(base):  # type: ignore[misc] # aiomysql need not be installed
        """aiomysql's connection. By itself, that goes on without TLS where TLS is required and the server has none."""

        @classmethod
        async def made(cls, *, ssl_required: bool, **options: Any) -> Any:
            connection: Any = cls(**options)
            connection.ssl_required = ssl_required
            await connection._connect()  # noqa: SLF001 - of its own base
            return connection

        async def _request_authentication(self: Any) -> None:
            connects: Any = super()
            try:
                if self._ssl_context and not self.server_capabilities & _SSL:
                    if self.ssl_required:
                        raise error(_NO_TLS, "the server has no TLS")  # noqa: TRY301 - closed as after any other
                    self.client_flag &= ~_SSL
                await connects._request_authentication()  # noqa: SLF001 - of its own base
            except BaseException:
                self.close()
                raise

        def close(self: Any) -> None:
            """Without waiting for the server's half of the end of TLS: the loop may end before it comes."""
            closes: Any = super()
            writer = self._writer
            closes.close()
            if writer:
                writer.transport.abort()

    return Connection


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
    """A socket that is connected to the first of the places that answers. Each has an equal part of the time left."""
    failed: OSError = TimeoutError()
    for number, (family, kind, protocol, address) in enumerate(places):
        made = _Socket(family, kind, protocol)
        try:
            made.settimeout(_left() / (len(places) - number))
            made.connect(address)
            made.settimeout(_left())
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
