"""A call of the store, from taking a connection to the answer or the error. The same code runs in sync and async."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Generic, TypeVar

from sqlalchemy import Engine

from coatcheck.errors import StoreError, StoreUnavailable
from coatcheck.stores.sql.connection import Connection, Shared
from coatcheck.stores.sql.errors import Failed, Kind, failure
from coatcheck.stores.sql.operations import check_format

__all__ = ["Call"]

_T = TypeVar("_T")


class Call(Generic[_T]):
    """One call."""

    def __init__(self, shared: Shared, deadline: float, *, checked: bool = True) -> None:
        """Begin it; `checked` says whether the format of the tables is to be looked at first.

        Raises:
            StoreUnavailable: The breaker is open.
        """
        self._shared = shared
        self._until = deadline
        self._checked = checked
        self._connection: Connection | None = None
        shared.breaker.admit()

    def run(self, engine: Engine, work: Callable[..., _T], *args: Any) -> _T:
        """Do the work on a connection.

        Where the connection turns out to be dead (it came from the pool, and the server has closed it since), the work
        is done on another, once; but for a change that was sent: that is never sent twice, its caller looks first.

        Raises:
            StoreError: It failed.
        """
        try:
            try:
                return self._attempt(engine, work, args)
            except Failed as met:
                if met.kind is not Kind.LOST or self._in_doubt:
                    raise
                return self._attempt(engine, work, args)
        except Failed as met:
            raise self._failure(met) from met.__cause__

    def overdue(self) -> StoreError:
        """The error where the caller found that the deadline has passed."""
        return self._failure(Failed(Kind.OVERDUE, TimeoutError()))

    @property
    def _in_doubt(self) -> bool:
        return self._connection is not None and self._connection.in_doubt

    def _attempt(self, engine: Engine, work: Callable[..., _T], args: tuple[Any, ...]) -> _T:
        shared, self._connection = self._shared, None
        connection = self._connection = Connection(shared, engine, self._until)
        try:
            if self._checked and not shared.checked:
                check_format(connection, shared.prefix)
                shared.checked = True
            answer = work(connection, *args)
        except (Failed, StoreError) as error:
            if isinstance(error, StoreError):
                shared.breaker.succeeded()  # the server did answer
            connection.give_back()
            raise
        except BaseException:  # also where the call was cancelled
            connection.throw_away()
            raise
        shared.breaker.succeeded()
        connection.give_back()
        return answer

    def _failure(self, met: Failed) -> StoreError:
        shared = self._shared
        if met.definite:
            shared.breaker.succeeded()
        elif met.kind not in {Kind.NO_CONNECTION, Kind.LATE}:  # they say nothing of the server
            shared.breaker.failed()
        if met.kind is Kind.NO_TABLE:
            return StoreUnavailable(
                f"{shared.name} has no tables of prefix {shared.prefix!r}: make them by `coatcheck db create --store"
                f" URL`, or put what `coatcheck db ddl --dialect {shared.dialect}` prints into your migrations",
                ambiguous=False,
            )
        return failure(met, shared.name, ambiguous=self._in_doubt)
