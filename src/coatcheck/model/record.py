"""A record, what may be done to it, and its bytes.

A *record* is what a store holds under a key. A *change* is what one request did. This module is the whole
meaning of a change: `Record.apply` for a record that lives, `settle` for whatever a store finds under a key.
Every store calls `settle` inside a transaction or a compare-and-swap; one that can't (a Redis script) is held
equal to it by the property test in `coatcheck.testing`.

All times are whole milliseconds since 1970, UTC; all spans are whole milliseconds.

The byte format, version 1 (all integers big-endian, u48 = 6 bytes)::

    u8      version = 1
    u8      flags: 1 signed in, 2 permanent, 4 in grace, 128 tombstone
    16      key
    32      SHA-256 of the current secret        (a tombstone: zeros)
    u48     secret_at                            (a tombstone: zero)
    u48     created                              (a tombstone: zero)
    u48     last_used                            (a tombstone: zero)
    u48     expires
    if signed in:   u48 signed_in, u16 length of user, u16 length of client, UTF-8 of user, UTF-8 of client
    if in grace:    32 SHA-256 of the previous secret, u48 seen (0: not yet)
    the rest        a MessagePack map of field name (str) to the field's encoded value (bin);
                    a tombstone has none
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from struct import Struct as Layout
from struct import error as LayoutError
from types import MappingProxyType

import msgspec
from msgspec import Struct
from msgspec.structs import replace

__all__ = [
    "APPLIED",
    "TOMBSTONE_LIFE",
    "Applied",
    "Change",
    "Create",
    "Destroy",
    "Lifetimes",
    "Record",
    "RecordError",
    "Refused",
    "Rotation",
    "Settled",
    "SignIn",
    "Tombstone",
    "Update",
    "decode",
    "encode",
    "settle",
]

TOMBSTONE_LIFE = 30_000
"""How long (ms) a destroyed record's key tells a late request that it is late."""

FORMAT = 1
_SIGNED_IN, _PERMANENT, _GRACE, _TOMBSTONE = 1, 2, 4, 128
_LAST = 253_402_300_799_999  # the end of the year 9999, the last that a datetime can hold
_HEAD = Layout(">BB16s32sHIHIHIHI")
_SIGNED = Layout(">HIHH")
_PREVIOUS = Layout(">32sHI")
_NO_FIELDS: Mapping[str, bytes] = MappingProxyType({})


class RecordError(ValueError):
    """Bytes that are no record of this key in a format that this release reads."""


class Refused(enum.Enum):
    """Why a change was not applied. Nothing was written."""

    GONE = "gone"  # no live record lies under the key
    CHANGED = "changed"  # the record no longer has the secret (or the user) that the change expects
    EXISTS = "exists"  # something lies under the key of a record to create
    UNREADABLE = "unreadable"  # what lies there can't be read, and is left alone


class Lifetimes(Struct, frozen=True):
    """The four limits, in milliseconds, by which a record's expiry is reckoned."""

    idle: int
    absolute: int
    remember_idle: int
    remember_absolute: int

    def expiry(self, *, start: int, last_used: int, permanent: bool) -> int:
        """When a record that started at `start` and was last used at `last_used` ends (OWASP: idle and absolute)."""
        if permanent:
            return min(last_used + self.remember_idle, start + self.remember_absolute)
        return min(last_used + self.idle, start + self.absolute)


class Rotation(Struct, frozen=True):
    """A new secret, by its SHA-256.

    `derived` is the periodic one: the old secret stays good for the grace, and a request that rotates to the
    same secret a second time changes nothing. Otherwise the old secret is dead at once.
    """

    secret: bytes
    derived: bool = False

    def __repr__(self) -> str:
        return f"<Rotation, derived={self.derived}>"


class SignIn(Struct, frozen=True):
    """Who signed in, and on what (the User-Agent, shortened)."""

    user: str
    client: str = ""


class Create(Struct, frozen=True, tag=True):
    """Put a record where nothing is. Never overwrites."""

    record: Record

    @property
    def key(self) -> bytes:
        return self.record.key


class Update(Struct, frozen=True, tag=True, kw_only=True):
    """Change the record that is there now. Never creates.

    The preconditions are `secret` (SHA-256 of the one that the request holds) and `user`; None asks nothing.
    `touch` says that the visitor himself was here: only then does `last_used` move.
    """

    key: bytes
    at: int
    lifetimes: Lifetimes
    grace: int = 0
    secret: bytes | None = None
    user: str | None = None
    clear: bool = False
    remove: frozenset[str] = frozenset()
    take: tuple[str, ...] = ()
    set: Mapping[str, bytes] = _NO_FIELDS
    permanent: bool | None = None
    sign_in: SignIn | None = None
    rotate: Rotation | None = None
    seen: bool = False
    touch: bool = True

    def __repr__(self) -> str:
        # No value of a session, and nothing of its secrets, is ever shown.
        return f"<Update of {self.key.hex()}: sets {len(self.set)} fields, removes {len(self.remove)}>"


class Destroy(Struct, frozen=True, tag=True, kw_only=True):
    """End the record, and leave a tombstone where one was.

    With `user`, only if it is still this user's; with `signed_in`, only if it is still that sign-in's life.
    Without them it asks nothing, not even whether the record can be read: logging out must not fail.
    """

    key: bytes
    at: int
    user: str | None = None
    signed_in: int | None = None


Change = Create | Update | Destroy


class Applied(Struct, frozen=True):
    """The change is stored. `taken` holds the fields that it took away, as they were at that moment.

    `rotated` is False where the change was to rotate the secret, and the record has another than it brought: a request
    of another process derived its successor from another ring.
    """

    taken: Mapping[str, bytes] = _NO_FIELDS
    rotated: bool = True

    def __repr__(self) -> str:
        return f"<Applied, {len(self.taken)} fields taken>"


APPLIED = Applied()


class Tombstone(Struct, frozen=True):
    """What lies, for a while, where a record was destroyed."""

    key: bytes
    expires: int


class Record(Struct, frozen=True, kw_only=True):
    """What a store holds under a key: the fields, each as its own bytes, and the bookkeeping beside them."""

    key: bytes
    secret: bytes
    secret_at: int
    created: int
    last_used: int
    expires: int
    permanent: bool = False
    signed_in: int = 0
    user: str | None = None
    client: str = ""
    previous: bytes | None = None
    seen: int = 0
    fields: Mapping[str, bytes] = _NO_FIELDS

    def __repr__(self) -> str:
        return f"<Record {self.key.hex()} with {len(self.fields)} fields>"

    @property
    def start(self) -> int:
        """When this life began: at the sign-in, otherwise at the creation. The absolute limit counts from here."""
        return self.signed_in or self.created

    def accepts(self, secret: bytes, *, at: int, grace: int) -> bool:
        """Whether `secret` (a SHA-256) is the current one, or the previous one within its grace."""
        if secret == self.secret:
            return True
        return secret == self.previous and (not self.seen or at < self.seen + grace)

    def apply(self, change: Update) -> Record | Refused:
        """The record as `change` leaves it, or why it may not.

        The precondition is checked first; fields are cleared, then removed and taken, then set; `last_used` and
        `expires` follow, and only a change of the limits or of `permanent` can bring `expires` nearer.
        """
        at, grace = change.at, change.grace
        if at >= self.expires:
            return Refused.GONE
        if change.secret is not None and not self.accepts(change.secret, at=at, grace=grace):
            return Refused.CHANGED
        if change.user is not None and change.user != self.user:
            return Refused.CHANGED

        fields = {} if change.clear else dict(self.fields)
        for name in change.remove:
            fields.pop(name, None)
        for name in change.take:
            fields.pop(name, None)
        fields.update(change.set)

        secret, secret_at, previous, seen = self.secret, self.secret_at, self.previous, self.seen
        if previous is not None and seen and at >= seen + grace:
            previous, seen = None, 0
        if change.seen and previous is not None and not seen and change.secret == secret:
            seen = at
        if (rotate := change.rotate) is not None:
            if not rotate.derived:
                secret, secret_at, previous, seen = rotate.secret, at, None, 0
            elif change.secret == secret != rotate.secret:
                secret, secret_at, previous, seen = rotate.secret, at, secret, 0

        signed_in, user, client = self.signed_in, self.user, self.client
        if change.sign_in is not None:
            # Strictly later than the one before, so that two sign-ins never look the same.
            signed_in = max(at, signed_in + 1)
            user, client = change.sign_in.user, change.sign_in.client
        permanent = self.permanent if change.permanent is None else change.permanent
        last_used = max(self.last_used, at) if change.touch else self.last_used
        expires = change.lifetimes.expiry(
            start=signed_in or self.created, last_used=last_used, permanent=permanent
        )
        return Record(
            key=self.key,
            secret=secret,
            secret_at=secret_at,
            created=self.created,
            last_used=last_used,
            expires=expires,
            permanent=permanent,
            signed_in=signed_in,
            user=user,
            client=client,
            previous=previous,
            seen=seen,
            fields=fields,
        )

    def with_key(self, key: bytes) -> Record:
        """The same record under another key, for the (never seen) case that the key was taken."""
        return replace(self, key=key)


class Settled(Struct, frozen=True):
    """What a store has to do: put `state` under the key (None: leave what is there), and give back `answer`."""

    answer: Applied | Refused
    state: Record | Tombstone | None = None


_EXISTS, _GONE, _CHANGED, _UNREADABLE = (
    Settled(Refused.EXISTS),
    Settled(Refused.GONE),
    Settled(Refused.CHANGED),
    Settled(Refused.UNREADABLE),
)


def settle(data: bytes | None, change: Change) -> Settled:
    """What `change` makes of the bytes that lie under its key (None: nothing lies there)."""
    if isinstance(change, Create):
        return Settled(APPLIED, change.record) if data is None else _EXISTS
    if data is None:
        return _GONE
    try:
        current = decode(change.key, data)
    except RecordError:
        if isinstance(change, Destroy) and change.user is None and change.signed_in is None:
            return Settled(APPLIED, Tombstone(change.key, change.at + TOMBSTONE_LIFE))
        return _UNREADABLE
    if isinstance(current, Tombstone) or change.at >= current.expires:
        return _GONE
    if isinstance(change, Destroy):
        if change.user is not None and change.user != current.user:
            return _CHANGED
        if change.signed_in is not None and change.signed_in != current.signed_in:
            return _CHANGED
        return Settled(APPLIED, Tombstone(change.key, change.at + TOMBSTONE_LIFE))
    after = current.apply(change)
    if isinstance(after, Refused):
        return Settled(after)
    rotated = change.rotate is None or change.rotate.secret == after.secret
    if not change.take:
        return Settled(APPLIED if rotated else Applied(rotated=False), after)
    before = _NO_FIELDS if change.clear else current.fields
    taken = {name: before[name] for name in change.take if name in before}
    return Settled(Applied(taken, rotated), after)


_encode_fields = msgspec.msgpack.Encoder().encode
_decode_fields = msgspec.msgpack.Decoder(dict[str, bytes]).decode


def encode(state: Record | Tombstone) -> bytes:
    """The bytes of a record or a tombstone, version 1."""
    if isinstance(state, Tombstone):
        high, low = divmod(state.expires, 1 << 32)
        return _HEAD.pack(FORMAT, _TOMBSTONE, state.key, bytes(32), 0, 0, 0, 0, 0, 0, high, low)
    flags = _PERMANENT if state.permanent else 0
    tail = b""
    if state.user is not None:
        flags |= _SIGNED_IN
        user, client = state.user.encode(), state.client.encode()
        tail = _SIGNED.pack(*divmod(state.signed_in, 1 << 32), len(user), len(client)) + user + client
    if state.previous is not None:
        flags |= _GRACE
        tail += _PREVIOUS.pack(state.previous, *divmod(state.seen, 1 << 32))
    secret_at, created, last_used, expires = state.secret_at, state.created, state.last_used, state.expires
    head = _HEAD.pack(
        FORMAT,
        flags,
        state.key,
        state.secret,
        secret_at >> 32,
        secret_at & 0xFFFFFFFF,
        created >> 32,
        created & 0xFFFFFFFF,
        last_used >> 32,
        last_used & 0xFFFFFFFF,
        expires >> 32,
        expires & 0xFFFFFFFF,
    )
    return head + tail + _encode_fields(dict(state.fields))


def decode(key: bytes, data: bytes) -> Record | Tombstone:
    """The record or tombstone in `data`.

    Raises:
        RecordError: The bytes are damaged, of a format that this release can't read, or another key's.
    """
    try:
        # Times as pairs of their high and low parts.
        version, flags, own, secret, sh, sl, ch, cl, uh, ul, eh, el = _HEAD.unpack_from(data)
        if version != FORMAT:
            raise RecordError(f"the record has format {version}; this release reads format {FORMAT}")
        if own != key:
            raise RecordError("the record belongs to another key")
        secret_at, created = sh << 32 | sl, ch << 32 | cl
        last_used, expires = uh << 32 | ul, eh << 32 | el
        if not secret_at <= _LAST >= created or not last_used <= _LAST >= expires:
            raise RecordError("the record is damaged")
        if (
            flags == _TOMBSTONE
            and len(data) == _HEAD.size
            and not (any(secret) or secret_at or created or last_used)
        ):
            return Tombstone(key, expires)
        if flags & ~(_SIGNED_IN | _PERMANENT | _GRACE):
            raise RecordError("the record is damaged")
        offset = _HEAD.size
        signed_in, user, client = 0, None, ""
        if flags & _SIGNED_IN:
            high, low, user_size, client_size = _SIGNED.unpack_from(data, offset)
            signed_in = high << 32 | low
            if signed_in > _LAST:
                raise RecordError("the record is damaged")
            offset += _SIGNED.size
            user = data[offset : offset + user_size].decode()
            offset += user_size
            client = data[offset : offset + client_size].decode()
            offset += client_size
        previous, seen = None, 0
        if flags & _GRACE:
            previous, high, low = _PREVIOUS.unpack_from(data, offset)
            seen = high << 32 | low
            offset += _PREVIOUS.size
        fields = _decode_fields(data[offset:])
    except (LayoutError, UnicodeDecodeError, msgspec.DecodeError, RecursionError) as error:
        raise RecordError("the record is damaged") from error
    return Record(
        key=key,
        secret=secret,
        secret_at=secret_at,
        created=created,
        last_used=last_used,
        expires=expires,
        permanent=bool(flags & _PERMANENT),
        signed_in=signed_in,
        user=user,
        client=client,
        previous=previous,
        seen=seen,
        fields=fields,
    )
