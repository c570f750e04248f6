"""A circuit breaker: a server that fails again and again is not asked by every request.

While it is open, callers are refused at once. Once in a while one of them is let through; when that succeeds, all
are. Written here because the published ones are for sync or for async code only, let every caller through at once when they try
again, or are not safe for threads. It only counts, so that it serves both.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from math import ceil

from coatcheck.errors import StoreUnavailable

__all__ = ["Breaker"]


class Breaker:
    """Refuses calls after several failures in a row. Safe for threads.

    Use::

        breaker.admit()
        try:
            answer = …
        except DriverError as error:
            breaker.failed()  # only for what says that the server can't be reached
            raise StoreUnavailable(…) from error
        breaker.succeeded()

    A caller that says neither (it was cancelled, say) harms nobody: the next try comes all the same.
    """

    __slots__ = ("_clock", "_failures", "_limit", "_lock", "_name", "_patience", "_rest", "_until")

    def __init__(
        self,
        name: str,
        *,
        failures: int = 5,
        rest: float = 0.5,
        patience: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Make a breaker, closed.

        Args:
            name: What it guards, for the message; no secret may be in it.
            failures: After how many in a row it opens.
            rest: For how many seconds nobody is let through then; afterwards one, each time so much has gone by.
            patience: For how many seconds one who tries may be under way: if that is longer than `rest`, nobody else is
                let through before. Callers that share a few ways to the server would otherwise all stand behind those
                who try.
            clock: Seconds, of any beginning, that never go back.
        """
        self._name = name
        self._limit = failures
        self._rest = rest
        self._patience = max(rest, patience)
        self._clock = clock
        self._failures = 0
        self._until = 0.0  # closed
        self._lock = threading.Lock()

    @property
    def is_open(self) -> bool:
        """Whether calls are refused, but for those that try."""
        return self._until > 0

    def admit(self) -> None:
        """Return if the server may be asked.

        Raises:
            StoreUnavailable: It failed several times in a row, and is left alone for a moment.
        """
        if not self._until:
            return
        with self._lock:
            now = self._clock()
            if not self._until:
                return
            if now >= self._until:
                # This caller tries for all; if nothing is heard of it, another may when it must have come to its end.
                self._until = now + self._patience
                return
            left = self._until - now
        error = StoreUnavailable(
            f"{self._name} failed {self._failures} times in a row; it is left alone for {left:.1f} s",
            ambiguous=False,  # nothing is sent
        )
        error.retry_after = max(1, ceil(left))
        raise error

    def succeeded(self) -> None:
        """The server answered."""
        if self._failures:
            with self._lock:
                self._failures, self._until = 0, 0.0

    def failed(self) -> None:
        """The server can't be reached, or did not answer in time."""
        with self._lock:
            self._failures += 1
            if self._failures >= self._limit:
                self._until = self._clock() + self._rest
