"""The SQLite store for an event loop.

A read takes microseconds and, thanks to the write-ahead log, waits for no writer: it is done in place. Only while SQLite
is busy all the same does it move to the store's thread. Everything else waits for other writers and for the disk, and is
done by that thread: a batch is one hop.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Literal, TypeVar

from coatcheck.errors import StoreError, StoreTimeout
from coatcheck.model.ports import Entry, Index, Loaded, Write, Written
from coatcheck.stores.sqlite.store import SQLiteStore

__all__ = ["AsyncSQLiteStore"]

_T = TypeVar("_T")
_GRACE = 0.1
"""For how many seconds beyond the deadline the thread's own, exact `StoreTimeout` is waited for."""


class AsyncSQLiteStore:
    """`SQLiteStore`, with the same arguments, for asyncio. It has one thread, from the first write to `close`."""

    index: Index = "within"
    loads_in_place = True

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        prefix: str = "coatcheck:",
        synchronous: Literal["NORMAL", "FULL"] = "NORMAL",
        ballast: int = 1 << 20,
    ) -> None:
        """Open the file; see `SQLiteStore`."""
        self._path = path
        self._store = SQLiteStore(path, prefix=prefix, synchronous=synchronous, ballast=ballast)
        self._pid = os.getpid()
        self._thread: ThreadPoolExecutor | None = None

    async def load(self, keys: Sequence[bytes], now: int, deadline: float) -> Sequence[Loaded]:
        """See `Store.load`. In place, and in the thread if SQLite is busy."""
        try:
            return self._store.load(keys, now, 0)
        except StoreTimeout:
            pass
        return await self._in_thread(self._store.load, keys, now, deadline)

    async def write(self, writes: Sequence[Write], now: int, deadline: float) -> Sequence[Written]:
        """See `Store.write`."""
        return await self._in_thread(self._store.write, writes, now, deadline, writing=True)

    async def remove(self, keys: Sequence[bytes], now: int, deadline: float) -> Sequence[bool | StoreError]:
        """See `Store.remove`."""
        return await self._in_thread(self._store.remove, keys, now, deadline, writing=True)

    async def note(self, entries: Sequence[Entry], now: int, deadline: float) -> None:
        """Never called: a write stores its entry."""

    async def sessions_of(
        self, user: str, now: int, limit: int, after: Entry | None, deadline: float
    ) -> Sequence[Entry]:
        """See `Store.sessions_of`."""
        return await self._in_thread(self._store.sessions_of, user, now, limit, after, deadline)

    async def index_may_be_incomplete(self, deadline: float) -> None:
        """Never called: an entry lies in the row of its data."""

    async def forget(self, entries: Sequence[Entry], deadline: float) -> None:
        """Never called, like `note`."""

    async def count(self, now: int, deadline: float) -> int:
        """See `Store.count`."""
        return await self._in_thread(self._store.count, now, deadline)

    async def sweep(self, now: int, limit: int, deadline: float) -> int:
        """See `Store.sweep`."""
        return await self._in_thread(self._store.sweep, now, limit, deadline, writing=True)

    async def ping(self, deadline: float) -> None:
        """See `Store.ping`."""
        await self._in_thread(self._store.ping, deadline)

    async def close(self) -> None:
        """Wait for the thread's work, close the connections and end the thread, also when this is cancelled."""
        # In the thread as well: SQLite then moves its log into the file, and that takes a while.
        thread = self._its_thread()
        self._thread = None
        closing = thread.submit(self._store.close)
        thread.shutdown(wait=False)
        await asyncio.shield(asyncio.wrap_future(closing))

    async def _in_thread(self, work: Callable[..., _T], *arguments: Any, writing: bool = False) -> _T:
        """Do `work` in the thread. The last of the arguments is the deadline, which binds `work`, too.

        A job that is waiting for the thread when its caller is cancelled or out of time is not done any more.
        """
        job = self._its_thread().submit(work, *arguments)
        try:
            async with asyncio.timeout(arguments[-1] + _GRACE - time.monotonic()):
                return await asyncio.wrap_future(job)
        except TimeoutError:
            raise StoreTimeout(
                f"{self._path}: the disk, or earlier calls, took longer than the deadline",
                ambiguous=not job.cancel() and writing,
            ) from None

    def _its_thread(self) -> ThreadPoolExecutor:
        if self._thread is None or self._pid != os.getpid():  # after a fork, the thread is the parent's
            self._pid, self._thread = (
                os.getpid(),
                ThreadPoolExecutor(1, thread_name_prefix="coatcheck-sqlite"),
            )
        return self._thread
