"""How one process shares its connections to an SQLite file: between threads, with other processes, across forks."""

from __future__ import annotations

import os
import random
import sqlite3
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any, ClassVar, TypeVar
from weakref import WeakSet

from coatcheck.errors import StoreFull, StoreReadOnly, StoreTimeout, StoreUnavailable
from coatcheck.silent import frameless
from coatcheck.stores.sqlite.ballast import Ballast
from coatcheck.stores.sqlite.failures import failure_of, no_room_to_open
from coatcheck.stores.sqlite.files import Files
from coatcheck.stores.sqlite.turns import Turns

__all__ = ["Connections"]

_Item = TypeVar("_Item")
_T = TypeVar("_T")
_FORK_PATIENCE = 5.0
"""How many seconds a fork waits for calls of other threads to end."""
_LOG_BYTES = 4 << 20
"""How large the log stays after it was longer: as long as SQLite lets it grow between two checkpoints."""


class Connections:
    """The connections of one store in this process. A call borrows one and gives it back at its end.

    They don't belong to threads, so a thread that ends leaves none behind; there are never more than calls at one time.
    The one given back last goes out first: its cache holds the most recent pages.
    """

    opening: ClassVar[threading.RLock] = threading.RLock()
    """Held while a connection is opened, and across a fork."""

    def __init__(self, given: Path, path: Path, synchronous: str, ballast: Ballast) -> None:
        # `given` may be a link, and name another file later.
        self._given, self._path, self._synchronous, self._ballast = given, path, synchronous, ballast
        self._start()
        _all.add(self)

    def _start(self) -> None:
        self._pid = os.getpid()
        self._idle: list[sqlite3.Connection] = []
        self._open: set[sqlite3.Connection] = set()
        self._retired: set[sqlite3.Connection] = set()  # in use when the store was closed
        self._turns = Turns()
        # The files that each connection has open. When the last connection closes, SQLite deletes the log.
        self._files: dict[sqlite3.Connection, Files] = {}

    def check(self) -> None:
        """Notice that the file was removed or replaced while this process has it open.

        Another file with a log of its own is opened by the next call.

        Raises:
            StoreUnavailable: There is no file any more, or a log lies beside it that belongs to another one.
        """
        held = self._files.copy()
        if not held:
            return
        there = Files.at(self._given)
        for connection, opened in held.items():
            # One that closed in the meantime says nothing: the log may have gone with it.
            if there != opened and connection in self._files:
                if refusal := there.refusal(opened):
                    raise StoreUnavailable(f"{self._path}: {refusal}", ambiguous=False)
                self.close()

    def checkpoint(self, mode: str, deadline: float) -> None:
        """Copy the log into the file, and begin the log anew. While other processes use the log, try again."""
        while self.read(f"PRAGMA wal_checkpoint({mode})", (), deadline)[0][0]:
            if time.monotonic() >= deadline:
                return
            time.sleep(random.uniform(0.0005, 0.001))  # noqa: S311 - not a secret

    def read(self, sql: str, parameters: Sequence[object], deadline: float) -> list[Any]:
        """The rows of a query. They are fetched whole: a statement left open would hold back SQLite's checkpoints."""
        return self.use(lambda connection: connection.execute(sql, parameters).fetchall(), deadline)

    def write(
        self, one: Callable[[_Item, sqlite3.Connection], _T], items: Sequence[_Item], deadline: float
    ) -> list[_T]:
        """The answers of `one` to each item, once all are committed; if anything raises, nothing is stored.

        Threads write in the order in which they came.
        """
        if self._pid != os.getpid():  # a fork that ran no hooks, as uWSGI's
            _after_fork_in_child()
        turns = self._turns
        if not turns.take(deadline - time.monotonic()):
            raise StoreTimeout(
                f"{self._path}: other threads of this process were writing until the deadline",
                ambiguous=False,
            )
        try:
            if len(items) == 1:  # outside a transaction, each statement is one
                return [self.use(partial(one, items[0]), deadline, writing=True)]
            return self.use(partial(_in_transaction, one, items), deadline, writing=True)
        finally:
            turns.give()

    def use(self, work: Callable[[sqlite3.Connection], _T], deadline: float, *, writing: bool = False) -> _T:
        """The result of `work` on a connection.

        While SQLite is busy, which means that nothing was done, it is tried again until the deadline. SQLite's own busy
        handler would wait up to 100 ms between two attempts: with 4 processes writing without a pause, some wait for a
        whole second, and for 40 ms here.
        """
        if self._pid != os.getpid():
            _after_fork_in_child()
        while True:
            connection, used_before = None, True
            try:
                try:
                    connection = self._idle.pop()
                except IndexError:
                    used_before = False
                    connection = self._connect(deadline)
                return work(connection)
            except sqlite3.Error as error:
                failure = failure_of(self._path, error, ambiguous=writing and connection is not None)
                if connection is not None and not isinstance(failure, StoreTimeout | StoreFull):
                    # A connection remembers for good that a file is broken or takes no writes.
                    self._disconnect(connection)
                    connection = None
                if used_before and isinstance(failure, StoreReadOnly):
                    continue  # the file may take writes by now
                if no_room_to_open(error) and self._ballast.give_up_a_part():
                    continue
                if not isinstance(failure, StoreTimeout) or time.monotonic() >= deadline:
                    raise failure from frameless(error)  # its frames hold what was to be written
            finally:
                if connection is not None:
                    if connection.in_transaction:  # the call was interrupted
                        self._disconnect(connection)
                    else:
                        self._idle.append(connection)
                    if self._retired:
                        self._close_idle()
            time.sleep(random.uniform(0.0005, 0.001))  # noqa: S311 - not a secret

    def close(self) -> None:
        """Disconnect all; those in use, when their calls end. The next call connects anew."""
        self._retired |= self._open
        self._close_idle()

    def close_for_fork(self, until: float) -> None:
        """Disconnect all, and wait for calls of other threads that use one, at most until then."""
        self.close()
        while self._open and time.monotonic() < until:
            time.sleep(0.0005)

    def start_anew(self) -> None:
        """In a child, leave what it inherited alone: closing it could delete the log that others write."""
        if self._pid != os.getpid():
            if self._open:
                _inherited.setdefault(self._path, set()).update(self._open)
            self._start()

    def _connect(self, deadline: float) -> sqlite3.Connection:
        if not self.opening.acquire(timeout=max(deadline - time.monotonic(), 0)):
            raise StoreTimeout(
                f"{self._path}: no connection could be made until the deadline", ambiguous=False
            )
        try:
            if self._path in _inherited:
                raise StoreUnavailable(
                    f"{self._path}: this process was forked from one that was using the file, so that SQLite would"
                    " lose writes; fork by os.fork, or load the application after the fork",
                    ambiguous=False,
                )
            database = Files.at(self._given).database
            connection = sqlite3.connect(
                f"{self._given.as_uri()}?mode=rw",
                uri=True,
                timeout=0,
                isolation_level=None,
                check_same_thread=False,
            )
            self._open.add(connection)
        finally:
            self.opening.release()
        try:
            # Before the first statement: SQLite has not opened the log yet, which may be another file's.
            self.check()
            connection.execute(f"PRAGMA journal_size_limit = {_LOG_BYTES}")
            connection.execute(f"PRAGMA synchronous = {self._synchronous}")  # it opens the log
            self._files[connection] = Files(database, Files.at(self._given).log)
        except BaseException:
            self._disconnect(connection)
            raise
        return connection

    def _disconnect(self, connection: sqlite3.Connection) -> None:
        self._files.pop(connection, None)
        connection.close()
        self._open.discard(connection)
        self._retired.discard(connection)

    def _close_idle(self) -> None:
        with suppress(IndexError):
            while True:
                self._disconnect(self._idle.pop())


def _in_transaction(
    one: Callable[[_Item, sqlite3.Connection], _T], items: Sequence[_Item], connection: sqlite3.Connection
) -> list[_T]:
    connection.execute("BEGIN IMMEDIATE")
    try:
        answers = [one(item, connection) for item in items]
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:  # after some errors SQLite rolls back by itself
            connection.execute("ROLLBACK")
        raise
    return answers


# A child shares its parent's locks on the file only in its own memory. With one connection open at the fork, a new
# one in the child believes that the file is locked; when the parent then closes its own, it deletes the log, and
# everything that the child commits afterwards is lost. So no connection may be open at the fork itself.
_all: WeakSet[Connections] = WeakSet()
_inherited: dict[Path, set[sqlite3.Connection]] = {}


def _before_fork() -> None:
    until = time.monotonic() + _FORK_PATIENCE
    if Connections.opening.acquire(timeout=_FORK_PATIENCE):
        for connections in list(_all):
            connections.close_for_fork(until)


def _after_fork_in_parent() -> None:
    with suppress(RuntimeError):  # this thread could not get it
        Connections.opening.release()


def _after_fork_in_child() -> None:
    Connections.opening = threading.RLock()
    for connections in list(_all):
        connections.start_anew()


if hasattr(os, "register_at_fork"):  # pragma: no branch - Windows knows no fork
    os.register_at_fork(
        before=_before_fork,
        after_in_parent=_after_fork_in_parent,
        after_in_child=_after_fork_in_child,
    )
