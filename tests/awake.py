"""A clock for what must be quick: it stands still while the machine gives this process no time.

A machine that is shared stops all its processes now and then, for seconds. A call that was stopped is not slow.
"""

import threading
from functools import cache
from time import monotonic, process_time, sleep  # by name: tests put others in the place of those in `time`

__all__ = ["awake"]

TICK, LATE = 0.02, 0.1  # seconds


class _Watch:
    """Ticks. Where a tick comes late, and the process did not compute meanwhile, it was stopped."""

    def __init__(self):
        self._lock = threading.Lock()
        self._asleep = 0.0
        self._last, self._computed = monotonic(), process_time()
        threading.Thread(target=self._tick, name="awake", daemon=True).start()

    def _tick(self):
        while True:
            sleep(TICK)
            self.now(ticks=True)

    def now(self, *, ticks=False):
        with self._lock:
            now, computed = monotonic(), process_time()
            stopped = now - self._last - TICK - (computed - self._computed)
            if stopped > LATE:
                self._asleep += stopped
            if stopped > LATE or ticks:
                self._last, self._computed = now, computed
            return now - self._asleep


@cache
def _watch():
    return _Watch()


def awake():
    """Monotonic seconds, without those for which this process was stopped."""
    return _watch().now()
