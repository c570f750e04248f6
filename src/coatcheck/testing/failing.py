"""Stores that fail on request: before a call is carried out, or after it, so that only its answer is lost.

::

    store = FailingStore(MemoryStore())
    lost = StoreTimeout("no answer")
    # The next write is carried out, then another request writes, and the caller never learns of either.
    store.fail("write", error=lost, times=1, done=True, then=another_request)
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Sequence
from typing import Any, Literal, TypeAlias, TypeVar, cast

from msgspec import Struct
from msgspec.structs import replace

from coatcheck.errors import StoreError
from coatcheck.model.ports import AsyncStore, Store, Write
from coatcheck.testing.wrappers import AsyncStoreWrapper, Call, Method, StoreWrapper

__all__ = ["AsyncFailingStore", "FailingStore"]

T = TypeVar("T")
Done: TypeAlias = bool | Literal["late"]


class _Fault(Struct):
    error: StoreError
    times: int | None
    keys: Collection[bytes] | None
    done: Done
    then: Callable[[], Any] | None

    def concerns(self, call: Call) -> bool:
        return self.keys is None or any(map(self.hits, _items(call)))

    def hits(self, item: bytes | Write) -> bool:
        return self.keys is None or (item.key if isinstance(item, Write) else item) in self.keys

    def parts(self, call: Call) -> tuple[Call, Call | None]:
        """The part of the call that fails, and the part that is passed on."""
        if self.keys is None:
            return call, None
        items = _items(call)
        failed = [item for item in items if self.hits(item)]
        passed = [item for item in items if not self.hits(item)]
        return _with(call, failed), _with(call, passed) if passed else None

    def answer(self, call: Call, answers: Sequence[object]) -> Any:
        """The answers to all items of the call, given those to the part that was passed on.

        Raises:
            StoreError: The whole call fails.
        """
        if self.keys is None:
            raise self.error.with_traceback(None)
        passed = iter(answers)
        return [self.error if self.hits(item) else next(passed) for item in _items(call)]


def _items(call: Call) -> Sequence[bytes | Write]:
    return cast("Sequence[bytes | Write]", call.args[0])


def _with(call: Call, items: Sequence[bytes | Write]) -> Call:
    return replace(call, args=(items, *call.args[1:]))


class _Faults:
    """The faults that a failing store was asked for."""

    def __init__(self) -> None:
        self._faults: dict[Method, _Fault] = {}
        self._late: list[Call] = []

    def fail(
        self,
        *methods: Method,
        error: StoreError,
        times: int | None = None,
        keys: Collection[bytes] | None = None,
        done: Done = False,
        then: Callable[[], Any] | None = None,
    ) -> None:
        """Let calls of `methods` fail with `error`.

        Args:
            methods: The methods; each counts its calls by itself.
            error: What is raised; with `keys`, what is answered to those keys.
            times: How many calls fail; None: all, until `recover`.
            keys: Let only these items of a load, a write or a removal fail, and pass the others on.
            done: Whether the store carries the call out, so that only the answer is lost. ``"late"``: it does so when
                `land` is called, or just before the next write reaches it.
            then: Called before the caller gets the error, for another writer's turn. In an `AsyncFailingStore` it
                returns an awaitable.
        """
        for method in methods:
            self._faults[method] = _Fault(error, times, keys, done, then)

    def recover(self) -> None:
        """Let every call pass again."""
        self._faults.clear()

    def _take(self, call: Call) -> _Fault | None:
        fault = self._faults.get(call.method)
        if fault is None or not fault.concerns(call):
            return None
        if fault.times is not None:
            fault.times -= 1
            if not fault.times:
                del self._faults[call.method]
        return fault


class FailingStore(_Faults, StoreWrapper):
    """Fails with the `StoreError` that `fail` was given."""

    def __init__(self, store: Store) -> None:
        StoreWrapper.__init__(self, store)
        _Faults.__init__(self)

    def land(self) -> None:
        """Carry out the calls that are late."""
        late, self._late = self._late, []
        for call in late:
            self._send(call)

    def around(self, call: Call, send: Callable[[], T]) -> T:
        if call.method == "write":
            self.land()
        fault = self._take(call)
        if fault is None:
            return send()
        failed, passed = fault.parts(call)
        answers: Sequence[object] = self._send(passed) if passed else ()
        if fault.done == "late":
            self._late.append(failed)
        elif fault.done:
            self._send(failed)
        if fault.then is not None:
            fault.then()
        return cast("T", fault.answer(call, answers))

    def _send(self, call: Call) -> Any:
        return getattr(self.store, call.method)(*call.args)


class AsyncFailingStore(_Faults, AsyncStoreWrapper):
    """Fails with the `StoreError` that `fail` was given."""

    def __init__(self, store: AsyncStore) -> None:
        AsyncStoreWrapper.__init__(self, store)
        _Faults.__init__(self)

    async def land(self) -> None:
        """Carry out the calls that are late."""
        late, self._late = self._late, []
        for call in late:
            await self._send(call)

    async def around(self, call: Call, send: Callable[[], Awaitable[T]]) -> T:
        if call.method == "write":
            await self.land()
        fault = self._take(call)
        if fault is None:
            return await send()
        failed, passed = fault.parts(call)
        answers: Sequence[object] = await self._send(passed) if passed else ()
        if fault.done == "late":
            self._late.append(failed)
        elif fault.done:
            await self._send(failed)
        if fault.then is not None:
            await fault.then()
        return cast("T", fault.answer(call, answers))

    async def _send(self, call: Call) -> Any:
        return await getattr(self.store, call.method)(*call.args)
