"""A file that keeps room aside on the disk. SQLite needs room even to delete, so logging out would fail on a full one."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path

__all__ = ["Ballast"]

_ROOM_TO_OPEN = 1 << 17  # SQLite's -shm takes 32 KiB, and 32 more for every 4096 pages of a long log


class Ballast:
    """The file ``-ballast`` beside a database.

    Args:
        database: The database.
        size: How many bytes to keep aside; 0 for no such file.
    """

    def __init__(self, database: Path, size: int) -> None:
        self._file, self._size = Path(f"{database}-ballast"), size

    def grow(self) -> None:
        """Make the file, if there is room for twice its size: the last room belongs to the data. Never fails."""
        if not self._size:
            return
        with suppress(OSError):
            if self._file.exists() and self._file.stat().st_size >= self._size:
                return
            if shutil.disk_usage(self._file.parent).free < 2 * self._size:
                return
            try:
                # A file system that compresses would keep nothing aside for zeros.
                self._file.write_bytes(os.urandom(self._size))
            except OSError:
                self._file.unlink()

    def give_up(self) -> None:
        """Give the room back to the disk."""
        with suppress(OSError):
            self._file.unlink(missing_ok=True)

    def give_up_a_part(self) -> bool:
        """Give back as much as SQLite needs to open a database; whether there was anything to give."""
        with suppress(OSError):
            if size := self._file.stat().st_size:
                os.truncate(self._file, max(0, size - _ROOM_TO_OPEN))
                return True
        return False
