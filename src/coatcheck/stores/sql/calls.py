"""A call of the store, from taking a connection to the answer or the error. The same code runs in sync and async."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from coatcheck.errors import StoreError, StoreUnavailable
from coatcheck.silent import frameless
from coatcheck.stores.sql.connection import Connection
from coatcheck.stores.sql.database import Database
from coatcheck.stores.sql.errors import Failed, Kind, failure
from coatcheck.stores.sql.operations import check_format

__all__ = ["Call"]

_T = TypeVar("_T")
_NOT_THE_SERVERS_FAULT = {Kind.NO_CONNECTION, Kind.LATE}


class Call:
    """One call."""

    def __init__(self, database: Database, deadline: float, *, checked: bool = True) -> None:
        """Begin it; `checked` says whether the format of the tables is to be looked at first.

        Raises:
            StoreUnavailable: The breaker is open.
        """
        self._database = database
        self._deadline = deadline
        self._checked = checked
        self._connection: Connection | None = None
        database.breaker.admit()

    def run(self, work: Callable[..., _T], *args: Any) -> _T:
        """Do the work on a connection.

        Where the connection turns out to be dead (it came from the pool, and the server has closed it since), the work
        is done on another, once. A change that was sent is never sent again: its caller looks first.

        Raises:
            StoreError: It failed.
        """
        try:
            try:
                return self._attempt(work, args)
            except Failed as met:
                if met.kind is not Kind.LOST or self._in_doubt:
                    raise
                return self._attempt(work, args)
        except Failed as met:
            raise self._error(met) from frameless(met).__cause__

    def overdue(self) -> StoreError:
        """The error where the call was cancelled at its deadline."""
        return self._error(Failed(Kind.OVERDUE, TimeoutError()))

    @property
    def _in_doubt(self) -> bool:
        return self._connection is not None and self._connection.in_doubt

    def _attempt(self, work: Callable[..., _T], args: tuple[Any, ...]) -> _T:
        database, self._connection = self._database, None
        connection = self._connection = Connection(database, self._deadline)
        try:
            if self._checked and not database.checked:
                check_format(connection, database.prefix)
                database.checked = True
            answer = work(connection, *args)
        except Failed:
            connection.give_back()
            raise
        except StoreError:  # the server did answer
            database.breaker.succeeded()
            connection.give_back()
            raise
        except BaseException:  # also where the call was cancelled
            connection.throw_away()
            raise
        database.breaker.succeeded()
        connection.give_back()
        return answer

    def _error(self, met: Failed) -> StoreError:
        database = self._database
        error = failure(met, database.name, ambiguous=self._in_doubt)
        if met.definite:
            database.breaker.succeeded()
        elif met.kind not in _NOT_THE_SERVERS_FAULT:
            database.breaker.failed(error)
        if met.kind is Kind.NO_TABLE:
            return StoreUnavailable(
                f"{database.name} has no tables of prefix {database.prefix!r}: make them by `coatcheck db create"
                f" --store URL`, or put what `coatcheck db ddl --dialect {database.engine.dialect.name}` prints into"
                " your migrations",
                ambiguous=False,
            )
        return error
