"""Races that come out the same way every time.

A `PausingStore` parks one party at a chosen point, while another goes on.
"""

from __future__ import annotations

import asyncio
import sys
import threading
import traceback
from collections.abc import Callable, Coroutine
from types import FrameType, TracebackType
from typing import Generic, Self, TypeVar

from coatcheck.testing.pausing import TIMEOUT, Stuck, parked_at

__all__ = ["AsyncParty", "AsyncRace", "Party", "Race"]

T = TypeVar("T")


class Party(Generic[T]):
    """A function that runs in a thread of a `Race`."""

    def __init__(self, race: Race, name: str, run: Callable[[], T]) -> None:
        self._race = race
        self._run = run
        self._answers: list[T] = []
        self._error: BaseException | None = None
        self.thread: threading.Thread = threading.Thread(target=self._body, name=name, daemon=True)
        self.thread.start()

    def result(self) -> T:
        """Return or raise as it did.

        Raises:
            Stuck: It did not finish in time.
        """
        self.thread.join(self._race.timeout)
        if self.thread.is_alive():
            raise Stuck(self._race.report())
        if self._error is not None:
            raise self._error
        return self._answers[0]

    @property
    def stands(self) -> str:
        """Where it is now: the gate, or the line of code."""
        frame = sys._current_frames().get(self.thread.ident or 0)  # noqa: SLF001 - the documented way to see it
        if not self.thread.is_alive() or frame is None:
            return "finished"
        return parked_at(self.thread) or f"at {place_of(frame)}"

    def _body(self) -> None:
        try:
            self._answers.append(self._run())
        except BaseException as error:  # noqa: BLE001 - `result` raises it
            self._error = error


class Race:
    """Parties, each in a thread of its own. Leaving the ``with`` waits for all of them."""

    def __init__(self, *, timeout: float = TIMEOUT) -> None:
        self.timeout = timeout
        self._parties: list[Party[object]] = []

    def start(self, name: str, run: Callable[[], T]) -> Party[T]:
        """Let `run` begin in a thread."""
        party = Party(self, name, run)
        self._parties.append(party)  # type: ignore[arg-type] # only ever read
        return party

    def report(self) -> str:
        """Where each party stands."""
        return _report(self.timeout, {party.thread.name: party.stands for party in self._parties})

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for party in self._parties:
            if error is None:
                party.result()
            else:  # the first error is already on its way; only wait for the thread
                party.thread.join(self.timeout)


class AsyncParty(Generic[T]):
    """A coroutine that runs in a task of an `AsyncRace`."""

    def __init__(self, race: AsyncRace, name: str, run: Coroutine[object, object, T]) -> None:
        self._race = race
        self.task: asyncio.Task[T] = asyncio.create_task(run, name=name)

    async def result(self) -> T:
        """Return or raise as it did.

        Raises:
            Stuck: It did not finish in time.
        """
        done, _ = await asyncio.wait([self.task], timeout=self._race.timeout)
        if not done:
            raise Stuck(self._race.report())
        return self.task.result()

    @property
    def stands(self) -> str:
        """Where it is now: the gate, or the line of code."""
        if self.task.done():
            return "finished"
        return parked_at(self.task) or f"at {_innermost(self.task)}"


class AsyncRace:
    """Parties, each in a task of its own. Leaving the ``async with`` waits for all of them."""

    def __init__(self, *, timeout: float = TIMEOUT) -> None:
        self.timeout = timeout
        self._parties: list[AsyncParty[object]] = []

    def start(self, name: str, run: Coroutine[object, object, T]) -> AsyncParty[T]:
        """Let `run` begin in a task."""
        party = AsyncParty(self, name, run)
        self._parties.append(party)  # type: ignore[arg-type] # only ever read
        return party

    def report(self) -> str:
        """Where each party stands."""
        return _report(self.timeout, {party.task.get_name(): party.stands for party in self._parties})

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if error is None:
                for party in self._parties:
                    await party.result()
        finally:
            for party in self._parties:
                party.task.cancel()
            await asyncio.gather(*(party.task for party in self._parties), return_exceptions=True)


def _report(timeout: float, stands: dict[str, str]) -> str:
    lines = [f"The race did not end within {timeout:g} s. Where each party stands:"]
    return "\n".join(lines + [f"  {name}: {place}" for name, place in stands.items()])


def place_of(frame: FrameType) -> str:
    """The innermost line of a stack that is not in `threading`."""
    stack = traceback.extract_stack(frame)
    own = [line for line in stack if not line.filename.endswith("threading.py")]
    line = (own or stack)[-1]
    return f"{line.filename}:{line.lineno}, in {line.name}"


def _innermost(task: asyncio.Task[T]) -> str:
    """Where the innermost coroutine of a waiting task stands."""
    waiting: object = task.get_coro()
    frame: object = None
    while waiting is not None:
        frame = getattr(waiting, "cr_frame", frame)
        waiting = getattr(waiting, "cr_await", None)
    return place_of(frame) if isinstance(frame, FrameType) else "its beginning"
