"""Where old records are, and how they are decoded. Pickles are read without running code."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar, cast

from coatcheck.errors import ConfigurationError, DecodeError

if TYPE_CHECKING:
    from redis import Redis
    from sqlalchemy import Engine

__all__ = ["InRedis", "InTable", "decoded", "is_id", "mapping", "records_in", "utc"]

_T = TypeVar("_T")
_FOR_EVER = -1
"""The answer of PTTL about a key without an expiry. About none it is -2."""
_ID = re.compile(r"[A-Za-z0-9_-]{8,255}")


def is_id(text: str) -> bool:
    """Whether a text may be an id: what these libraries make, and nothing that has a meaning in a key."""
    return _ID.fullmatch(text) is not None


def decoded(decode: Callable[[], _T]) -> _T:
    """What `decode` returns.

    Raises:
        DecodeError: It raised. Its own message may show values, and is dropped.
    """
    try:
        return decode()
    except DecodeError:
        raise
    except Exception as error:  # noqa: BLE001 - garbage may fail in any way
        name = type(error).__name__
    raise DecodeError(f"It can't be decoded: {name}.")


class InRedis:
    """Records in Redis.

    Raises:
        ConfigurationError: The client is async, or decodes replies.
    """

    def __init__(self, client: Redis) -> None:
        self._client: Any = client
        if inspect.iscoroutinefunction(self._client.execute_command):
            raise ConfigurationError(
                "The old sessions are read by a synchronous client, also in an async application: redis.from_url(...), "
                "not redis.asyncio.from_url(...)."
            )
        if self._client.get_encoder().decode_responses:
            raise ConfigurationError("The client of the old sessions must not have decode_responses=True.")

    def get(self, key: str) -> bytes | None:
        """The record under a key."""
        value: bytes | None = self._client.get(key)
        return value

    def rest(self, key: str) -> timedelta | None:
        """How long the record under a key is kept. Of one that is gone: no time at all. None: for ever."""
        left = self._client.pttl(key)
        return None if left == _FOR_EVER else timedelta(milliseconds=max(0, left))

    def remove(self, key: str) -> None:
        """Remove a record."""
        self._client.delete(key)


class InTable:
    """Records in a table of a database."""

    def __init__(self, engine: Engine, table: str, key: str, data: str, expires: str) -> None:
        import sqlalchemy as sa

        schema, _, name = table.rpartition(".")
        self._sa = sa
        self._engine = engine
        self._key: Any = sa.column(key)
        self._data: Any = sa.column(data)
        self._expires: Any = sa.column(expires, sa.DateTime)
        self._table = sa.table(name, self._key, self._data, self._expires, schema=schema or None)

    def get(self, key: str, now: float) -> bytes | None:
        """The record under a key that has not expired."""
        query = self._sa.select(self._key, self._data, self._expires).where(self._key == key)
        with self._engine.connect() as connection:
            row = connection.execute(query).first()
        # The database may take "ADA" for "ada".
        if row is None or row[0] != key or row[2] is None or utc(row[2]).timestamp() <= now:
            return None
        data: str | bytes = row[1]
        return data.encode() if isinstance(data, str) else bytes(data)

    def remove(self, key: str) -> None:
        """Remove a record."""
        with self._engine.begin() as connection:
            connection.execute(self._sa.delete(self._table).where(self._key == key))


def utc(moment: datetime) -> datetime:
    """An aware datetime. A naive one is in UTC."""
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment


def records_in(store: Any, table: str, key: str, data: str, expires: str) -> InRedis | InTable:
    """The records in a client's server, or in a table of an engine's database.

    Raises:
        ConfigurationError: It is something else.
    """
    if hasattr(store, "execute_command"):
        return InRedis(store)
    if hasattr(store, "dialect") and hasattr(store, "begin"):
        if type(store).__name__.startswith("Async"):
            raise ConfigurationError("The old sessions are read by a synchronous engine: create_engine(...).")
        return InTable(store, table, key, data, expires)
    raise ConfigurationError(
        f"The old sessions are in a redis.Redis or behind a SQLAlchemy engine, not in a {type(store).__name__}."
    )


def mapping(value: Any) -> dict[Any, Any]:
    """A copy of a record's mapping.

    Raises:
        DecodeError: It is something else.
    """
    if not isinstance(value, Mapping):
        raise DecodeError(f"The old session is a {type(value).__name__}, not a mapping.")
    return dict(cast("Any", value))
