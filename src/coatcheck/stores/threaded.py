"""A synchronous store for an event loop: each call, and so each batch, is one hop to a thread.

The threads are the store's own and few, so that a slow server takes none from the application's executor. They start
with the first call, and end with `ThreadedStore.close`.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from coatcheck.errors import StoreTimeout
from coatcheck.model.ports import Index, Store
from coatcheck.stores.adapter import AsyncAdapter

__all__ = ["ThreadedStore"]

_T = TypeVar("_T")
_WAY_BACK = 0.05
"""Seconds at most that a call's deadline lies earlier in the thread, so that the store's own answers come back first."""


class ThreadedStore(AsyncAdapter):
    """An `AsyncStore` made of a synchronous store.

    A call that has begun goes on in its thread when its caller is cancelled, and gives its connection back whole. One
    that no thread has begun is dropped.
    """

    def __init__(self, store: Store, *, threads: int = 8, name: str = "the store") -> None:
        """Make it of `store`, with at most so many threads; `name` stands for the store in messages."""
        self.index: Index = store.index
        self._store = store
        self._threads = threads
        self._name = name
        self._pool: ThreadPoolExecutor | None = None
        self._pid = 0

    def __repr__(self) -> str:
        return f"<{type(self).__name__}, {self._name}>"

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
        left = deadline - time.monotonic()
        if left <= 0:  # a thread that was free would begin it all the same
            raise StoreTimeout(f"the deadline had passed before {self._name} was asked", ambiguous=False)
        pool = self._running()
        if pool is None:
            pool = self._pool = ThreadPoolExecutor(self._threads, thread_name_prefix="coatcheck-store")
            self._pid = os.getpid()
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
            raise StoreTimeout(f"{self._name} did not answer in time", ambiguous=changes)
        raise StoreTimeout(f"all threads of {self._name} were busy until the deadline", ambiguous=False)
