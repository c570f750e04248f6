"""Coalescing: items that arrive while batches are in flight are sent together as the next batch.

There is no timer. An idle lane sends a single item immediately; a busy lane sends fewer, larger batches. Each batch runs
in its own task, so that a cancelled request can't leave a connection half read: its answer is discarded, and its write
is still carried out.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Hashable, Mapping, Sequence
from contextvars import Context
from typing import Any, Generic, Protocol, TypeVar
from weakref import WeakKeyDictionary, ref

from coatcheck.errors import ConfigurationError, StoreTimeout, StoreUnavailable, copy_of

__all__ = ["IN_FLIGHT", "LARGEST_BATCH", "NO_LOOP", "Lane", "PerLoop", "Tasks"]

T = TypeVar("T")
Item = TypeVar("Item")
Item_contra = TypeVar("Item_contra", contravariant=True)
Desk = TypeVar("Desk")

LARGEST_BATCH = 32
"""The largest number of items in a batch. Larger batches make client and server wait for each other."""
IN_FLIGHT = 2
"""The number of batches of a lane that are in flight at once."""


NO_LOOP: str = (
    "AsyncSessions needs an event loop of asyncio (or uvloop), and none is running here. It does not run under trio: "
    'with anyio use backend="asyncio", with Hypercorn worker_class = "asyncio".'
)


class Send(Protocol[Item_contra]):
    """Sends a batch and returns the answers in the order of the items."""

    def __call__(
        self, items: Sequence[Item_contra], now: int, deadline: float
    ) -> Awaitable[Sequence[Any]]: ...


class Tasks:
    """The running tasks of one event loop. They are kept without a reference to the loop."""

    def __init__(self) -> None:
        self.tasks: set[asyncio.Task[Any]] = set()

    def start(self, work: Coroutine[Any, Any, T], context: Context | None = None) -> asyncio.Task[T]:
        """Run `work` in its own task."""
        task = asyncio.get_running_loop().create_task(work, context=context)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task

    async def alone(self, work: Coroutine[Any, Any, T]) -> T:
        """Run `work` in a task that completes even if the caller is cancelled."""
        return await asyncio.shield(self.start(work))

    async def finished(self) -> None:
        """Wait for every task, including tasks that start meanwhile."""
        while self.tasks:
            await asyncio.wait(self.tasks)


class PerLoop(Generic[Desk]):
    """One object per event loop, created on first use and released with its loop."""

    def __init__(self, make: Callable[[], Desk]) -> None:
        self._make = make
        self._desks: WeakKeyDictionary[asyncio.AbstractEventLoop, Desk] = WeakKeyDictionary()
        self._recent: tuple[ref[asyncio.AbstractEventLoop], Desk] | None = None

    def here(self) -> Desk:
        """The object of the running loop.

        Raises:
            ConfigurationError: No event loop of asyncio runs.
        """
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            raise ConfigurationError(NO_LOOP) from None
        # Nearly every call comes from the loop of the previous one; this check takes a fifth of the lookup's time.
        recent = self._recent
        if recent is not None and recent[0]() is loop:
            return recent[1]
        desk = self._desks.get(loop)
        if desk is None:
            desk = self._desks[loop] = self._make()
        self._recent = (ref(loop), desk)
        return desk


class _Member(Generic[Item]):
    """The items of one caller, and the future of its answers."""

    __slots__ = ("answers", "deadline", "items", "now")

    def __init__(
        self, items: Sequence[Item], now: int, deadline: float, answers: asyncio.Future[Sequence[Any]]
    ) -> None:
        self.items = items
        self.now = now
        self.deadline = deadline
        self.answers = answers

    def fail(self, error: Exception) -> None:
        if not self.answers.done():
            self.answers.set_exception(error)


class Lane(Generic[Item]):
    """A queue of items of one kind in one event loop, sent in batches. The items of one caller stay together and in order.

    Args:
        tasks: Runs the batches.
        send: Sends a batch.
        largest_batch: The largest number of items in a batch, unless one caller has more.
        in_flight: The number of batches in flight at once.
        cancelled: Whether items of cancelled callers are still sent, as writes must be.
        key: The key of an item. Items with the same key are never in two batches at once, so each has one writer.
        handed_on: Updates a waiting item by the latest answer to an item with the same key.
    """

    def __init__(
        self,
        tasks: Tasks,
        send: Send[Item],
        *,
        largest_batch: int = LARGEST_BATCH,
        in_flight: int = IN_FLIGHT,
        cancelled: bool = False,
        key: Callable[[Item], Hashable] | None = None,
        handed_on: Callable[[Item, Any], Item] | None = None,
    ) -> None:
        self._tasks = tasks
        self._send = send
        self._largest_batch = largest_batch
        self._in_flight = in_flight
        self._cancelled = cancelled
        self._key = key
        self._handed_on = handed_on
        self._waiting: deque[_Member[Item]] = deque()
        self._keys: set[Hashable] = set()  # of the batches in flight
        self._running = 0
        self._starting: asyncio.Task[None] | None = None
        # To ask for the running loop is a system call (getpid) before Python 3.12.
        self._loop = ref(asyncio.get_running_loop())

    def submit(self, items: Sequence[Item], now: int, deadline: float) -> asyncio.Future[Sequence[Any]]:
        """Send `items`, together with those of other callers. Returns the future of their answers."""
        loop = self._loop()
        assert loop is not None  # it runs the caller
        member = _Member(items, now, deadline, loop.create_future())
        self._waiting.append(member)
        # Callers that arrive before the batch's task has begun to run join it.
        if self._starting is None and self._running < self._in_flight:
            self._launch()
        return member.answers

    def _launch(self) -> None:
        if self._waiting and self._starting is None and self._running < self._in_flight:
            self._running += 1
            # An empty context, since a batch belongs to many callers.
            self._starting = self._tasks.start(self._run_batch(), Context())
            self._starting.add_done_callback(self._ended)

    async def _run_batch(self) -> None:
        self._starting = None
        batch = self._next_batch()
        keys: set[Hashable] = set()
        if self._key is not None:
            for member in batch:
                keys.update(map(self._key, member.items))
            self._keys |= keys
        if self._waiting and batch:
            self._launch()
        try:
            if batch:
                await self._deliver(batch)
        except BaseException:
            for member in batch:
                member.fail(StoreUnavailable("the batch was cancelled"))
            raise
        finally:
            self._running -= 1
            self._keys -= keys
            if self._waiting and batch:
                self._launch()

    def _ended(self, task: asyncio.Task[None]) -> None:
        if self._starting is task:  # cancelled before it began
            self._starting = None
            self._running -= 1
            self._launch()

    def _next_batch(self) -> list[_Member[Item]]:
        """Take the next batch from the queue, without items whose keys are in flight."""
        batch: list[_Member[Item]] = []
        held_back: list[_Member[Item]] = []
        size = 0
        clock = time.monotonic()
        while self._waiting:
            member = self._waiting[0]
            if member.answers.done() and not self._cancelled:
                self._waiting.popleft()
                continue
            if member.deadline <= clock:
                self._waiting.popleft()
                member.fail(StoreTimeout("the store is too busy: the deadline passed", ambiguous=False))
                continue
            if self._key is not None and not self._keys.isdisjoint(map(self._key, member.items)):
                held_back.append(self._waiting.popleft())
                continue
            size += len(member.items)
            if batch and size > self._largest_batch:
                break
            batch.append(self._waiting.popleft())
        self._waiting.extendleft(reversed(held_back))
        return batch

    async def _deliver(self, batch: list[_Member[Item]]) -> None:
        # Loops, since comprehensions are calls in Python 3.11, and the calls per request have a budget.
        items: list[Item] = []
        now, deadline = 0, 0.0
        for member in batch:
            items += member.items
            now, deadline = max(now, member.now), max(deadline, member.deadline)
        try:
            answers = await self._send(items, now, deadline)
        except Exception as error:  # noqa: BLE001 - each caller raises it
            for member in batch:
                member.fail(error if len(batch) == 1 else copy_of(error))
            return
        if len(answers) != len(items):
            text = f"the store returned {len(answers)} answers to {len(items)} items"
            for member in batch:
                member.fail(StoreUnavailable(text))
            return
        start = 0
        for member in batch:
            end = start + len(member.items)
            if not member.answers.done():
                member.answers.set_result(answers[start:end])
            start = end
        if self._waiting and self._key is not None and self._handed_on is not None:
            self._hand_on(dict(zip(map(self._key, items), answers, strict=True)), self._key, self._handed_on)

    def _hand_on(
        self,
        latest: Mapping[Hashable, Any],
        key: Callable[[Item], Hashable],
        handed_on: Callable[[Item, Any], Item],
    ) -> None:
        for member in self._waiting:
            if not latest.keys().isdisjoint(map(key, member.items)):
                member.items = [
                    handed_on(item, latest[key(item)]) if key(item) in latest else item
                    for item in member.items
                ]
