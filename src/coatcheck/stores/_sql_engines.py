"""Engines of the store's own, with what each driver has to be told."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from sqlalchemy import URL, Engine, create_engine, event, make_url
from sqlalchemy.ext.asyncio import AsyncEngine, create_async_engine
from sqlalchemy.pool import AsyncAdaptedQueuePool, QueuePool

from coatcheck.errors import ConfigurationError

__all__ = ["async_engine", "engine", "shown", "url_of"]

_T = TypeVar("_T")
_POSTGRESQL, _MYSQL = "postgresql", "mysql"
_DRIVERS = {_POSTGRESQL: ("psycopg", "psycopg"), _MYSQL: ("pymysql", "aiomysql")}
_MOST_CONNECTIONS = 10  # of one process


def url_of(url: str) -> URL:
    """What a store's URL means to SQLAlchemy.

    Raises:
        ConfigurationError: It names no host or no database.
    """
    scheme, _, rest = url.partition("://")
    dialect = _POSTGRESQL if scheme == "postgresql" else _MYSQL
    try:
        made = make_url(f"{dialect}://{rest}")
    except Exception as error:  # its own kind, or a ValueError for a port that is no number
        raise ConfigurationError(
            f"That is no URL of a database: {scheme}://user:password@host/database."
        ) from error
    if not made.database:
        raise ConfigurationError(f"The URL names no database: {scheme}://user:password@host/database.")
    return made


def shown(url: URL) -> str:
    """The URL for a message: without user and password."""
    port = "" if url.port is None else f":{url.port}"
    return f"{url.get_backend_name()}://{url.host or ''}{port}/{url.database or ''}"


def engine(url: URL, *, deadline: float, connect_deadline: float) -> Engine:
    """An engine whose connections each commit by themselves, and give up in time."""
    dialect, arguments = _arguments(url, deadline, connect_deadline)
    if dialect == _MYSQL:
        arguments |= {"read_timeout": deadline, "write_timeout": deadline}
    made = _with_driver(
        create_engine,
        dialect,
        url.set(drivername=f"{dialect}+{_DRIVERS[dialect][0]}"),
        connect_args=arguments,
        poolclass=QueuePool,
        **_pool(deadline),
    )
    _prepare(made, dialect, deadline)
    if dialect == _POSTGRESQL:
        from coatcheck.stores._sql_psycopg import BoundedConnection

        @event.listens_for(made, "do_connect")
        def connect(_dialect: Any, _record: Any, args: Any, kwargs: Any) -> Any:
            return BoundedConnection.connect(*args, **kwargs)

    return made


def async_engine(url: URL, *, deadline: float, connect_deadline: float) -> AsyncEngine:
    """The same for an event loop."""
    dialect, arguments = _arguments(url, deadline, connect_deadline)
    if dialect == _POSTGRESQL:
        arguments["async_creator_fn"] = _connect_psycopg
    made = _with_driver(
        create_async_engine,
        dialect,
        url.set(drivername=f"{dialect}+{_DRIVERS[dialect][1]}"),
        connect_args=arguments,
        poolclass=AsyncAdaptedQueuePool,
        **_pool(deadline),
    )
    _prepare(made.sync_engine, dialect, deadline)
    return made


async def _connect_psycopg(*args: Any, **kwargs: Any) -> Any:
    from coatcheck.stores._sql_psycopg import BoundedAsyncConnection

    return await BoundedAsyncConnection.connect(*args, **kwargs)


def _with_driver(make: Callable[..., _T], dialect: str, url: URL, **options: Any) -> _T:
    """Make an engine, which imports its driver.

    Raises:
        ModuleNotFoundError: It is missing; the message names the extra that brings it.
    """
    try:
        return make(url, **options)
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError(
            f"{dialect}:// needs {error.name}: pip install 'coatcheck[{dialect}]'"
        ) from error


def _pool(deadline: float) -> dict[str, Any]:
    return {
        "isolation_level": "AUTOCOMMIT",
        "pool_size": _MOST_CONNECTIONS,
        "max_overflow": 0,
        "pool_timeout": deadline,
        "pool_use_lifo": True,
        # What is given back is in no transaction; asking the server for that once more would be a round trip.
        "pool_reset_on_return": None,
    }


def _arguments(url: URL, deadline: float, connect_deadline: float) -> tuple[str, dict[str, Any]]:
    """What the driver's `connect` takes besides the URL."""
    if url.get_backend_name() == _POSTGRESQL:
        milliseconds = round(deadline * 1000)
        limits = {
            "statement_timeout": milliseconds,
            "idle_in_transaction_session_timeout": milliseconds,
            # Sooner, so that it is the server that says that somebody is in the way.
            "lock_timeout": milliseconds // 2,
        }
        return _POSTGRESQL, {
            "connect_timeout": max(2, round(connect_deadline)),  # libpq takes no less than 2
            "tcp_user_timeout": milliseconds,
            "options": " ".join(f"-c {name}={limit}" for name, limit in limits.items()),
            "application_name": "coatcheck",
            # The statements are few and simple: a prepared one saves less than it costs to prepare it on each
            # connection, and a pooler between here and the server may not know of it.
            "prepare_threshold": None,
        }
    return _MYSQL, {"connect_timeout": connect_deadline, "charset": "utf8mb4", "autocommit": True}


def _prepare(made: Engine, dialect: str, deadline: float) -> None:
    if dialect != _MYSQL:
        return
    # In whole seconds; shorter than the deadline, so that it is the server that says who waits for whom.
    patience = max(1, int(deadline) - 1)

    @event.listens_for(made, "connect")
    def settle_in(connection: Any, _record: Any) -> None:
        cursor = connection.cursor()
        # No locks on gaps between rows, and never a value cut short.
        cursor.execute("SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED")
        cursor.execute(
            "SET SESSION sql_mode = CONCAT(@@sql_mode, ',STRICT_ALL_TABLES'),"
            f" innodb_lock_wait_timeout = {patience}"
        )
        cursor.close()
