"""A connection for the time of one call: every statement on it ends at the call's deadline.

It commits each statement by itself; a transaction is begun and ended by statements. So a read is one round trip, whatever
the pool would do when the connection comes back.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from sqlalchemy import Engine, exc

from coatcheck.stores.breaker import Breaker
from coatcheck.stores.sql.bounds import Bounds, bounds_for
from coatcheck.stores.sql.engines import CONNECTIONS, UNTIL, shown
from coatcheck.stores.sql.errors import Failed, Kind, failed
from coatcheck.stores.sql.statements import Statement, Statements
from coatcheck.stores.sql.table import Tables, tables

__all__ = ["Connection", "Shared"]

_BORN = "coatcheck.born"
_PATIENCE = 2.0  # seconds that a call which tries for all others may take


class Shared:
    """State of a store that its calls share.

    Attributes:
        checked: Whether the format of the tables was looked at.
        suspect: No connection made before that moment is kept: another of that time was found dead, or the store was
            closed meanwhile.
    """

    def __init__(self, engine: Engine, prefix: str, *, own: bool) -> None:
        self.name: str = shown(engine.url)
        self.dialect: str = engine.dialect.name
        self.prefix = prefix
        self.tables: Tables = tables(prefix)
        self.own = own
        self.bounds: type[Bounds] = bounds_for(engine.dialect)
        self.breaker: Breaker = Breaker(self.name, patience=_PATIENCE)
        self.checked: bool = False
        self.suspect: float = 0.0
        self.statements: Statements | None = None
        # The pool can't be told how long a call may wait for a connection. In async, the waiting is cancelled.
        self.has_slots: bool = own and not engine.dialect.is_async
        self.slots: threading.BoundedSemaphore = threading.BoundedSemaphore(CONNECTIONS)
        self._pid = os.getpid()
        self._inherited: list[Any] = []

    def close(self) -> None:
        """Let connections that are in use now be closed when they come back: their pool is no more."""
        self.suspect = time.monotonic()

    def notice_fork(self, engine: Engine) -> None:
        """In a child, leave inherited connections alone: two processes on one connection read each other's answers."""
        if self._pid == os.getpid():
            return
        self._pid = os.getpid()
        self.slots = threading.BoundedSemaphore(CONNECTIONS)
        # Kept, since letting go of a connection would say goodbye to the server in the parent's name.
        self._inherited.append(engine.pool)
        engine.dispose(close=False)


class Connection:
    """A connection of the pool, until it is given back.

    Attributes:
        say: The statements that can be sent on it.
        in_doubt: Whether a change was sent last, and no success came back.
    """

    def __init__(self, shared: Shared, engine: Engine, until: float) -> None:
        """Take a connection, and let every statement on it be answered by `until` (`time.monotonic`).

        Raises:
            Failed: None could be had.
        """
        self.in_doubt: bool = False
        self._in_transaction = False
        self._unwanted = False
        self._shared = shared
        self._until = until
        self._dialect: Any = engine.dialect
        self._bounds: Bounds | None = None
        self._connection: Any = None
        self._cursor: Any = None
        self._switched = False
        shared.notice_fork(engine)
        self._slots = shared.slots if shared.has_slots else None
        left = self._left()
        if self._slots is not None and not self._slots.acquire(timeout=left):
            raise Failed(Kind.NO_CONNECTION, exc.TimeoutError())
        try:
            self._connection = self._taken(engine)
            if shared.statements is None:
                shared.statements = Statements(shared.tables, engine.dialect)
            self.say: Statements = shared.statements
            self._bounds = shared.bounds(self._connection.driver_connection, until)
            self._commit_each()
            self._cursor = self._connection.cursor()
        except BaseException as error:
            self.throw_away()
            if isinstance(error, Exception):
                raise self._met(error) from error
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
        self._unwanted |= self._connection.info[_BORN] < self._shared.suspect
        try:
            if not self._unwanted:
                self.roll_back()
                self._cursor.close()
                if self._switched:
                    self._dialect.reset_isolation_level(self._connection.dbapi_connection)
                assert self._bounds is not None
                self._bounds.undo()
                self._connection.close()
        except Exception:  # noqa: BLE001 - the call has its outcome; the connection is not fit for another
            self._unwanted = True
        if self._unwanted:
            self.throw_away()
        elif self._slots is not None:
            self._slots.release()

    def throw_away(self) -> None:
        """Close the connection: an answer may still be on its way to it."""
        bounds, connection = self._bounds, self._connection
        steps: list[Any] = [bounds.abort, bounds.undo] if bounds is not None else []
        steps += [connection.invalidate, connection.close] if connection is not None else []
        try:
            for step in steps:
                with suppress(Exception):  # it may be closed already, or be too broken for that
                    step()
        finally:
            if self._slots is not None:
                self._slots.release()

    def _send(self, text: str, values: Any = None, *, changes: bool = False, rows: bool = False) -> Any:
        assert self._bounds is not None
        self._bounds.before_statement(self._left())
        self.in_doubt = changes
        try:
            self._cursor.execute(text, *(() if values is None else (values,)))
            self.in_doubt = False
            return self._cursor.fetchall() if rows else self._cursor.rowcount
        except Exception as error:
            raise self._met(error) from error

    def _left(self) -> float:
        left = self._until - time.monotonic()
        if left <= 0:
            raise Failed(Kind.LATE, TimeoutError())
        return left

    def _met(self, error: Exception) -> Exception:
        """What a driver's error means, and what follows from it for this connection."""
        met = failed(error, self._dialect.dbapi)
        if met is None:
            return error
        if met.kind is Kind.LOST:
            self._shared.suspect = time.monotonic()
            if time.monotonic() >= self._until:
                met.kind = Kind.OVERDUE
        # A server that takes no writes may be no longer the primary.
        self._unwanted |= not met.definite or met.kind is Kind.READ_ONLY
        return met

    def _taken(self, engine: Engine) -> Any:
        UNTIL.set(self._until)
        while True:
            connection: Any = engine.raw_connection()
            if connection.info.setdefault(_BORN, time.monotonic()) >= self._shared.suspect:
                return connection
            connection.invalidate()
            connection.close()

    def _commit_each(self) -> None:
        """On a connection of an engine that was not made for this, let each statement be committed by itself."""
        detect = getattr(self._dialect, "detect_autocommit_setting", None)
        connection = self._connection.dbapi_connection
        if not self._shared.own and (detect is None or not detect(connection)):
            self._dialect.set_isolation_level(connection, "AUTOCOMMIT")
            self._switched = True
