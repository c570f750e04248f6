"""The store in an SQLite file."""

from __future__ import annotations

import os
import re
import sqlite3
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Literal, TypeVar

from coatcheck.errors import ConfigurationError, StoreError, StoreFull
from coatcheck.model.ports import REVISION_BYTES, Conflict, Entry, Found, Index, Loaded, Write, Written
from coatcheck.stores.sqlite.ballast import Ballast
from coatcheck.stores.sqlite.connections import Connections
from coatcheck.stores.sqlite.failures import no_room
from coatcheck.stores.sqlite.tables import Statements, prepare

__all__ = ["SQLiteStore"]

_Item = TypeVar("_Item")
_T = TypeVar("_T")
_SET_UP_PATIENCE = 5.0  # seconds; processes that start at once make the tables one after the other
_LOOK_EVERY = 1000  # ms
_SWEPT_AT_A_TIME = (
    250  # by one transaction: it writes each page that it changes to the log, and holds up other writers
)
_SECONDS_TO_CHECKPOINT = 0.2
_FREE_BYTES = "SELECT freelist_count * page_size FROM pragma_freelist_count, pragma_page_size"
_ROOM_TO_SPARE = 1 << 16  # bytes, for the pages of the indexes
_MOST_PARAMETERS = 999  # SQLite takes no more in one statement before its release 3.32


class SQLiteStore:
    """A store in a file, safe for threads, for processes, and across forks.

    Args:
        path: The file. Made, for its owner only, if it isn't there; its directory must exist.
        prefix: Begins the names of the tables.
        synchronous: "FULL" waits for the disk at every write, so that not even a power cut revives a session
            that was logged out; "NORMAL" doesn't.
        ballast: How many bytes are kept aside for logging out on a full disk; 0 for none. SQLite needs room even
            to delete, so without it a logout on a full disk may be a `StoreFull`. It must hold the growth of the
            file between two of SQLite's checkpoints, which is at most 4 MiB. While a part of it is in use, no record
            is stored that would make the file larger.

    Raises:
        ConfigurationError: No store can be made of these settings, or the tables are of another format.
        StoreError: The file can't be opened or written.
    """

    index: Index = "within"

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        prefix: str = "coatcheck:",
        synchronous: Literal["NORMAL", "FULL"] = "NORMAL",
        ballast: int = 4 << 20,
    ) -> None:
        if os.fspath(path) in {"", ":memory:"}:
            raise ConfigurationError("SQLiteStore keeps a file; for sessions in memory use memory://")
        if not isinstance(prefix, str) or not re.fullmatch(r"(?!(?i:sqlite_))[A-Za-z0-9_.:-]{1,64}", prefix):
            raise ConfigurationError(
                "prefix must be 1 to 64 letters, digits or _ . : - and not begin with sqlite_"
            )
        if synchronous not in {"NORMAL", "FULL"}:
            raise ConfigurationError('synchronous must be "NORMAL" or "FULL"')
        if ballast < 0:
            raise ConfigurationError("ballast must be a number of bytes, or 0")
        try:
            self._path = Path(path).resolve()
            if not self._path.parent.is_dir():
                raise ConfigurationError(f"{self._path}: its directory does not exist")
            if self._path.is_dir():
                raise ConfigurationError(f"{self._path} is a directory; name a file in it")
        except (OSError, RuntimeError) as error:  # the latter for links in a circle
            raise ConfigurationError(f"{path} can't be the path of a file: {error}") from error
        self._ballast = Ballast(self._path, ballast)
        self._statements = Statements(prefix)
        self._connections = Connections(Path(path).absolute(), self._path, synchronous, self._ballast)
        self._looked = -_LOOK_EVERY
        self._set_up(prefix)
        self._ballast.grow()

    def __repr__(self) -> str:
        return f"<{type(self).__name__}, {self._path}>"

    def _set_up(self, prefix: str) -> None:
        with suppress(OSError):  # it is there; or SQLite says why it can't be opened
            self._path.touch(0o600, exist_ok=False)  # SQLite gives -wal and -shm the same mode
        try:
            self._connections.use(
                lambda connection: prepare(connection, self._path, prefix),
                time.monotonic() + _SET_UP_PATIENCE,
            )
        finally:
            self._connections.close()  # a server may fork now, even one whose forks run no hooks of Python

    def load(self, keys: Sequence[bytes], now: int, deadline: float) -> list[Loaded]:
        """See `Store.load`. It waits for no writer; with a `deadline` in the past it tries once."""
        if not 0 <= now - self._looked < _LOOK_EVERY:
            self._look(now)
        if len(keys) == 1:
            # Without `read`: the budget of Python calls in a request that reads.
            rows = self._connections.use(
                lambda used: used.execute(self._statements.select, keys).fetchall(), deadline
            )
            return [Found(rows[0][0], rows[0][0][:REVISION_BYTES])] if rows else [None]
        found: dict[bytes, Found] = {}
        for start in range(0, len(keys), _MOST_PARAMETERS):
            some = keys[start : start + _MOST_PARAMETERS]
            sql = f"{self._statements.select_several}({', '.join('?' * len(some))})"
            for key, data in self._connections.read(sql, some, deadline):
                found[key] = Found(data, data[:REVISION_BYTES])
        return [found.get(key) for key in keys]

    def write(self, writes: Sequence[Write], now: int, deadline: float) -> list[Written]:
        """See `Store.write`. Several writes share a transaction; on a full disk, each has its own."""
        if not 0 <= now - self._looked < _LOOK_EVERY:
            self._look(now)
        try:
            full = os.stat(self._ballast.name).st_size < self._ballast.size  # noqa: PTH116 - no call of Python's
        except OSError:  # there was never room for it, or it is not wanted
            full = False
        if not full or self._ballast.grow():
            with suppress(StoreFull):
                return self._connections.write(self._write, writes, deadline)
        answers: dict[bytes, Written] = {}
        for write in writes:
            try:
                if _ends(write):
                    answers[write.key] = self._end(self._write, write, deadline)
                else:
                    answers[write.key] = self._write_on_full_disk(write, deadline)
            except StoreError as error:
                answers[write.key] = error
        return [answers[write.key] for write in writes]

    def remove(self, keys: Sequence[bytes], now: int, deadline: float) -> list[bool | StoreError]:
        """See `Store.remove`."""
        self._look(now)
        with suppress(StoreFull):
            return list(self._connections.write(self._remove, keys, deadline))
        answers: list[bool | StoreError] = []
        for key in keys:
            try:
                answers.append(self._end(self._remove, key, deadline))
            except StoreError as error:
                answers.append(error)
        return answers

    def note(self, entries: Sequence[Entry], now: int, deadline: float) -> None:
        """Never called: a write stores its entry."""

    def sessions_of(
        self, user: str, now: int, limit: int, after: Entry | None, deadline: float
    ) -> list[Entry]:
        """See `Store.sessions_of`."""
        self._look(now)
        sql = self._statements.of_user
        parameters: tuple[object, ...] = (user, now, limit)
        if after is not None:
            sql = self._statements.of_user_after
            parameters = (user, now, after.signed_in, after.signed_in, after.key, limit)
        rows = self._connections.read(sql, parameters, deadline)
        return [Entry(user, key, signed_in, until) for key, signed_in, until in rows]

    def index_may_be_incomplete(self, deadline: float) -> None:
        """Never called: an entry lies in the row of its data."""

    def forget(self, entries: Sequence[Entry], deadline: float) -> None:
        """Never called, like `note`."""

    def count(self, now: int, deadline: float) -> int:
        """See `Store.count`. Read from an index alone."""
        self._look(now)
        return int(self._connections.read(self._statements.count, (now,), deadline)[0][0])

    def sweep(self, now: int, limit: int, deadline: float) -> int:
        """See `Store.sweep`. Several transactions, and the log is short afterwards.

        It renews the ballast, too, once there is room again.
        """
        self._look(now)
        swept = removed = 0
        while (step := min(limit - swept, _SWEPT_AT_A_TIME)) > 0:
            removed = self._end(self._sweep, (now, step), deadline)
            swept += removed
            if removed < step or time.monotonic() >= deadline:
                break
        if self._ballast.grow() and swept:
            # On a full disk, the log keeps its room, since other programs would take it.
            until = min(deadline, time.monotonic() + _SECONDS_TO_CHECKPOINT)
            self._connections.checkpoint("TRUNCATE", until)
        return swept

    def ping(self, deadline: float) -> None:
        """See `Store.ping`."""
        self._connections.check()
        self._connections.read(self._statements.ping, (), deadline)

    def close(self) -> None:
        """Close this process's connections; one that another thread is using, at the end of that call."""
        self._connections.close()

    def _write(self, write: Write, connection: sqlite3.Connection) -> Conflict | None:
        entry = write.entry
        indexed = (entry.user, entry.signed_in, entry.until) if entry else (None, None, None)
        row = (*indexed, write.expires, write.live, write.data)
        if write.expected is None:
            cursor = connection.execute(self._statements.insert, (write.key, *row))
        else:
            cursor = connection.execute(self._statements.update, (*row, write.key, write.expected))
        if cursor.rowcount:
            return None
        there = connection.execute(self._statements.select, (write.key,)).fetchone()
        return Conflict(Found(there[0], there[0][:REVISION_BYTES]) if there else None)

    def _remove(self, key: bytes, connection: sqlite3.Connection) -> bool:
        return connection.execute(self._statements.delete, (key,)).rowcount > 0

    def _sweep(self, parameters: tuple[int, int], connection: sqlite3.Connection) -> int:
        return connection.execute(self._statements.sweep, parameters).rowcount

    def _look(self, now: int) -> None:
        """Notice another file under the store's name. `load` and `write` don't call it more often than they have to."""
        if not 0 <= now - self._looked < _LOOK_EVERY:
            self._connections.check()
            self._looked = now

    def _end(self, one: Callable[[_Item, sqlite3.Connection], _T], item: _Item, deadline: float) -> _T:
        """Carry out what ends sessions: on a full disk, with as much of the ballast as it needs."""
        with suppress(StoreFull):
            return self._connections.write(one, [item], deadline)[0]
        while True:
            self._begin_log_anew(deadline)
            try:
                return self._connections.write(one, [item], deadline)[0]
            except StoreFull:
                if not self._ballast.give_up_a_part():
                    raise

    def _write_on_full_disk(self, write: Write, deadline: float) -> Conflict | None:
        """Carry out what ends nothing: in the room that the file and its log have already."""
        if not write.urgent and not self._ballast.grow():
            room = int(self._connections.read(_FREE_BYTES, (), deadline)[0][0])
            if room < 2 * len(write.data) + _ROOM_TO_SPARE:
                raise StoreFull(no_room(self._path, self._ballast.size))
        self._begin_log_anew(deadline)
        return self._connections.write(self._write, [write], deadline)[0]

    def _begin_log_anew(self, deadline: float) -> None:
        with suppress(StoreError):
            # SQLite then writes its log from the start again, into room that the log has already.
            self._connections.checkpoint("RESTART", min(deadline, time.monotonic() + _SECONDS_TO_CHECKPOINT))


def _ends(write: Write) -> bool:
    return write.urgent and not write.live
