"""A synchronous store for an event loop: each call, and so each batch, is one hop to a thread.

The threads are the store's own and few, so that a slow server takes none from the application's executor. They start
with the first call, and end with `ThreadedStore.close`.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from coatcheck.errors import StoreError, StoreTimeout
from coatcheck.model.ports import Entry, Index, Loaded, Store, Write, Written

__all__ = ["ThreadedStore"]

_T = TypeVar("_T")
_WAY_BACK = 0.05
"""Seconds at most that a call's deadline lies earlier in the thread, so that the store's own answers come back first."""


class ThreadedStore:
    """An `AsyncStore` made of a synchronous store.

    A call that has begun goes on in its thread when its caller is cancelled, and gives its connection back whole.
    """

    loads_in_place = False

    def __init__(self, store: Store, *, threads: int = 8) -> None:
        self.index: Index = store.index
        self._store, self._threads = store, threads
        self._pool: ThreadPoolExecutor | None = None
        self._pid = 0

    async def load(self, keys: Sequence[bytes], now: int, deadline: float) -> Sequence[Loaded]:
        return await self._call(self._store.load, keys, now, deadline=deadline)

    async def write(self, writes: Sequence[Write], now: int, deadline: float) -> Sequence[Written]:
        return await self._call(self._store.write, writes, now, deadline=deadline, changes=True)

    async def remove(self, keys: Sequence[bytes], now: int, deadline: float) -> Sequence[bool | StoreError]:
        return await self._call(self._store.remove, keys, now, deadline=deadline, changes=True)

    async def note(self, entries: Sequence[Entry], now: int, deadline: float) -> None:
        await self._call(self._store.note, entries, now, deadline=deadline, changes=True)

    async def sessions_of(
        self, user: str, now: int, limit: int, after: Entry | None, deadline: float
    ) -> Sequence[Entry]:
        return await self._call(self._store.sessions_of, user, now, limit, after, deadline=deadline)

    async def index_may_be_incomplete(self, deadline: float) -> str | None:
        return await self._call(self._store.index_may_be_incomplete, deadline=deadline)

    async def forget(self, entries: Sequence[Entry], deadline: float) -> None:
        await self._call(self._store.forget, entries, deadline=deadline, changes=True)

    async def count(self, now: int, deadline: float) -> int:
        return await self._call(self._store.count, now, deadline=deadline)

    async def sweep(self, now: int, limit: int, deadline: float) -> int:
        return await self._call(self._store.sweep, now, limit, deadline=deadline, changes=True)

    async def ping(self, deadline: float) -> None:
        await self._call(self._store.ping, deadline=deadline)

    async def close(self) -> None:
        """Wait for the calls that run, end the threads, and close the store."""
        pool, self._pool = self._running(), None

        def end() -> None:
            if pool is not None:
                pool.shutdown()
            self._store.close()

        closer = ThreadPoolExecutor(1)
        closed = asyncio.wrap_future(closer.submit(end))
        closer.shutdown(wait=False)
        await asyncio.shield(closed)

    def _running(self) -> ThreadPoolExecutor | None:
        return self._pool if self._pid == os.getpid() else None  # a fork leaves the threads to the parent

    async def _call(self, call: Callable[..., _T], *args: Any, deadline: float, changes: bool = False) -> _T:
        pool = self._running()
        if pool is None:
            pool = self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="coatcheck-store")
            self._pid = os.getpid()
        left = deadline - time.monotonic()
        work = pool.submit(call, *args, deadline - min(left / 10, _WAY_BACK))
        answer = asyncio.wrap_future(work)
        try:
            await asyncio.wait((answer,), timeout=left)
            begun = not work.cancel()
            if begun and work.done():
                return await answer
        finally:
            answer.cancel()
        if begun:
            raise StoreTimeout("the store did not answer within its deadline", ambiguous=changes)
        raise StoreTimeout("all threads of the store were busy until the deadline", ambiguous=False)
