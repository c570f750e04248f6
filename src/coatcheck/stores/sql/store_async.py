"""The store in a database for an event loop.

The work of a call is done by the same code as in the sync store, on SQLAlchemy's own bridge between the two: a greenlet,
in which a driver's coroutine is awaited from within a plain function. One bridge serves a whole call.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.util import greenlet_spawn

from coatcheck.errors import ConfigurationError, StoreError
from coatcheck.model.ports import Entry, Index, Loaded, Write, Written
from coatcheck.stores.sql import engines, operations
from coatcheck.stores.sql.calls import Call, Shared
from coatcheck.stores.sql.connection import Connection
from coatcheck.stores.sql.create import CREATING, create_tables
from coatcheck.stores.sql.operations import Changes
from coatcheck.stores.sql.statements import change_of

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
        """See `SQLStore.load`."""
        return await self._call(lambda connection: operations.load(connection, keys), deadline)

    async def write(self, writes: Sequence[Write], now: int, deadline: float) -> Sequence[Written]:
        """See `SQLStore.write`."""
        return await self._change([change_of(write) for write in writes], deadline)

    async def remove(self, keys: Sequence[bytes], now: int, deadline: float) -> Sequence[bool | StoreError]:
        """See `SQLStore.remove`."""
        return await self._change([("remove", {"b_key": key}) for key in keys], deadline)

    async def note(self, entries: Sequence[Entry], now: int, deadline: float) -> None:
        """See `SQLStore.note`."""

    async def sessions_of(
        self, user: str, now: int, limit: int, after: Entry | None, deadline: float
    ) -> Sequence[Entry]:
        """See `SQLStore.sessions_of`."""
        return await self._call(
            lambda connection: operations.sessions_of(connection, user, now, limit, after), deadline
        )

    async def index_may_be_incomplete(self, deadline: float) -> str | None:
        """See `SQLStore.index_may_be_incomplete`."""
        return None

    async def forget(self, entries: Sequence[Entry], deadline: float) -> None:
        """See `SQLStore.forget`."""

    async def count(self, now: int, deadline: float) -> int:
        """See `SQLStore.count`."""
        return await self._call(lambda connection: operations.count(connection, now), deadline)

    async def sweep(self, now: int, limit: int, deadline: float) -> int:
        """See `SQLStore.sweep`."""
        return await self._call(lambda connection: operations.sweep(connection, now, limit), deadline)

    async def ping(self, deadline: float) -> None:
        """See `SQLStore.ping`."""
        await self._call(
            lambda connection: operations.check_format(connection, self._shared.prefix), deadline
        )

    async def create_tables(self) -> None:
        """See `SQLStore.create_tables`."""
        shared = self._shared
        await self._call(
            lambda connection: create_tables(connection, shared.tables, shared.prefix),
            time.monotonic() + CREATING,
            checked=False,
        )

    async def close(self) -> None:
        """Close this loop's connections, where they are the store's own; those of other loops go with their loops."""
        engine = self._engines.pop(asyncio.get_running_loop(), None)
        if engine is not None:
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

    async def _change(self, items: Sequence[tuple[str, Mapping[str, object]]], deadline: float) -> list[Any]:
        changes = Changes(items, self._shared.name)
        try:
            await self._call(changes, deadline)
        except StoreError as error:
            return changes.answered(error)
        return changes.answered()

    async def _call(self, work: Callable[[Connection], _T], deadline: float, *, checked: bool = True) -> _T:
        call = Call(self._shared, work, deadline, checked=checked)
        engine = self._engine().sync_engine
        try:
            async with asyncio.timeout(deadline - time.monotonic()):
                return await greenlet_spawn(call.run, engine)
        except TimeoutError as error:
            raise call.overdue() from error
