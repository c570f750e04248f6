"""The connections of one process to one server, for threads: lent to one call at a time.

redis-py makes them. Its own pool takes a third of the time of a read, lets callers fail at once when all are taken,
and its time-outs begin anew with every piece that arrives; so lending, and the deadline, are done here.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import cache
from inspect import Parameter, signature
from typing import Any, cast

from coatcheck.errors import StoreTimeout, StoreUnavailable
from coatcheck.stores._redis_errors import Broken, is_reply, said
from coatcheck.stores._redis_replies import Reply
from coatcheck.stores.breaker import Breaker

__all__ = ["Lines", "PoolLines", "arguments_of", "broken_off", "most_of", "none_free", "sentinels_of"]


_FROM_A_POOL = 50


class _Window(threading.local):
    """Until when the call of this thread may last."""

    until: float = 0.0


_window = _Window()


class Lines:
    """Connections that are ours alone. Safe for threads and across forks."""

    def __init__(self, pool: Any, where: str, *, most: int, deadline: float) -> None:
        """Make connections as `pool` does, a pool of redis-py that lends none itself, nor counts any."""
        self._pool = pool
        self._kind: Any = _bounded(pool.connection_class)
        self._where = where
        self._most = most
        self._closed = False
        self.breaker: Breaker = Breaker(where, patience=deadline)
        self._start()

    def _start(self) -> None:
        self._pid = os.getpid()
        self._idle: list[Any] = []
        self._open = 0
        self._waiting = 0
        self._free = threading.Condition()

    def exchange(self, data: bytes, count: int, until: float) -> list[Reply]:
        """Send some commands at once, and read their replies.

        Raises:
            Broken: It did not come to its end.
            StoreUnavailable: The breaker is open, or the store is closed.
        """
        self.breaker.admit()
        _window.until = until
        connection = self._take(until)
        sent = count > 1
        try:
            connection.send_packed_command([data])
            sent = True
            replies = [_read(connection) for _ in range(count)]
        except Exception as error:
            # Never read on: what comes next would be the answer to this call.
            self._drop(connection)
            raise broken_off(self.breaker, self._where, error, sent=sent) from error
        except BaseException:
            self._drop(connection)
            raise
        self._idle.append(connection)
        if self._waiting or self._closed:
            self._given_back()
        self.breaker.succeeded()
        return replies

    def renew(self) -> None:
        """Let go of the connections that are idle: the next ones ask anew where the server is."""
        with suppress(IndexError):
            while True:
                self._drop(self._idle.pop())

    def close(self) -> None:
        """Close what is idle now, and the rest as it is given back."""
        self._closed = True
        self.renew()
        for sentinel in sentinels_of(self._pool):
            with suppress(Exception):
                sentinel.close()

    def _take(self, until: float) -> Any:
        if self._pid != os.getpid():
            self._start()  # the parent's connections stay the parent's
        while self._idle:
            try:
                connection = self._idle.pop()
            except IndexError:  # another thread was faster
                break
            try:
                if not connection.can_read():
                    return connection
            except Exception:  # noqa: BLE001, S110 - closed by the server: what follows is the same
                pass
            # It has something to read that nobody asked for, or its end.
            self._drop(connection)
        if self._closed:
            raise StoreUnavailable("the store is closed")
        return self._connect(until)

    def _connect(self, until: float) -> Any:
        with self._free:
            while self._open >= self._most:
                self._waiting += 1
                try:
                    if not self._idle and not self._free.wait(until - time.monotonic()):
                        raise none_free(self._where, self._most)
                finally:
                    self._waiting -= 1
                with suppress(IndexError):
                    return self._idle.pop()
            self._open += 1
        connection = None
        try:
            connection = self._kind(**self._pool.connection_kwargs)
            connection.connect()
        except Exception as error:
            self._drop(connection)
            raise broken_off(self.breaker, self._where, error, sent=False) from error
        except BaseException:
            self._drop(connection)
            raise
        return connection

    def _drop(self, connection: Any) -> None:
        with self._free:
            self._open -= 1
            self._free.notify()
        if connection is not None:
            with suppress(Exception):
                connection.disconnect()

    def _given_back(self) -> None:
        if self._closed:
            self.renew()
        with self._free:
            self._free.notify()


class PoolLines:
    """Connections that a client of the application's lends from its own pool, with its own time-outs."""

    def __init__(self, pool: Any, where: str) -> None:
        self._pool = pool
        self._where = where
        self._most = most_of(pool)
        # Before 5.3, and in valkey-py, its argument must be there; since then it must not.
        self._arguments: tuple[str, ...] = arguments_of(pool.get_connection)
        self.breaker: Breaker = Breaker(where)
        self._start()

    def _start(self) -> None:
        self._pid = os.getpid()
        self._turns = threading.Semaphore(self._most)

    def exchange(self, data: bytes, count: int, until: float) -> list[Reply]:
        """See `Lines.exchange`."""
        self.breaker.admit()
        if self._pid != os.getpid():
            self._start()
        if not self._turns.acquire(timeout=max(0.0, until - time.monotonic())):
            raise none_free(self._where, self._most)
        try:
            replies = self._exchange(data, count)
        finally:
            self._turns.release()
        self.breaker.succeeded()
        return replies

    def _exchange(self, data: bytes, count: int) -> list[Reply]:
        sent, connection = False, None
        try:
            connection = self._pool.get_connection(*self._arguments)
            sent = count > 1
            connection.send_packed_command([data])
            sent = True
            replies = [_read(connection) for _ in range(count)]
        except Exception as error:
            self._end(connection)
            raise broken_off(self.breaker, self._where, error, sent=sent) from error
        except BaseException:
            self._end(connection)
            raise
        self._pool.release(connection)
        return replies

    def renew(self) -> None:
        """Let go of the connections that are idle."""
        with suppress(Exception):
            self._pool.disconnect(inuse_connections=False)

    def close(self) -> None:
        """It is theirs."""

    def _end(self, connection: Any) -> None:
        if connection is not None:
            with suppress(Exception):
                connection.disconnect()
            self._pool.release(connection)


def most_of(pool: Any) -> int:
    """How many connections a pool lends at a time. Beyond that the drivers' own fail at once; here callers wait."""
    most = getattr(pool, "max_connections", None)
    return min(most, _FROM_A_POOL) if isinstance(most, int) and most > 0 else _FROM_A_POOL


def none_free(where: str, most: int) -> StoreTimeout:
    """What to raise for who waited for a connection in vain."""
    return StoreTimeout(f"all {most} connections to {where} are taken; see max_connections", ambiguous=False)


def sentinels_of(pool: Any) -> list[Any]:
    """The clients by which a pool of redis-py asks Sentinels, if it does."""
    return list(getattr(getattr(pool, "sentinel_manager", None), "sentinels", ()))


def broken_off(breaker: Breaker, where: str, error: Exception, *, sent: bool) -> Broken:
    """What to raise when a round trip did not come to its end; the breaker is told."""
    broken = Broken(where, error, sent=sent)
    if broken.is_outage:
        breaker.failed()
    return broken


def _read(connection: Any) -> Reply:
    try:
        return connection.read_response()
    except Exception as error:
        if is_reply(error):
            return said(error)
        raise


def arguments_of(get_connection: Callable[..., Any]) -> tuple[str, ...]:
    """What a pool's `get_connection` wants to be given."""
    first = next(iter(signature(get_connection).parameters.values()), None)
    needed = (
        first is not None and first.default is Parameter.empty and first.kind is not Parameter.VAR_POSITIONAL
    )
    return ("GET",) if needed else ()


class _BoundedSocket:
    """A socket whose reading ends with the call's deadline, also when something arrives now and then."""

    __slots__ = ("_limit", "_set", "_socket")

    def __init__(self, socket: Any) -> None:
        self._socket = socket
        self._limit: float | None = socket.gettimeout()
        self._set = self._limit

    def __getattr__(self, name: str) -> Any:
        return getattr(self._socket, name)

    def settimeout(self, limit: float | None) -> None:
        self._limit = self._set = limit
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
        if not limit:
            return
        left = _window.until - time.monotonic()
        if left <= 0:
            raise TimeoutError("the deadline is over")
        # To set it costs as much as to read: not for a tenth more or less.
        wanted = limit if left >= 0.9 * limit else left
        if wanted != self._set:
            self._set = wanted
            self._socket.settimeout(wanted)


@cache
def _bounded(kind: type) -> type:
    """A class of connections that stay within the deadline of the call that uses them."""

    class Bounded(kind):  # type: ignore[misc]
        def _connect(self) -> Any:
            left = _window.until - time.monotonic()
            if left <= 0:
                raise TimeoutError("the deadline is over")
            limit: float | None = self.socket_connect_timeout  # type: ignore[has-type]
            self.socket_connect_timeout = left if limit is None else min(limit, left)
            return _BoundedSocket(cast("Any", super())._connect())  # noqa: SLF001 - its only hook

    Bounded.__name__ = f"Bounded{kind.__name__}"
    return Bounded
