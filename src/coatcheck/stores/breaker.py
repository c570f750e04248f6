"""A circuit breaker: after several failures in a row a server is not called by every request.

While the breaker is open, calls are refused immediately. From time to time one call is admitted as a trial; its success
closes the breaker. The breaker only counts failures, so sync and async stores share it. Existing libraries are sync
only or async only, admit all calls at once for the trial, or are not safe for threads.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from math import ceil

from coatcheck.errors import StoreError, StoreUnavailable

__all__ = ["Breaker"]


class Breaker:
    """Refuses calls after several failures in a row. Safe for threads.

    Use::

        breaker.admit()
        try:
            answer = …
        except DriverError as error:
            unavailable = StoreUnavailable(…)
            breaker.failed(unavailable)  # only if it means that the server can't be reached
            raise unavailable from error
        breaker.succeeded()

    A call may report neither, for example because it was cancelled: the next trial is admitted all the same.
    """

    __slots__ = ("_cause", "_clock", "_failures", "_limit", "_lock", "_name", "_patience", "_rest", "_until")

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
            name: The name of the server, for the error message. It must contain no secret.
            failures: The number of failures in a row that opens the breaker.
            rest: Seconds for which every call is refused after a failure; then one trial is admitted.
            patience: Seconds that a trial may take. The next trial is admitted after the longer of `rest` and
                `patience`, so that trials on a server that hangs don't occupy all connections.
            clock: A monotonic clock, in seconds.
        """
        self._name = name
        self._limit = failures
        self._rest = rest
        self._patience = max(rest, patience)
        self._clock = clock
        self._failures = 0
        self._cause = ""
        self._until = 0.0  # closed
        self._lock = threading.Lock()

    def admit(self) -> None:
        """Return if the server may be called.

        Raises:
            StoreUnavailable: The server failed several times in a row, and this call is not a trial.
        """
        if not self._until:
            return
        with self._lock:
            now = self._clock()
            if not self._until:
                return
            if now >= self._until:
                # This call is the trial. If it reports nothing, the next trial is admitted after `patience`.
                self._until = now + self._patience
                return
            left, cause = self._until - now, self._cause
        error = StoreUnavailable(
            f"{self._name} failed {self._failures} times in a row; the next try is in {left:.1f} s. The last failure: {cause}",
            ambiguous=False,  # nothing was sent
        )
        error.retry_after, error.resting = max(1, ceil(left)), True
        raise error

    def succeeded(self) -> None:
        """The server answered."""
        if self._failures:
            with self._lock:
                self._failures, self._until = 0, 0.0

    def failed(self, error: StoreError) -> None:
        """The server can't be reached, or did not answer in time, as `error` says."""
        with self._lock:
            self._failures += 1
            self._cause = str(error)
            if self._failures >= self._limit:
                self._until = self._clock() + self._rest
