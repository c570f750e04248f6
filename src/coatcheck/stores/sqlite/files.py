"""Which files a database consists of, so that its replacement under a running site is noticed."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

__all__ = ["Files"]

_REMOVED = "it was removed while this process had it open; put it back, or start the site again to begin with an empty one"
_STRANGE_LOG = (
    "it was replaced while this process had it open, and the -wal beside it belongs to the file before it; stop all"
    " processes that use it, remove its -wal and -shm, put the file in place again, and start them"
)
_NO_LOG = (
    "its -wal was removed while this process had it open; stop all processes that use it, restore a copy if the latest"
    " changes are missed, and start them"
)
_Identity = tuple[int, int]


class Files(NamedTuple):
    """The device and inode of a database and of its log; None for one that is not there."""

    database: _Identity | None
    log: _Identity | None

    @classmethod
    def at(cls, path: Path) -> Files:
        """The files at a path now."""
        database = path.resolve()  # SQLite follows links, too
        return cls(_identity(database), _identity(Path(f"{database}-wal")))

    def refusal(self, opened: Files) -> str | None:
        """Why a process that has `opened` can't go on with these files, and the remedy; None: it can open them."""
        if self.database is None:
            return _REMOVED
        if self.database == opened.database:
            return _NO_LOG if opened.log is not None else None
        return _STRANGE_LOG if self.log is not None and self.log == opened.log else None


def _identity(path: Path) -> _Identity | None:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino
