"""A clock that a test moves."""

from __future__ import annotations

import math
import threading
from datetime import timedelta

__all__ = ["ManualClock"]

START = 2_000_000_000.0
"""The 18th of May 2033: ahead of the real time, at which a server would remove a test's data at once, and before 2038,
where Memcached's times end."""


class ManualClock:
    """Stands still until `advance` moves it. Counts whole milliseconds; safe for threads.

    Called, it gives seconds since 1970, as `time.time` does: pass it as the setting ``clock``.
    """

    def __init__(self, start: float = START) -> None:
        self._ms = round(start * 1000)
        self._lock = threading.Lock()

    def __call__(self) -> float:
        """Seconds since 1970. ``int(clock() * 1000)`` is `now_ms`, exactly."""
        now_ms = self.now_ms
        seconds = now_ms / 1000
        # Some quotients lie a hair below; truncated, they would read as the millisecond before.
        return seconds if int(seconds * 1000) == now_ms else math.nextafter(seconds, math.inf)

    @property
    def now_ms(self) -> int:
        """Milliseconds since 1970."""
        return self._ms

    def advance(self, by: float | timedelta) -> None:
        """Move by so many seconds; by a negative number, as a corrected system clock does, back."""
        seconds = by.total_seconds() if isinstance(by, timedelta) else by
        with self._lock:
            self._ms += round(seconds * 1000)

    def __repr__(self) -> str:
        return f"ManualClock({self()!r})"
