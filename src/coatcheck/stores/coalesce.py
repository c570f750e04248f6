"""In front of an async store: what arrives while batches are on their way leaves together as the next one.

There is no timer. A store that is idle is asked at once; a busy one gets fewer, larger batches. Each batch has a
task of its own, so a request that is cancelled can't leave a connection half read: its answer is thrown away, and
what it asked to have stored is stored all the same.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextvars import Context
from typing import Any, Generic, TypeAlias, TypeVar, cast
from weakref import WeakKeyDictionary, ref

from coatcheck.errors import ConfigurationError, StoreError, StoreUnavailable, twin_of
from coatcheck.model.ports import AsyncRevokesAll, AsyncStore, Capabilities, Found, Life
from coatcheck.model.record import Applied, Change, Refused

__all__ = ["Coalesced", "Lane", "Tasks"]

_Item = TypeVar("_Item")
_Answer = TypeVar("_Answer")
_T = TypeVar("_T")
_LARGEST_BATCH = 128
_IN_FLIGHT = 2


class Coalesced:
    """An async store that sends what arrives together as one.

    It may be used from several event loops; each has its own batches.
    """

    def __init__(
        self, store: AsyncStore, *, largest_batch: int = _LARGEST_BATCH, in_flight: int = _IN_FLIGHT
    ) -> None:
        """Put coalescing in front of a store.

        Args:
            store: The store.
            largest_batch: How many keys, or changes, go out together at most.
            in_flight: How many batches of each kind may be on their way at once.

        Raises:
            ConfigurationError: One of them is less than 1.
        """
        for name, number in (("largest_batch", largest_batch), ("in_flight", in_flight)):
            if number < 1:
                raise ConfigurationError(f"{name} must be at least 1, not {number}.")
        self._store = store
        self._largest_batch = largest_batch
        self._in_flight = in_flight
        self._desks: WeakKeyDictionary[asyncio.AbstractEventLoop, _Desk] = WeakKeyDictionary()
        self._recent: tuple[ref[asyncio.AbstractEventLoop], _Desk] | None = None
        self._closed = False
        self.capabilities: Capabilities = store.capabilities
        self._coalesces_loads = store.capabilities.coalesce_loads
        self._coalesces_changes = store.capabilities.coalesce_changes

    async def load(self, keys: Sequence[bytes], now: int) -> Sequence[Found]:
        """See `Store.load`. The latest `now` of a batch counts for all of it."""
        if not self._coalesces_loads:
            self._refuse_if_closed()
            return await self._store.load(keys, now)
        return await self._desk().loads.submit(keys, now)

    async def apply(self, changes: Sequence[Change]) -> Sequence[Applied | Refused]:
        """See `Store.apply`."""
        if not self._coalesces_changes:
            self._refuse_if_closed()
            return await self._store.apply(changes)
        return await self._desk().changes.submit(changes)

    async def enroll(self, user: str, life: Life, expires: int) -> None:
        """See `Store.enroll`."""
        await self._desk().alone(self._store.enroll(user, life, expires))

    async def revoke_all(self, user: str, at: int, until: int, keep: bytes | None) -> None:
        """See `RevokesAll.revoke_all`; only of a store that has it."""
        store = cast("AsyncRevokesAll", self._store)
        await self._desk().alone(store.revoke_all(user, at, until, keep))

    async def lives_of(self, user: str, now: int) -> Sequence[Life]:
        """See `Store.lives_of`."""
        return await self._desk().alone(self._store.lives_of(user, now))

    async def count(self, now: int) -> int:
        """See `Store.count`."""
        return await self._desk().alone(self._store.count(now))

    async def sweep(self, now: int, limit: int) -> int:
        """See `Store.sweep`."""
        return await self._desk().alone(self._store.sweep(now, limit))

    async def ping(self) -> None:
        """See `Store.ping`."""
        await self._desk().alone(self._store.ping())

    async def close(self) -> None:
        """Wait for what this loop's callers were promised, then close the store."""
        self._closed = True
        desk = self._desks.get(asyncio.get_running_loop())
        while desk is not None and desk.tasks:
            await asyncio.wait(desk.tasks)
        await self._store.close()

    def _desk(self) -> _Desk:
        self._refuse_if_closed()
        loop = asyncio.get_running_loop()
        # Nearly always it is the loop of the call before; finding it so takes a fifth of the time.
        recent = self._recent
        if recent is not None and recent[0]() is loop:
            return recent[1]
        desk = self._desks.get(loop)
        if desk is None:
            desk = self._desks[loop] = _Desk(self._store, self._largest_batch, self._in_flight)
        self._recent = (ref(loop), desk)
        return desk

    def _refuse_if_closed(self) -> None:
        if self._closed:
            raise StoreUnavailable("the store is closed")


class Tasks:
    """What one event loop has on its way. It does not hold the loop, which would then never be let go."""

    def __init__(self) -> None:
        self.tasks: set[asyncio.Task[Any]] = set()

    def start(self, work: Coroutine[Any, Any, _T], context: Context | None = None) -> asyncio.Task[_T]:
        """Do `work` in a task of its own."""
        task = asyncio.get_running_loop().create_task(work, context=context)
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task

    async def alone(self, work: Coroutine[Any, Any, _T]) -> _T:
        """Wait for `work`, which goes on when the waiting is cancelled."""
        return await asyncio.shield(self.start(work))


class _Desk(Tasks):
    """What one event loop has on its way to one store."""

    def __init__(self, store: AsyncStore, largest_batch: int, in_flight: int) -> None:
        super().__init__()
        self._store = store
        self.loads: Lane[bytes, Found] = Lane(self, self._load, largest_batch, in_flight, for_nobody=False)
        self.changes: Lane[Change, Applied | Refused] = Lane(
            self, self._apply, largest_batch, in_flight, for_nobody=True
        )

    async def _load(self, keys: Sequence[bytes], now: int) -> Sequence[Found]:
        # Parallel requests of one visitor ask for one record.
        unique = list(dict.fromkeys(keys))
        if len(unique) == len(keys):
            return await self._store.load(keys, now)
        try:
            found = await self._store.load(unique, now)
        except StoreError as error:
            if error.answers:
                answers = dict(zip(unique, error.answers, strict=True))
                error.answers = tuple([answers[key] for key in keys])
            raise
        under = dict(zip(unique, found, strict=True))
        return [under[key] for key in keys]

    async def _apply(self, changes: Sequence[Change], _now: int) -> Sequence[Applied | Refused]:
        return await self._store.apply(changes)


_Member: TypeAlias = "tuple[Sequence[_Item], asyncio.Future[Sequence[_Answer]], int]"
"""One caller's part of a batch: what is asked for, where the answers go, and the caller's time."""


class Lane(Generic[_Item, _Answer]):
    """Callers that wait for the same kind of thing, and the batches that carry them."""

    def __init__(
        self,
        desk: Tasks,
        send: Callable[[Sequence[_Item], int], Awaitable[Sequence[_Answer]]],
        largest_batch: int,
        in_flight: int,
        *,
        for_nobody: bool,
    ) -> None:
        self._desk = desk
        self._send = send
        self._largest_batch = largest_batch
        self._in_flight = in_flight
        self._for_nobody = for_nobody  # what it sends matters also when nobody waits for the answer any more
        self._waiting: deque[_Member[_Item, _Answer]] = deque()
        self._flying = 0
        self._boarding: asyncio.Task[None] | None = None

    def submit(self, items: Sequence[_Item], now: int = 0) -> asyncio.Future[Sequence[_Answer]]:
        """The answers to `items`, which go out with those of others."""
        answers: asyncio.Future[Sequence[_Answer]] = asyncio.get_running_loop().create_future()
        if not items:
            answers.set_result(())
            return answers
        self._waiting.append((items, answers, now))
        # Who comes before the batch's task has begun to run boards it too.
        if self._boarding is None and self._flying < self._in_flight:
            self._launch()
        return answers

    def _launch(self) -> None:
        if self._waiting and self._boarding is None and self._flying < self._in_flight:
            self._flying += 1
            # In a context of its own: it carries many callers, and must not go on under the name of one.
            self._boarding = self._desk.start(self._fly(), Context())
            self._boarding.add_done_callback(self._landed)

    async def _fly(self) -> None:
        self._boarding = None
        batch = self._board()
        self._launch()
        try:
            await self._deliver(batch)
        except BaseException:
            for member in batch:
                _fail(member, StoreUnavailable("the batch was cancelled"))
            raise
        finally:
            self._flying -= 1
            self._launch()

    def _landed(self, task: asyncio.Task[None]) -> None:
        if self._boarding is task:  # cancelled before it began
            self._boarding = None
            self._flying -= 1
            self._launch()

    def _board(self) -> list[_Member[_Item, _Answer]]:
        """Whoever waits, up to the largest batch; one that is larger alone goes alone."""
        batch: list[_Member[_Item, _Answer]] = []
        size = 0
        while self._waiting:
            member = self._waiting[0]
            if self._for_nobody or not member[1].done():
                size += len(member[0])
                if batch and size > self._largest_batch:
                    break
                batch.append(member)
            self._waiting.popleft()
        return batch

    async def _deliver(self, batch: list[_Member[_Item, _Answer]]) -> None:
        if not batch:
            return
        items = [item for items, _, _ in batch for item in items]
        try:
            answers = await self._send(items, max([now for _, _, now in batch]))
            if len(answers) != len(items):
                raise StoreUnavailable(f"the store gave {len(answers)} answers to {len(items)} questions")  # noqa: TRY301
        except StoreError as error:
            if len(error.answers) == len(items) and len(batch) > 1:
                # Some were done, and must not be done twice.
                _share_out(batch, list(error.answers))
                return
            if not isinstance(error, StoreUnavailable):
                await self._one_by_one(batch, error)
                return
            # Nobody's fault, and what was sent may have been done: asking again could do it twice.
            for member in batch:
                _fail(member, error if len(batch) == 1 else twin_of(error))
        except Exception as error:  # noqa: BLE001 - it goes to the caller whose it is
            await self._one_by_one(batch, error)
        else:
            start = 0
            for wanted, answer, _ in batch:
                end = start + len(wanted)
                if not answer.done():
                    answer.set_result(answers[start:end])
                start = end

    async def _one_by_one(self, batch: list[_Member[_Item, _Answer]], error: Exception) -> None:
        if len(batch) == 1:
            _fail(batch[0], error)
            return
        for member in batch:
            await self._deliver([member])


def _share_out(batch: Sequence[_Member[Any, Any]], answers: Sequence[Any]) -> None:
    """Where some of a batch failed: give each member its part of the answers, or the first failure in it."""
    start = 0
    for member in batch:
        items, answer, _ = member
        end = start + len(items)
        part = answers[start:end]
        start = end
        if (error := next((each for each in part if isinstance(each, StoreError)), None)) is not None:
            error = twin_of(error)
            error.answers = tuple(part) if len(part) > 1 else ()
            _fail(member, error)
        elif not answer.done():
            answer.set_result(part)


def _fail(member: _Member[Any, Any], error: Exception) -> None:
    answers = member[1]
    if not answers.done():
        answers.set_exception(error)
