"""Hypothesis strategies for records, and for changes that matter to them.

Drawn at random, hardly any change would meet a record's secret, user or last millisecond. So the parts of a change
are drawn from what stands in the record, and its time from the moments at which the record's life turns.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TypeVar

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy
from msgspec.structs import replace

from coatcheck.model.record import (
    Change,
    Create,
    Destroy,
    Lifetimes,
    Record,
    Rotation,
    SignIn,
    Tombstone,
    Update,
    encode,
    settle,
)
from coatcheck.testing.clock import START

__all__ = ["cases", "changes_for", "histories", "keys", "lifetimes", "records"]

NOW = round(START * 1000)
DAY = 86_400_000
T = TypeVar("T")

_SECRETS = (*(bytes([byte]) * 32 for byte in range(4)), bytes(range(32)))
_USERS = ("ada", "grace", "1", "", "\N{OLD KEY}", "x" * 255)
_CLIENTS = ("", "Browser/1.0", "\N{OLD KEY}" * 50)
_NAMES: tuple[str, ...] = (
    *("a", "b", "c", "theme", "cart", "flash:1", "", "\0", "\N{OLD KEY}", "x" * 32, "x" * 256),
)
_VALUES = (b"1", b"", b"\0", b"\xc4\xff", bytes(range(256)), b"x" * 255)
_KEYS = (bytes(16), b"\xff" * 16, bytes(range(16)), b"\r\n *?{}\\\"'%\0\x80\xc1:/")
_SPANS = (20_000, 0, 1, 2, 1_000, DAY, 400 * DAY)
_IDLE, _ABSOLUTE = (DAY, 1, 1_000), (30 * DAY, 1, 1_000)
_REMEMBER_IDLE, _REMEMBER_ABSOLUTE = (30 * DAY, 1), (90 * DAY, 30 * DAY, 1)
_PARTS = ("clear", "remove", "take", "set", "user", "permanent", "sign_in", "rotate", "seen", "touch", "at")


@cache
def _below(number: int) -> SearchStrategy[int]:
    return st.integers(0, number - 1)


def _pick(draw: DrawFn, options: Sequence[T]) -> T:
    # A `sampled_from` made anew for each example would take most of the time.
    return options[draw(_below(len(options)))]


def _some(draw: DrawFn, options: Sequence[T], most: int) -> list[T]:
    return [_pick(draw, options) for _ in range(1 + draw(_below(most)))]


@st.composite
def keys(draw: DrawFn) -> bytes:
    """Keys of any bytes."""
    return _pick(draw, _KEYS)


@st.composite
def lifetimes(draw: DrawFn) -> Lifetimes:
    """Limits from a millisecond to months, the absolute ones not always the longer."""
    return Lifetimes(
        idle=_pick(draw, _IDLE),
        absolute=_pick(draw, _ABSOLUTE),
        remember_idle=_pick(draw, _REMEMBER_IDLE),
        remember_absolute=_pick(draw, _REMEMBER_ABSOLUTE),
    )


@st.composite
def records(draw: DrawFn, *, key: bytes | None = None) -> Record:
    """Records of every kind, alive at `NOW` or at its end."""
    created = NOW - _pick(draw, _SPANS)
    record = Record(
        key=_pick(draw, _KEYS) if key is None else key,
        secret=_pick(draw, _SECRETS),
        secret_at=created,
        created=created,
        last_used=_pick(draw, (created, NOW - 1, NOW, NOW + 1)),
        expires=NOW + _pick(draw, (DAY, 1_000, 400 * DAY, 2, 1, 0)),
        fields={name: _pick(draw, _VALUES) for name in _some(draw, _NAMES, 4)[1:]},
    )
    kind = draw(_below(8))
    if kind & 1:
        record = replace(record, permanent=True)
    if kind & 2:
        signed_in = _pick(draw, (created, NOW - 1, NOW, NOW + 1))
        record = replace(record, signed_in=signed_in, user=_pick(draw, _USERS), client=_pick(draw, _CLIENTS))
    if kind & 4:
        record = replace(record, previous=_pick(draw, _SECRETS), seen=_pick(draw, (0, NOW - 1_000, NOW)))
    return record


@st.composite
def _updates_for(draw: DrawFn, record: Record) -> Update:
    flags = draw(_below(2 ** len(_PARTS)))
    parts = {part for number, part in enumerate(_PARTS) if flags >> number & 1}
    # So few names that the same one is often set, removed and taken at once.
    names = [*list(record.fields)[:3], _pick(draw, _NAMES)]
    known = [record.secret] if record.previous is None else [record.secret, record.previous]
    users = [*_USERS] if record.user is None else [record.user] * 3 + [*_USERS]
    grace = _pick(draw, _SPANS)
    at = NOW
    if "at" in parts:
        turns = [record.last_used - 1, record.last_used + 1, record.expires - 1, record.expires]
        if record.signed_in:
            turns += [record.signed_in, record.signed_in + 1]
        if record.seen:
            turns += [record.seen + grace - 1, record.seen + grace] * 2
        at = _pick(draw, turns)
    sign_in = rotate = None
    if "sign_in" in parts:
        sign_in = SignIn(_pick(draw, users), _pick(draw, _CLIENTS))
    if "rotate" in parts:
        rotate = Rotation(_pick(draw, [*_SECRETS, *known]), derived=_pick(draw, (True, False)))
    return Update(
        key=record.key,
        at=at,
        lifetimes=draw(lifetimes()),
        grace=grace,
        secret=_pick(draw, [*known, *known, None, *_SECRETS[:2]]),
        user=_pick(draw, users) if "user" in parts else None,
        clear="clear" in parts,
        remove=frozenset(_some(draw, names, 3)) if "remove" in parts else frozenset(),
        take=tuple(_some(draw, names, 3)) if "take" in parts else (),
        set={name: _pick(draw, _VALUES) for name in _some(draw, names, 3)} if "set" in parts else {},
        permanent=_pick(draw, (True, False)) if "permanent" in parts else None,
        sign_in=sign_in,
        rotate=rotate,
        seen="seen" in parts,
        touch="touch" not in parts,
    )


@st.composite
def _destroys_for(draw: DrawFn, record: Record) -> Destroy:
    own = ("ada",) if record.user is None else (record.user, record.user, "grace")
    return Destroy(
        key=record.key,
        at=_pick(draw, (NOW, record.expires - 1, record.expires)),
        user=_pick(draw, (None, None, *own)),
        signed_in=_pick(draw, (None, record.signed_in, record.signed_in + 1)),
    )


def _create(record: Record) -> Create:
    # Nobody creates what is already over; a store may let go of it at once.
    return Create(replace(record, expires=max(record.expires, NOW + 1)))


@st.composite
def changes_for(draw: DrawFn, record: Record) -> Change:
    """Changes under the key of `record` that meet its secrets, its user, its fields and its last moments."""
    match _pick(draw, ("update",) * 10 + ("destroy",) * 4 + ("create",)):
        case "update":
            return draw(_updates_for(record))
        case "destroy":
            return draw(_destroys_for(record))
        case _:
            return _create(draw(records(key=record.key)))


@st.composite
def histories(draw: DrawFn, *, most: int = 8) -> tuple[Record, list[Change]]:
    """A record, and changes that follow each other, each drawn for what the ones before it left."""
    first = current = draw(records())
    changes: list[Change] = []
    for _ in range(draw(st.integers(1, most))):
        change = draw(changes_for(current))
        changes.append(change)
        after = settle(encode(current), change).state
        if isinstance(after, Record):
            current = after
    return first, changes


@st.composite
def _damaged(draw: DrawFn, data: bytes) -> bytes:
    where = draw(_below(len(data)))
    match _pick(draw, ("cut off", "changed", "followed", "other format", "other key", "random")):
        case "cut off":
            return data[:where]
        case "changed":
            return data[:where] + bytes([data[where] ^ draw(st.integers(1, 255))]) + data[where + 1 :]
        case "followed":
            return data + draw(st.binary(min_size=1, max_size=4))
        case "other format":
            return bytes([draw(st.integers(2, 255))]) + data[1:]
        case "other key":
            return data[:2] + draw(keys()) + data[18:]
        case _:
            return draw(st.binary(max_size=120))


@st.composite
def cases(draw: DrawFn, *, damage: bool = True) -> tuple[bytes | None, Change]:
    """What lies under a key, and a change of that key. With `damage`, it may be what can't be read."""
    record = draw(records())
    change = draw(changes_for(record))
    kinds = ("record",) * 10 + ("damage" if damage else "record",) * 3 + ("tombstone", "nothing")
    match _pick(draw, kinds):
        case "record":
            return encode(record), change
        case "damage":
            return draw(_damaged(encode(record))), change
        case "tombstone":
            tombstone = Tombstone(record.key, NOW + _pick(draw, _SPANS))
            return encode(tombstone), _pick(draw, (change, _create(record)))
        case _:
            return None, _pick(draw, (change, _create(record)))
