"""What Coatcheck asks of a store.

A store keeps records under keys. It knows keys, records and changes, and nothing of tokens, cookies, codecs,
sessions or settings. It speaks in batches: several keys to load, several changes to apply, answered one by one
and in order. A batch that fails as a whole raises a `StoreError`; the caller then retries its members alone. Where
only some members failed, and others were done, the error's `answers` say what became of each.

To write one: keep the bytes of `coatcheck.model.record.encode` under the key, and let `coatcheck.model.record.settle` decide
what a change makes of them, inside a transaction or a compare-and-swap. Then run the shipped contract suite
(`coatcheck.testing.contract`) against it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from msgspec import Struct

from coatcheck.model.record import Applied, Change, Record, Refused, Tombstone

__all__ = [
    "AsyncRevokesAll",
    "AsyncStore",
    "Capabilities",
    "Found",
    "Life",
    "RevokesAll",
    "Store",
    "Unreadable",
]


class Unreadable(Struct, frozen=True):
    """Something lies under the key that is no record that can be read. It is left alone."""

    reason: str


Found = Record | Tombstone | Unreadable | None
"""What lies under a key. A record past its `expires` may still be given back; the caller judges."""


class Life(Struct, frozen=True):
    """One entry of a user's index: a session of his, since the sign-in at `signed_in` (ms)."""

    key: bytes
    signed_in: int


class Capabilities(Struct, frozen=True, kw_only=True):
    """What a store can do beyond keeping records. What is missing is refused when the application is built.

    Attributes:
        users: It finds the sessions of a user: `lives_of` answers.
        separate_index: A user's index is not written together with the record, so that signing in needs `enroll`.
        tombstones: A destroyed record leaves a tombstone, by which late requests are told from strangers.
        revokes_all: It can end all sessions of a user without finding them: it has `RevokesAll.revoke_all`.
        count: `count` answers.
        coalesce_loads: In async, loads that arrive while others are on their way are worth sending together.
        coalesce_changes: The same for changes.
    """

    users: bool = True
    separate_index: bool = False
    revokes_all: bool = False
    tombstones: bool = True
    count: bool = True
    coalesce_loads: bool = True
    coalesce_changes: bool = True


class Store(Protocol):
    """A synchronous store. Its methods may be called from several threads at once.

    `now` is the caller's clock, in milliseconds since 1970; changes carry theirs in `at`.
    """

    @property
    def capabilities(self) -> Capabilities:
        """What this store can do."""
        ...

    def load(self, keys: Sequence[bytes], now: int) -> Sequence[Found]:
        """What lies under each key, in the order of `keys`, in one round trip. Writes nothing."""
        ...

    def apply(self, changes: Sequence[Change]) -> Sequence[Applied | Refused]:
        """Apply each change to the record that is there now, and answer in order, in one round trip.

        When it returns, what it answered `Applied` to is stored, with its expiry, and is seen by every later
        `load` of any process.
        """
        ...

    def enroll(self, user: str, life: Life, expires: int) -> None:
        """Note in the user's index that `life` is one of his, until `expires`. Only with `separate_index`."""
        ...

    def lives_of(self, user: str, now: int) -> Sequence[Life]:
        """The user's live sessions, the newest sign-in first.

        Complete for every sign-in that was stored (and, with `separate_index`, enrolled) before the call.
        """
        ...

    def count(self, now: int) -> int:
        """How many live records there are."""
        ...

    def sweep(self, now: int, limit: int) -> int:
        """Remove at most `limit` records that expired before `now`; how many it was. Never removes a live one."""
        ...

    def ping(self) -> None:
        """Return if the store can be reached, else raise a `StoreError`."""
        ...

    def close(self) -> None:
        """Let go of connections and files. Calling it twice is harmless."""
        ...


class AsyncStore(Protocol):
    """The same for an event loop. The meaning of each method is `Store`'s."""

    @property
    def capabilities(self) -> Capabilities:
        """What this store can do."""
        ...

    async def load(self, keys: Sequence[bytes], now: int) -> Sequence[Found]:
        """See `Store.load`."""
        ...

    async def apply(self, changes: Sequence[Change]) -> Sequence[Applied | Refused]:
        """See `Store.apply`."""
        ...

    async def enroll(self, user: str, life: Life, expires: int) -> None:
        """See `Store.enroll`."""
        ...

    async def lives_of(self, user: str, now: int) -> Sequence[Life]:
        """See `Store.lives_of`."""
        ...

    async def count(self, now: int) -> int:
        """See `Store.count`."""
        ...

    async def sweep(self, now: int, limit: int) -> int:
        """See `Store.sweep`."""
        ...

    async def ping(self) -> None:
        """See `Store.ping`."""
        ...

    async def close(self) -> None:
        """See `Store.close`."""
        ...


class RevokesAll(Protocol):
    """What a store has besides, where it can't find a user's sessions, and can end them (`Capabilities.revokes_all`)."""

    def revoke_all(self, user: str, at: int, until: int, keep: bytes | None) -> None:
        """End every session of `user` whose sign-in was stored and enrolled before the call.

        When it returns, `load` gives none of them as a record, and no change is applied to one. A sign-in that is
        enrolled after it stands.

        Args:
            user: Whose.
            at: The caller's clock, in milliseconds since 1970.
            until: When the last session that there may be ends at the latest: no note of this is needed longer.
            keep: The key of a session to leave alone. One that does not count any more is not brought back by it.
        """
        ...


class AsyncRevokesAll(Protocol):
    """The same for an event loop."""

    async def revoke_all(self, user: str, at: int, until: int, keep: bytes | None) -> None:
        """See `RevokesAll.revoke_all`."""
        ...
