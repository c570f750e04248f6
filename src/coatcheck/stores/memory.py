"""Sessions in this process's memory: for tests, for trying things out, and for a site of one process.

They end with the process, and two processes do not share them.
"""

from __future__ import annotations

import heapq
import threading
from bisect import bisect_left, bisect_right, insort
from collections.abc import Sequence
from itertools import islice

from coatcheck.addresses import parts_of
from coatcheck.errors import ConfigurationError
from coatcheck.model.ports import Conflict, Entry, Found, Index, Write, revision_of

__all__ = ["AsyncMemoryStore", "MemoryStore", "async_from_url", "from_url"]


class MemoryStore:
    """A store in a dict, safe for threads. It keeps its data when it is closed.

    Expired data is removed as new keys come in, two for each, so that it never outweighs the live data for long.
    """

    index: Index = "within"

    def __init__(self) -> None:
        self._found: dict[bytes, Found] = {}
        self._written: dict[bytes, Write] = {}  # the last write of each key
        self._users: dict[str, list[Entry]] = {}  # each list in the order of `_rank`
        self._heap: list[tuple[int, bytes]] = []  # when to look at a key: at its expiry, or earlier
        self._due: dict[bytes, int] = {}  # the item of the heap that counts for a key
        self._lock = threading.Lock()

    def load(self, keys: Sequence[bytes], now: int, deadline: float) -> list[Found | None]:
        """See `Store.load`."""
        found = self._found
        return [found.get(key) for key in keys]

    def write(self, writes: Sequence[Write], now: int, deadline: float) -> list[Conflict | None]:
        """See `Store.write`."""
        with self._lock:
            return [self._write(write, now) for write in writes]

    def remove(self, keys: Sequence[bytes], now: int, deadline: float) -> list[bool]:
        """See `Store.remove`."""
        with self._lock:
            return [self._remove(key) for key in keys]

    def note(self, entries: Sequence[Entry], now: int, deadline: float) -> None:
        """Never called: each entry is stored with its session."""

    def sessions_of(
        self, user: str, now: int, limit: int, after: Entry | None, deadline: float
    ) -> list[Entry]:
        """See `Store.sessions_of`."""
        with self._lock:
            entries = self._users.get(user, [])
            start = 0 if after is None else bisect_right(entries, _rank(after), key=_rank)
            behind = (entry for entry in islice(entries, start, None) if entry.until > now)
            return list(islice(behind, limit))

    def index_may_be_incomplete(self, deadline: float) -> None:
        """It never is."""

    def forget(self, entries: Sequence[Entry], deadline: float) -> None:
        """Never called: each entry goes with its session."""

    def count(self, now: int, deadline: float) -> int:
        """See `Store.count`."""
        with self._lock:
            return sum(write.live and now < write.expires for write in self._written.values())

    def sweep(self, now: int, limit: int, deadline: float) -> int:
        """See `Store.sweep`."""
        with self._lock:
            return self._sweep(now, limit)

    def ping(self, deadline: float) -> None:
        """Memory is always there."""

    def close(self) -> None:
        """Nothing is open."""

    def _write(self, write: Write, now: int) -> Conflict | None:
        key = write.key
        found = self._found.get(key)
        if (None if found is None else found.version) != write.expected:
            return Conflict(found)
        if found is None:
            self._sweep(now, 2)
        self._withdraw(key)
        self._found[key] = Found(write.data, revision_of(write.data))
        self._written[key] = write
        if write.entry is not None:
            insort(self._users.setdefault(write.entry.user, []), write.entry, key=_rank)
        # A later expiry needs no look of its own: the next one finds it.
        if key not in self._due or write.expires < self._due[key]:
            self._look_at(key, write.expires)
        return None

    def _remove(self, key: bytes) -> bool:
        self._withdraw(key)
        self._written.pop(key, None)
        return self._found.pop(key, None) is not None

    def _withdraw(self, key: bytes) -> None:
        """Take the entry of `key` out of the index."""
        written = self._written.get(key)
        if written is not None and (entry := written.entry) is not None:
            entries = self._users[entry.user]
            del entries[bisect_left(entries, _rank(entry), key=_rank)]
            if not entries:
                del self._users[entry.user]

    def _look_at(self, key: bytes, at: int) -> None:
        self._due[key] = at
        heapq.heappush(self._heap, (at, key))

    def _sweep(self, now: int, limit: int) -> int:
        swept = 0
        while swept < limit and self._heap and self._heap[0][0] <= now:
            at, key = heapq.heappop(self._heap)
            if self._due.get(key) != at:
                continue  # an earlier one took its place
            del self._due[key]
            written = self._written.get(key)
            if written is None:
                continue
            if now < written.expires:
                self._look_at(key, written.expires)
            else:
                swept += self._remove(key)
        return swept


class AsyncMemoryStore:
    """The same for an event loop. Nothing in it waits.

    Args:
        store: The store to work on, which synchronous code may use, too; None: one of its own.
    """

    index: Index = "within"
    loads_in_place: bool = True

    def __init__(self, store: MemoryStore | None = None) -> None:
        self._store = MemoryStore() if store is None else store

    async def load(self, keys: Sequence[bytes], now: int, deadline: float) -> list[Found | None]:
        """See `Store.load`."""
        return self._store.load(keys, now, deadline)

    async def write(self, writes: Sequence[Write], now: int, deadline: float) -> list[Conflict | None]:
        """See `Store.write`."""
        return self._store.write(writes, now, deadline)

    async def remove(self, keys: Sequence[bytes], now: int, deadline: float) -> list[bool]:
        """See `Store.remove`."""
        return self._store.remove(keys, now, deadline)

    async def note(self, entries: Sequence[Entry], now: int, deadline: float) -> None:
        """Never called: each entry is stored with its session."""

    async def sessions_of(
        self, user: str, now: int, limit: int, after: Entry | None, deadline: float
    ) -> list[Entry]:
        """See `Store.sessions_of`."""
        return self._store.sessions_of(user, now, limit, after, deadline)

    async def index_may_be_incomplete(self, deadline: float) -> None:
        """It never is."""

    async def forget(self, entries: Sequence[Entry], deadline: float) -> None:
        """Never called: each entry goes with its session."""

    async def count(self, now: int, deadline: float) -> int:
        """See `Store.count`."""
        return self._store.count(now, deadline)

    async def sweep(self, now: int, limit: int, deadline: float) -> int:
        """See `Store.sweep`."""
        return self._store.sweep(now, limit, deadline)

    async def ping(self, deadline: float) -> None:
        """Memory is always there."""

    async def close(self) -> None:
        """Nothing is open."""


def _rank(entry: Entry) -> tuple[int, bytes]:
    """The newest sign-in first, then by key."""
    return -entry.signed_in, entry.key


def from_url(url: str, *, prefix: str = "") -> MemoryStore:  # noqa: ARG001 - each store has a dict of its own
    """The store that ``memory://`` names. `prefix` changes nothing: no other store sees its keys.

    Raises:
        ConfigurationError: The URL has more than its scheme.
    """
    _check(url)
    return MemoryStore()


def async_from_url(url: str, *, prefix: str = "") -> AsyncMemoryStore:  # noqa: ARG001 - as above
    """The same for an event loop."""
    _check(url)
    return AsyncMemoryStore()


def _check(url: str) -> None:
    parts = parts_of(url)
    if parts.user or parts.password or parts.hosts or parts.path.strip("/"):
        raise ConfigurationError("memory:// takes no host and no path.")
