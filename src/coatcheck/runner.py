"""The runner of `Sessions`: it carries out flows in the calling thread.

A runner makes the calls that a flow asks for, within a deadline for each, and tells its events. Changes go through the
compare-and-swap loop; the threads of a process that change one key take turns.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias, TypeVar

from coatcheck.core.calls import (
    Apply,
    Call,
    CheckIndex,
    Count,
    Done,
    Flow,
    Forget,
    Held,
    Load,
    Note,
    Ping,
    Remove,
    Result,
    SessionsOf,
    Sweep,
    Writes,
)
from coatcheck.core.swap import Swap
from coatcheck.errors import StoreError, StoreTimeout
from coatcheck.events import Event
from coatcheck.model.ports import Store
from coatcheck.model.record import Change

__all__ = ["Runner"]

T = TypeVar("T")
Tell: TypeAlias = Callable[[Event], None]


class Runner:
    """Runs flows on a synchronous store, from any thread.

    Args:
        store: The store.
        swap: The compare-and-swap loop.
        patience: How long a call may take (seconds).
        tell: Told of each event.
    """

    def __init__(self, store: Store, swap: Swap, patience: float, tell: Tell) -> None:
        self._store = store
        self._swap = swap
        self._patience = patience
        self._tell = tell
        self._turns = _Turns()

    def run(self, flow: Flow[T], now: int) -> T:
        """Make the calls of a flow, tell its events, and give its result."""
        send: Callable[[Any], Call | Event] = flow.send
        answer: Any = None
        try:
            while True:
                wish = send(answer)
                send, answer = flow.send, None
                try:
                    if isinstance(wish, Load):
                        answer = self._store.load(wish.keys, now, time.monotonic() + self._patience)
                    elif isinstance(wish, Event):
                        self._tell(wish)
                    else:
                        answer = self._call(wish, now, time.monotonic() + self._patience)
                except StoreError as error:
                    send, answer = flow.throw, error
        except StopIteration as stop:
            result: T = stop.value
            return result

    def _call(self, call: Call, now: int, deadline: float) -> Any:
        store = self._store
        match call:
            case Load(keys):
                return store.load(keys, now, deadline)
            case Apply(changes, known):
                return self._apply(changes, known, now, deadline)
            case Writes(writes):
                return store.write(writes, now, deadline)
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
            case Sweep(limit):
                return store.sweep(now, limit, deadline)
            case Ping():
                return store.ping(deadline)

    def _apply(
        self, changes: Sequence[Change], known: Sequence[Held | None], now: int, deadline: float
    ) -> Sequence[Result]:
        keys = [change.key for change in changes]
        turns = self._turns.take(keys, deadline)
        results: Sequence[Result] = ()
        flow = self._swap.apply(
            changes, [turns[key].latest or held for key, held in zip(keys, known, strict=True)]
        )
        send: Callable[[Any], Load | Writes] = flow.send
        answer: Any = None
        try:
            while True:
                call = send(answer)
                send = flow.send
                try:
                    if isinstance(call, Writes):
                        answer = self._store.write(call.writes, now, deadline)
                    else:
                        answer = self._store.load(call.keys, now, deadline)
                except StoreError as error:
                    send, answer = flow.throw, error
        except StopIteration as stop:
            results = stop.value
            return results
        finally:
            self._turns.give_back(turns, dict(zip(keys, results, strict=False)))


class _Turn:
    """The turn of one key: `latest` is what the writer before left there, as long as others wait."""

    __slots__ = ("latest", "lock", "waiting")

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.waiting = 0
        self.latest: Held | None = None


class _Turns:
    """One writer at a time for each key within this process, so that its threads don't conflict with each other."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._turns: dict[bytes, _Turn] = {}

    def take(self, keys: Sequence[bytes], deadline: float) -> dict[bytes, _Turn]:
        """The turns of `keys`.

        Raises:
            StoreTimeout: Other writers of this process did not finish within the deadline.
        """
        taken: dict[bytes, _Turn] = {}
        for key in sorted(keys) if len(keys) > 1 else keys:
            if key in taken:
                continue
            with self._lock:
                turn = self._turns.get(key)
                if turn is None:
                    turn = self._turns[key] = _Turn()
                turn.waiting += 1
            if turn.lock.acquire(timeout=max(0.0, deadline - time.monotonic())):
                taken[key] = turn
                continue
            with self._lock:
                turn.waiting -= 1
            self.give_back(taken, {})
            raise StoreTimeout(
                "other writes to the same session did not finish within the deadline", ambiguous=False
            )
        return taken

    def give_back(self, taken: Mapping[bytes, _Turn], results: Mapping[bytes, Result]) -> None:
        """Let the next writers have their turns."""
        with self._lock:
            for key, turn in taken.items():
                turn.waiting -= 1
                result = results.get(key)
                turn.latest = result.held if isinstance(result, Done) else None
                if not turn.waiting:
                    del self._turns[key]
                turn.lock.release()
