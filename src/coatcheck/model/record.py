"""A record, and the whole meaning of a change.

A *record* is what lies in a store under a session's key. A *change* is what one request did to it. `Record.apply` says
what an update makes of a live record; `settle` says what any change makes of whatever was found under its key. There is
no second place where that is decided: stores compare versions, and apply nothing.

All times are whole milliseconds since 1970, UTC; all spans are whole milliseconds. The bytes: `coatcheck.model.format`.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from types import MappingProxyType
from typing import TypeAlias

from msgspec import Struct
from msgspec.structs import replace

from coatcheck.model.fields import FLASH
from coatcheck.model.lifetimes import LATEST, LONGEST_SLIDE, USUALLY_COVERED, Lifetimes
from coatcheck.model.merges import MergeRule, merged, ruled

__all__ = [
    "APPLIED",
    "MARK_BYTES",
    "NO_FIELDS",
    "TOMBSTONE_LIFE",
    "Applied",
    "Change",
    "Create",
    "Destroy",
    "Edit",
    "Holder",
    "Record",
    "Refused",
    "Rotation",
    "Settled",
    "SignIn",
    "State",
    "Tombstone",
    "Unreadable",
    "Update",
    "newest_flashes",
    "settle",
]

TOMBSTONE_LIFE = 30_000
"""How long (ms) a destroyed record's key tells a late request that it is late."""
MARK_BYTES = 4
NO_FIELDS: Mapping[str, bytes] = MappingProxyType({})


class Refused(enum.Enum):
    """Why a change was not applied. Nothing was written."""

    GONE = "gone"  # no live record lies under the key
    CHANGED = "changed"  # the record no longer has the secret, or the user, that the change expects
    EXISTS = "exists"  # something lies under the key of a record to create
    UNREADABLE = "unreadable"  # what lies there can't be read, and is left alone


class Rotation(Struct, frozen=True):
    """A new secret, by its SHA-256.

    `derived` is the periodic one: the old secret stays good for the grace, the mark stays, and a request that rotates
    to the same secret a second time changes nothing. Otherwise the old secret is dead at once, and `mark` is new.
    """

    secret_hash: bytes
    mark: bytes = bytes(MARK_BYTES)
    derived: bool = False

    def __repr__(self) -> str:
        return f"<Rotation, derived={self.derived}>"


class SignIn(Struct, frozen=True):
    """A user who signs in, and the client (the User-Agent, shortened).

    With `since`, the session was the user's already, by its identity field, from that time (ms) on: the secret stays, and
    nothing changes where somebody is signed in by now. 0: the sign-in is now.
    """

    user: str
    client: str = ""
    since: int = 0


class Edit(Struct, frozen=True):
    """A field that is merged where another request changed it meanwhile.

    Attributes:
        data: The encoded value that the request wants.
        base: The encoded value that its edit began with; None: there was none.
        stored: The bytes that were stored when it was read; None: it was absent.
        rule: The application's merge rule; None: the general one.
    """

    data: bytes
    base: bytes | None
    stored: bytes | None
    rule: MergeRule | None = None

    def __repr__(self) -> str:
        return "<Edit>"

    def onto(self, theirs: bytes | None) -> bytes | None:
        """What it makes of what another request has stored since; None: the merge rule raised."""
        if self.rule is not None:
            return ruled(self.rule, self.base, theirs, self.data)
        return merged(self.base or b"", theirs or b"", self.data)


class Create(Struct, frozen=True, tag=True):
    """Put a record where nothing is. Never overwrites."""

    record: Record

    @property
    def key(self) -> bytes:
        return self.record.key


class Update(Struct, frozen=True, tag=True):
    """Change the record that is there now. Never creates.

    Attributes:
        key: The record's key.
        at: The caller's time.
        lifetimes: The limits of the settings.
        grace: How long the previous secret is good after its successor was first seen.
        secret_hash: Only where the record has this secret (its SHA-256), or it is the previous one within its grace.
        user: Only where this user is signed in.
        clear: Remove every field first.
        remove: Fields to remove.
        take: Fields to remove and to give back as they were.
        set: Fields to set: each is the whole value.
        edits: Fields to set, merged with what another request stored meanwhile. Not after `clear`.
        max_flashes: How many flash messages stay; the oldest go first. 0: all.
        permanent: Whether the longer limits apply from now on; None: as it is.
        limits: The session's own idle and absolute limit (0: that of the settings); None: as they are.
        covers: A sign-in, and how long from it its index entry stands, or the epoch is kept; None: as it is. It counts
            for that sign-in only: a later one has an entry of its own.
        sign_in: Who signs in.
        rotate: The new secret.
        seen: The request came with the current secret: the grace of the previous one begins.
        used: It counts as use: `last_used` moves.
    """

    key: bytes
    at: int
    lifetimes: Lifetimes
    grace: int = 0
    secret_hash: bytes | None = None
    user: str | None = None
    clear: bool = False
    remove: frozenset[str] = frozenset()
    take: tuple[str, ...] = ()
    set: Mapping[str, bytes] = NO_FIELDS
    edits: Mapping[str, Edit] = MappingProxyType({})
    max_flashes: int = 0
    permanent: bool | None = None
    limits: tuple[int, int] | None = None
    covers: tuple[int, int] | None = None
    sign_in: SignIn | None = None
    rotate: Rotation | None = None
    seen: bool = False
    used: bool = True

    def __repr__(self) -> str:
        # No value of a session, and nothing of its secrets, is ever shown.
        count = len(self.set) + len(self.edits)
        return f"<Update of {self.key.hex()}: sets {count} fields, removes {len(self.remove)}>"


class Holder(Struct, frozen=True):
    """Whom a record belongs to: `user`, or nobody (None).

    With `signed_in`, it must also be that sign-in of the user; 0: any. Where the record is nobody's, `named` is the user
    whom its identity field names: another request may have entered that one since.
    """

    user: str | None
    signed_in: int = 0
    named: str | None = None

    def holds(self, record: Record) -> bool:
        """Whether `record` belongs to it."""
        if record.user != self.user and (self.named is None or record.user != self.named):
            return False
        return not self.signed_in or self.signed_in == record.signed_in


class Destroy(Struct, frozen=True, tag=True, kw_only=True):
    """End the record, and leave a tombstone in its place.

    With `holder`, only while the record belongs to it, whatever its secret. Without, it ends any record, also one that
    can't be read.
    """

    key: bytes
    at: int
    holder: Holder | None = None


Change: TypeAlias = Create | Update | Destroy


class Applied(Struct, frozen=True):
    """The change is stored.

    Attributes:
        taken: The fields that it took, as they were at that moment.
        rotated: False where it was to rotate the secret, and the record has another than it brought: a request of
            another process derived its successor from another ring.
        merged: The names of the fields that were merged with what another request had stored.
        unmerged: The names of the fields whose merge rule raised, so that the later write stands.
        entered: Whether it signed in the user whom the identity field had named before.
    """

    taken: Mapping[str, bytes] = NO_FIELDS
    rotated: bool = True
    merged: tuple[str, ...] = ()
    unmerged: tuple[str, ...] = ()
    entered: bool = False

    def __repr__(self) -> str:
        return f"<Applied, {len(self.taken)} fields taken>"


APPLIED = Applied()


class Tombstone(Struct, frozen=True):
    """The mark that lies, for a while, where a record was destroyed."""

    key: bytes
    expires: int


class Unreadable(Struct, frozen=True):
    """Bytes that are no record that can be read. They are left alone.

    Attributes:
        reason: Why they can't be read.
        is_record: Whether they may be a record: a damaged one, or of a newer release. Marks, epochs and notes are none.
    """

    reason: str
    is_record: bool = True


class Record(Struct, frozen=True):
    """The fields, each as its own encoded bytes, and the bookkeeping beside them.

    Attributes:
        key: The key under which it lies.
        secret_hash: The SHA-256 of the current secret.
        secret_at: When that was set.
        created: When the record was created.
        last_used: When its use was last stored.
        expires: When it ends.
        mark: 4 random bytes that change at each sign-in and `rotate()`, not at a periodic rotation.
        permanent: Whether the longer limits apply, and the cookie outlives the browser.
        signed_in: When the user signed in; 0: never.
        user: Who is signed in.
        client: The User-Agent that signed in.
        previous: The SHA-256 of the secret before a periodic rotation, while it may be good.
        seen: When its successor was first seen; 0: not yet.
        idle: The session's own idle limit; 0: that of the settings.
        absolute: Its own absolute limit; 0: that of the settings.
        sealed: Bookkeeping that only the application's secrets open; kept as it is.
        covered: How long (ms), from the sign-in, its index entry stands, or its user's epoch is kept.
        fields: The fields.
    """

    key: bytes
    secret_hash: bytes
    secret_at: int
    created: int
    last_used: int
    expires: int
    mark: bytes = bytes(MARK_BYTES)
    permanent: bool = False
    signed_in: int = 0
    user: str | None = None
    client: str = ""
    previous: bytes | None = None
    seen: int = 0
    idle: int = 0
    absolute: int = 0
    sealed: bytes = b""
    covered: int = USUALLY_COVERED
    fields: Mapping[str, bytes] = {}

    def __repr__(self) -> str:
        return f"<Record {self.key.hex()} with {len(self.fields)} fields>"

    @property
    def start(self) -> int:
        """When this life began: at the sign-in, otherwise at the creation. The absolute limit counts from here."""
        return self.signed_in or self.created

    def accepts(self, secret_hash: bytes, *, at: int, grace: int) -> bool:
        """Whether it is the hash of the current secret, or of the previous one within its grace."""
        if secret_hash == self.secret_hash:
            return True
        return secret_hash == self.previous and (not self.seen or at < self.seen + grace)

    def is_alive(self, at: int, lifetimes: Lifetimes) -> bool:
        """Whether it is within its limits: those it was stored with, and those in force (OWASP: idle and absolute)."""
        if at >= self.expires:
            return False
        if self.permanent:
            idle, absolute = lifetimes.remember_idle, lifetimes.remember_absolute
        else:
            idle, absolute = lifetimes.idle, lifetimes.absolute
        start = self.signed_in or self.created
        return at < self.last_used + (self.idle or idle) and at < start + (self.absolute or absolute)

    def slide_is_due(self, at: int, lifetimes: Lifetimes) -> bool:
        """Whether its use must be stored anew: at most once per tenth of the idle limit, and per hour.

        Where the limits in force are longer than those it was stored with, it is due at once: otherwise a session in
        use could end by the old ones.
        """
        if self.permanent:
            idle, absolute = lifetimes.remember_idle, lifetimes.remember_absolute
        else:
            idle, absolute = lifetimes.idle, lifetimes.absolute
        idle, start = self.idle or idle, self.signed_in or self.created
        interval = min(idle // 10, LONGEST_SLIDE)
        ends = min(at + idle, start + (self.absolute or absolute), LATEST)
        if self.user is not None:
            ends = min(ends, start + self.covered)  # as `apply` does
        return at - self.last_used >= interval or ends - self.expires >= interval

    def until(self, lifetimes: Lifetimes) -> int:
        """The latest moment at which it can be alive, however it is used."""
        _, absolute = lifetimes.limits(permanent=self.permanent, absolute=self.absolute)
        return self.start + absolute

    def apply(self, change: Update) -> Record | Refused:
        """The record as `change` leaves it, or why it may not.

        The preconditions are checked first. Fields are cleared, then removed and taken, then set and merged.
        `last_used` and `expires` follow; only a change of the limits or of `permanent` can bring `expires` nearer.
        """
        settled = _updated(self, change)
        return settled.answer if isinstance(settled.answer, Refused) else settled.record


State: TypeAlias = Record | Tombstone | Unreadable | None
"""All that can lie under a key; None: nothing does."""


class Settled(Struct, frozen=True):
    """What becomes of a key: `state` is to be stored under it (None: leave what is there), `answer` is given back."""

    answer: Applied | Refused
    state: Record | Tombstone | None = None

    @property
    def record(self) -> Record:
        """The new state, where it is known to be a record."""
        assert isinstance(self.state, Record)
        return self.state


_EXISTS, _GONE, _CHANGED, _UNREADABLE = (
    Settled(Refused.EXISTS),
    Settled(Refused.GONE),
    Settled(Refused.CHANGED),
    Settled(Refused.UNREADABLE),
)


def settle(found: State, change: Change) -> Settled:
    """What `change` makes of what was found under its key."""
    if isinstance(change, Update):
        if isinstance(found, Record):
            return _updated(found, change)
        return _UNREADABLE if isinstance(found, Unreadable) else _GONE
    if isinstance(change, Create):
        return Settled(APPLIED, change.record) if found is None else _EXISTS
    if isinstance(found, Unreadable):
        is_left = change.holder is not None or not found.is_record
        return _UNREADABLE if is_left else _destroyed(change)
    if not isinstance(found, Record) or change.at >= found.expires:
        return _GONE
    if change.holder is not None and not change.holder.holds(found):
        return _CHANGED
    return _destroyed(change)


def _destroyed(change: Destroy) -> Settled:
    return Settled(APPLIED, Tombstone(change.key, change.at + TOMBSTONE_LIFE))


def _updated(record: Record, change: Update) -> Settled:
    at, grace = change.at, change.grace
    if at >= record.expires:
        return _GONE
    if change.secret_hash is not None and not record.accepts(change.secret_hash, at=at, grace=grace):
        return _CHANGED
    if change.user is not None and change.user != record.user:
        return _CHANGED

    answer, fields = _fields_after(record, change)

    secret_hash, secret_at, mark = record.secret_hash, record.secret_at, record.mark
    previous, seen = record.previous, record.seen
    if seen and at >= seen + grace:
        previous, seen = None, 0
    if change.seen and previous is not None and not seen and change.secret_hash == secret_hash:
        seen = at
    if (rotate := change.rotate) is not None:
        if not rotate.derived:
            secret_hash, secret_at, mark = rotate.secret_hash, at, rotate.mark
            previous, seen = None, 0
        elif change.secret_hash == secret_hash != rotate.secret_hash:
            secret_hash, secret_at, previous, seen = rotate.secret_hash, at, secret_hash, 0
        if rotate.secret_hash != secret_hash:
            answer = replace(answer, rotated=False)

    signed_in, user, client = record.signed_in, record.user, record.client
    sign_in = change.sign_in
    if sign_in is not None and sign_in.since and user is not None:
        sign_in = None
    if sign_in is not None:
        # Strictly later than the one before, so that two sign-ins never look the same.
        signed_in = sign_in.since or max(at, signed_in + 1)
        user, client = sign_in.user, sign_in.client
        if sign_in.since:
            answer = replace(answer, entered=True)
    permanent = record.permanent if change.permanent is None else change.permanent
    idle, absolute = (record.idle, record.absolute) if change.limits is None else change.limits
    last_used = max(record.last_used, at) if change.used else record.last_used
    limits = change.lifetimes
    idle_limit = idle or (limits.remember_idle if permanent else limits.idle)
    absolute_limit = absolute or (limits.remember_absolute if permanent else limits.absolute)
    expires = min(last_used + idle_limit, (signed_in or record.created) + absolute_limit, LATEST)
    covered = record.covered
    if sign_in is not None:
        covered = limits.longest(absolute)
    elif change.covers is not None and change.covers[0] == signed_in:
        covered = change.covers[1]
    if user is not None and expires > signed_in + covered:
        # No record outlives its index entry, or `revoke_user` would miss it.
        expires = signed_in + covered
    # Some arguments by place: CPython makes a dict of more than 15 keywords, which takes three times as long.
    after = Record(
        record.key,
        secret_hash,
        secret_at,
        record.created,
        last_used,
        expires,
        mark,
        permanent=permanent,
        signed_in=signed_in,
        user=user,
        client=client,
        previous=previous,
        seen=seen,
        idle=idle,
        absolute=absolute,
        sealed=record.sealed,
        covered=covered,
        fields=fields,
    )
    return Settled(answer, after)


def _fields_after(record: Record, change: Update) -> tuple[Applied, dict[str, bytes]]:
    fields = {} if change.clear else dict(record.fields)
    for name in change.remove:
        fields.pop(name, None)
    taken = {name: fields.pop(name) for name in change.take if name in fields} if change.take else NO_FIELDS
    fields.update(change.set)
    both: list[str] = []
    failed: list[str] = []
    for name, edit in change.edits.items():
        theirs = fields.get(name)
        if change.clear or theirs == edit.stored:
            fields[name] = edit.data
        elif edit.rule is None and theirs is None:
            continue  # it was removed meanwhile, and stays so
        else:
            result = edit.onto(theirs)
            if result is None:
                failed.append(name)
            fields[name] = edit.data if result is None else result
        if fields[name] != edit.data:
            both.append(name)
    if change.max_flashes:
        fields = newest_flashes(fields, change.max_flashes)
    if both or failed:
        return Applied(taken=taken, merged=tuple(both), unmerged=tuple(failed)), fields
    return Applied(taken=taken) if taken else APPLIED, fields


def newest_flashes(fields: dict[str, bytes], limit: int) -> dict[str, bytes]:
    """`fields` without the oldest flash messages beyond `limit`."""
    flashes = [name for name in fields if name.startswith(FLASH)]
    for name in sorted(flashes)[: max(0, len(flashes) - limit)]:
        del fields[name]
    return fields
