"""Stores around a store: one counts the calls, one fails on request.

Each comes twice, for `Store` and for `AsyncStore`, with the same methods.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Literal, TypeVar

from msgspec import Struct

from coatcheck.errors import StoreError
from coatcheck.model.ports import AsyncStore, Capabilities, Found, Life, Store
from coatcheck.model.record import Applied, Change, Refused

__all__ = [
    "AsyncCountingStore",
    "AsyncFailingStore",
    "AsyncStoreWrapper",
    "Call",
    "CountingStore",
    "FailingStore",
    "Method",
    "StoreWrapper",
]

T = TypeVar("T")
Method = Literal["load", "apply", "enroll", "lives_of", "count", "sweep", "ping", "close"]


class Call(Struct, frozen=True):
    """One call of a store: which method, and with what."""

    method: Method
    args: tuple[object, ...] = ()


class StoreWrapper:
    """Passes everything on. Subclass it and override `around`."""

    def __init__(self, store: Store) -> None:
        self.store = store

    @property
    def capabilities(self) -> Capabilities:
        return self.store.capabilities

    def around(self, call: Call, send: Callable[[], T]) -> T:
        """What happens at a call. `send` passes it on and gives back the store's answer."""
        return send()

    def load(self, keys: Sequence[bytes], now: int) -> Sequence[Found]:
        return self.around(Call("load", (keys, now)), lambda: self.store.load(keys, now))

    def apply(self, changes: Sequence[Change]) -> Sequence[Applied | Refused]:
        return self.around(Call("apply", (changes,)), lambda: self.store.apply(changes))

    def enroll(self, user: str, life: Life, expires: int) -> None:
        self.around(Call("enroll", (user, life, expires)), lambda: self.store.enroll(user, life, expires))

    def lives_of(self, user: str, now: int) -> Sequence[Life]:
        return self.around(Call("lives_of", (user, now)), lambda: self.store.lives_of(user, now))

    def count(self, now: int) -> int:
        return self.around(Call("count", (now,)), lambda: self.store.count(now))

    def sweep(self, now: int, limit: int) -> int:
        return self.around(Call("sweep", (now, limit)), lambda: self.store.sweep(now, limit))

    def ping(self) -> None:
        self.around(Call("ping"), self.store.ping)

    def close(self) -> None:
        self.around(Call("close"), self.store.close)


class AsyncStoreWrapper:
    """Passes everything on. Subclass it and override `around`."""

    def __init__(self, store: AsyncStore) -> None:
        self.store = store

    @property
    def capabilities(self) -> Capabilities:
        return self.store.capabilities

    async def around(self, call: Call, send: Callable[[], Awaitable[T]]) -> T:
        """What happens at a call. `send` passes it on and gives back the store's answer."""
        return await send()

    async def load(self, keys: Sequence[bytes], now: int) -> Sequence[Found]:
        return await self.around(Call("load", (keys, now)), lambda: self.store.load(keys, now))

    async def apply(self, changes: Sequence[Change]) -> Sequence[Applied | Refused]:
        return await self.around(Call("apply", (changes,)), lambda: self.store.apply(changes))

    async def enroll(self, user: str, life: Life, expires: int) -> None:
        await self.around(
            Call("enroll", (user, life, expires)), lambda: self.store.enroll(user, life, expires)
        )

    async def lives_of(self, user: str, now: int) -> Sequence[Life]:
        return await self.around(Call("lives_of", (user, now)), lambda: self.store.lives_of(user, now))

    async def count(self, now: int) -> int:
        return await self.around(Call("count", (now,)), lambda: self.store.count(now))

    async def sweep(self, now: int, limit: int) -> int:
        return await self.around(Call("sweep", (now, limit)), lambda: self.store.sweep(now, limit))

    async def ping(self) -> None:
        await self.around(Call("ping"), self.store.ping)

    async def close(self) -> None:
        await self.around(Call("close"), self.store.close)


class _Tally:
    """What a counting store saw."""

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
        """Forget what was called so far."""
        self.calls.clear()


class CountingStore(_Tally, StoreWrapper):
    """Notes each call, with its arguments, in `calls`."""

    def __init__(self, store: Store) -> None:
        StoreWrapper.__init__(self, store)
        _Tally.__init__(self)

    def around(self, call: Call, send: Callable[[], T]) -> T:
        self.calls.append(call)
        return send()


class AsyncCountingStore(_Tally, AsyncStoreWrapper):
    """Notes each call, with its arguments, in `calls`."""

    def __init__(self, store: AsyncStore) -> None:
        AsyncStoreWrapper.__init__(self, store)
        _Tally.__init__(self)

    async def around(self, call: Call, send: Callable[[], Awaitable[T]]) -> T:
        self.calls.append(call)
        return await send()


class _Fault:
    def __init__(self, error: StoreError, times: int | None, done: bool) -> None:
        self.error = error
        self.left = times
        self.done = done


class _Faults:
    """What a failing store was asked to do."""

    def __init__(self) -> None:
        self._faults: dict[Method, _Fault] = {}

    def fail(self, *methods: Method, error: StoreError, times: int | None = None, done: bool = False) -> None:
        """Let the next `times` calls of each of `methods` (None: all, until `recover`) raise `error`.

        With `done`, the store does what it was asked, and only its answer is lost.
        """
        for method in methods:
            self._faults[method] = _Fault(error, times, done)

    def recover(self) -> None:
        """Let every call pass again."""
        self._faults.clear()

    def _take(self, call: Call) -> _Fault | None:
        fault = self._faults.get(call.method)
        if fault is not None and fault.left is not None:
            fault.left -= 1
            if not fault.left:
                del self._faults[call.method]
        return fault


class FailingStore(_Faults, StoreWrapper):
    """Raises the `StoreError` that `fail` was given."""

    def __init__(self, store: Store) -> None:
        StoreWrapper.__init__(self, store)
        _Faults.__init__(self)

    def around(self, call: Call, send: Callable[[], T]) -> T:
        fault = self._take(call)
        if fault is None:
            return send()
        if fault.done:
            send()
        raise fault.error.with_traceback(None)


class AsyncFailingStore(_Faults, AsyncStoreWrapper):
    """Raises the `StoreError` that `fail` was given."""

    def __init__(self, store: AsyncStore) -> None:
        AsyncStoreWrapper.__init__(self, store)
        _Faults.__init__(self)

    async def around(self, call: Call, send: Callable[[], Awaitable[T]]) -> T:
        fault = self._take(call)
        if fault is None:
            return await send()
        if fault.done:
            await send()
        raise fault.error.with_traceback(None)
