"""Records in a database: PostgreSQL, MySQL, MariaDB, or whatever else an engine of SQLAlchemy's leads to.

One row for each session. The store has connections of its own, and short transactions of its own: it never takes
part in the application's, so that what a request stored stands, whatever becomes of its transaction.

The tables are not made by using the store, but by ``coatcheck db create --store URL``, or by the statements that
``coatcheck db ddl`` prints for migrations of the application's own.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import TypeVar

from sqlalchemy import Engine

from coatcheck.errors import ConfigurationError
from coatcheck.model.ports import Capabilities, Found, Life
from coatcheck.model.record import Applied, Change, Refused
from coatcheck.stores import _sql_engines, _sql_work
from coatcheck.stores._sql_calls import Again, Call, Desk
from coatcheck.stores._sql_create import create_tables
from coatcheck.stores._sql_wire import Wire
from coatcheck.stores._sql_work import Writing

__all__ = ["SQLStore", "from_url"]

_T = TypeVar("_T")


class SQLStore:
    """A store in a database, safe for threads, for processes, and across forks.

    Args:
        where: A URL (``postgresql://…``, ``mysql://…``, ``mariadb://…``), or an engine of SQLAlchemy's. Of an engine
            connections are borrowed, for one call each, and `close` leaves it open.
        prefix: What the names of the tables begin with; a ``:`` is a ``_`` there.
        deadline: How long a call may take, waiting for locks, for a connection to come free and trying again
            included. What has begun to connect is waited for, even if it takes longer.
        connect_deadline: How long connecting may take: at least 2 seconds, since libpq allows no less. An engine of
            yours has limits of its own.

    Raises:
        ConfigurationError: No store can be made of these settings.
    """

    capabilities: Capabilities = Capabilities()

    def __init__(
        self,
        where: str | Engine,
        *,
        prefix: str = "coatcheck:",
        deadline: timedelta = timedelta(seconds=2),
        connect_deadline: timedelta = timedelta(seconds=2),
    ) -> None:
        seconds = deadline.total_seconds()
        self._own: bool = not isinstance(where, Engine)
        if isinstance(where, Engine):
            self._engine: Engine = where
        elif isinstance(where, str):
            self._engine = _sql_engines.engine(
                _sql_engines.url_of(where),
                deadline=seconds,
                connect_deadline=connect_deadline.total_seconds(),
            )
        else:
            raise ConfigurationError(
                f"SQLStore takes a URL or an Engine, not {type(where).__name__}; an AsyncEngine is for AsyncSessions."
            )
        name = _sql_engines.shown(self._engine.url)
        self._desk = Desk(self._engine, name, prefix, deadline=seconds, own=self._own)

    def load(self, keys: Sequence[bytes], now: int) -> list[Found]:
        """What lies under each key, by one statement."""
        return self._call(lambda wire: _sql_work.load(wire, keys, self._desk.recent))

    def apply(self, changes: Sequence[Change]) -> list[Applied | Refused]:
        """Apply each change to the row that is there now: one on the condition that it is, several in a transaction."""
        return self._call(Writing(changes, self._desk.recent, self._desk.driver))

    def enroll(self, user: str, life: Life, expires: int) -> None:
        """Nothing to do: the index is in the row."""

    def lives_of(self, user: str, now: int) -> list[Life]:
        """The user's live sessions, the newest sign-in first."""
        return self._call(lambda wire: _sql_work.lives_of(wire, user, now))

    def count(self, now: int) -> int:
        """How many live records there are, from the index."""
        return self._call(lambda wire: _sql_work.count(wire, now))

    def sweep(self, now: int, limit: int) -> int:
        """Remove at most `limit` expired records and tombstones, passing over those that another is removing."""
        return self._call(lambda wire: _sql_work.sweep(wire, now, limit))

    def ping(self) -> None:
        """Return if the tables can be read, else raise a `StoreError`."""
        self._call(lambda wire: _sql_work.ping(wire, self._desk.prefix))

    def create_tables(self) -> None:
        """Make the tables, unless they are there.

        Raises:
            StoreError: They can't be made, or are of another format.
        """
        self._call(lambda wire: create_tables(wire, self._desk), checked=False)

    def close(self) -> None:
        """Close the connections that are the store's own."""
        self._desk.closed = True
        if self._own:
            self._engine.dispose()

    def _call(self, work: Callable[[Wire], _T], *, checked: bool = True) -> _T:
        call = Call(self._desk, work, checked=checked)
        while True:
            try:
                return call.attempt(self._engine)
            except Again as again:
                time.sleep(again.pause)


def from_url(
    url: str,
    *,
    prefix: str = "coatcheck:",
    deadline: timedelta = timedelta(seconds=2),
    connect_deadline: timedelta = timedelta(seconds=2),
    client: Engine | None = None,
) -> SQLStore:
    """The store in the database that a URL names, or, with `client`, in that of an engine; see `SQLStore`."""
    where = url if client is None else client
    return SQLStore(where, prefix=prefix, deadline=deadline, connect_deadline=connect_deadline)
