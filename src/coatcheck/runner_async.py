"""The runner of `AsyncSessions`: it carries out flows in an event loop, and sends together what requests ask for at once.

See `coatcheck.runner`. Loads and changes wait in lanes (`coatcheck.stores.coalesce`); a lane carries the changes of one
key in turn. Every other call has a task of its own, so that a cancelled request never cancels the call of a store.
"""

from __future__ import annotations

import asyncio
import os
import sys
import time
from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import Future
from functools import partial
from operator import itemgetter
from queue import SimpleQueue
from threading import Lock, Thread
from typing import Any, TypeAlias, TypeVar

from coatcheck.core.calls import (
    ITEM_BY_ITEM,
    Apply,
    Aside,
    Call,
    CheckIndex,
    Count,
    Done,
    Flow,
    Forget,
    Held,
    Load,
    Note,
    Remove,
    Result,
    SessionsOf,
    Sweep,
    Writes,
    for_each,
    outcome,
)
from coatcheck.core.swap import Swap
from coatcheck.errors import ConfigurationError, StoreError, StoreTimeout, StoreUnavailable, copy_of
from coatcheck.events import Event
from coatcheck.model.ports import AsyncStore, Loaded
from coatcheck.model.record import Change
from coatcheck.outages import Outages
from coatcheck.stores.coalesce import NO_LOOP, Lane, PerLoop, Tasks

__all__ = ["AsyncRunner", "refuse_trio"]

T = TypeVar("T")
_THREADS_ASIDE = 8
_CLOSING = "the sessions are being shut down"
_Change: TypeAlias = tuple[bytes, Change, Held | None]
"""A key, the change of it, and what its caller knows to lie there."""
_Waiting: TypeAlias = tuple[Future[Any], Callable[[], Any]]
"""Work that waits for a thread, and what becomes of it."""


def refuse_trio() -> None:
    """Refuse to be used under trio.

    Raises:
        ConfigurationError: The caller runs under trio.
    """
    trio = sys.modules.get("trio")
    if trio is None:
        return
    try:
        trio.lowlevel.current_trio_token()
    except RuntimeError:
        return  # it is imported, and does not run here
    raise ConfigurationError(NO_LOOP)


class _Batches:
    """Sends the batches of the lanes. It knows no lane and no runner, so that a manager without users goes at once."""

    def __init__(self, store: AsyncStore, swap: Swap) -> None:
        self._store = store
        self._swap = swap

    async def send_loads(self, items: Sequence[bytes], now: int, deadline: float) -> Sequence[Loaded]:
        """Load a batch. Parallel requests of one visitor ask for one record."""
        unique = list(dict.fromkeys(items))
        found = await self._store.load(unique, now, deadline)
        if len(unique) == len(items):
            return found
        under = dict(zip(unique, found, strict=True))
        return [copy_of(answer) if isinstance(answer := under[key], StoreError) else answer for key in items]

    async def send_changes(self, items: Sequence[_Change], now: int, deadline: float) -> Sequence[Result]:
        """Carry out a batch of changes, conflicts included."""
        _, changes, known = zip(*items, strict=True)
        flow = self._swap.apply(changes, known)
        answer: Any = None
        try:
            while True:
                call = flow.send(answer)
                try:
                    if time.monotonic() >= deadline:  # others were first, again and again
                        late = "the change was not stored within the deadline"
                        raise StoreTimeout(late, ambiguous=False)
                    if isinstance(call, Writes):
                        answer, count = await self._store.write(call.writes, now, deadline), len(call.writes)
                    else:
                        answer, count = await self._store.load(call.keys, now, deadline), len(call.keys)
                    if len(answer) != count:
                        answer = for_each(call, answer)
                except StoreError as error:
                    answer = for_each(call, error)
        except StopIteration as stop:
            results: Sequence[Result] = stop.value
            return results


class _Desk:
    """The lanes of one event loop."""

    def __init__(self, batches: _Batches, tasks: Tasks) -> None:
        self.loads: Lane[bytes] = Lane(tasks, batches.send_loads)
        self.changes: Lane[_Change] = Lane(
            tasks, batches.send_changes, cancelled=True, key=itemgetter(0), handed_on=_handed_on
        )


def _desk(batches: _Batches, tasks: PerLoop[Tasks]) -> _Desk:
    return _Desk(batches, tasks.here())


class _Aside:
    """The threads for work that is not the store's: few, so that what hangs takes none from the application's executor.

    They are daemons, for which the interpreter does not wait when it exits: an executor's threads would keep it.
    """

    def __init__(self) -> None:
        self._begin()

    def _begin(self) -> None:
        self._lock = Lock()
        self._waiting: SimpleQueue[_Waiting | None] = SimpleQueue()
        self._threads = 0
        self._pid = os.getpid()

    async def call(self, work: Callable[[], Any], deadline: float) -> Any:
        """Do `work` in a thread. Returns its result or its exception, or a TimeoutError at the deadline."""
        done: Future[Any] = Future()
        if self._pid != os.getpid():  # a fork leaves the threads to the parent
            self._begin()
        with self._lock:  # another loop may close this meanwhile
            self._waiting.put((done, work))
            if self._threads < _THREADS_ASIDE:
                self._threads += 1
                Thread(target=_serve, args=(self._waiting,), name="coatcheck-aside", daemon=True).start()
        try:
            async with asyncio.timeout(deadline - time.monotonic()):
                return await asyncio.wrap_future(done)
        except TimeoutError as error:
            return error

    def close(self) -> None:
        """Let the threads end."""
        with self._lock:
            for _ in range(self._threads):
                self._waiting.put(None)
            self._waiting, self._threads = SimpleQueue(), 0

    __del__ = close


def _serve(waiting: SimpleQueue[_Waiting | None]) -> None:
    while (item := waiting.get()) is not None:
        done, work = item
        if done.set_running_or_notify_cancel():
            done.set_result(outcome(work))
        del item, done, work  # they are of a visitor, and the next one may be far off


class AsyncRunner:
    """Runs flows on an async store, in any event loop.

    The arguments are those of `Runner`, and where the tasks of each loop are kept: managers of one store share them, so
    that each waits for all.
    """

    def __init__(
        self,
        store: AsyncStore,
        swap: Swap,
        patience: float,
        tell: Callable[[Event], None],
        outages: Outages,
        tasks: PerLoop[Tasks],
    ) -> None:
        self._store = store
        self._patience = patience
        self._tell = tell
        self._outages = outages
        self._loads_in_place = store.loads_in_place
        self._tasks = tasks
        self._aside = _Aside()
        self.batches: _Batches = _Batches(store, swap)
        self._desks: PerLoop[_Desk] = PerLoop(partial(_desk, self.batches, tasks))
        self._closing = False

    async def run(self, flow: Flow[T], now: int) -> T:
        """Make the calls of a flow, tell its events, and give its result."""
        send: Callable[[Any], Call | Event] = flow.send
        answer: Any = None
        outages = self._outages
        try:
            while True:
                wish = send(answer)
                send = flow.send
                if isinstance(wish, Event):
                    self._tell(wish)
                    continue
                try:
                    if self._closing and not self._is_awaited():
                        raise StoreUnavailable(_CLOSING, ambiguous=False)
                    deadline = time.monotonic() + self._patience
                    if isinstance(wish, Load):
                        if self._loads_in_place:
                            answer = for_each(wish, await self._store.load(wish.keys, now, deadline))
                        else:
                            answer = await self._desks.here().loads.submit(wish.keys, now, deadline)
                    elif isinstance(wish, Apply):
                        items: list[_Change] = []
                        for change, held in zip(wish.changes, wish.known, strict=True):
                            items.append((change.key, change, held))
                        answer = (
                            await self._desks.here().changes.submit(items, now, deadline) if items else []
                        )
                    else:
                        answer = await self._tasks.here().alone(self._call(wish, now, deadline))
                    answers: Sequence[object] = answer if isinstance(wish, ITEM_BY_ITEM) else ()
                    for item in answers:
                        if isinstance(item, StoreError):
                            outages.failed(wish, item)
                            break
                    else:
                        if outages.under_way:
                            outages.answered(wish)
                except StoreError as error:
                    outages.failed(wish, error)
                    if isinstance(wish, Load | Writes):
                        answer = for_each(wish, error)
                    else:
                        send, answer = flow.throw, error
        except StopIteration as stop:
            result: T = stop.value
            return result

    def start(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Run `work` in a task of its own, for which `close` waits.

        Raises:
            StoreUnavailable: The sessions are being shut down.
            ConfigurationError: No event loop of asyncio runs.
        """
        if self._closing and not self._is_awaited():
            work.close()
            raise StoreUnavailable(_CLOSING, ambiguous=False)
        try:
            tasks = self._tasks.here()
        except ConfigurationError:
            work.close()
            raise
        return tasks.start(work)

    def _is_awaited(self) -> bool:
        """Whether `close` waits for the running task, so that its calls are carried out."""
        return asyncio.current_task() in self._tasks.here().tasks

    async def close(self) -> None:
        """Wait for all that this loop's callers began, then close the store. New calls are refused meanwhile."""
        self._closing = True
        try:
            await self._tasks.here().finished()
            self._aside.close()
            await self._store.close()
        finally:
            self._closing = False

    async def _call(self, call: Call, now: int, deadline: float) -> Any:
        """Every call but `Load` and `Apply`."""
        store = self._store
        match call:
            case Writes(writes):
                return for_each(call, await store.write(writes, now, deadline))
            case Remove(keys):
                return await store.remove(keys, now, deadline)
            case Note(entries):
                return await store.note(entries, now, deadline)
            case SessionsOf(user, limit, after):
                return await store.sessions_of(user, now, limit, after, deadline)
            case CheckIndex():
                return await store.index_may_be_incomplete(deadline)
            case Forget(entries):
                return await store.forget(entries, deadline)
            case Count():
                return await store.count(now, deadline)
            case Aside(work):
                return await self._aside.call(work, deadline)
            case Sweep(limit):
                return await store.sweep(now, limit, deadline)
            case _:
                return await store.ping(deadline)


def _handed_on(item: _Change, result: Result) -> _Change:
    key, change, _ = item
    return (key, change, result.held) if isinstance(result, Done) else item
