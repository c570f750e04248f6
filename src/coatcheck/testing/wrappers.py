"""Stores around a store. They pass every call on, and a subclass says what else happens.

Each comes twice, for `Store` and for `AsyncStore`, with the same methods.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Literal, ParamSpec, TypeVar

from msgspec import Struct

from coatcheck.errors import StoreError
from coatcheck.model.ports import AsyncStore, Entry, Index, Loaded, Store, Write, Written

__all__ = ["AsyncCountingStore", "AsyncStoreWrapper", "Call", "CountingStore", "Method", "StoreWrapper"]

P = ParamSpec("P")
T = TypeVar("T")
Method = Literal[
    "load",
    "write",
    "remove",
    "note",
    "sessions_of",
    "index_may_be_incomplete",
    "forget",
    "count",
    "sweep",
    "ping",
    "close",
]


class Call(Struct, frozen=True):
    """One call of a store.

    Attributes:
        method: The method's name.
        args: Its arguments, the deadline included.
    """

    method: Method
    args: tuple[object, ...] = ()


class StoreWrapper:
    """Passes every call on. Subclass it and override `around`."""

    def __init__(self, store: Store) -> None:
        self.store = store

    @property
    def index(self) -> Index:
        return self.store.index

    def around(self, call: Call, send: Callable[[], T]) -> T:
        """Carry out `call`: `send` passes it on and returns the store's answer."""
        return send()

    def load(self, keys: Sequence[bytes], now: int, deadline: float) -> Sequence[Loaded]:
        return self._call("load", self.store.load, keys, now, deadline)

    def write(self, writes: Sequence[Write], now: int, deadline: float) -> Sequence[Written]:
        return self._call("write", self.store.write, writes, now, deadline)

    def remove(self, keys: Sequence[bytes], now: int, deadline: float) -> Sequence[bool | StoreError]:
        return self._call("remove", self.store.remove, keys, now, deadline)

    def note(self, entries: Sequence[Entry], now: int, deadline: float) -> None:
        self._call("note", self.store.note, entries, now, deadline)

    def sessions_of(
        self, user: str, now: int, limit: int, after: Entry | None, deadline: float
    ) -> Sequence[Entry]:
        return self._call("sessions_of", self.store.sessions_of, user, now, limit, after, deadline)

    def index_may_be_incomplete(self, deadline: float) -> str | None:
        return self._call("index_may_be_incomplete", self.store.index_may_be_incomplete, deadline)

    def forget(self, entries: Sequence[Entry], deadline: float) -> None:
        self._call("forget", self.store.forget, entries, deadline)

    def count(self, now: int, deadline: float) -> int:
        return self._call("count", self.store.count, now, deadline)

    def sweep(self, now: int, limit: int, deadline: float) -> int:
        return self._call("sweep", self.store.sweep, now, limit, deadline)

    def ping(self, deadline: float) -> int | None:
        return self._call("ping", self.store.ping, deadline)

    def close(self) -> None:
        self._call("close", self.store.close)

    def _call(self, name: Method, method: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        return self.around(Call(name, args), lambda: method(*args, **kwargs))


class AsyncStoreWrapper:
    """Passes every call on. Subclass it and override `around`."""

    def __init__(self, store: AsyncStore) -> None:
        self.store = store

    @property
    def index(self) -> Index:
        return self.store.index

    @property
    def loads_in_place(self) -> bool:
        return self.store.loads_in_place

    async def around(self, call: Call, send: Callable[[], Awaitable[T]]) -> T:
        """Carry out `call`: `send` passes it on and returns the store's answer."""
        return await send()

    async def load(self, keys: Sequence[bytes], now: int, deadline: float) -> Sequence[Loaded]:
        return await self._call("load", self.store.load, keys, now, deadline)

    async def write(self, writes: Sequence[Write], now: int, deadline: float) -> Sequence[Written]:
        return await self._call("write", self.store.write, writes, now, deadline)

    async def remove(self, keys: Sequence[bytes], now: int, deadline: float) -> Sequence[bool | StoreError]:
        return await self._call("remove", self.store.remove, keys, now, deadline)

    async def note(self, entries: Sequence[Entry], now: int, deadline: float) -> None:
        await self._call("note", self.store.note, entries, now, deadline)

    async def sessions_of(
        self, user: str, now: int, limit: int, after: Entry | None, deadline: float
    ) -> Sequence[Entry]:
        return await self._call("sessions_of", self.store.sessions_of, user, now, limit, after, deadline)

    async def index_may_be_incomplete(self, deadline: float) -> str | None:
        return await self._call("index_may_be_incomplete", self.store.index_may_be_incomplete, deadline)

    async def forget(self, entries: Sequence[Entry], deadline: float) -> None:
        await self._call("forget", self.store.forget, entries, deadline)

    async def count(self, now: int, deadline: float) -> int:
        return await self._call("count", self.store.count, now, deadline)

    async def sweep(self, now: int, limit: int, deadline: float) -> int:
        return await self._call("sweep", self.store.sweep, now, limit, deadline)

    async def ping(self, deadline: float) -> int | None:
        return await self._call("ping", self.store.ping, deadline)

    async def close(self) -> None:
        await self._call("close", self.store.close)

    async def _call(
        self, name: Method, method: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        return await self.around(Call(name, args), lambda: method(*args, **kwargs))


class _Tally:
    """The calls that a counting store saw."""

    def __init__(self) -> None:
        self.calls: list[Call] = []

    @property
    def counts(self) -> Counter[str]:
        """How often each method was called since the last `reset`."""
        return Counter(call.method for call in self.calls)

    @property
    def sequence(self) -> list[str]:
        """The methods called since the last `reset`, in order."""
        return [call.method for call in self.calls]

    def reset(self) -> None:
        """Forget the calls so far."""
        self.calls.clear()


class CountingStore(_Tally, StoreWrapper):
    """Keeps each call, with its arguments, in `calls`."""

    def __init__(self, store: Store) -> None:
        StoreWrapper.__init__(self, store)
        _Tally.__init__(self)

    def around(self, call: Call, send: Callable[[], T]) -> T:
        self.calls.append(call)
        return send()


class AsyncCountingStore(_Tally, AsyncStoreWrapper):
    """Keeps each call, with its arguments, in `calls`."""

    def __init__(self, store: AsyncStore) -> None:
        AsyncStoreWrapper.__init__(self, store)
        _Tally.__init__(self)

    async def around(self, call: Call, send: Callable[[], Awaitable[T]]) -> T:
        self.calls.append(call)
        return await send()
