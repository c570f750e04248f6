"""The store in a database for an event loop.

The synchronous store's code runs in a greenlet of SQLAlchemy's, in which a driver's coroutine is awaited from within a
plain function.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import Any, TypeVar

from sqlalchemy import util
from sqlalchemy.ext.asyncio import AsyncEngine

from coatcheck.errors import ConfigurationError
from coatcheck.model.ports import Index
from coatcheck.silent import frameless
from coatcheck.stores.adapter import AsyncAdapter
from coatcheck.stores.loops import PerLoop
from coatcheck.stores.sql import engines
from coatcheck.stores.sql.calls import Call
from coatcheck.stores.sql.database import Database
from coatcheck.stores.sql.store import SQLStore

__all__ = ["AsyncSQLStore"]

_T = TypeVar("_T")
_await: Callable[..., Any] = getattr(util, "await_", None) or util.await_only
"""Waits for an awaitable inside a greenlet. SQLAlchemy 2.1 has renamed it."""


class AsyncSQLStore(AsyncAdapter):
    """`SQLStore`, with the same arguments, for asyncio; an engine is an `AsyncEngine`.

    With a URL it may be used from several event loops: each gets connections of its own.
    """

    index: Index = "within"

    def __init__(self, where: str | AsyncEngine, *, prefix: str = "coatcheck:") -> None:
        """See `SQLStore`."""
        if not isinstance(where, str | AsyncEngine):
            raise ConfigurationError(
                f"AsyncSQLStore takes a URL or an AsyncEngine, not {type(where).__name__}; an Engine is for Sessions."
            )
        self._inside = self._store = _InGreenlet(where, prefix)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}, {self._inside.where}>"

    async def create_tables(self) -> None:
        """See `SQLStore.create_tables`."""
        await util.greenlet_spawn(self._inside.create_tables)

    async def close(self) -> None:
        """Close the connections that are the store's own, and have other loops close theirs."""
        await self._inside.of_loops.close()

    async def _call(self, call: Callable[..., _T], *args: Any, deadline: float, changes: bool = False) -> _T:
        return await util.greenlet_spawn(call, *args, deadline)


class _InGreenlet(SQLStore):
    """The store on async drivers. Its methods are called in a greenlet, in a running loop."""

    def __init__(self, where: str | AsyncEngine, prefix: str) -> None:
        self._where = where
        self._prefix = prefix
        self.of_loops: PerLoop[Database] = PerLoop(self._next, _closed, Database.abandon)
        # The first loop's; made here, so that a missing driver is told of now.
        self._spare: Database | None = self._made()
        self.where: str = self._spare.name

    @property
    def _database(self) -> Database:
        return self.of_loops.here()

    def _next(self) -> Database:
        made, self._spare = self._spare or self._made(), None
        return made

    def _made(self) -> Database:
        where = self._where
        engine = engines.async_engine(where) if isinstance(where, str) else where.sync_engine
        return Database(engine, self._prefix, own=isinstance(where, str))

    def _call(self, deadline: float, work: Callable[..., _T], *args: Any, checked: bool = True) -> _T:
        call = Call(self._database, deadline, checked=checked)
        try:
            answer: _T = _await(_until(deadline, call.run, work, *args))
        except TimeoutError as error:
            raise call.overdue() from frameless(error)
        return answer


async def _closed(database: Database) -> None:
    await util.greenlet_spawn(database.close)


async def _until(deadline: float, work: Callable[..., _T], *args: Any) -> _T:
    async with asyncio.timeout(deadline - time.monotonic()):
        return await util.greenlet_spawn(work, *args)
