"""The bytes of a record: one documented format, the same in every store.

All integers are big-endian; u48 is 6 bytes; times are whole milliseconds since 1970, UTC; spans are milliseconds::

    8       revision: random, new with every write
    u8      format = 1
    u8      flags: 1 signed in, 2 permanent, 4 in grace, 8 limits of its own, 16 sealed bookkeeping,
            32 an index entry that does not stand for 90 days, 128 tombstone
    16      key
    32      SHA-256 of the current secret                    (a tombstone: zeros)
    u48     when that secret was set                         (a tombstone: zero)
    u48     created                                          (a tombstone: zero)
    u48     last used                                        (a tombstone: zero)
    u48     expires
    4       mark: changes at each sign-in and `rotate()`     (a tombstone: zeros)
    if signed in:   u48 signed in, u16 length of user, u16 length of client, UTF-8 of user, UTF-8 of client
    if in grace:    32 SHA-256 of the previous secret, u48 when its successor was first seen (0: not yet)
    if limits:      u48 idle limit, u48 absolute limit (0: that of the settings)
    if sealed:      u16 length, that many bytes
    if not 90 days: u48 how long, from the sign-in, its index entry stands
    the rest        a MessagePack map of field name (str) to the field's encoded value (bin); a tombstone has none
"""

from __future__ import annotations

from struct import Struct as Layout
from struct import error as LayoutError

import msgspec

from coatcheck.model.lifetimes import LATEST, USUALLY_COVERED
from coatcheck.model.ports import REVISION_BYTES, revision_of
from coatcheck.model.record import Record, Tombstone

__all__ = ["BESIDE", "FORMAT", "RecordError", "decode", "encode", "is_beside"]

FORMAT = 1
BESIDE = b"\0"
"""In the place of the format: an epoch, a mark or a note, which lie beside the records."""
_SIGNED_IN, _PERMANENT, _GRACE, _LIMITS, _SEALED, _COVERED, _TOMBSTONE = 1, 2, 4, 8, 16, 32, 128
_KNOWN = _SIGNED_IN | _PERMANENT | _GRACE | _LIMITS | _SEALED | _COVERED
_HEAD = Layout(">8sBB16s32sHIHIHIHI4s")
_SIGNED = Layout(">HIHH")
_PREVIOUS = Layout(">32sHI")
_OWN_LIMITS = Layout(">HIHI")
_SPAN = Layout(">HI")
_SIZE = Layout(">H")
_NO_MARK = bytes(4)
_NO_SECRET = bytes(32)

_encode_fields = msgspec.msgpack.Encoder().encode
_decode_fields = msgspec.msgpack.Decoder(dict[str, bytes]).decode


class RecordError(ValueError):
    """Bytes that are no record of this key in a format that this release reads."""


def encode(state: Record | Tombstone, revision: bytes) -> bytes:
    """The bytes of a record or a tombstone; `revision` is 8 random bytes."""
    if isinstance(state, Tombstone):
        high, low = state.expires >> 32, state.expires & 0xFFFFFFFF
        return _HEAD.pack(
            revision, FORMAT, _TOMBSTONE, state.key, _NO_SECRET, 0, 0, 0, 0, 0, 0, high, low, _NO_MARK
        )
    flags = _PERMANENT if state.permanent else 0
    tail = b""
    if state.user is not None:
        flags |= _SIGNED_IN
        user, client = state.user.encode(), state.client.encode()
        tail = _SIGNED.pack(*divmod(state.signed_in, 1 << 32), len(user), len(client)) + user + client
    if state.previous is not None:
        flags |= _GRACE
        tail += _PREVIOUS.pack(state.previous, *divmod(state.seen, 1 << 32))
    if state.idle or state.absolute:
        flags |= _LIMITS
        tail += _OWN_LIMITS.pack(*divmod(state.idle, 1 << 32), *divmod(state.absolute, 1 << 32))
    if state.sealed:
        flags |= _SEALED
        tail += _SIZE.pack(len(state.sealed)) + state.sealed
    if state.covered != USUALLY_COVERED:
        flags |= _COVERED
        tail += _SPAN.pack(*divmod(state.covered, 1 << 32))
    secret_at, created, last_used, expires = state.secret_at, state.created, state.last_used, state.expires
    head = _HEAD.pack(
        revision,
        FORMAT,
        flags,
        state.key,
        state.secret_hash,
        secret_at >> 32,
        secret_at & 0xFFFFFFFF,
        created >> 32,
        created & 0xFFFFFFFF,
        last_used >> 32,
        last_used & 0xFFFFFFFF,
        expires >> 32,
        expires & 0xFFFFFFFF,
        state.mark,
    )
    return head + tail + _encode_fields(state.fields)


def is_beside(data: bytes) -> bool:
    """Whether the bytes say that they are an epoch, a mark or a note."""
    return data[REVISION_BYTES : REVISION_BYTES + 1] == BESIDE


def decode(key: bytes, data: bytes) -> Record | Tombstone:
    """The record or tombstone in `data`.

    Raises:
        RecordError: The bytes are damaged, of a format that this release can't read, or another key's.
    """
    try:
        # Times as pairs of their high and low parts.
        _, version, flags, own, secret_hash, sh, sl, ch, cl, uh, ul, eh, el, mark = _HEAD.unpack_from(data)
        if version != FORMAT:
            raise RecordError(f"the record has format {version}; this release reads format {FORMAT}")
        if own != key:
            raise RecordError("the record belongs to another key")
        secret_at, created = sh << 32 | sl, ch << 32 | cl
        last_used, expires = uh << 32 | ul, eh << 32 | el
        if not secret_at <= LATEST >= created or not last_used <= LATEST >= expires:
            raise RecordError("the record is damaged")
        if flags == _TOMBSTONE:
            tombstone = Tombstone(key, expires)
            if data != encode(tombstone, revision_of(data)):
                raise RecordError("the record is damaged")
            return tombstone
        if flags & ~_KNOWN:
            raise RecordError("the record is damaged, or of a newer release")
        offset = _HEAD.size
        signed_in, user, client = 0, None, ""
        previous, seen, idle, absolute, sealed, covered = None, 0, 0, 0, b"", USUALLY_COVERED
        if flags & _SIGNED_IN:
            high, low, user_size, client_size = _SIGNED.unpack_from(data, offset)
            signed_in = high << 32 | low
            if signed_in > LATEST:
                raise RecordError("the record is damaged")
            offset += _SIGNED.size
            user = data[offset : offset + user_size].decode()
            offset += user_size
            client = data[offset : offset + client_size].decode()
            offset += client_size
        if flags & _GRACE:
            previous, high, low = _PREVIOUS.unpack_from(data, offset)
            seen = high << 32 | low
            offset += _PREVIOUS.size
        if flags & _LIMITS:
            ih, il, ah, al = _OWN_LIMITS.unpack_from(data, offset)
            idle, absolute = ih << 32 | il, ah << 32 | al
            offset += _OWN_LIMITS.size
        if flags & _SEALED:
            (size,) = _SIZE.unpack_from(data, offset)
            offset += _SIZE.size
            sealed = data[offset : offset + size]
            offset += size
        if flags & _COVERED:
            high, low = _SPAN.unpack_from(data, offset)
            covered = high << 32 | low
            offset += _SPAN.size
        fields = _decode_fields(data[offset:])
    except (LayoutError, UnicodeDecodeError, msgspec.DecodeError) as error:
        raise RecordError("the record is damaged") from error
    # Some arguments by place, as in `Record.apply`.
    return Record(
        key,
        secret_hash,
        secret_at,
        created,
        last_used,
        expires,
        mark,
        permanent=bool(flags & _PERMANENT),
        signed_in=signed_in,
        user=user,
        client=client,
        previous=previous,
        seen=seen,
        idle=idle,
        absolute=absolute,
        sealed=sealed,
        covered=covered,
        fields=fields,
    )
