"""The port: what Coatcheck asks of a store.

A store keeps bytes under keys, by compare-and-swap. It knows keys, bytes, versions and the entries of its index, and
nothing of tokens, cookies, records, changes or sessions. It speaks in batches: several keys to load, several writes,
answered one by one and in order.

`now` is the caller's clock in milliseconds since 1970. `deadline` is a reading of `time.monotonic()` (seconds) at which
a call must have come back, with a `StoreTimeout` if need be. A failure of the whole call may be raised; the failure of
one item is its answer. A store may repeat a read within the deadline. It must never repeat a write: the caller does,
after a look at what is there.

To write a store: `docs/how-to/write-a-store.md`. The suite that it must pass is `coatcheck.testing.contract`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, Protocol, TypeAlias

from msgspec import Struct

from coatcheck.errors import StoreError, TooLarge

__all__ = [
    "REVISION_BYTES",
    "AsyncStore",
    "Conflict",
    "Entry",
    "Found",
    "Index",
    "Loaded",
    "Store",
    "Write",
    "Written",
    "revision_of",
]

REVISION_BYTES = 8
"""How many random bytes, new with every write, all data begins with."""

Index: TypeAlias = Literal["within", "beside", "none"]
"""Where a user's sessions are listed.

- ``within``: a write stores its `Write.entry` together with the data, atomically.
- ``beside``: `Store.note` stores entries apart from the data.
- ``none``: the store keeps no list; `sessions_of` and `count` are never called.
"""


class Found(Struct, frozen=True):
    """The data that lies under a key.

    Attributes:
        data: The bytes. Their first 8 are random, and new with every write.
        version: The store's word for this version of the data: those 8 bytes, or a token of the server's.
    """

    data: bytes
    version: object

    def __repr__(self) -> str:
        return f"<Found, {len(self.data)} bytes>"


class Conflict(Struct, frozen=True):
    """A write was not done, because something other than the expected version lies under its key.

    Attributes:
        found: The data that lies there now; None: nothing does.
    """

    found: Found | None


class Entry(Struct, frozen=True):
    """One sign-in in the index: the session `key` belongs to `user` since `signed_in`.

    Attributes:
        user: The user, as given to `Session.sign_in`.
        key: The session's key.
        signed_in: When that sign-in happened (ms).
        until: The latest moment (ms) at which the session can still be alive. The entry may be dropped after it.
    """

    user: str
    key: bytes
    signed_in: int
    until: int


class Write(Struct, frozen=True, kw_only=True):
    """One compare-and-swap.

    Attributes:
        key: 16 bytes.
        data: The new data.
        expires: When the store may remove it (ms). Nothing is ever stored without an expiry.
        expected: `Found.version` of the version that it replaces; None: write only where nothing lies. After a write,
            the first 8 bytes of the data that was written are accepted as its version, too.
        live: Whether the data is a session. Tombstones and epochs are not, and `Store.count` leaves them out.
        entry: With ``index="within"``: the one index entry of this key from now on; None: it has none.
        urgent: It must be carried out even when the store's memory is full: it ends a session, or does not grow one.
    """

    key: bytes
    data: bytes
    expires: int
    expected: object | None = None
    live: bool = True
    entry: Entry | None = None
    urgent: bool = False

    def __repr__(self) -> str:
        return f"<Write of {self.key.hex()}, {len(self.data)} bytes>"


Loaded: TypeAlias = Found | StoreError | None
"""The answer to one key of a load; None: nothing lies there."""
Written: TypeAlias = Conflict | StoreError | TooLarge | None
"""The answer to one write; None: it is stored. `StoreFull`, `StoreReadOnly` and `TooLarge`: it is surely not stored.
`StoreUnavailable`: it may be stored, now or in a moment, unless the error says ``ambiguous=False``."""


def revision_of(data: bytes) -> bytes:
    """The random bytes at the head of `data`."""
    return data[:REVISION_BYTES]


class Store(Protocol):
    """A synchronous store. Its methods may be called from several threads at once."""

    @property
    def index(self) -> Index:
        """Where a user's sessions are listed."""
        ...

    def load(self, keys: Sequence[bytes], now: int, deadline: float) -> Sequence[Loaded]:
        """The data under each key, in the order of `keys`, in one round trip; from the primary. Writes nothing.

        Data past its expiry may still be given back: the caller judges.
        """
        ...

    def write(self, writes: Sequence[Write], now: int, deadline: float) -> Sequence[Written]:
        """Carry out each write by itself, in one round trip, and answer in order. The keys are distinct.

        A write that is answered None is stored with its expiry, and every later load of any process sees it.
        """
        ...

    def remove(self, keys: Sequence[bytes], now: int, deadline: float) -> Sequence[bool | StoreError]:
        """Remove what lies under each key, whatever it is, index entry included; whether something did.

        Works when the store's memory is full.
        """
        ...

    def note(self, entries: Sequence[Entry], now: int, deadline: float) -> None:
        """Store entries in the index. Only called with ``index="beside"``.

        An entry of the same user and key is replaced if `signed_in` is later; its `until` never becomes earlier.
        """
        ...

    def sessions_of(
        self, user: str, now: int, limit: int, after: Entry | None, deadline: float
    ) -> Sequence[Entry]:
        """The user's entries whose `until` is after `now`: the newest sign-in first, then by key.

        `limit` of them, fewer only where there are no more, from behind `after`, which need not exist any more. Complete for every entry that was
        stored before the call. The caller checks each against its record.
        """
        ...

    def index_may_be_incomplete(self, deadline: float) -> str | None:
        """Why the server may have lost index entries, and the remedy, as a sentence; None: it can't have.

        Asked after `sessions_of` by `revoke_user`. Only with ``index="beside"``.
        """
        ...

    def forget(self, entries: Sequence[Entry], deadline: float) -> None:
        """Remove entries from the index, each only if it still is exactly this one. Only with ``index="beside"``."""
        ...

    def count(self, now: int, deadline: float) -> int:
        """How many live records there are."""
        ...

    def sweep(self, now: int, limit: int, deadline: float) -> int:
        """Remove at most `limit` items that expired before `now`; how many it was. Never removes a live one."""
        ...

    def ping(self, deadline: float) -> int | None:
        """Return if the store can be reached, else raise a `StoreError` that names the remedy.

        Returns the clock of its server (ms since 1970), which is compared with the application's; None: it has none.
        """
        ...

    def close(self) -> None:
        """Let go of connections and files. The store can be used again afterwards: the next call opens them anew."""
        ...


class AsyncStore(Protocol):
    """The same for an event loop. The meaning of each method is `Store`'s.

    Attributes:
        loads_in_place: Whether `load` never waits for anything, so that sending several loads together gains nothing.
    """

    @property
    def index(self) -> Index:
        """See `Store.index`."""
        ...

    @property
    def loads_in_place(self) -> bool:
        """Whether `load` never waits."""
        ...

    async def load(self, keys: Sequence[bytes], now: int, deadline: float) -> Sequence[Loaded]:
        """See `Store.load`."""
        ...

    async def write(self, writes: Sequence[Write], now: int, deadline: float) -> Sequence[Written]:
        """See `Store.write`."""
        ...

    async def remove(self, keys: Sequence[bytes], now: int, deadline: float) -> Sequence[bool | StoreError]:
        """See `Store.remove`."""
        ...

    async def note(self, entries: Sequence[Entry], now: int, deadline: float) -> None:
        """See `Store.note`."""
        ...

    async def sessions_of(
        self, user: str, now: int, limit: int, after: Entry | None, deadline: float
    ) -> Sequence[Entry]:
        """See `Store.sessions_of`."""
        ...

    async def index_may_be_incomplete(self, deadline: float) -> str | None:
        """See `Store.index_may_be_incomplete`."""
        ...

    async def forget(self, entries: Sequence[Entry], deadline: float) -> None:
        """See `Store.forget`."""
        ...

    async def count(self, now: int, deadline: float) -> int:
        """See `Store.count`."""
        ...

    async def sweep(self, now: int, limit: int, deadline: float) -> int:
        """See `Store.sweep`."""
        ...

    async def ping(self, deadline: float) -> int | None:
        """See `Store.ping`."""
        ...

    async def close(self) -> None:
        """See `Store.close`."""
        ...
