"""SQLite's errors as errors of a store: the file, the cause and the remedy, and no value."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Mapping
from pathlib import Path

from coatcheck.errors import StoreError, StoreFull, StoreReadOnly, StoreTimeout, StoreUnavailable

__all__ = ["failure_of", "no_room", "no_room_to_open"]

_LOCKED = "another connection kept the file locked until the deadline; look for a long transaction"
_FULL = "no room is left on the disk; free some, or remove expired sessions with `coatcheck sweep`"
_READ_ONLY = "no write is allowed"
_MISSING = "it can't be opened"
_DISK = "the disk failed to read or write it; look into the system's log"
_DAMAGED = "it is damaged, or not a database; restore a copy, or move it away and start with an empty one"
_OTHER = "SQLite refused a statement; see the cause of this error"

_BY_PRIMARY_CODE: Mapping[int, tuple[type[StoreError], str]] = {
    sqlite3.SQLITE_BUSY: (StoreTimeout, _LOCKED),
    sqlite3.SQLITE_LOCKED: (StoreTimeout, _LOCKED),
    sqlite3.SQLITE_FULL: (StoreFull, _FULL),
    sqlite3.SQLITE_READONLY: (StoreReadOnly, _READ_ONLY),
    sqlite3.SQLITE_CANTOPEN: (StoreUnavailable, _MISSING),
    sqlite3.SQLITE_IOERR: (StoreUnavailable, _DISK),
    sqlite3.SQLITE_CORRUPT: (StoreUnavailable, _DAMAGED),
    sqlite3.SQLITE_NOTADB: (StoreUnavailable, _DAMAGED),
}

_EFFECTIVE = os.access in os.supports_effective_ids  # SQLite's own rights, which a process may have given up


def failure_of(path: Path, error: sqlite3.Error, *, ambiguous: bool) -> StoreError:
    """The error for the caller. `ambiguous`: a write was under way, which a lock, though, undoes for sure."""
    name = getattr(error, "sqlite_errorname", type(error).__name__)
    kind, words = _BY_PRIMARY_CODE.get(_code_of(error) & 0xFF, (StoreUnavailable, _OTHER))
    if no_room_to_open(error):
        kind, words = StoreFull, f"{_FULL}; even reading needs room for its -shm"
    if words in {_READ_ONLY, _MISSING}:
        words = f"{words}; {_obstacle(path)}"
    message = f"{path}: {words} ({name})"
    if issubclass(kind, StoreUnavailable):
        return kind(message, ambiguous=ambiguous and kind is not StoreTimeout)
    return kind(message)


def no_room(path: Path, ballast: int) -> str:
    """The message for a write that would take the room that is kept aside."""
    return (
        f"{path}: {_FULL}; the room that is left is kept for logging out, until twice its size, {2 * ballast} bytes,"
        " are free"
    )


def _obstacle(path: Path) -> str:
    """What keeps this process from writing, and the remedy."""
    if not path.exists():
        return f"put the file in place, or let this process write to {path.parent}, where it can then make it"
    needed = (path.parent, path, Path(f"{path}-wal"), Path(f"{path}-shm"))
    if closed := [str(one) for one in needed if one.exists() and not _writable(one)]:
        return (
            f"this process may not write to {' and '.join(closed)}: change the owner or mode of each (chown, chmod), or"
            " mount its disk for writing"
        )
    return "this process must be able to write to the file and to its directory"


def _writable(path: Path) -> bool:
    return os.access(path, os.W_OK, effective_ids=_EFFECTIVE)


def no_room_to_open(error: sqlite3.Error) -> bool:
    """Whether the disk is so full that not even reading works."""
    return _code_of(error) == sqlite3.SQLITE_IOERR_SHMSIZE


def _code_of(error: sqlite3.Error) -> int:
    return getattr(error, "sqlite_errorcode", 0)  # Python's own module raises errors without a code
