"""What the last requests of each visitor came to: in memory, bounded, and never in the session itself."""

from __future__ import annotations

import threading
from collections import OrderedDict, deque

from coatcheck.demo.steps import Request

__all__ = ["History"]


class History:
    """The last requests of the last visitors, by the handle of their session. Safe for threads."""

    def __init__(self, *, visitors: int = 500, requests: int = 20) -> None:
        """Keep so many requests for each of so many visitors; who was away longest is forgotten first."""
        self._visitors = visitors
        self._requests = requests
        self._kept: OrderedDict[str, deque[Request]] = OrderedDict()
        self._lock = threading.Lock()

    def keep(self, handle: str, request: Request) -> None:
        """Note one more request of a visitor."""
        with self._lock:
            self._kept.setdefault(handle, deque(maxlen=self._requests)).append(request)
            self._kept.move_to_end(handle)
            while len(self._kept) > self._visitors:
                self._kept.popitem(last=False)

    def of(self, handle: str) -> list[Request]:
        """A visitor's last requests, the newest first."""
        with self._lock:
            return list(reversed(self._kept.get(handle, ())))

    def forget(self, handle: str) -> None:
        """Let go of a visitor's requests: his session has ended."""
        with self._lock:
            self._kept.pop(handle, None)
