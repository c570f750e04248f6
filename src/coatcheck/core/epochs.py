"""Epochs: ending a user's sessions without finding them.

Where a store keeps no index, or may lose parts of it, one small value per user says which sign-ins count. A sign-in is
noted in it before it is answered; ending all of them is one write, after which those that were noted are over. A missing
epoch means that no sign-in counts. No clock has a part in that.

An epoch lies in the store like a record, under a key that is derived from the user::

    8       revision: random, new with every write
    u8      0: no record
    u8      format = 1
    u64     ended, newest, expires, revoked (see `Epoch`)
    16      the key of the session that is kept, or nothing
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from hashlib import sha256
from struct import Struct as Layout
from struct import error as LayoutError
from typing import Any, TypeAlias, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from coatcheck.core.calls import Call, Held, Load, Remove, Writes
from coatcheck.core.swap import held_of, write_of
from coatcheck.errors import StoreError, StoreFull, StoreUnavailable, TooLarge
from coatcheck.model.format import BESIDE
from coatcheck.model.lifetimes import Lifetimes
from coatcheck.model.ports import REVISION_BYTES, Conflict, Found, Loaded, Write, revision_of
from coatcheck.model.record import TOMBSTONE_LIFE, Record, Tombstone

__all__ = ["Epoch", "Epochs", "epoch_key"]

_T = TypeVar("_T")
_Steps: TypeAlias = Generator[Call, Any, _T]
_LAYOUT = Layout(">8scBQQQQ")
_MOST_LOST = 3


class Epoch(Struct, frozen=True, kw_only=True):
    """Which sign-ins of a user count.

    Those that are later than `ended` and not later than `newest`, and the one session `kept`. Sign-ins are noted by
    moving `newest` forward; ending all of them moves `ended` up to it. Neither moves back. All times in milliseconds.

    Attributes:
        ended: Sign-ins up to this one are over.
        newest: The latest sign-in that was noted. A later one is not noted yet, and does not count.
        revoked: When the user's sessions were last ended, by the caller's clock; 0: never.
        expires: When the last of them can live no longer, and with it the epoch.
        kept: The key of the session that was spared when the others were ended; empty: none.
    """

    ended: int
    newest: int
    expires: int
    revoked: int = 0
    kept: bytes = b""

    def admits(self, record: Record) -> bool:
        """Whether the sign-in of `record` counts."""
        return self.ended < record.signed_in <= self.newest or record.key == self.kept

    def encode(self, revision: bytes) -> bytes:
        """Its bytes."""
        return (
            _LAYOUT.pack(revision, BESIDE, 1, self.ended, self.newest, self.expires, self.revoked) + self.kept
        )

    @classmethod
    def decode(cls, data: bytes) -> Epoch | None:
        """The epoch in `data`. None if it is anything else, which counts as a missing one."""
        try:
            _, beside, version, ended, newest, expires, revoked = _LAYOUT.unpack_from(data)
        except LayoutError:
            return None
        kept = data[_LAYOUT.size :]
        if beside != BESIDE or version != 1 or len(kept) not in {0, 16}:
            return None
        return cls(ended=ended, newest=newest, expires=expires, revoked=revoked, kept=kept)


def epoch_key(user: str) -> bytes:
    """The key under which a user's epoch lies."""
    return sha256(b"coatcheck epoch " + user.encode()).digest()[:16]


class Epochs:
    """The flows over epochs."""

    __slots__ = ("_lifetimes", "_random")

    def __init__(self, random: Callable[[int], bytes], *, lifetimes: Lifetimes | None = None) -> None:
        self._random = random
        self._lifetimes = lifetimes

    def judged(self, helds: Sequence[Held]) -> _Steps[list[Held]]:
        """`helds`, without the records whose sign-in does not count: one more load where somebody is signed in.

        A tombstone stands in for such a record: a request that was under way when the session ended, or while its sign-in
        is being noted, is late, and gets no new session.

        Raises:
            StoreError: An epoch can't be read.
        """
        users = list(dict.fromkeys(user for held in helds if (user := _user_in(held)) is not None))
        if not users:
            return list(helds)
        epochs: dict[str, Epoch | None] = {}
        answers: Sequence[Loaded] = yield Load([epoch_key(user) for user in users])
        for user, found in zip(users, answers, strict=True):
            epochs[user] = _epoch(_checked(found))
        return [_judged(held, epochs) for held in helds]

    def keep(self, record: Record, span: int) -> _Steps[None]:
        """Keep the epoch of a record's user for `span` (ms) from the sign-in. Whether that counts is another matter."""
        until = record.signed_in + span

        def longer(epoch: Epoch | None) -> Epoch | None:
            return None if epoch is None else replace(epoch, expires=max(epoch.expires, until))

        assert record.user is not None
        yield from self._move(record.user, longer)

    def enter(self, user: str, since: int, span: int) -> _Steps[int]:
        """Make a sign-in count that is not stored yet, from `since` on for `span` (ms); after an ending of all, from that.

        Returns from when it counts.
        """

        def noted(epoch: Epoch | None) -> Epoch:
            if epoch is None:
                return Epoch(ended=since - 1, newest=since, expires=since + span)
            start = max(since, epoch.ended + 1)
            return replace(epoch, newest=max(epoch.newest, start), expires=max(epoch.expires, start + span))

        epoch = yield from self._move(user, noted)
        assert epoch is not None
        return max(since, epoch.ended + 1)

    def _move(self, user: str, step: Callable[[Epoch | None], Epoch | None]) -> _Steps[Epoch | None]:
        """Make of a user's epoch what `step` makes of it, and return that. To take a step twice must be to take it once."""
        for _ in range(_MOST_LOST):
            while True:
                (answer,) = yield Load([epoch_key(user)])
                found = _checked(answer)
                epoch = _epoch(found)
                moved = step(epoch)
                if moved is None or moved == epoch:
                    return moved
                stored = yield from self._put_epoch(user, moved, found)
                if stored:
                    return moved
                if stored is None:
                    break  # the answer was lost: look, and go on from what is there
        raise StoreUnavailable("the answers to several writes were lost")

    def note(self, record: Record) -> _Steps[Held | None]:
        """Note a sign-in that is stored and not answered yet in its user's epoch, and make it count.

        Returns what lies under the record's key, if the sign-in had to be moved; None: it was not.
        """
        user = record.user
        assert user is not None
        wrote = b""
        keys = [record.key, epoch_key(user)]
        for _ in range(_MOST_LOST):
            while True:
                found, epoch_found = map(_checked, (yield Load(keys)))
                held = held_of(record.key, found)
                current = held.state
                moved = held if held.found is not None and revision_of(held.found.data) == wrote else None
                if not isinstance(current, Record) or current.user != user:
                    return moved  # it has ended already, or became another user's, whose sign-in notes itself
                epoch = _epoch(epoch_found)
                ends = current.signed_in + current.covered
                if epoch is None:
                    # The first, or the one before it is lost. All earlier sign-ins count as over.
                    noted = Epoch(ended=current.signed_in - 1, newest=current.signed_in, expires=ends)
                elif current.signed_in <= epoch.ended and current.key != epoch.kept:
                    # All were ended since it was stored, or within its millisecond, or by a clock that runs ahead. It
                    # was not answered yet, so it counts as one that begins after them.
                    later = replace(current, signed_in=epoch.ended + 1)
                    wrote = self._random(REVISION_BYTES)
                    if (yield from self._put(write_of(later, wrote, held, self._lifetimes))) is None:
                        break
                    continue
                else:
                    newest, expires = max(epoch.newest, current.signed_in), max(epoch.expires, ends)
                    noted = replace(epoch, newest=newest, expires=expires)
                    if noted == epoch:
                        return moved
                stored = yield from self._put_epoch(user, noted, epoch_found)
                if stored is None:
                    break  # the answer was lost: look, and go on from what is there
                if stored:
                    return moved
        raise StoreUnavailable("the answers to several writes were lost")

    def end_all(self, user: str, now: int, until: int, keep: bytes | None) -> _Steps[None]:
        """End every sign-in of `user` that was noted, but for the session `keep`, if that one counts now."""
        keys = [epoch_key(user)] if keep is None else [epoch_key(user), keep]
        lost: Epoch | None = None
        for _ in range(_MOST_LOST):
            while True:
                epoch_found, *spared = map(_checked, (yield Load(keys)))
                epoch = _epoch(epoch_found)
                if (
                    lost is not None
                    and epoch is not None
                    and lost.ended <= epoch.ended
                    and epoch.kept == lost.kept
                ):
                    return  # it is stored; to end once more would end the sign-ins since
                if epoch is None:
                    # Nothing counts at present. Earlier records must not count again.
                    ended = Epoch(ended=now, newest=now, expires=until, revoked=now)
                else:
                    record, kept = None if keep is None else held_of(keep, spared[0]).state, b""
                    if isinstance(record, Record) and record.user == user and epoch.admits(record):
                        kept = record.key
                    revoked = max(epoch.revoked, now)
                    ended = replace(epoch, ended=epoch.newest, revoked=revoked, kept=kept)
                try:
                    stored = yield from self._put_epoch(user, ended, epoch_found)
                except StoreFull:
                    # Without an epoch none of them counts either, not even the one to keep. Fail closed.
                    yield Remove([epoch_key(user)])
                    return
                if stored is None:
                    lost = ended
                    break
                if stored:
                    return
        raise StoreUnavailable("the answers to several writes were lost")

    def _put_epoch(self, user: str, epoch: Epoch, before: Found | None) -> _Steps[bool | None]:
        write = Write(
            key=epoch_key(user),
            data=epoch.encode(self._random(REVISION_BYTES)),
            expires=epoch.expires,
            expected=None if before is None else before.version,
            live=False,
            urgent=before is not None,
        )
        return (yield from self._put(write))

    def _put(self, write: Write) -> _Steps[bool | None]:
        """Whether `write` is stored; None: its answer was lost. What an epoch says is the same if it is written twice."""
        (answer,) = yield Writes([write])
        if isinstance(answer, StoreUnavailable) and answer.ambiguous:
            return None
        if isinstance(answer, StoreError | TooLarge):
            raise answer
        return not isinstance(answer, Conflict)


def _checked(found: Found | StoreError | None) -> Found | None:
    if isinstance(found, StoreError):
        raise found
    return found


def _epoch(found: Found | None) -> Epoch | None:
    return None if found is None else Epoch.decode(found.data)


def _user_in(held: Held) -> str | None:
    return held.state.user if isinstance(held.state, Record) else None


def _judged(held: Held, epochs: dict[str, Epoch | None]) -> Held:
    record = held.state
    if not isinstance(record, Record) or record.user is None:
        return held
    epoch = epochs[record.user]
    if epoch is not None and epoch.admits(record):
        return held
    end = max(record.signed_in, 0 if epoch is None else epoch.revoked) + TOMBSTONE_LIFE
    return Held(held.found, Tombstone(record.key, end))
