"""What was read last, so that a change need not read it again.

A request loads its record, and a moment later changes it. The change is written on the condition that the row's
version is still the one that was read; where it is not, it is read again. So what is remembered here may be old, and
does no harm.
"""

from __future__ import annotations

import threading
from collections import OrderedDict

__all__ = ["Recent", "Row"]

Row = tuple[bytes, int]
"""The bytes of a record, and the version of its row."""

_MOST, _LARGEST = 512, 16_384


class Recent:
    """The rows that were read last: so many, and none that is large. Safe for threads."""

    def __init__(self) -> None:
        self._rows: OrderedDict[bytes, Row] = OrderedDict()
        self._lock = threading.Lock()

    def keep(self, key: bytes, row: Row) -> None:
        """Remember a row."""
        if len(row[0]) > _LARGEST:
            return
        with self._lock:
            self._rows[key] = row
            self._rows.move_to_end(key)
            if len(self._rows) > _MOST:
                self._rows.popitem(last=False)

    def take(self, key: bytes) -> Row | None:
        """The row under the key, if it is remembered; it is not any more."""
        with self._lock:
            return self._rows.pop(key, None)
