"""The runner of `Sessions`: it carries out flows in the calling thread.

A runner makes the calls that a flow asks for, within a deadline for each, and tells its events. Changes go through the
compare-and-swap loop; the threads of a process that change one key take turns.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, TypeAlias, TypeVar
from weakref import WeakSet

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
from coatcheck.errors import StoreError, StoreTimeout, StoreUnavailable
from coatcheck.events import Event
from coatcheck.model.ports import Store
from coatcheck.model.record import Change
from coatcheck.outages import Outages

__all__ = ["Runner"]

T = TypeVar("T")
_CLOSING = "the sessions are being shut down"
_TOO_LATE = "the change was not stored within the deadline"
Tell: TypeAlias = Callable[[Event], None]


class Runner:
    """Runs flows on a synchronous store, from any thread.

    Args:
        store: The store.
        swap: The compare-and-swap loop.
        patience: How long a call may take (seconds).
        tell: Told of each event.
        outages: Told of each failure of the store.
    """

    def __init__(self, store: Store, swap: Swap, patience: float, tell: Tell, outages: Outages) -> None:
        self._store = store
        self._swap = swap
        self._patience = patience
        self._tell = tell
        self._outages = outages
        self._turns = _Turns()
        self._closing = False

    def run(self, flow: Flow[T], now: int) -> T:
        """Make the calls of a flow, tell its events, and give its result."""
        send: Callable[[Any], Call | Event] = flow.send
        answer: Any = None
        outages = self._outages
        told: list[Event] = []
        try:
            while True:
                wish = send(answer)
                send = flow.send
                if isinstance(wish, Event):
                    told.append(wish)
                    continue
                try:
                    if self._closing:
                        raise StoreUnavailable(_CLOSING, ambiguous=False)
                    deadline = time.monotonic() + self._patience
                    if isinstance(wish, Load):
                        answer = self._store.load(wish.keys, now, deadline)
                        if len(answer) != len(wish.keys):
                            answer = for_each(wish, answer)
                    elif isinstance(wish, Apply):
                        answer = self._apply(wish, now, deadline)
                    else:
                        answer = self._call(wish, now, deadline)
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
        finally:
            # Only now: a listener may save the session whose change it is told of, in the same thread. In the middle of
            # the flow that change would still be wanted, and would be stored twice.
            for event in told:
                self._tell(event)

    def close(self) -> None:
        """Close the store. A call while it closes is refused."""
        self._closing = True
        try:
            self._store.close()
        finally:
            self._closing = False

    def _call(self, call: Call, now: int, deadline: float) -> Any:
        """Every call but `Load` and `Apply`."""
        store = self._store
        match call:
            case Writes(writes):
                return for_each(call, store.write(writes, now, deadline))
            case Remove(keys):
                return store.remove(keys, now, deadline)
            case Note(entries):
                return store.note(entries, now, deadline)
            case SessionsOf(user, limit, after):
                return store.sessions_of(user, now, limit, after, deadline)
            case CheckIndex():
                return store.index_may_be_incomplete(deadline)
            case Forget(entries):
                return store.forget(entries, deadline)
            case Count():
                return store.count(now, deadline)
            case Aside(work):
                return outcome(work)
            case Sweep(limit):
                return store.sweep(now, limit, deadline)
            case _:
                return store.ping(deadline)

    def _apply(self, call: Apply, now: int, deadline: float) -> Sequence[Result]:
        changes = call.changes
        known = self._turns.take(changes, call.known, deadline) if changes else ()
        results: Sequence[Result] = ()
        try:
            flow = self._swap.apply(changes, known)
            answer: Any = None
            while True:
                wish = flow.send(answer)
                try:
                    if time.monotonic() >= deadline:  # others were first, again and again
                        raise StoreTimeout(_TOO_LATE, ambiguous=False)
                    if isinstance(wish, Writes):
                        answer, count = self._store.write(wish.writes, now, deadline), len(wish.writes)
                    else:
                        answer, count = self._store.load(wish.keys, now, deadline), len(wish.keys)
                    if len(answer) != count:
                        answer = for_each(wish, answer)
                except StoreError as error:
                    answer = for_each(wish, error)
        except StopIteration as stop:
            results = stop.value
            return results
        finally:
            self._turns.give_back(changes, results)


class _Turn:
    """The turn of one key.

    Attributes:
        lock: Held by the thread whose turn it is.
        users: How many threads have it or wait for it.
        latest: The state that the writer before left under the key; kept as long as others wait.
    """

    __slots__ = ("latest", "lock", "users")

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.users = 0
        self.latest: Held | None = None


_all: WeakSet[_Turns] = WeakSet()


class _Turns:
    """One writer at a time for each key within this process, so that its threads don't conflict with each other."""

    def __init__(self) -> None:
        self.begin()
        _all.add(self)

    def begin(self) -> None:
        """Start without any turn taken."""
        self._lock = threading.Lock()
        self._turns: dict[bytes, _Turn] = {}

    def take(
        self, changes: Sequence[Change], known: Sequence[Held | None], deadline: float
    ) -> Sequence[Held | None]:
        """Take the turns of the keys of `changes`. Returns what is known of each key: `known`, or something later.

        Raises:
            StoreTimeout: Other writers of this process did not finish within the deadline.
        """
        taken: list[bytes] = []
        latest: dict[bytes, Held] = {}
        # In one order, so that two threads with several keys never wait for each other.
        for key in sorted({change.key for change in changes}) if len(changes) > 1 else (changes[0].key,):
            with self._lock:
                turn = self._turns.get(key)
                if turn is None:
                    turn = self._turns[key] = _Turn()
                turn.users += 1
            mine = False
            try:
                mine = turn.lock.acquire(timeout=max(0.0, deadline - time.monotonic()))
            finally:
                if not mine:  # also where the thread was interrupted
                    with self._lock:
                        self._leave(key, turn)
                    self._release(taken, {})
            if not mine:
                raise StoreTimeout(
                    "other writes to the same session did not finish within the deadline", ambiguous=False
                )
            taken.append(key)
            if turn.latest is not None:
                latest[key] = turn.latest
        if not latest:
            return known
        return [latest.get(change.key, held) for change, held in zip(changes, known, strict=True)]

    def _leave(self, key: bytes, turn: _Turn) -> None:
        turn.users -= 1
        if not turn.users:
            del self._turns[key]

    def give_back(self, changes: Sequence[Change], results: Sequence[Result]) -> None:
        """Let the next writers have their turns."""
        left: dict[bytes, Held] = {}
        keys: set[bytes] = set()
        for change in changes:
            keys.add(change.key)
        for change, result in zip(changes, results, strict=False):
            if isinstance(result, Done):
                left[change.key] = result.held
        self._release(keys, left)

    def _release(self, keys: Collection[bytes], left: Mapping[bytes, Held]) -> None:
        with self._lock:
            for key in keys:
                turn = self._turns[key]
                turn.latest = left.get(key)
                self._leave(key, turn)
                turn.lock.release()


def _forked() -> None:
    """Forget the turns of threads that a forked process does not have: they would never be given back."""
    for turns in _all:
        turns.begin()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forked)
