"""Engines of the store's own, with what each driver has to be told."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any, TypeVar

from sqlalchemy import URL, Engine, create_engine, event, make_url
from sqlalchemy.exc import ArgumentError
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool, QueuePool

from coatcheck.errors import ConfigurationError
from coatcheck.stores.sql.greenlets import refuse_late_patch

__all__ = ["CONNECTIONS", "UNTIL", "async_engine", "engine", "shown"]

_T = TypeVar("_T")
_POSTGRESQL, _MYSQL = "postgresql", "mysql"
_TLS = {"sslmode", "sslrootcert", "sslcert", "sslkey", "channel_binding"}
CONNECTIONS = 10
"""The most connections of one process (of one event loop, in async)."""
UNTIL: ContextVar[float] = ContextVar("coatcheck.stores.sql.until")
"""When connecting must have come to its end (`time.monotonic`)."""
# Nothing that a pooler such as PgBouncer refuses at the start, or that would outlive a transaction behind it: no
# `options` (statement_timeout and the like), and no prepared statements.
_ARGUMENTS: dict[str, dict[str, Any]] = {
    _POSTGRESQL: {"application_name": "coatcheck", "prepare_threshold": None},
    _MYSQL: {"charset": "utf8mb4", "autocommit": True},
}
_ON_MYSQL = (
    "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",  # no locks on gaps between rows
    # Never a value cut short. A lock that is not to be had is told of in 1 second, the least that there is, so that it
    # is the server that says which transaction is in the way.
    "SET SESSION sql_mode = CONCAT(@@sql_mode, ',STRICT_ALL_TABLES'), innodb_lock_wait_timeout = 1",
)


def engine(url: str) -> Engine:
    """An engine whose connections each commit by themselves, and give up connecting at `UNTIL`.

    Raises:
        ConfigurationError: The URL names no host or no database, or its query is not understood.
        ModuleNotFoundError: The driver is missing; the message names the extra that brings it.
    """
    made = _made(create_engine, url, {_POSTGRESQL: "psycopg", _MYSQL: "pymysql"}, QueuePool)

    @event.listens_for(made, "do_connect")
    def connect(dialect: Any, _record: Any, args: Any, options: Any) -> Any:
        if dialect.name == _POSTGRESQL:
            refuse_late_patch()
        return dialect.connect(*args, **options, **_timeouts(dialect.name))

    _prepare(made)
    return made


def async_engine(url: str) -> Engine:
    """The same for an event loop, where the caller's own timeout ends connecting. It is used in a greenlet."""
    drivers = {_POSTGRESQL: "psycopg", _MYSQL: "aiomysql"}
    made = _made(create_async_engine, url, drivers, AsyncAdaptedQueuePool).sync_engine
    _prepare(made)
    return made


def shown(url: URL) -> str:
    """The URL for a message: without user, password and query."""
    return str(URL.create(url.get_backend_name(), host=url.host, port=url.port, database=url.database))


def _url_of(text: str) -> URL:
    scheme, _, rest = text.partition("://")
    dialect = _POSTGRESQL if scheme.startswith("postgres") else _MYSQL
    try:
        url = make_url(f"{dialect}://{rest}")
    except (ArgumentError, ValueError):  # the latter for a port that is no number, and it may be a password
        raise ConfigurationError(
            f"Not the URL of a database: write {scheme}://user:password@host/database."
        ) from None
    if not url.database:
        raise ConfigurationError(f"The URL names no database: write {scheme}://user:password@host/database.")
    if unknown := sorted(url.query.keys() - (_TLS if dialect == _POSTGRESQL else set())):
        raise ConfigurationError(
            f"{', '.join(unknown)} in the query of a {scheme}:// URL is not understood: make an engine with it,"
            " and give it as client=create_engine(…)."
        )
    return url


def _made(make: Callable[..., _T], text: str, drivers: dict[str, str], pool: type[QueuePool]) -> _T:
    url = _url_of(text)
    dialect = url.get_backend_name()
    try:
        return make(
            url.set(drivername=f"{dialect}+{drivers[dialect]}"),
            connect_args=_ARGUMENTS[dialect],
            poolclass=pool,
            isolation_level="AUTOCOMMIT",
            pool_size=CONNECTIONS,
            max_overflow=0,
            pool_use_lifo=True,
            # A connection comes back in no transaction; asking the server for that once more would be a round trip.
            pool_reset_on_return=None,
        )
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"{dialect}:// needs {error.name}: pip install 'coatcheck[{dialect}]'"
        ) from error


def _timeouts(dialect: str) -> dict[str, Any]:
    """How long the driver may take to connect, as its arguments."""
    left = max(0.001, UNTIL.get() - time.monotonic())
    if dialect == _POSTGRESQL:
        return {"connect_timeout": max(2, int(left))}  # psycopg takes no less than 2 seconds
    return dict.fromkeys(("connect_timeout", "read_timeout", "write_timeout"), left)


def _prepare(made: Engine) -> None:
    if made.dialect.name != _MYSQL:
        return

    @event.listens_for(made, "connect")
    def settle_in(connection: Any, _record: Any) -> None:
        cursor = connection.cursor()
        for statement in _ON_MYSQL:
            cursor.execute(statement)
        cursor.close()
