"""How one process shares its connections to an SQLite file: between threads, with other writers, across forks."""

from __future__ import annotations

import os
import random
import sqlite3
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar
from weakref import WeakSet

from coatcheck.errors import StoreError, StoreUnavailable

__all__ = ["Connections", "Turns", "code_of", "patiently"]

_T = TypeVar("_T")


def code_of(error: sqlite3.Error) -> int:
    """SQLite's extended code; 0 where Python's own module found the fault."""
    return getattr(error, "sqlite_errorcode", 0)


def patiently(attempt: Callable[[], _T], seconds: float) -> _T:
    """Make the attempt until SQLite is no longer busy, but no longer than for `seconds`.

    SQLite's own busy handler waits up to 100 ms between two attempts: with 4 processes writing without a pause,
    some wait for a whole second, where this one waits for 40 ms.
    """
    until = None
    while True:
        try:
            return attempt()
        except sqlite3.OperationalError as error:
            if code_of(error) & 0xFF != sqlite3.SQLITE_BUSY:
                raise
            now = time.monotonic()
            if until is None:
                until = now + seconds
            if now >= until:
                raise
        time.sleep(random.uniform(0.0005, 0.001))  # noqa: S311 - no secret


class Turns:
    """A lock that threads get in the order in which they asked. The interpreter's own may leave one waiting."""

    def __init__(self) -> None:
        self._guard = threading.Lock()
        self._waiting: deque[threading.Lock] = deque()
        self._taken = False

    def take(self, seconds: float) -> bool:
        """Wait for one's turn, but no longer than `seconds`; whether it came."""
        with self._guard:
            if not self._taken:
                self._taken = True
                return True
            turn = threading.Lock()
            turn.acquire()
            self._waiting.append(turn)
        if turn.acquire(timeout=seconds):
            return True
        with self._guard:
            if turn in self._waiting:
                self._waiting.remove(turn)
                return False
            return True  # it came at the last moment

    def give(self) -> None:
        """Let the next one have its turn."""
        with self._guard:
            if self._waiting:
                self._waiting.popleft().release()
            else:
                self._taken = False


class Connections:
    """The connections of one store in this process. A call borrows one, and gives it back when it is done.

    A thread has none of its own, so that threads that end leave none behind; there are never more than calls at
    one time. The one given back last goes out first: it knows the most pages, those of its own last write too.
    """

    def __init__(self, path: Path, synchronous: str, deadline: float) -> None:
        self._path, self._synchronous, self._deadline = path, synchronous, deadline
        self._closed = False
        self._start()
        _everyones.add(self)

    def _start(self) -> None:
        self._pid = os.getpid()
        self._idle: list[sqlite3.Connection] = []
        self._open: set[sqlite3.Connection] = set()
        self._held = False
        self._opening = threading.Lock()
        self._turns = Turns()

    @property
    def turns(self) -> Turns:
        """Whose turn it is to write, of this process's threads."""
        self._notice_fork()
        return self._turns

    def borrow(self) -> sqlite3.Connection | None:
        """A connection that nobody else has until it is given back; None if one must be made."""
        self._notice_fork()
        try:
            return self._idle.pop()
        except IndexError:
            return None

    def give_back(self, connection: sqlite3.Connection) -> None:
        """Let others have the connection, unless its call was interrupted amid a transaction."""
        if connection.in_transaction:
            self.disconnect(connection)
            return
        self._idle.append(connection)
        if self._closed or self._held:
            self._close_idle()

    def fetch_at_once(self, sql: str, parameters: Sequence[object]) -> list[Any] | None:
        """The rows, where a connection is at hand and all is well; None where it is not, and why is to be found out.

        It is what most calls of most sites are: borrowing, reading and giving back in one.
        """
        idle = self._idle
        if not idle or self._pid != os.getpid():
            return None
        try:
            connection = idle.pop()
        except IndexError:
            return None
        try:
            return connection.execute(sql, parameters).fetchall()
        except sqlite3.Error:
            return None
        finally:
            idle.append(connection)
            if self._closed or self._held:
                self._close_idle()

    def connect(self, mode: str, patience: float | None = None) -> sqlite3.Connection:
        """A new connection, to be given back or disconnected. While SQLite is busy it waits for `patience` seconds.

        None: as long as the deadline.
        """
        with self._opening:
            if self._closed:
                raise StoreError(f"{self._path}: the store was closed")
            if self._path in _inherited:
                raise StoreUnavailable(
                    f"{self._path}: this process was forked from one that was using the file, so that SQLite would"
                    " lose what is written; fork by os.fork, or load the application after the fork"
                )
            connection = sqlite3.connect(
                f"{self._path.as_uri()}?mode={mode}",
                uri=True,
                timeout=0,
                isolation_level=None,
                check_same_thread=False,
            )
            self._open.add(connection)
        patience = self._deadline if patience is None else patience
        try:
            patiently(lambda: connection.execute(f"PRAGMA synchronous = {self._synchronous}"), patience)
        except BaseException:
            self.disconnect(connection)
            raise
        return connection

    def disconnect(self, connection: sqlite3.Connection) -> None:
        connection.close()
        self._open.discard(connection)

    def close(self) -> None:
        """Disconnect all, those that are lent out when they are given back, and make no more."""
        self._closed = True
        self._close_idle()

    def hold(self) -> bool:
        """Disconnect all, and make no more until they are resumed; whether they must be."""
        until = time.monotonic() + self._deadline
        if not self._opening.acquire(timeout=self._deadline):
            return False
        self._held = True
        self._close_idle()
        while self._open and time.monotonic() < until:
            time.sleep(0.0005)  # other threads' calls are under way
        return True

    def resume(self) -> None:
        """Go on after a `hold`."""
        self._held = False
        self._opening.release()

    def start_anew(self) -> None:
        """In a child, leave what it inherited alone: closing it could delete the log that others write."""
        if self._pid != os.getpid():
            if self._open:
                _inherited.setdefault(self._path, set()).update(self._open)
            self._start()

    def _notice_fork(self) -> None:
        if self._pid != os.getpid():  # a fork that ran no hooks, as uWSGI's
            _after_fork_in_child()

    def _close_idle(self) -> None:
        with suppress(IndexError):
            while True:
                self.disconnect(self._idle.pop())


# A child shares its parent's locks on the file only in its own memory. With one connection open at the fork, a new
# one in the child believes that the file is locked; when the parent then closes its own, it deletes the log, and
# what the child commits afterwards is lost. So that no connection may be open at the fork itself.
_everyones: WeakSet[Connections] = WeakSet()
_inherited: dict[Path, set[sqlite3.Connection]] = {}
_held: dict[int, list[Connections]] = {}


def _before_fork() -> None:
    _held[threading.get_ident()] = [connections for connections in list(_everyones) if connections.hold()]


def _after_fork_in_parent() -> None:
    for connections in _held.pop(threading.get_ident(), ()):
        connections.resume()


def _after_fork_in_child() -> None:
    _held.clear()
    for connections in list(_everyones):
        connections.start_anew()


if hasattr(os, "register_at_fork"):  # pragma: no branch - Windows knows no fork
    os.register_at_fork(
        before=_before_fork,
        after_in_parent=_after_fork_in_parent,
        after_in_child=_after_fork_in_child,
    )
