"""The store in a database, for threads."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from sqlalchemy import Engine

from coatcheck.errors import ConfigurationError, StoreError
from coatcheck.model.ports import Entry, Index, Loaded, Write, Written
from coatcheck.stores.sql import engines, operations
from coatcheck.stores.sql.calls import Call
from coatcheck.stores.sql.changes import Changes
from coatcheck.stores.sql.database import Database
from coatcheck.stores.sql.statements import Change

__all__ = ["SQLStore"]

_T = TypeVar("_T")
_CREATING = 30.0  # seconds for making the tables


class SQLStore:
    """A store in a database, safe for threads, for processes, and across forks.

    Args:
        where: A URL (``postgresql://…``, ``mysql://…``, ``mariadb://…``), or an engine of SQLAlchemy's. Each call
            borrows a connection of an engine, and `close` leaves the engine open.
        prefix: The beginning of the tables' names, where its ``:`` at the end is a ``_``.

    Raises:
        ConfigurationError: No store can be made of these settings.
    """

    index: Index = "within"

    def __init__(self, where: str | Engine, *, prefix: str = "coatcheck:") -> None:
        if not isinstance(where, str | Engine):
            raise ConfigurationError(
                f"SQLStore takes a URL or an Engine, not {type(where).__name__}; an AsyncEngine is for AsyncSessions."
            )
        own = isinstance(where, str)
        self._only = Database(engines.engine(where) if isinstance(where, str) else where, prefix, own=own)
        self.where: str = self._only.name

    def __repr__(self) -> str:
        return f"<{type(self).__name__}, {self.where}>"

    def load(self, keys: Sequence[bytes], now: int, deadline: float) -> Sequence[Loaded]:
        """The data under each key, by one query."""
        return self._call(deadline, operations.load, keys)

    def write(self, writes: Sequence[Write], now: int, deadline: float) -> Sequence[Written]:
        """Carry out each write by itself: one by one statement, several by few, or in one transaction."""
        return self._change(deadline, [Change.of_write(write) for write in writes])

    def remove(self, keys: Sequence[bytes], now: int, deadline: float) -> Sequence[bool | StoreError]:
        """Remove the row of each key."""
        return self._change(deadline, [Change("remove", key, {"b_key": key}) for key in keys])

    def note(self, entries: Sequence[Entry], now: int, deadline: float) -> None:
        """Never called: an entry lies in the row of its data."""

    def sessions_of(
        self, user: str, now: int, limit: int, after: Entry | None, deadline: float
    ) -> Sequence[Entry]:
        """The user's entries, the newest sign-in first."""
        return self._call(deadline, operations.sessions_of, user, now, limit, after)

    def index_may_be_incomplete(self, deadline: float) -> None:
        """Never called, like `note`."""

    def forget(self, entries: Sequence[Entry], deadline: float) -> None:
        """Never called, like `note`."""

    def count(self, now: int, deadline: float) -> int:
        """How many live records there are, from an index of the database's."""
        return self._call(deadline, operations.count, now)

    def sweep(self, now: int, limit: int, deadline: float) -> int:
        """Remove at most `limit` expired rows, passing over those that another sweeper is removing."""
        return self._call(deadline, operations.sweep, now, limit)

    def ping(self, deadline: float) -> int | None:
        """The server's clock, if the tables can be read, else raise a `StoreError`."""
        return self._call(deadline, operations.ping, self._database.prefix)

    def create_tables(self) -> None:
        """Make the tables, unless they are there.

        Raises:
            StoreError: They can't be made, or are of another format.
        """
        self._call(
            time.monotonic() + _CREATING,
            operations.create_tables,
            self._database.tables,
            self._database.prefix,
            checked=False,
        )

    def close(self) -> None:
        """Close the connections that are the store's own."""
        self._database.close()

    @property
    def _database(self) -> Database:
        return self._only

    def _change(self, deadline: float, items: Sequence[Change]) -> list[Any]:
        changes = Changes(items, self._database.name)
        try:
            self._call(deadline, changes)
        except StoreError as error:
            return changes.answered(error)
        return changes.answered()

    def _call(self, deadline: float, work: Callable[..., _T], *args: Any, checked: bool = True) -> _T:
        return Call(self._database, deadline, checked=checked).run(work, *args)
