"""Records in this process's memory: for tests, for trying things out, and for a site of one process.

It ends with the process, and two processes do not share it.
"""

from __future__ import annotations

import heapq
import threading
from collections.abc import Sequence
from datetime import timedelta
from urllib.parse import urlsplit

from coatcheck.errors import ConfigurationError
from coatcheck.model.ports import Capabilities, Found, Life, Unreadable
from coatcheck.model.record import (
    Applied,
    Change,
    Create,
    Record,
    RecordError,
    Refused,
    Tombstone,
    decode,
    encode,
    settle,
)

__all__ = ["AsyncMemoryStore", "MemoryStore", "async_from_url", "from_url"]


_NEVER = 1 << 62


class MemoryStore:
    """A store in a dict, safe for threads. What has expired is let go as new records come in."""

    capabilities: Capabilities = Capabilities(coalesce_loads=False, coalesce_changes=False)

    def __init__(self) -> None:
        self._data: dict[bytes, bytes] = {}
        self._users: dict[str, dict[bytes, int]] = {}
        self._signed_in_as: dict[bytes, str] = {}
        self._due: list[tuple[int, bytes]] = []  # a heap; an entry may be out of date, the record decides
        self._looked_at: dict[bytes, int] = {}  # when the heap comes to each key
        self._lock = threading.Lock()

    def load(self, keys: Sequence[bytes], now: int) -> list[Found]:
        """What lies under each key."""
        return [self._read(key) for key in keys]

    def apply(self, changes: Sequence[Change]) -> list[Applied | Refused]:
        """Apply each change, one after the other."""
        with self._lock:
            return [self._apply(change) for change in changes]

    def enroll(self, user: str, life: Life, expires: int) -> None:
        """Nothing to do: the index is written with the record."""

    def lives_of(self, user: str, now: int) -> list[Life]:
        """The user's live sessions, the newest sign-in first."""
        with self._lock:
            enrolled = self._users.get(user, {})
            newest_first = sorted(enrolled, key=lambda key: (-enrolled[key], key))
            return [Life(key, enrolled[key]) for key in newest_first if self._is_live(key, now)]

    def count(self, now: int) -> int:
        """How many live records there are."""
        with self._lock:
            return sum(self._is_live(key, now) for key in self._data)

    def sweep(self, now: int, limit: int) -> int:
        """Let go of at most `limit` expired records."""
        with self._lock:
            return self._let_go(now, limit)

    def ping(self) -> None:
        """Memory is always there."""

    def close(self) -> None:
        """Nothing to let go of."""

    def _read(self, key: bytes) -> Found:
        data = self._data.get(key)
        if data is None:
            return None
        try:
            return decode(key, data)
        except RecordError as error:
            return Unreadable(str(error))

    def _is_live(self, key: bytes, now: int) -> bool:
        found = self._read(key)
        return isinstance(found, Record) and now < found.expires

    def _apply(self, change: Change) -> Applied | Refused:
        settled = settle(self._data.get(change.key), change)
        if settled.state is not None:
            self._put(settled.state)
            if isinstance(change, Create):
                # Two for each that comes: the dead can't outnumber the living for long.
                self._let_go(change.record.created, 2)
        return settled.answer

    def _put(self, state: Record | Tombstone) -> None:
        key = state.key
        # Looked at again when this is due; only an end that comes nearer needs another entry.
        if state.expires < self._looked_at.get(key, _NEVER):
            self._look_at(key, state.expires)
        self._data[key] = encode(state)
        self._withdraw(key)
        if isinstance(state, Record) and state.user is not None:
            self._users.setdefault(state.user, {})[key] = state.signed_in
            self._signed_in_as[key] = state.user

    def _look_at(self, key: bytes, at: int) -> None:
        self._looked_at[key] = at
        heapq.heappush(self._due, (at, key))

    def _withdraw(self, key: bytes) -> None:
        user = self._signed_in_as.pop(key, None)
        if user is not None:
            enrolled = self._users[user]
            del enrolled[key]
            if not enrolled:
                del self._users[user]

    def _let_go(self, now: int, limit: int) -> int:
        gone = 0
        while gone < limit and self._due and self._due[0][0] <= now:
            at, key = heapq.heappop(self._due)
            if self._looked_at.get(key) != at:
                continue  # an entry that a nearer one has replaced
            del self._looked_at[key]
            found = self._read(key)
            if found is None or isinstance(found, Unreadable):
                continue
            if found.expires > now:
                self._look_at(key, found.expires)
            else:
                del self._data[key]
                self._withdraw(key)
                gone += 1
        return gone


class AsyncMemoryStore:
    """The same for an event loop. Nothing in it waits."""

    capabilities: Capabilities = MemoryStore.capabilities

    def __init__(self) -> None:
        self._store = MemoryStore()

    async def load(self, keys: Sequence[bytes], now: int) -> list[Found]:
        """What lies under each key."""
        return self._store.load(keys, now)

    async def apply(self, changes: Sequence[Change]) -> list[Applied | Refused]:
        """Apply each change, one after the other."""
        return self._store.apply(changes)

    async def enroll(self, user: str, life: Life, expires: int) -> None:
        """Nothing to do: the index is written with the record."""

    async def lives_of(self, user: str, now: int) -> list[Life]:
        """The user's live sessions, the newest sign-in first."""
        return self._store.lives_of(user, now)

    async def count(self, now: int) -> int:
        """How many live records there are."""
        return self._store.count(now)

    async def sweep(self, now: int, limit: int) -> int:
        """Let go of at most `limit` expired records."""
        return self._store.sweep(now, limit)

    async def ping(self) -> None:
        """Memory is always there."""

    async def close(self) -> None:
        """Nothing to let go of."""


def from_url(url: str, *, prefix: str = "", deadline: timedelta = timedelta()) -> MemoryStore:  # noqa: ARG001 - as it says
    """The store that ``memory://`` names.

    One process, one dict: there is nothing to tell apart by a prefix, or to wait for; both are true of it anyway.

    Raises:
        ConfigurationError: The URL has more than its scheme.
    """
    _check(url)
    return MemoryStore()


def async_from_url(url: str, *, prefix: str = "", deadline: timedelta = timedelta()) -> AsyncMemoryStore:  # noqa: ARG001
    """The same for an event loop."""
    _check(url)
    return AsyncMemoryStore()


def _check(url: str) -> None:
    _, netloc, path, *_ = urlsplit(url)
    if netloc or path.strip("/"):
        raise ConfigurationError("memory:// takes no host and no path.")
