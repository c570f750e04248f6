"""A file that keeps room aside on the disk. SQLite needs room even to delete, so logging out would fail on a full one."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path

__all__ = ["Ballast"]

_LEAST = 1 << 16  # SQLite's -shm takes 32 KiB; the pages that ending one session changes take less


class Ballast:
    """The file ``-ballast`` beside a database. It is in use while it is smaller than its size.

    Args:
        database: The database.
        size: How many bytes to keep aside; 0 for no such file.
    """

    def __init__(self, database: Path, size: int) -> None:
        self._file = Path(f"{database}-ballast")
        self.name: str = os.fspath(self._file)
        self.size: int = size

    def grow(self) -> bool:
        """Make the file whole, if there is room for twice its size: the last room belongs to the data. Never fails.

        Returns whether it is whole.
        """
        if not self.size:
            return True
        with suppress(OSError):
            there = self._file.exists()
            if there and self._file.stat().st_size >= self.size:
                return True
            if shutil.disk_usage(self._file.parent).free < 2 * self.size:
                return False
            try:
                # A file system that compresses would keep nothing aside for zeros.
                self._file.write_bytes(os.urandom(self.size))
            except OSError:
                # A file that is missing is not in use, so one that was in use must stay.
                os.truncate(self._file, 0) if there else self._file.unlink()
                return False
            return True
        return False

    def give_up_a_part(self) -> bool:
        """Give some of the room back to the disk; whether there was any to give."""
        with suppress(OSError):
            if size := self._file.stat().st_size:
                os.truncate(self._file, max(0, size - max(_LEAST, size // 8)))
                return True
        return False
