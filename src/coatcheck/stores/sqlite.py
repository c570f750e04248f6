"""Records in one SQLite file: the embedded default, for a site on one machine, of one process or of many.

The file may be the application's own database. Its journal is set to WAL, so that reading never waits for writing;
beside the file lie SQLite's `-wal` and `-shm`, and `-ballast`, by which logging out still works on a full disk.
It must not lie on a network file system (SQLite: "all processes using a database must be on the same host").

A process that is killed loses nothing. A power cut may undo the last moments, a logout among them, unless the
store was made with ``synchronous="FULL"``.

Forking is safe at any time: the connections of the store are closed for that moment. Connections of the
application's own to the same file are not ours to close: SQLite forbids to have them open across a fork.
"""

# ruff: noqa: S608 - the only thing put into a statement is the checked name of a table
from __future__ import annotations

import os
import re
import shutil
import sqlite3
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any, Literal, TypeVar
from urllib.parse import unquote, urlsplit

from coatcheck.errors import (
    ConfigurationError,
    StoreError,
    StoreFull,
    StoreReadOnly,
    StoreTimeout,
    StoreUnavailable,
)
from coatcheck.model.ports import Capabilities, Found, Life, Unreadable
from coatcheck.model.record import (
    APPLIED,
    Applied,
    Change,
    Create,
    Destroy,
    RecordError,
    Refused,
    Tombstone,
    Update,
    decode,
    encode,
    settle,
)
from coatcheck.stores._sqlite_connections import Connections, code_of, patiently

__all__ = ["SQLiteStore", "from_url", "path_of"]

FORMAT = 1
"""The layout of the tables. It stands in a table of ours: `PRAGMA user_version` belongs to the application."""

_T = TypeVar("_T")
_ROOM_TO_OPEN = 1 << 17  # its `-shm` takes 32 KiB, and 32 more for every 4096 pages of a long log
_MOST_PARAMETERS = 999  # SQLite takes no more in one statement before its release 3.32

# A table with rowids: against WITHOUT ROWID, records of 300 bytes are created in 2/3 of the time, and records of
# 2 KiB, which would not fit into the index any more, are also read in 2/5 and updated in 1/2 of it.
# A tombstone is not live; it has no user, so that no index of users leads to it.
_SCHEMA = (
    """
    CREATE TABLE "{0}sessions" (
        key BLOB NOT NULL PRIMARY KEY,
        data BLOB NOT NULL CHECK (typeof(data) = 'blob'),
        user TEXT,
        signed_in INTEGER,
        expires INTEGER NOT NULL,
        live INTEGER NOT NULL
    )
    """,
    'CREATE INDEX "{0}sessions_user" ON "{0}sessions" (user, signed_in DESC, key) WHERE user IS NOT NULL',
    'CREATE INDEX "{0}sessions_expires" ON "{0}sessions" (expires, live)',
    'CREATE TABLE "{0}meta" (format INTEGER NOT NULL)',
    'INSERT INTO "{0}meta" VALUES ({1})',
)


class SQLiteStore:
    """A store in a file, safe for threads, for processes, and across forks.

    Args:
        path: The file. Made, for its owner only, if it isn't there; its directory must be.
        prefix: What the names of the tables begin with.
        synchronous: "FULL" waits for the disk at every write, so that not even a power cut revives a session
            that was logged out; "NORMAL" doesn't.
        deadline: How long a call may wait for other writers before it is a `StoreTimeout`.
        ballast: How many bytes are kept aside for logging out on a full disk; 0 for none. SQLite needs room even
            to delete, so without it a logout on a full disk may be a `StoreFull`. What the file grows by between
            two of SQLite's checkpoints has to fit in: 1 MiB will do for records of up to 8 KB, 4 MiB for any.

    Raises:
        ConfigurationError: No store can be made of these settings, or the tables are of another format.
        StoreError: The file can't be opened or written.
    """

    capabilities: Capabilities = Capabilities()

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        prefix: str = "coatcheck:",
        synchronous: Literal["NORMAL", "FULL"] = "NORMAL",
        deadline: timedelta = timedelta(seconds=5),
        ballast: int = 1 << 20,
    ) -> None:
        if os.fspath(path) in {"", ":memory:"}:
            raise ConfigurationError("SQLiteStore keeps a file; for sessions in memory use memory://")
        if not re.fullmatch(r"(?!(?i:sqlite_))[A-Za-z0-9_.:-]{1,64}", prefix):
            raise ConfigurationError(
                "prefix must be 1 to 64 letters, digits or _ . : - and not begin with sqlite_"
            )
        if synchronous not in {"NORMAL", "FULL"}:
            raise ConfigurationError('synchronous must be "NORMAL" or "FULL"')
        if deadline <= timedelta():
            raise ConfigurationError("deadline must be more than nothing")
        if ballast < 0:
            raise ConfigurationError("ballast must be a number of bytes, or 0")
        self._path = Path(path).resolve()
        if not self._path.parent.is_dir():
            raise ConfigurationError(f"{self._path}: its directory does not exist")
        if self._path.is_dir():
            raise ConfigurationError(f"{self._path} is a directory; name a file in it")
        self._deadline = deadline.total_seconds()
        self._ballast, self._ballast_size = Path(f"{self._path}-ballast"), ballast
        self._prefix, table = prefix, f'"{prefix}sessions"'
        self._select = f"SELECT data FROM {table} WHERE key = ?"
        self._select_several = f"SELECT key, data FROM {table} WHERE key IN "
        self._insert = f"INSERT INTO {table} VALUES (?, ?, ?, ?, ?, 1) ON CONFLICT (key) DO NOTHING"
        # Only signing in changes the user: leaving his index alone saves an update a seventh of its time.
        self._update = f"UPDATE {table} SET data = ?, expires = ? WHERE key = ?"
        self._replace = (
            f"UPDATE {table} SET data = ?, user = ?, signed_in = ?, expires = ?, live = ? WHERE key = ?"
        )
        self._delete = (
            f"DELETE FROM {table} WHERE expires <= ?"
            f" AND rowid IN (SELECT rowid FROM {table} WHERE expires <= ? LIMIT ?)"
        )
        self._of_user = (
            f"SELECT key, signed_in FROM {table} WHERE user = ? AND expires > ? ORDER BY signed_in DESC, key"
        )
        self._count = f"SELECT count(*) FROM {table} WHERE expires > ? AND live"
        self._connections = Connections(self._path, synchronous, self._deadline)
        self._set_up()
        self._grow_ballast()

    def load(self, keys: Sequence[bytes], now: int, *, wait: bool = True) -> list[Found]:
        """What lies under each key, by one statement that waits for no writer.

        SQLite may be busy all the same, for a moment; without `wait` that is a `StoreTimeout` at once.
        """
        patience = self._deadline if wait else 0
        if len(keys) == 1:
            rows = self._connections.fetch_at_once(self._select, keys)
            if rows is None:
                rows = self._read(self._select, keys, patience)
            return [_found(keys[0], rows[0][0] if rows else None)]
        data: dict[bytes, bytes] = {}
        for start in range(0, len(keys), _MOST_PARAMETERS):
            some = keys[start : start + _MOST_PARAMETERS]
            statement = f"{self._select_several}({', '.join('?' * len(some))})"
            data.update(self._read(statement, some, patience))
        return [_found(key, data.get(key)) for key in keys]

    def apply(self, changes: Sequence[Change]) -> list[Applied | Refused]:
        """Apply all changes in one transaction.

        On a full disk a `StoreFull` says that nothing was written, but for the batch's `Destroy` changes: the
        ballast is given up for them, and they are stored even if the batch raises because of its other members.
        """
        try:
            return self._apply_all(changes)
        except StoreFull:
            destroys = [change for change in changes if isinstance(change, Destroy)]
            if not destroys:
                raise
            self._make_room()
            answers = self._apply_all(destroys)
            if len(answers) < len(changes):
                raise
            return answers

    def enroll(self, user: str, life: Life, expires: int) -> None:
        """Nothing to do: the index is written with the record."""

    def lives_of(self, user: str, now: int) -> list[Life]:
        """The user's live sessions, the newest sign-in first."""
        return [Life(key, signed_in) for key, signed_in in self._read(self._of_user, (user, now))]

    def count(self, now: int) -> int:
        """How many live records there are, from the index alone."""
        return int(self._read(self._count, (now,))[0][0])

    def sweep(self, now: int, limit: int) -> int:
        """Remove at most `limit` expired records and tombstones; readers and other writers hardly notice."""
        parameters = (now, now, max(limit, 0))
        swept = self._write(lambda connection: connection.execute(self._delete, parameters).rowcount)
        self._grow_ballast()
        return swept

    def ping(self) -> None:
        """Return if the file can be read, else raise a `StoreError`."""
        self._read(f'SELECT format FROM "{self._prefix}meta"', ())

    def close(self) -> None:
        """Close this process's connections; one that another thread is using, as soon as it has done."""
        self._connections.close()

    def _read(self, sql: str, parameters: Sequence[object], patience: float | None = None) -> list[Any]:
        # Fetched whole, so that no statement stays open and holds back SQLite's checkpoints.
        patience = self._deadline if patience is None else patience
        return self._with_connection(
            lambda connection: patiently(lambda: connection.execute(sql, parameters).fetchall(), patience),
            patience,
        )

    def _apply_all(self, changes: Sequence[Change]) -> list[Applied | Refused]:
        return self._write(lambda connection: [self._apply(connection, change) for change in changes])

    def _apply(self, connection: sqlite3.Connection, change: Change) -> Applied | Refused:
        if isinstance(change, Create):
            new = change.record
            values = (new.key, encode(new), new.user, new.signed_in, new.expires)
            return APPLIED if connection.execute(self._insert, values).rowcount else Refused.EXISTS
        there = connection.execute(self._select, (change.key,)).fetchone()
        settled = settle(there[0] if there else None, change)
        state = settled.state
        if isinstance(state, Tombstone):
            connection.execute(self._replace, (encode(state), None, None, state.expires, 0, change.key))
        elif state is not None and isinstance(change, Update) and change.sign_in is None:
            connection.execute(self._update, (encode(state), state.expires, change.key))
        elif state is not None:
            row = (encode(state), state.user, state.signed_in, state.expires, 1, change.key)
            connection.execute(self._replace, row)
        return settled.answer

    def _write(self, work: Callable[[sqlite3.Connection], _T]) -> _T:
        """What `work` returns, once all that it wrote is committed; if anything raises, nothing of it is."""
        until = time.monotonic() + self._deadline

        def transaction(connection: sqlite3.Connection) -> _T:
            patiently(lambda: connection.execute("BEGIN IMMEDIATE"), until - time.monotonic())
            try:
                result = work(connection)
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:  # of some errors SQLite rolls back by itself
                    connection.execute("ROLLBACK")
                raise
            return result

        turns = self._connections.turns
        if not turns.take(self._deadline):
            raise StoreTimeout(f"{self._path}: too many threads are waiting to write", ambiguous=False)
        try:
            return self._with_connection(transaction)
        finally:
            turns.give()

    def _with_connection(self, work: Callable[[sqlite3.Connection], _T], patience: float | None = None) -> _T:
        connection = None
        try:
            connection = self._connections.borrow() or self._connect("rw", patience)
            return work(connection)
        except sqlite3.Error as error:
            failure = self._failure(error)
            if connection is not None and not isinstance(failure, StoreTimeout | StoreFull):
                # What a connection knows of a broken file, or of one that may not be written, it knows for good.
                self._connections.disconnect(connection)
                connection = None
            raise failure from error
        finally:
            if connection is not None:
                self._connections.give_back(connection)

    def _failure(self, error: sqlite3.Error) -> StoreError:
        message, code = f"{self._path}: {error}", code_of(error)
        if code == sqlite3.SQLITE_IOERR_SHMSIZE:
            return StoreFull(f"{message}: no room for its -shm")
        match code & 0xFF:
            case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
                return StoreTimeout(message, ambiguous=False)
            case sqlite3.SQLITE_FULL:
                return StoreFull(message)
            case sqlite3.SQLITE_READONLY:
                return StoreReadOnly(message)
            case sqlite3.SQLITE_CANTOPEN:
                return StoreUnavailable(f"{message}: SQLite must be able to write to it and to its directory")
            case _:
                return StoreUnavailable(message)

    def _set_up(self) -> None:
        """Find our tables, or make them. A file that holds others under our names is left as it is."""

        def prepare(connection: sqlite3.Connection) -> None:
            self._has_tables(connection)
            (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
            if mode != "wal":
                raise ConfigurationError(f"{self._path}: SQLite can't keep a write-ahead log there")
            if not self._has_tables(connection):
                connection.execute("BEGIN IMMEDIATE")
                if not self._has_tables(connection):
                    for statement in _SCHEMA:
                        connection.execute(statement.format(self._prefix, FORMAT))
                connection.execute("COMMIT")

        new = not self._path.exists()
        try:
            connection = self._connect("rwc")
            try:
                if new:  # before anything is in it; SQLite gives `-wal` and `-shm` the same mode
                    self._path.chmod(0o600)
                patiently(lambda: prepare(connection), self._deadline)
            finally:
                self._connections.disconnect(connection)
        except sqlite3.Error as error:
            raise self._failure(error) from error

    def _has_tables(self, connection: sqlite3.Connection) -> bool:
        ours = {f"{self._prefix}sessions", f"{self._prefix}meta"}
        # SQLite's names know no case, so that "App:" would meddle with the tables of "app:".
        names = "SELECT name FROM sqlite_master WHERE name COLLATE NOCASE IN (?, ?)"
        there = {name for (name,) in connection.execute(names, tuple(ours)).fetchall()}
        if not there:
            return False
        if there != ours:
            raise ConfigurationError(
                f"{self._path}: {min(there)} is no table of this store; use another prefix"
            )
        formats = connection.execute(f'SELECT format FROM "{self._prefix}meta"').fetchall()
        if formats != [(FORMAT,)]:
            raise ConfigurationError(
                f"{self._path} keeps the sessions of prefix {self._prefix!r} in a format that this release can't read"
                f" ({formats}, not {FORMAT}); run the release that made it, or use another file or prefix"
            )
        return True

    def _connect(self, mode: str, patience: float | None = None) -> sqlite3.Connection:
        try:
            return self._connections.connect(mode, patience)
        except sqlite3.OperationalError as error:
            if code_of(error) != sqlite3.SQLITE_IOERR_SHMSIZE:
                raise
            # Even to be read the file needs room, for its `-shm`: a part of the ballast is enough.
            with suppress(OSError):
                os.truncate(self._ballast, max(0, self._ballast.stat().st_size - _ROOM_TO_OPEN))
            return self._connections.connect(mode, patience)

    def _make_room(self) -> None:
        """Give up the ballast, and move SQLite's log into the database, so that the log's own room can be used."""
        with suppress(OSError):
            self._ballast.unlink(missing_ok=True)
        with suppress(StoreError):
            self._read("PRAGMA wal_checkpoint(PASSIVE)", ())

    def _grow_ballast(self) -> None:
        """Best effort, and never out of the last room: that is for records."""
        if not self._ballast_size:
            return
        with suppress(OSError):
            if self._ballast.exists() and self._ballast.stat().st_size >= self._ballast_size:
                return
            if shutil.disk_usage(self._path.parent).free < 2 * self._ballast_size:
                return
            try:
                # Random, since a file system that compresses would keep nothing aside for zeros.
                self._ballast.write_bytes(os.urandom(self._ballast_size))
            except OSError:
                self._ballast.unlink()


def _found(key: bytes, data: bytes | None) -> Found:
    if data is None:
        return None
    try:
        return decode(key, data)
    except RecordError as error:
        return Unreadable(str(error))


def path_of(url: str) -> str:
    """The path that ``sqlite:///relative/path.db`` or ``sqlite:////absolute/path.db`` names.

    Raises:
        ConfigurationError: The URL has a host, as one with two slashes has.
    """
    _, netloc, path, *_ = urlsplit(url)
    if netloc:
        raise ConfigurationError(
            f"sqlite://{netloc}… has two slashes: write sqlite:///relative/path.db or sqlite:////absolute/path.db."
        )
    return unquote(path.removeprefix("/"))


def from_url(
    url: str,
    *,
    prefix: str = "coatcheck:",
    synchronous: Literal["NORMAL", "FULL"] = "NORMAL",
    deadline: timedelta = timedelta(seconds=5),
    ballast: int = 1 << 20,
) -> SQLiteStore:
    """The store in the file that a URL names; see `SQLiteStore`."""
    return SQLiteStore(
        path_of(url), prefix=prefix, synchronous=synchronous, deadline=deadline, ballast=ballast
    )
