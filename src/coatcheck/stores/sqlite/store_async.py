"""The SQLite store for an event loop.

A read takes microseconds and, thanks to the write-ahead log, waits for no writer: it is done in place. Only while SQLite
is busy all the same does it move to the store's thread. Everything else waits for other writers and for the disk, and is
done by that thread: a batch is one hop.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Literal

from coatcheck.errors import StoreTimeout
from coatcheck.model.ports import Loaded
from coatcheck.stores.sqlite.store import SQLiteStore
from coatcheck.stores.threaded import ThreadedStore

__all__ = ["AsyncSQLiteStore"]


class AsyncSQLiteStore(ThreadedStore):
    """`SQLiteStore`, with the same arguments, for asyncio. It has one thread, from the first write to `close`."""

    loads_in_place = True

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        prefix: str = "coatcheck:",
        synchronous: Literal["NORMAL", "FULL"] = "NORMAL",
        ballast: int = 4 << 20,
    ) -> None:
        """Open the file; see `SQLiteStore`."""
        store = SQLiteStore(path, prefix=prefix, synchronous=synchronous, ballast=ballast)
        super().__init__(store, threads=1, name=os.fspath(path))

    async def load(self, keys: Sequence[bytes], now: int, deadline: float) -> Sequence[Loaded]:
        """See `Store.load`. In place, and in the thread if SQLite is busy."""
        try:
            return self._store.load(keys, now, 0)
        except StoreTimeout:
            pass
        return await super().load(keys, now, deadline)
