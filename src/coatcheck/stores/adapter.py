"""An async store made of a synchronous one: the methods, each of which hands its arguments on."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from coatcheck.errors import StoreError
from coatcheck.model.ports import Entry, Index, Loaded, Store, Write, Written

__all__ = ["AsyncAdapter"]

_T = TypeVar("_T")


class AsyncAdapter(ABC):
    """An `AsyncStore` whose methods are those of a synchronous store. A subclass says how such a call is run."""

    index: Index
    loads_in_place: bool = False
    _store: Store

    @abstractmethod
    async def _call(self, call: Callable[..., _T], *args: Any, deadline: float, changes: bool = False) -> _T:
        """Run ``call(*args, deadline)`` without holding up the loop, and raise a `StoreTimeout` at the deadline.

        `changes` says whether the call may change what is stored, so that its timeout is ambiguous.
        """

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

    async def ping(self, deadline: float) -> int | None:
        return await self._call(self._store.ping, deadline=deadline)

    @abstractmethod
    async def close(self) -> None:
        """See `AsyncStore.close`."""
