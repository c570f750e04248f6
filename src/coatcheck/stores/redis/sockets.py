"""redis-py's connections, where they lack something.

Sync ones keep a deadline: a socket's own time-out begins anew with every piece that arrives. Async ones close at once.
"""

from __future__ import annotations

import threading
import time
from functools import cache
from typing import Any, cast

__all__ = ["aborting", "bounded", "this_call_ends_at"]


class _Call(threading.local):
    """The deadline of this thread's call (monotonic seconds)."""

    deadline: float = 0.0


_call = _Call()


def this_call_ends_at(deadline: float) -> None:
    """Set the deadline of all that this thread's sockets do next."""
    _call.deadline = deadline


class _Socket:
    """A socket that waits no longer than until the deadline, nor than its own time-out."""

    __slots__ = ("_limit", "_set", "_socket")

    def __init__(self, socket: Any, limit: float | None) -> None:
        self._socket = socket
        self._limit = limit
        self._set: float = socket.gettimeout() or 0.0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._socket, name)

    def settimeout(self, limit: float | None) -> None:
        self._limit = limit
        self._set = limit or 0.0
        self._socket.settimeout(limit)

    def recv(self, *arguments: Any) -> bytes:
        self._bound()
        data: bytes = self._socket.recv(*arguments)
        return data

    def recv_into(self, *arguments: Any) -> int:
        self._bound()
        size: int = self._socket.recv_into(*arguments)
        return size

    def sendall(self, data: bytes) -> None:
        self._bound()
        self._socket.sendall(data)

    def _bound(self) -> None:
        limit = self._limit
        left = _call.deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("the deadline is over")
        if limit is not None and limit < left:
            left = limit
        # To set it costs as much as to read: not for a tenth more or less.
        if not 0.9 * left <= self._set <= 1.1 * left:
            self._set = left
            self._socket.settimeout(left)


@cache
def bounded(kind: type) -> type:
    """A class of redis-py's connections that keep the deadline of the call that uses them."""

    class Bounded(kind):  # type: ignore[misc]
        _socket_connect_timeout: float | None = None
        _connects = False

        @property
        def socket_connect_timeout(self) -> float | None:
            """Read for each address of the host: one that is silent leaves time for the next."""
            limit = self._socket_connect_timeout
            if not self._connects:
                return limit
            half = max(0.001, (_call.deadline - time.monotonic()) / 2)
            return min(limit or half, half)

        @socket_connect_timeout.setter
        def socket_connect_timeout(self, limit: float | None) -> None:
            self._socket_connect_timeout = limit

        def _connect(self) -> Any:
            left = _call.deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError("the deadline is over")
            own: Any = self
            limit = own.socket_timeout
            own.socket_timeout = min(limit or left, left)
            self._connects = True
            try:
                return _Socket(cast("Any", super())._connect(), limit)  # noqa: SLF001 - redis-py's only hook
            finally:
                own.socket_timeout = limit
                self._connects = False

    Bounded.__name__ = f"Bounded{kind.__name__}"
    return Bounded


@cache
def aborting(kind: type) -> type:
    """A class of redis-py's async connections that close without waiting for the server's half of the end of TLS.

    The event loop may end before it comes, and would leave the socket open.
    """

    class Aborting(kind):  # type: ignore[misc]
        async def disconnect(self, *args: Any, **options: Any) -> None:
            own: Any = self
            writer: Any = own._writer  # noqa: SLF001 - it is gone afterwards
            await cast("Any", super()).disconnect(*args, **options)
            if writer is not None:
                writer.transport.abort()

    Aborting.__name__ = f"Aborting{kind.__name__}"
    return Aborting
