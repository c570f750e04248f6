"""Tells the operator of a store that fails: lines of the logger `coatcheck`, in which no value and no password stands.

There is one line when a store begins to fail, one when its breaker opens, and one when it answers again. Each of them is
logged at most once a minute, however often a store comes and goes.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable

from coatcheck.core.calls import Apply, Aside, Call, Forget, Note, Remove, Sweep, Writes
from coatcheck.errors import StoreError, StoreUnavailable

__all__ = ["Outages"]

log: logging.Logger = logging.getLogger("coatcheck")
_CHANGING = (Apply, Forget, Note, Remove, Sweep, Writes)
_PAUSE = 60.0
"""Seconds from the last line of one outage to the first of the next one."""
_CALM = 1.0
"""Seconds without a failure after which a success ends an outage: of several servers, one may be down."""


class Outages:
    """Notices when a store begins to fail, and when it answers again. Safe for threads.

    Args:
        store: The store. If it has a `repr` of its own, the lines show it.
        clock: A monotonic clock, in seconds.

    Attributes:
        under_way: Whether the store fails. Then `answered` wants to hear of calls that succeed.
    """

    __slots__ = (
        "_began",
        "_changing",
        "_clock",
        "_failures",
        "_last",
        "_lock",
        "_name",
        "_next",
        "_said",
        "_said_resting",
        "under_way",
    )

    def __init__(self, store: object, clock: Callable[[], float] = time.monotonic) -> None:
        self._name = "The session store"
        if type(store).__repr__ is not object.__repr__:
            self._name += f" {store!r}"
        self._clock = clock
        self._lock = threading.Lock()
        self._next = float("-inf")
        self._began = self._last = 0.0
        self._failures = 0
        self._changing = self._said = self._said_resting = False
        self.under_way: bool = False

    def failed(self, call: Call, error: StoreError) -> None:
        """A call of the store failed."""
        resting = isinstance(error, StoreUnavailable) and error.resting
        text = None
        with self._lock:
            now = self._clock()
            if not self.under_way:
                self.under_way, self._began, self._failures = True, now, 0
                self._said = self._said_resting = self._changing = False
            self._failures += 1
            self._last = now
            self._changing |= isinstance(call, _CHANGING)
            if not self._said:
                if now >= self._next:
                    self._said, self._said_resting = True, resting
                    text = "fails"
            elif resting and not self._said_resting:
                self._said_resting = True
                text = "is not called by every request any more"
            if text is not None:
                self._next = now + _PAUSE
        if text is not None:
            log.warning("%s %s: %s", self._name, text, _cause_of(error))

    def answered(self, call: Call) -> None:
        """A call of the store succeeded.

        Where changes failed, as on a full disk, reading proves nothing. A sweep never does: Memcached sweeps without
        being asked. Work aside is not the store's.
        """
        if isinstance(call, Aside | Sweep):
            return
        with self._lock:
            now = self._clock()
            if now - self._last < _CALM or (self._changing and not isinstance(call, _CHANGING)):
                return
            was_said = self.under_way and self._said
            self.under_way = False
            if was_said:
                self._next = now + _PAUSE
        if was_said:
            log.warning(
                "%s answers again: %d calls failed in %.0f s.",
                self._name,
                self._failures,
                self._last - self._began,
            )


def _cause_of(error: StoreError) -> str:
    """The error in our words, with the driver's exception type, but none of the driver's text."""
    text = str(error)
    cause, seen = error.__cause__, set[int]()
    while cause is not None and type(cause).__name__ not in text and id(cause) not in seen:
        seen.add(id(cause))
        cause = cause.__cause__ or cause.__context__
    if error.__cause__ is None or (cause is not None and id(cause) not in seen):
        return text
    return f"{text} ({type(error.__cause__).__name__})"
