"""One way to call a store of either colour: await it."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable, Sequence
from typing import ParamSpec, TypeVar, cast

from coatcheck.model.ports import AsyncStore, Capabilities, Found, Life, RevokesAll, Store
from coatcheck.model.record import Applied, Change, Refused

__all__ = ["AwaitableStore", "awaitable"]

P = ParamSpec("P")
T = TypeVar("T")


class AwaitableStore:
    """A sync store as an async one.

    With `threads`, each call runs in a thread of the loop's executor, so that calls that are gathered run at the same
    time; without, it runs where it stands, and blocks the loop.
    """

    def __init__(self, store: Store, *, threads: bool = False) -> None:
        self._store = store
        self._threads = threads

    @property
    def capabilities(self) -> Capabilities:
        return self._store.capabilities

    async def load(self, keys: Sequence[bytes], now: int) -> Sequence[Found]:
        return await self._call(self._store.load, keys, now)

    async def apply(self, changes: Sequence[Change]) -> Sequence[Applied | Refused]:
        return await self._call(self._store.apply, changes)

    async def enroll(self, user: str, life: Life, expires: int) -> None:
        await self._call(self._store.enroll, user, life, expires)

    async def revoke_all(self, user: str, at: int, until: int, keep: bytes | None) -> None:
        await self._call(cast("RevokesAll", self._store).revoke_all, user, at, until, keep)

    async def lives_of(self, user: str, now: int) -> Sequence[Life]:
        return await self._call(self._store.lives_of, user, now)

    async def count(self, now: int) -> int:
        return await self._call(self._store.count, now)

    async def sweep(self, now: int, limit: int) -> int:
        return await self._call(self._store.sweep, now, limit)

    async def ping(self) -> None:
        await self._call(self._store.ping)

    async def close(self) -> None:
        await self._call(self._store.close)

    async def _call(self, method: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        if self._threads:
            return await asyncio.to_thread(method, *args, **kwargs)
        return method(*args, **kwargs)


def awaitable(store: Store | AsyncStore, *, threads: bool = False) -> AsyncStore:
    """`store` itself if it is async, that is, if its `load` is a coroutine function; otherwise it in the shim."""
    if inspect.iscoroutinefunction(store.load):
        return cast("AsyncStore", store)
    return AwaitableStore(cast("Store", store), threads=threads)
