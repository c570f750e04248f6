"""Stores that hold one call at a chosen point until the test lets it go.

::

    store = PausingStore(MemoryStore())
    with store.hold("write", "before") as gate:  # the next `write` parks before it reaches the store
        late = race.start("late write", lambda: save(session))
        gate.wait()  # now it is parked
        log_out(session)
        gate.open()
    late.result()

No call waits for ever: a gate that no call reaches, or that is never opened, is `Stuck` after `timeout` seconds.
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
    """A wait that did not end in time. The message says where each party stands."""


_parked: WeakKeyDictionary[threading.Thread | asyncio.Task[object], str] = WeakKeyDictionary()


def parked_at(party: threading.Thread | asyncio.Task[object]) -> str | None:
    """The gate at which a thread or a task is parked, or None."""
    return _parked.get(party)


class _Plan:
    """The call that is to be parked, and the point."""

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
    """Where one call parks. Leaving the ``with`` opens it, so that a failing test leaves no call behind."""

    def __init__(self, plan: _Plan, timeout: float) -> None:
        self._plan = plan
        self._timeout = timeout
        self._arrived = threading.Event()
        self._opened = threading.Event()

    def wait(self) -> None:
        """Return when the call has parked.

        Raises:
            Stuck: It did not arrive in time.
        """
        if not self._arrived.wait(self._timeout):
            raise Stuck(f"No call reached the gate {self._plan} within {self._timeout:g} s.")

    def open(self) -> None:
        """Let the call go on; if it has not arrived yet, it won't stop."""
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
                    f"{party.name} was parked {self._plan} for {self._timeout:g} s; the gate was not opened."
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
    """Where one call parks. Leaving the ``with`` opens it, so that a failing test leaves no call behind."""

    def __init__(self, plan: _Plan, timeout: float) -> None:
        self._plan = plan
        self._timeout = timeout
        self._arrived = asyncio.Event()
        self._opened = asyncio.Event()

    async def wait(self) -> None:
        """Return when the call has parked.

        Raises:
            Stuck: It did not arrive in time.
        """
        try:
            await asyncio.wait_for(self._arrived.wait(), self._timeout)
        except TimeoutError:
            raise Stuck(f"No call reached the gate {self._plan} within {self._timeout:g} s.") from None

    def open(self) -> None:
        """Let the call go on; if it has not arrived yet, it won't stop."""
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
                f"{party.get_name()} was parked {self._plan} for {self._timeout:g} s; the gate was not opened."
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
    """Parks chosen calls, and passes all others on."""

    def __init__(self, store: Store, *, timeout: float = TIMEOUT) -> None:
        super().__init__(store)
        self._timeout = timeout
        self._gates: list[Gate] = []
        self._lock = threading.Lock()

    def hold(self, method: Method, point: Point = "before", *, where: Where | None = None) -> Gate:
        """Let the next call of `method` (for which `where` is true) park, once.

        ``"before"``: the call was made, and the store knows nothing of it. ``"after"``: the store carried it out and
        answered, and the caller doesn't have the answer yet.
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
    """Parks chosen calls, and passes all others on. A parked call can be cancelled."""

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
