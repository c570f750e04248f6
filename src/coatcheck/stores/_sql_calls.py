"""One call of the store: attempts until it succeeds, may not be tried again, or its time is over.

Everything here is for both colours. A store of either makes a `Call`, and runs `attempt` until it does not raise
`Again`, waiting in its own way for as long as that says.
"""

from __future__ import annotations

import os
import random
import time
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from sqlalchemy import Engine

from coatcheck.errors import ConfigurationError, StoreError, StoreUnavailable
from coatcheck.stores._sql_errors import Kind, Overdue, failure, is_definite, kind_of
from coatcheck.stores._sql_recent import Recent
from coatcheck.stores._sql_statements import Statements
from coatcheck.stores._sql_table import Tables, tables
from coatcheck.stores._sql_wire import Wire
from coatcheck.stores._sql_work import Writing, check_format
from coatcheck.stores.breaker import Breaker

__all__ = ["Again", "Call", "Desk"]

_T = TypeVar("_T")
_SHORTEST, _LONGEST = 0.002, 0.05  # seconds between two attempts
_RECONNECT = 0.05


class Again(Exception):
    """Try once more, after `pause` seconds."""

    def __init__(self, pause: float) -> None:
        super().__init__(pause)
        self.pause = pause


class Desk:
    """What all calls of one store share."""

    def __init__(self, engine: Engine, name: str, prefix: str, *, deadline: float, own: bool) -> None:
        if deadline <= 0:
            raise ConfigurationError("deadline must be more than nothing")
        self.name = name
        self.dialect: str = engine.dialect.name
        self.driver: Any = engine.dialect.dbapi
        self.prefix = prefix
        self.tables: Tables = tables(prefix)
        self.deadline = deadline
        self.own = own
        self.recent: Recent = Recent()
        self.breaker: Breaker = Breaker(name, patience=deadline)
        self.closed: bool = False
        self.suspect: float = 0.0
        self.checked: bool = False
        self._statements: Statements | None = None
        self._pid = os.getpid()
        self._inherited: list[Any] = []

    def statements(self, engine: Engine) -> Statements:
        """What to say to this database; asks the server for its version, the first time."""
        if self._statements is None:
            dialect: Any = engine.dialect
            if dialect.server_version_info is None:
                engine.raw_connection().close()
            self._statements = Statements(self.tables, engine.dialect)
        return self._statements

    def notice_fork(self, engine: Engine) -> None:
        """In a child, leave what it inherited alone: two processes on one connection read each other's answers."""
        if self._pid != os.getpid():
            self._pid = os.getpid()
            # Kept, since letting go of a connection would say goodbye to the server in the parent's name.
            self._inherited.append(engine.pool)
            engine.dispose(close=False)

    def no_tables(self) -> StoreError:
        """What to tell whoever has not made the tables."""
        return StoreError(
            f"{self.name} has no tables of prefix {self.prefix!r}: make them by `coatcheck db create --store URL`, or"
            f" put what `coatcheck db ddl --dialect {self.dialect}` prints into your migrations"
        )


class Call(Generic[_T]):
    """One call."""

    def __init__(self, desk: Desk, work: Callable[[Wire], _T], *, checked: bool = True) -> None:
        """Begin it; its time runs from now.

        Args:
            desk: The store's.
            work: What to do on a connection.
            checked: Whether the format of the tables is to be looked at first.
        """
        self._desk = desk
        self._work = work
        self._checked = checked
        self._attempts = 0
        self._lost = False
        self._answered = False
        self.until: float = time.monotonic() + desk.deadline
        if desk.closed:
            raise StoreUnavailable(f"{desk.name}: the store is closed")
        desk.breaker.admit()

    def attempt(self, engine: Engine) -> _T:
        """Do it.

        Raises:
            Again: It may succeed another time.
            StoreError: It failed.
        """
        desk, wire = self._desk, None
        try:
            desk.notice_fork(engine)
            statements = desk.statements(engine)
            wire = Wire(engine, statements, until=self.until, suspect=desk.suspect, own=desk.own)
            if self._checked and not desk.checked:
                check_format(wire, desk.prefix)
                desk.checked = True
            result = self._work(wire)
        except Exception as error:
            outcome = self._outcome(error, wire)
            if outcome is error:
                raise
            raise outcome from error
        except BaseException:  # cancelled: an answer may be on its way
            if wire is not None:
                wire.throw_away()
            raise
        desk.breaker.succeeded()
        self._give_back(wire)
        return result

    def overdue(self) -> StoreError:
        """What to raise where the caller has noticed that its time is over."""
        if not self._answered:
            self._desk.breaker.failed()
        return failure(Kind.OVERDUE, Overdue(), self._desk.name, ambiguous=self._in_doubt)

    @property
    def _in_doubt(self) -> bool:
        return isinstance(self._work, Writing) and self._work.in_doubt

    def _outcome(self, error: Exception, wire: Wire | None) -> Exception:
        """Tidy up after an attempt that failed, and say what to raise."""
        desk = self._desk
        if isinstance(error, StoreError):
            if wire is not None:
                wire.throw_away()
            desk.breaker.succeeded()  # the server did answer
            return error
        kind = kind_of(error, desk.driver)
        if kind is None:
            if wire is not None:
                wire.throw_away()
            return error
        if wire is not None:
            self._part(wire, kind)
        if is_definite(kind, error):
            self._answered = True
            if isinstance(self._work, Writing):
                self._work.was_refused()
            desk.breaker.succeeded()
        now = time.monotonic()
        self._attempts += 1
        if kind in {Kind.BUSY, Kind.EXISTS}:
            longest = min(_LONGEST, _SHORTEST * 2**self._attempts)
            pause = random.uniform(_SHORTEST, longest)  # noqa: S311 - no secret
            if now + pause < self.until:
                return Again(pause)
        if kind is Kind.LOST:
            desk.suspect = now
            if not self._lost and now + _RECONNECT < self.until:
                self._lost = True
                return Again(0 if wire is not None else random.uniform(0, _RECONNECT))  # noqa: S311 - no secret
            if now >= self.until:
                kind = Kind.OVERDUE
        # A server that answers, but keeps one waiting for a lock, can be reached; so can one to whom a pool that is
        # too small for the load leads.
        if kind in {Kind.LOST, Kind.OVERDUE, Kind.REFUSED} and not self._answered:
            desk.breaker.failed()
        if kind is Kind.NO_TABLE:
            return desk.no_tables()
        return failure(kind, error, desk.name, ambiguous=self._in_doubt)

    @staticmethod
    def _part(wire: Wire, kind: Kind) -> None:
        """Let go of a connection on which something failed."""
        # One that can't write may lead to what is no longer the primary.
        if kind not in {Kind.BUSY, Kind.EXISTS, Kind.FULL, Kind.NO_TABLE}:
            wire.throw_away()
            return
        try:
            if wire.in_transaction:
                wire.roll_back()
        except Exception:  # noqa: BLE001 - it is the first failure that counts
            wire.throw_away()
        else:
            Call._give_back(wire)

    @staticmethod
    def _give_back(wire: Wire) -> None:
        try:
            wire.give_back()
        except Exception:  # noqa: BLE001 - what was done is done
            wire.throw_away()
