"""The store in a database for an event loop.

The work of a call is done by the same code as in the sync store, on SQLAlchemy's own bridge between the two: a greenlet,
in which a driver's coroutine is awaited from within a plain function. One bridge serves a whole call.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.util import greenlet_spawn

from coatcheck.errors import ConfigurationError, StoreError
from coatcheck.model.ports import Entry, Index, Loaded, Write, Written
from coatcheck.stores.sql import engines, operations
from coatcheck.stores.sql.calls import Call
from coatcheck.stores.sql.connection import Shared
from coatcheck.stores.sql.operations import Changes
from coatcheck.stores.sql.statements import Change, change_of

__all__ = ["AsyncSQLStore"]

_T = TypeVar("_T")


class AsyncSQLStore:
    """`SQLStore`, with the same arguments, for asyncio; an engine is an `AsyncEngine`.

    With a URL it may be used from several event loops: each gets an engine of its own.
    """

    index: Index = "within"
    loads_in_place: bool = False

    def __init__(self, where: str | AsyncEngine, *, prefix: str = "coatcheck:") -> None:
        """See `SQLStore`."""
        self._engines: WeakKeyDictionary[asyncio.AbstractEventLoop, AsyncEngine] = WeakKeyDictionary()
        self._given: AsyncEngine | None = None
        self._spare: AsyncEngine | None = None
        if isinstance(where, AsyncEngine):
            self._given = engine = where
        elif isinstance(where, str):
            # The first loop's; made here, so that a missing driver is told of now.
            self._url = engines.url_of(where)
            self._spare = engine = engines.async_engine(self._url)
        else:
            raise ConfigurationError(
                f"AsyncSQLStore takes a URL or an AsyncEngine, not {type(where).__name__}; an Engine is for Sessions."
            )
        self._shared = Shared(engine.sync_engine, prefix, own=self._given is None)

    async def load(self, keys: Sequence[bytes], now: int, deadline: float) -> Sequence[Loaded]:
        return await self._call(deadline, operations.load, keys)

    async def write(self, writes: Sequence[Write], now: int, deadline: float) -> Sequence[Written]:
        return await self._change(deadline, [change_of(write) for write in writes])

    async def remove(self, keys: Sequence[bytes], now: int, deadline: float) -> Sequence[bool | StoreError]:
        return await self._change(deadline, [("remove", {"b_key": key}) for key in keys])

    async def note(self, entries: Sequence[Entry], now: int, deadline: float) -> None:
        pass

    async def sessions_of(
        self, user: str, now: int, limit: int, after: Entry | None, deadline: float
    ) -> Sequence[Entry]:
        return await self._call(deadline, operations.sessions_of, user, now, limit, after)

    async def index_may_be_incomplete(self, deadline: float) -> str | None:
        return None

    async def forget(self, entries: Sequence[Entry], deadline: float) -> None:
        pass

    async def count(self, now: int, deadline: float) -> int:
        return await self._call(deadline, operations.count, now)

    async def sweep(self, now: int, limit: int, deadline: float) -> int:
        return await self._call(deadline, operations.sweep, now, limit)

    async def ping(self, deadline: float) -> None:
        await self._call(deadline, operations.check_format, self._shared.prefix)

    async def create_tables(self) -> None:
        """Make the tables, unless they are there.

        Raises:
            StoreError: They can't be made, or are of another format.
        """
        shared, deadline = self._shared, time.monotonic() + operations.CREATING
        await self._call(deadline, operations.create_tables, shared.tables, shared.prefix, checked=False)

    async def close(self) -> None:
        """Close this loop's connections, where they are the store's own; those of other loops go with their loops."""
        engine = self._engines.pop(asyncio.get_running_loop(), None)
        if engine is not None:
            self._shared.close()
            await engine.dispose()

    def _engine(self) -> AsyncEngine:
        if self._given is not None:
            return self._given
        loop = asyncio.get_running_loop()
        engine = self._engines.get(loop)
        if engine is None:
            engine = self._engines[loop] = self._spare or engines.async_engine(self._url)
            self._spare = None
        return engine

    async def _change(self, deadline: float, items: Sequence[Change]) -> list[Any]:
        changes = Changes(items, self._shared.name)
        try:
            await self._call(deadline, changes)
        except StoreError as error:
            return changes.answered(error)
        return changes.answered()

    async def _call(self, deadline: float, work: Callable[..., _T], *args: Any, checked: bool = True) -> _T:
        call: Call[_T] = Call(self._shared, deadline, checked=checked)
        engine = self._engine().sync_engine
        try:
            async with asyncio.timeout(deadline - time.monotonic()):
                return await greenlet_spawn(call.run, engine, work, *args)
        except TimeoutError as error:
            raise call.overdue() from error
