"""Stores that tell what they are asked: what the demo shows at the foot of its pages comes from here."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from coatcheck.demo.steps import Step, Steps
from coatcheck.errors import StoreError
from coatcheck.model.ports import AsyncStore, Store
from coatcheck.testing.wrappers import AsyncStoreWrapper, Call, StoreWrapper

__all__ = ["AsyncTracedStore", "TracedStore"]

_T = TypeVar("_T")


class TracedStore(StoreWrapper):
    """A store that passes everything on, and tells of each call when it is answered."""

    def __init__(self, store: Store, tell: Callable[[Step], None]) -> None:
        super().__init__(store)
        self._steps = Steps(tell)

    def around(self, call: Call, send: Callable[[], _T]) -> _T:
        """Carry out a call, and tell of it."""
        began = time.perf_counter()
        try:
            answer = send()
        except StoreError as error:
            self._steps.failed(call, error, _since(began))
            raise
        self._steps.answered(call, answer, _since(began))
        return answer


class AsyncTracedStore(AsyncStoreWrapper):
    """The same for an event loop."""

    def __init__(self, store: AsyncStore, tell: Callable[[Step], None]) -> None:
        super().__init__(store)
        self._steps = Steps(tell)

    async def around(self, call: Call, send: Callable[[], Awaitable[_T]]) -> _T:
        """Carry out a call, and tell of it."""
        began = time.perf_counter()
        try:
            answer = await send()
        except StoreError as error:
            self._steps.failed(call, error, _since(began))
            raise
        self._steps.answered(call, answer, _since(began))
        return answer


def _since(began: float) -> float:
    return (time.perf_counter() - began) * 1000
