"""One way to call any store: await it."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Sequence
from typing import ParamSpec, TypeVar, cast

from coatcheck.errors import StoreError
from coatcheck.model.ports import AsyncStore, Entry, Index, Loaded, Store, Write, Written

__all__ = ["AwaitableStore", "awaitable"]

P = ParamSpec("P")
T = TypeVar("T")


class AwaitableStore:
    """A sync store as an async one.

    With `threads`, each call runs in a thread of the loop's executor, so that gathered calls run at the same time.
    Without, it runs in place and blocks the loop.
    """

    def __init__(self, store: Store, *, threads: bool = False) -> None:
        self._store = store
        self._threads = threads

    @property
    def index(self) -> Index:
        return self._store.index

    @property
    def loads_in_place(self) -> bool:
        return not self._threads

    async def load(self, keys: Sequence[bytes], now: int, deadline: float) -> Sequence[Loaded]:
        return await self._call(self._store.load, keys, now, deadline)

    async def write(self, writes: Sequence[Write], now: int, deadline: float) -> Sequence[Written]:
        return await self._call(self._store.write, writes, now, deadline)

    async def remove(self, keys: Sequence[bytes], now: int, deadline: float) -> Sequence[bool | StoreError]:
        return await self._call(self._store.remove, keys, now, deadline)

    async def note(self, entries: Sequence[Entry], now: int, deadline: float) -> None:
        await self._call(self._store.note, entries, now, deadline)

    async def sessions_of(
        self, user: str, now: int, limit: int, after: Entry | None, deadline: float
    ) -> Sequence[Entry]:
        return await self._call(self._store.sessions_of, user, now, limit, after, deadline)

    async def index_may_be_incomplete(self, deadline: float) -> str | None:
        return await self._call(self._store.index_may_be_incomplete, deadline)

    async def forget(self, entries: Sequence[Entry], deadline: float) -> None:
        await self._call(self._store.forget, entries, deadline)

    async def count(self, now: int, deadline: float) -> int:
        return await self._call(self._store.count, now, deadline)

    async def sweep(self, now: int, limit: int, deadline: float) -> int:
        return await self._call(self._store.sweep, now, limit, deadline)

    async def ping(self, deadline: float) -> int | None:
        return await self._call(self._store.ping, deadline)

    async def close(self) -> None:
        await self._call(self._store.close)

    async def _call(self, method: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        if self._threads:
            return await asyncio.to_thread(method, *args, **kwargs)
        return method(*args, **kwargs)


def awaitable(store: Store | AsyncStore, *, threads: bool = False) -> AsyncStore:
    """`store` itself if it is async, that is, if its `load` is a coroutine function; otherwise an `AwaitableStore`."""
    if inspect.iscoroutinefunction(store.load):
        return cast("AsyncStore", store)
    return AwaitableStore(cast("Store", store), threads=threads)
