"""One call of the store, from taking a connection to the answer or the error. The same code runs in sync and async.

A call that only read is repeated once, at once, when its connection turns out to be dead: it came from the pool, and the
server has closed it since. A change is never repeated: its caller looks what became of it.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from sqlalchemy import Engine, exc

from coatcheck.errors import StoreError, StoreUnavailable
from coatcheck.stores.breaker import Breaker
from coatcheck.stores.sql.bounds import bounds_for
from coatcheck.stores.sql.connection import Connection
from coatcheck.stores.sql.engines import CONNECTIONS, UNTIL, shown
from coatcheck.stores.sql.errors import Failed, Kind, Overdue, failed, failure
from coatcheck.stores.sql.operations import check_format
from coatcheck.stores.sql.statements import Statements
from coatcheck.stores.sql.table import Tables, tables

__all__ = ["Call", "Shared"]

_T = TypeVar("_T")
_PATIENCE = 2.0  # seconds that a call which tries for all others may take


class Shared:
    """State of one store that its calls share."""

    def __init__(self, engine: Engine, prefix: str, *, own: bool) -> None:
        self.name: str = shown(engine.url)
        self.dialect: str = engine.dialect.name
        self.prefix = prefix
        self.tables: Tables = tables(prefix)
        self.own = own
        self.bounds = bounds_for(engine.dialect)
        self.breaker: Breaker = Breaker(self.name, patience=_PATIENCE)
        self.suspect: float = 0.0
        self.checked: bool = False
        self._statements: Statements | None = None
        # The pool's own waiting can't be told how long a call has. In async it is cancelled.
        self._limits = own and not engine.dialect.is_async
        self._slots = threading.BoundedSemaphore(CONNECTIONS)
        self._pid = os.getpid()
        self._inherited: list[Any] = []

    def connection(self, engine: Engine, until: float) -> Connection:
        """Take a connection from the pool.

        Raises:
            Failed: None could be had.
        """
        if self._pid != os.getpid():
            self._after_fork(engine)
        left = until - time.monotonic()
        if self._limits and not self._slots.acquire(timeout=max(0.0, left)):
            raise Failed(Kind.NO_CONNECTION, exc.TimeoutError())
        try:
            UNTIL.set(until)
            return Connection(
                engine,
                self._said(engine),
                self.bounds,
                until=until,
                suspect=self.suspect,
                own=self.own,
            )
        except BaseException:
            self.returned()
            raise

    def returned(self) -> None:
        """A connection was given back or thrown away."""
        if self._limits:
            self._slots.release()

    def no_tables(self) -> StoreUnavailable:
        """The error where the tables are missing."""
        return StoreUnavailable(
            f"{self.name} has no tables of prefix {self.prefix!r}: make them by `coatcheck db create --store URL`, or"
            f" put what `coatcheck db ddl --dialect {self.dialect}` prints into your migrations",
            ambiguous=False,
        )

    def _said(self, engine: Engine) -> Statements:
        """The statements for this database; its version is asked the first time."""
        if self._statements is None:
            dialect: Any = engine.dialect
            if dialect.server_version_info is None:
                try:
                    engine.raw_connection().close()
                except Exception as error:
                    met = failed(error, dialect.dbapi)
                    if met is None:
                        raise
                    raise met from error
            self._statements = Statements(self.tables, engine.dialect)
        return self._statements

    def _after_fork(self, engine: Engine) -> None:
        """In a child, leave inherited connections alone: two processes on one connection read each other's answers."""
        self._pid = os.getpid()
        self._slots = threading.BoundedSemaphore(CONNECTIONS)
        # Kept, since letting go of a connection would say goodbye to the server in the parent's name.
        self._inherited.append(engine.pool)
        engine.dispose(close=False)


class Call(Generic[_T]):
    """One call."""

    def __init__(
        self, shared: Shared, work: Callable[[Connection], _T], deadline: float, *, checked: bool = True
    ) -> None:
        """Begin it.

        Args:
            shared: The store's.
            work: What to do on a connection.
            deadline: When it must have ended (`time.monotonic`).
            checked: Whether the format of the tables is to be looked at first.
        """
        self._shared = shared
        self._work = work
        self._until = deadline
        self._checked = checked
        self._connection: Connection | None = None
        shared.breaker.admit()

    def run(self, engine: Engine) -> _T:
        """Do it.

        Raises:
            StoreError: It failed.
        """
        try:
            try:
                return self._attempt(engine)
            except Failed as met:
                if met.kind is not Kind.LOST or self._connection is None or self._connection.in_doubt:
                    raise
                return self._attempt(engine)
        except Failed as met:
            raise self._failure(met) from met.__cause__

    def overdue(self) -> StoreError:
        """The error where the caller found that the deadline has passed."""
        return self._failure(Failed(Kind.OVERDUE, Overdue()))

    def _attempt(self, engine: Engine) -> _T:
        shared = self._shared
        self._connection = None
        connection = self._connection = shared.connection(engine, self._until)
        try:
            if self._checked and not shared.checked:
                check_format(connection, shared.prefix)
                shared.checked = True
            result = self._work(connection)
        except Failed as met:
            if met.kind is Kind.LOST:
                shared.suspect = time.monotonic()
            connection.give_back()
            raise
        except StoreError:
            shared.breaker.succeeded()
            connection.give_back()
            raise
        except BaseException:  # also where the call was cancelled
            connection.throw_away()
            raise
        else:
            shared.breaker.succeeded()
            connection.give_back()
            return result
        finally:
            shared.returned()

    def _failure(self, met: Failed) -> StoreError:
        shared, connection = self._shared, self._connection
        if met.definite:
            shared.breaker.succeeded()
        elif met.kind is not Kind.NO_CONNECTION:  # a pool that is too small says nothing of the server
            shared.breaker.failed()
        if met.kind is Kind.NO_TABLE:
            return shared.no_tables()
        return failure(met, shared.name, ambiguous=connection is not None and connection.in_doubt)
