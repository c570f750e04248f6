"""One connection for the time of one call: what is said on it ends with the call's deadline.

The connection commits each statement by itself; a transaction is begun and ended by statements of its own. So reading
is one round trip, whatever the pool would do when the connection comes back.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Any

from sqlalchemy import Engine

from coatcheck.stores._sql_errors import Overdue
from coatcheck.stores._sql_statements import Statement, Statements

__all__ = ["Wire"]

_BORN = "coatcheck.born"


class Wire:
    """A connection of the pool, ours until it is given back or thrown away."""

    def __init__(
        self, engine: Engine, statements: Statements, *, until: float, suspect: float, own: bool
    ) -> None:
        """Take a connection.

        Args:
            engine: Whose.
            statements: What can be said on it.
            until: When (`time.monotonic`) whatever is said must have been answered.
            suspect: A connection made before that moment is not taken: another of its time was found broken.
            own: Whether the engine is the store's own, so that its connections are as the store wants them.
        """
        self.say: Statements = statements
        self._until = until
        self._dialect: Any = engine.dialect
        self._own = own
        connection = self._connection = _taken(engine, suspect)
        try:
            driver = connection.driver_connection
            # psycopg's, where it is ours; PyMySQL's.
            self._waits = hasattr(driver, "until")
            self._reads = hasattr(driver, "_read_timeout") and own
            self._driver: Any = driver
            if self._waits:
                driver.until = until
            self._resets = not own and not self._commits_by_itself()
            if self._resets:
                self._dialect.set_isolation_level(connection.dbapi_connection, "AUTOCOMMIT")
            self._cursor = connection.cursor()
        except BaseException:
            self.throw_away()
            raise
        self.in_transaction: bool = False

    def rows(self, statement: Statement, values: Mapping[str, object]) -> Sequence[Any]:
        """What a question brings."""
        self._send(statement.text, statement.bound(values))
        found: Sequence[Any] = self._cursor.fetchall()
        return found

    def changed(self, statement: Statement, values: Mapping[str, object]) -> int:
        """How many rows a statement changed."""
        self._send(statement.text, statement.bound(values))
        number: int = self._cursor.rowcount
        return number

    def change_each(self, statement: Statement, values: Sequence[Mapping[str, object]]) -> int:
        """The same statement for several rows, in as few round trips as the driver can; how many it changed."""
        self._hurry()
        self._cursor.executemany(statement.text, [statement.bound(one) for one in values])
        number: int = self._cursor.rowcount
        return number

    def run(self, text: str) -> None:
        """A statement without values and without an answer."""
        self._send(text)

    def begin(self) -> None:
        """What follows is one transaction."""
        self._send(self.say.begins)
        self.in_transaction = True

    def commit(self) -> None:
        """The transaction stands."""
        self._send("COMMIT")
        self.in_transaction = False

    def roll_back(self) -> None:
        """Nothing of the transaction stands."""
        self._send("ROLLBACK")
        self.in_transaction = False

    def give_back(self) -> None:
        """Let others have the connection."""
        self._cursor.close()
        if self._resets:
            self._dialect.reset_isolation_level(self._connection.dbapi_connection)
        self._connection.close()

    def throw_away(self) -> None:
        """Nobody gets this connection any more: what comes on it is not known."""
        try:
            self._connection.invalidate()
        finally:
            with suppress(Exception):
                self._connection.close()

    def _send(self, text: str, values: Any = None) -> None:
        self._hurry()
        if values is None:
            self._cursor.execute(text)
        else:
            self._cursor.execute(text, values)

    def _hurry(self) -> None:
        left = self._until - time.monotonic()
        if left <= 0:
            raise Overdue
        if self._reads:
            self._driver._read_timeout = self._driver._write_timeout = left  # noqa: SLF001 - it has no other way

    def _commits_by_itself(self) -> bool:
        detect = getattr(self._dialect, "detect_autocommit_setting", None)
        return detect is not None and bool(detect(self._connection.dbapi_connection))


def _taken(engine: Engine, suspect: float) -> Any:
    """A connection of the pool's that was made after that moment."""
    while True:
        connection: Any = engine.raw_connection()
        if connection.info.setdefault(_BORN, time.monotonic()) >= suspect:
            return connection
        connection.invalidate()
        connection.close()
