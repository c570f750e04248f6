"""Stores that hold one call at a chosen point until the test lets it go.

::

    store = PausingStore(MemoryStore())
    with store.hold("apply", "before") as gate:  # the next `apply` parks before it reaches the store
        late = race.start("late write", lambda: save(session))
        gate.wait()  # now it stands there
        log_out(session)
        gate.open()
    late.result()

No call waits for ever: a gate that nobody comes to, or that nobody opens, is `Stuck` after `timeout` seconds.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Literal, Self, TypeVar
from weakref import WeakKeyDictionary

from coatcheck.model.ports import AsyncStore, Store
from coatcheck.testing.wrappers import AsyncStoreWrapper, Call, Method, StoreWrapper

__all__ = ["AsyncGate", "AsyncPausingStore", "Gate", "PausingStore", "Stuck", "parked_at"]

T = TypeVar("T")
Point = Literal["before", "after"]
Where = Callable[[Call], bool]

TIMEOUT = 10.0
"""Seconds. Only a test that is about to fail waits so long."""


class Stuck(AssertionError):
    """Somebody waits for what does not come. The message says who stands where."""


_parked: WeakKeyDictionary[threading.Thread | asyncio.Task[object], str] = WeakKeyDictionary()


def parked_at(party: threading.Thread | asyncio.Task[object]) -> str | None:
    """At which gate a thread or a task stands, or None."""
    return _parked.get(party)


class _Plan:
    """Which call to park, and where."""

    def __init__(self, method: Method, point: Point, where: Where | None) -> None:
        self.method = method
        self.point = point
        self.where = where
        self.taken: bool = False

    def takes(self, call: Call, point: Point) -> bool:
        """Whether this is the call to park; True at most once."""
        if self.taken or (call.method, point) != (self.method, self.point):
            return False
        self.taken = self.where is None or self.where(call)
        return self.taken

    def __str__(self) -> str:
        return f"{self.point} {self.method}"


class Gate:
    """Where one call parks. Leaving the ``with`` opens it, so that a failing test leaves nobody behind."""

    def __init__(self, plan: _Plan, timeout: float) -> None:
        self._plan = plan
        self._timeout = timeout
        self._arrived = threading.Event()
        self._opened = threading.Event()

    def wait(self) -> None:
        """Return when the call has parked.

        Raises:
            Stuck: It did not come in time.
        """
        if not self._arrived.wait(self._timeout):
            raise Stuck(f"Nobody came to the gate {self._plan} within {self._timeout:g} s.")

    def open(self) -> None:
        """Let the call go on; if it has not come yet, it won't stop."""
        self._opened.set()

    def takes(self, call: Call, point: Point) -> bool:
        return self._plan.takes(call, point)

    def park(self) -> None:
        party = threading.current_thread()
        _parked[party] = f"parked {self._plan}"
        self._arrived.set()
        try:
            if not self._opened.wait(self._timeout):
                raise Stuck(
                    f"{party.name} stood at the gate {self._plan} for {self._timeout:g} s; nobody opened it."
                )
        finally:
            del _parked[party]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.open()


class AsyncGate:
    """Where one call parks. Leaving the ``with`` opens it, so that a failing test leaves nobody behind."""

    def __init__(self, plan: _Plan, timeout: float) -> None:
        self._plan = plan
        self._timeout = timeout
        self._arrived = asyncio.Event()
        self._opened = asyncio.Event()

    async def wait(self) -> None:
        """Return when the call has parked.

        Raises:
            Stuck: It did not come in time.
        """
        try:
            await asyncio.wait_for(self._arrived.wait(), self._timeout)
        except TimeoutError:
            raise Stuck(f"Nobody came to the gate {self._plan} within {self._timeout:g} s.") from None

    def open(self) -> None:
        """Let the call go on; if it has not come yet, it won't stop."""
        self._opened.set()

    def takes(self, call: Call, point: Point) -> bool:
        return self._plan.takes(call, point)

    async def park(self) -> None:
        party = asyncio.current_task()
        assert party is not None
        _parked[party] = f"parked {self._plan}"
        self._arrived.set()
        try:
            await asyncio.wait_for(self._opened.wait(), self._timeout)
        except TimeoutError:
            raise Stuck(
                f"{party.get_name()} stood at the gate {self._plan} for {self._timeout:g} s; nobody opened it."
            ) from None
        finally:
            del _parked[party]

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.open()


class PausingStore(StoreWrapper):
    """Holds chosen calls, and passes all others on."""

    def __init__(self, store: Store, *, timeout: float = TIMEOUT) -> None:
        super().__init__(store)
        self._timeout = timeout
        self._gates: list[Gate] = []
        self._lock = threading.Lock()

    def hold(self, method: Method, point: Point = "before", *, where: Where | None = None) -> Gate:
        """Let the next call of `method` (for which `where` is true) park, once.

        ``"before"``: it was made, and nothing has reached the store. ``"after"``: the store did it and answered, and
        the caller doesn't have the answer yet.
        """
        gate = Gate(_Plan(method, point, where), self._timeout)
        with self._lock:
            self._gates.append(gate)
        return gate

    def around(self, call: Call, send: Callable[[], T]) -> T:
        self._stop(call, "before")
        answer = send()
        self._stop(call, "after")
        return answer

    def _stop(self, call: Call, point: Point) -> None:
        with self._lock:
            gate = next((gate for gate in self._gates if gate.takes(call, point)), None)
        if gate is not None:
            gate.park()


class AsyncPausingStore(AsyncStoreWrapper):
    """Holds chosen calls, and passes all others on. A call that is held can be cancelled."""

    def __init__(self, store: AsyncStore, *, timeout: float = TIMEOUT) -> None:
        super().__init__(store)
        self._timeout = timeout
        self._gates: list[AsyncGate] = []

    def hold(self, method: Method, point: Point = "before", *, where: Where | None = None) -> AsyncGate:
        """Let the next call of `method` (for which `where` is true) park, once. See `PausingStore.hold`."""
        gate = AsyncGate(_Plan(method, point, where), self._timeout)
        self._gates.append(gate)
        return gate

    async def around(self, call: Call, send: Callable[[], Awaitable[T]]) -> T:
        await self._stop(call, "before")
        answer = await send()
        await self._stop(call, "after")
        return answer

    async def _stop(self, call: Call, point: Point) -> None:
        gate = next((gate for gate in self._gates if gate.takes(call, point)), None)
        if gate is not None:
            await gate.park()
