"""Engines of the store's own, with what each driver has to be told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from sqlalchemy import URL, Engine, create_engine, event
from sqlalchemy.ext.asyncio import create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool, QueuePool

from coatcheck.stores.sql import connecting
from coatcheck.stores.sql.address import address_of

__all__ = ["CONNECTIONS", "async_engine", "engine", "shown"]

_T = TypeVar("_T")
_POSTGRESQL, _MYSQL = "postgresql", "mysql"
_PLACE = ("host", "port", "unix_socket")
CONNECTIONS = 10
"""The most connections of one process (of one event loop, in async)."""
# Nothing that a pooler such as PgBouncer refuses at the start: no `options` (statement_timeout and the like).
_ARGUMENTS: dict[str, dict[str, Any]] = {
    # The encoding is said, since psycopg decodes no text of a database in SQL_ASCII otherwise.
    _POSTGRESQL: {"application_name": "coatcheck", "client_encoding": "utf8"},
    _MYSQL: {"charset": "utf8mb4", "autocommit": True},
}
_ON_MYSQL = (
    "SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED",  # no locks on gaps between rows
    # Never a value cut short. A lock that is not to be had is told of in 1 second, the least that there is, so that it
    # is the server that says which transaction is in the way.
    "SET SESSION sql_mode = CONCAT(@@sql_mode, ',STRICT_ALL_TABLES'), innodb_lock_wait_timeout = 1",
)


def engine(url: str) -> Engine:
    """An engine whose connections each commit by themselves, and are made by `connecting`.

    Raises:
        ConfigurationError: The URL names no host or no database, or its query is not understood.
        ModuleNotFoundError: The driver is missing; the message names the extra that brings it.
    """
    made = _made(create_engine, url, {_POSTGRESQL: "psycopg", _MYSQL: "pymysql"}, QueuePool)
    _prepare(made)
    return made


def async_engine(url: str) -> Engine:
    """The same for an event loop. It is used in a greenlet."""
    drivers = {_POSTGRESQL: "psycopg", _MYSQL: "aiomysql"}
    made = _made(create_async_engine, url, drivers, AsyncAdaptedQueuePool).sync_engine
    _prepare(made)
    return made


def shown(url: URL) -> str:
    """The URL for a message: without user and password, and of the query only the place."""
    text = str(URL.create(url.get_backend_name(), host=url.host, port=url.port, database=url.database))
    place = [f"{name}={','.join(url.normalized_query[name])}" for name in _PLACE if name in url.query]
    return f"{text}?{'&'.join(place)}" if place else text


def _made(make: Callable[..., _T], text: str, drivers: dict[str, str], pool: type[QueuePool]) -> _T:
    url, arguments = address_of(text)
    dialect = url.get_backend_name()
    try:
        return make(
            url.set(drivername=f"{dialect}+{drivers[dialect]}"),
            connect_args={**_ARGUMENTS[dialect], **arguments},
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


def _prepare(made: Engine) -> None:
    @event.listens_for(made, "do_connect")
    def connect(dialect: Any, _record: Any, _args: Any, options: Any) -> Any:
        return connecting.connect(dialect, options)

    if made.dialect.name != _MYSQL:
        return

    @event.listens_for(made, "connect")
    def settle_in(connection: Any, _record: Any) -> None:
        cursor = connection.cursor()
        for statement in _ON_MYSQL:
            cursor.execute(statement)
        cursor.close()
