"""A connection for the time of one call: every statement on it ends at the call's deadline.

Each statement is committed by itself; a transaction is begun and ended by statements. So a read is one round trip,
whatever the pool does when the connection comes back.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, NoReturn

from sqlalchemy import exc

from coatcheck.stores.sql.bounds import Bounds
from coatcheck.stores.sql.connecting import UNTIL
from coatcheck.stores.sql.database import Database
from coatcheck.stores.sql.errors import Failed, Kind, failed
from coatcheck.stores.sql.statements import Statement, Statements

__all__ = ["Connection"]

_MADE_AT = "coatcheck.made_at"


class Connection:
    """A connection of the pool, until it is given back or thrown away.

    Attributes:
        database: That of the connection.
        say: The statements that can be sent on it.
        in_doubt: Whether a change was sent last, and no success came back.
    """

    def __init__(self, database: Database, until: float) -> None:
        """Take a connection, and let every statement on it be answered by `until` (`time.monotonic`).

        Raises:
            Failed: None could be had.
        """
        self.in_doubt: bool = False
        self.database: Database = database
        self._dialect: Any = database.engine.dialect
        self._until = until
        self._in_transaction = False
        self._unfit = False
        self._pooled: Any = None
        self._bounds: Bounds | None = None
        database.notice_fork()
        self._slots = database.slots
        if self._slots is not None and not self._slots.acquire(timeout=self._left()):
            raise Failed(Kind.NO_CONNECTION, exc.TimeoutError())
        try:
            self._pooled = self._taken()
            self._bounds = database.bounds(self._pooled.driver_connection, until)
            if not database.own:
                self._dialect.set_isolation_level(self._pooled.dbapi_connection, "AUTOCOMMIT")
            self._cursor: Any = self._pooled.cursor()
            self.say: Statements = database.statements
        except BaseException as error:
            self.throw_away()
            if isinstance(error, Exception):
                self._raise_for(error)
            raise

    def rows(self, statement: Statement, values: Mapping[str, object]) -> list[Any]:
        """The rows that a query brings."""
        found: list[Any] = self._send(statement.text, statement.bound(values), rows=True)
        return found

    def change(self, statement: Statement, values: Mapping[str, object]) -> int:
        """How many rows a statement changed."""
        changes = not self._in_transaction
        number: int = self._send(statement.text, statement.bound(values), changes=changes)
        return number

    def change_several(self, statement: Statement, values: Mapping[str, object]) -> set[bytes]:
        """The keys of the rows that a statement changed."""
        found = self._send(statement.text, statement.bound(values), changes=True, rows=True)
        return {bytes(key) for (key,) in found}

    def run(self, text: str) -> None:
        """Send a statement without values and without an answer."""
        self._send(text)

    def begin(self) -> None:
        """Begin a transaction."""
        self.run(self.say.begins)
        self._in_transaction = True

    def commit(self) -> None:
        """Commit the transaction. Only then its changes are in doubt until an answer comes."""
        self._send("COMMIT", changes=True)
        self._in_transaction = False

    def roll_back(self) -> None:
        """Roll the transaction back, if there is one."""
        if self._in_transaction:
            self.run("ROLLBACK")
            self._in_transaction = False

    def give_back(self) -> None:
        """Give the connection back to the pool, or close it where no other call should get it."""
        if not self._unfit and self._pooled.info[_MADE_AT] >= self.database.suspect:
            with suppress(Exception):  # the call has its outcome; the connection is then not fit for another
                self.roll_back()
                self._cursor.close()
                if not self.database.own:
                    self._dialect.reset_isolation_level(self._pooled.dbapi_connection)
                assert self._bounds is not None
                self._bounds.undo()
                self._pooled.close()
                self._free_slot()
                return
        self.throw_away()

    def throw_away(self) -> None:
        """Close the connection: an answer may still be on its way to it."""
        steps: list[Callable[[], object]] = []
        if self._bounds is not None:
            steps += [self._bounds.abort, self._bounds.undo]
        if self._pooled is not None:
            steps += [self._pooled.invalidate, self._pooled.close]
        try:
            for step in steps:
                with suppress(Exception):  # it may be closed already, or be too broken for that
                    step()
        finally:
            self._free_slot()

    def _send(self, text: str, values: Any = None, *, changes: bool = False, rows: bool = False) -> Any:
        assert self._bounds is not None
        self._bounds.before_statement(self._left())
        self.in_doubt = changes
        try:
            self._cursor.execute(text, *(() if values is None else (values,)))
            self.in_doubt = False
            return self._cursor.fetchall() if rows else self._cursor.rowcount
        except Exception as error:  # noqa: BLE001 - it is raised again
            self._raise_for(error)

    def _left(self) -> float:
        left = self._until - time.monotonic()
        if left <= 0:
            raise Failed(Kind.LATE, TimeoutError())
        return left

    def _raise_for(self, error: Exception) -> NoReturn:
        """Raise `Failed` for a driver's error, and another error as it is. Notes what follows for the connections."""
        met = failed(error, self._dialect.dbapi)
        if met is None:
            raise error
        if met.kind is Kind.LOST:
            self.database.suspect = time.monotonic()
            self.database.checked = False  # the server may be another one, or may have other settings
            if time.monotonic() >= self._until:
                met.kind = Kind.OVERDUE
        # A server that takes no writes may be no longer the primary. After a statement that was too large, MySQL closes
        # the connection.
        self._unfit |= not met.definite or met.kind in {Kind.READ_ONLY, Kind.TOO_LARGE}
        raise met from error

    def _taken(self) -> Any:
        """A connection of the pool that is not suspect."""
        UNTIL.set(self._until)
        while True:
            pooled: Any = self.database.engine.raw_connection()
            if pooled.info.setdefault(_MADE_AT, time.monotonic()) >= self.database.suspect:
                return pooled
            pooled.invalidate()
            pooled.close()

    def _free_slot(self) -> None:
        if self._slots is not None:
            self._slots.release()
