"""The store in a database for an event loop.

A call's whole work is done by the same code as in the synchronous store, on SQLAlchemy's own bridge between the two
(a greenlet, in which a driver's coroutine is awaited from within a plain function): one bridge for a call, and not
one for each statement.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import TypeVar
from weakref import WeakKeyDictionary

from sqlalchemy import URL
from sqlalchemy.ext.asyncio import AsyncEngine
from sqlalchemy.util import greenlet_spawn

from coatcheck.errors import ConfigurationError
from coatcheck.model.ports import Capabilities, Found, Life
from coatcheck.model.record import Applied, Change, Refused
from coatcheck.stores import _sql_engines, _sql_work
from coatcheck.stores._sql_calls import Again, Call, Desk
from coatcheck.stores._sql_create import create_tables
from coatcheck.stores._sql_wire import Wire
from coatcheck.stores._sql_work import Writing
from coatcheck.stores.coalesce import Coalesced

__all__ = ["AsyncSQLStore", "from_url"]

_T = TypeVar("_T")
_GRACE = 0.1  # seconds


class AsyncSQLStore:
    """`SQLStore`, with the same arguments, for asyncio; an engine is an `AsyncEngine`.

    With a URL it may be used from several event loops: each gets an engine of its own.
    """

    capabilities: Capabilities = Capabilities()

    def __init__(
        self,
        where: str | AsyncEngine,
        *,
        prefix: str = "coatcheck:",
        deadline: timedelta = timedelta(seconds=2),
        connect_deadline: timedelta = timedelta(seconds=2),
    ) -> None:
        """See `SQLStore`."""
        self._deadline = deadline.total_seconds()
        self._connect_deadline = connect_deadline.total_seconds()
        self._engines: WeakKeyDictionary[asyncio.AbstractEventLoop, AsyncEngine] = WeakKeyDictionary()
        self._given: AsyncEngine | None = None
        self._spare: AsyncEngine | None = None
        if isinstance(where, AsyncEngine):
            self._given = engine = where
        elif isinstance(where, str):
            # The first loop's; made here, so that a driver that is missing is missed now.
            self._spare = engine = self._new_engine(_sql_engines.url_of(where))
        else:
            raise ConfigurationError(
                f"AsyncSQLStore takes a URL or an AsyncEngine, not {type(where).__name__}; an Engine is for Sessions."
            )
        self._url = engine.url
        self._desk = Desk(
            engine.sync_engine,
            _sql_engines.shown(engine.url),
            prefix,
            deadline=self._deadline,
            own=self._given is None,
        )

    async def load(self, keys: Sequence[bytes], now: int) -> list[Found]:
        """What lies under each key, by one statement."""
        return await self._call(lambda wire: _sql_work.load(wire, keys, self._desk.recent))

    async def apply(self, changes: Sequence[Change]) -> list[Applied | Refused]:
        """Apply each change to the row that is there now: one on the condition that it is, several in a transaction."""
        return await self._call(Writing(changes, self._desk.recent, self._desk.driver))

    async def enroll(self, user: str, life: Life, expires: int) -> None:
        """Nothing to do: the index is in the row."""

    async def lives_of(self, user: str, now: int) -> list[Life]:
        """The user's live sessions, the newest sign-in first."""
        return await self._call(lambda wire: _sql_work.lives_of(wire, user, now))

    async def count(self, now: int) -> int:
        """How many live records there are, from the index."""
        return await self._call(lambda wire: _sql_work.count(wire, now))

    async def sweep(self, now: int, limit: int) -> int:
        """Remove at most `limit` expired records and tombstones, passing over those that another is removing."""
        return await self._call(lambda wire: _sql_work.sweep(wire, now, limit))

    async def ping(self) -> None:
        """Return if the tables can be read, else raise a `StoreError`."""
        await self._call(lambda wire: _sql_work.ping(wire, self._desk.prefix))

    async def create_tables(self) -> None:
        """Make the tables, unless they are there.

        Raises:
            StoreError: They can't be made, or are of another format.
        """
        await self._call(lambda wire: create_tables(wire, self._desk), checked=False)

    async def close(self) -> None:
        """Close this loop's connections, where they are the store's own; those of other loops go with their loops."""
        self._desk.closed = True
        engine = self._engines.pop(asyncio.get_running_loop(), None)
        if engine is not None:
            await engine.dispose()

    def _engine(self) -> AsyncEngine:
        if self._given is not None:
            return self._given
        loop = asyncio.get_running_loop()
        engine = self._engines.get(loop)
        if engine is None:
            engine = self._engines[loop] = self._spare or self._new_engine(self._url)
            self._spare = None
        return engine

    def _new_engine(self, url: URL) -> AsyncEngine:
        return _sql_engines.async_engine(
            url, deadline=self._deadline, connect_deadline=self._connect_deadline
        )

    async def _call(self, work: Callable[[Wire], _T], *, checked: bool = True) -> _T:
        call = Call(self._desk, work, checked=checked)
        engine = self._engine().sync_engine
        try:
            # A little more than the call has: who notices first by himself can say more.
            async with asyncio.timeout(self._deadline + _GRACE):
                while True:
                    try:
                        return await greenlet_spawn(call.attempt, engine)
                    except Again as again:
                        await asyncio.sleep(again.pause)
        except TimeoutError as error:
            raise call.overdue() from error


def from_url(
    url: str,
    *,
    prefix: str = "coatcheck:",
    deadline: timedelta = timedelta(seconds=2),
    connect_deadline: timedelta = timedelta(seconds=2),
    client: AsyncEngine | None = None,
) -> Coalesced:
    """The store in the database that a URL names, or that of an engine, with coalescing in front; see `SQLStore`."""
    where = url if client is None else client
    return Coalesced(
        AsyncSQLStore(where, prefix=prefix, deadline=deadline, connect_deadline=connect_deadline)
    )
