"""One connection for the time of one call: every statement on it ends at the call's deadline.

The connection commits each statement by itself; a transaction is begun and ended by statements of its own. So a read is
one round trip, whatever the pool would do when the connection comes back.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, TypeVar

from sqlalchemy import Engine

from coatcheck.stores.sql.bounds import Bounds
from coatcheck.stores.sql.engines import UNTIL
from coatcheck.stores.sql.errors import Kind, Overdue, failed
from coatcheck.stores.sql.statements import Statement, Statements

__all__ = ["Connection"]

_T = TypeVar("_T")
_BORN = "coatcheck.born"


class Connection:
    """A connection of the pool, until it is given back or thrown away.

    Attributes:
        say: The statements that can be sent on it.
        in_doubt: Whether a change was sent, and may have been made, although no answer came.
        in_transaction: Whether a transaction was begun, and has not ended.
    """

    def __init__(
        self,
        engine: Engine,
        say: Statements,
        bounds: type[Bounds],
        *,
        until: float,
        suspect: float,
        own: bool,
    ) -> None:
        """Take a connection.

        Args:
            engine: The engine whose pool it comes from.
            say: The statements of its database.
            bounds: How deadlines are set on its driver.
            until: When every statement must have been answered (`time.monotonic`).
            suspect: No connection made before that moment is taken: another of that time was found dead.
            own: Whether the engine is the store's own, and its connections commit by themselves.

        Raises:
            Failed: None could be had.
        """
        self.say: Statements = say
        self.in_doubt: bool = False
        self.in_transaction: bool = False
        self._until = until
        self._dialect: Any = engine.dialect
        self._unwanted = False
        self._bounds: Bounds | None = None
        self._resets = False
        self._connection: Any = self._met(lambda: _taken(engine, until, suspect))
        try:
            self._bounds = bounds(self._connection.driver_connection, until)
            self._resets = not own and not self._commits_by_itself()
            if self._resets:
                self._met(self._set_autocommit)
            self._cursor: Any = self._connection.cursor()
        except BaseException:
            self.throw_away()
            raise

    def rows(self, statement: Statement, values: Mapping[str, object]) -> Sequence[Any]:
        """The rows that a query brings."""

        def query() -> Sequence[Any]:
            self._execute(statement.text, statement.bound(values))
            found: Sequence[Any] = self._cursor.fetchall()
            return found

        return self._met(query)

    def change(self, statement: Statement, values: Mapping[str, object]) -> int:
        """How many rows a statement changed."""

        def change() -> int:
            self._execute(statement.text, statement.bound(values), changes=not self.in_transaction)
            number: int = self._cursor.rowcount
            return number

        return self._met(change)

    def change_several(self, statement: Statement, values: Mapping[str, object]) -> set[bytes]:
        """The keys of the rows that a statement changed, which returns them."""

        def change() -> set[bytes]:
            self._execute(statement.text, statement.bound(values), changes=True)
            return {bytes(key) for (key,) in self._cursor.fetchall()}

        return self._met(change)

    def run(self, text: str, *, changes: bool = False) -> None:
        """Send a statement without values and without an answer."""
        self._met(lambda: self._execute(text, changes=changes))

    def begin(self) -> None:
        """Begin a transaction."""
        self.run(self.say.begins)
        self.in_transaction = True

    def commit(self) -> None:
        """Commit the transaction. It is the one moment at which its changes are in doubt."""
        self.run("COMMIT", changes=True)
        self.in_transaction = False

    def roll_back(self) -> None:
        """Roll the transaction back."""
        self.run("ROLLBACK")
        self.in_transaction = False

    def give_back(self) -> None:
        """Give the connection back to the pool; one on which something failed too badly is closed instead."""
        if self._unwanted:
            self.throw_away()
            return
        try:
            if self.in_transaction:
                self.roll_back()
            self._cursor.close()
            if self._resets:
                self._dialect.reset_isolation_level(self._connection.dbapi_connection)
            assert self._bounds is not None
            self._bounds.undo()
            self._connection.close()
        except Exception:  # noqa: BLE001 - the call is over; its own outcome counts
            self.throw_away()

    def throw_away(self) -> None:
        """Close the connection: an answer may still be on its way to it."""
        if self._bounds is not None:
            bounds, self._bounds = self._bounds, None
            bounds.abort()
            with suppress(Exception):
                bounds.undo()
        try:
            self._connection.invalidate()
        finally:
            with suppress(Exception):
                self._connection.close()

    def _execute(self, text: str, values: Any = None, *, changes: bool = False) -> None:
        left = self._until - time.monotonic()
        if left <= 0:
            raise Overdue
        if self._bounds is not None:
            self._bounds.before_statement(left)
        self.in_doubt = changes
        if values is None:
            self._cursor.execute(text)
        else:
            self._cursor.execute(text, values)
        self.in_doubt = False

    def _met(self, work: Callable[[], _T]) -> _T:
        """Do something on the connection, and wrap the driver's errors."""
        try:
            return work()
        except Exception as error:
            met = failed(error, self._dialect.dbapi)
            if met is None:
                raise
            if met.definite:
                self.in_doubt = False
            if met.kind is Kind.LOST and time.monotonic() >= self._until:
                met.kind = Kind.OVERDUE
            # One that takes no writes may lead to a server that is no longer the primary.
            if not met.definite or met.kind is Kind.READ_ONLY:
                self._unwanted = True
            raise met from error

    def _set_autocommit(self) -> None:
        self._dialect.set_isolation_level(self._connection.dbapi_connection, "AUTOCOMMIT")

    def _commits_by_itself(self) -> bool:
        detect = getattr(self._dialect, "detect_autocommit_setting", None)
        return detect is not None and bool(detect(self._connection.dbapi_connection))


def _taken(engine: Engine, until: float, suspect: float) -> Any:
    """A connection of the pool that was made after `suspect`."""
    UNTIL.set(until)
    while True:
        connection: Any = engine.raw_connection()
        if connection.info.setdefault(_BORN, time.monotonic()) >= suspect:
            return connection
        connection.invalidate()
        connection.close()
