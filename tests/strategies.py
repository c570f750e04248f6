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

from coatcheck.model import merges
from coatcheck.model.lifetimes import Lifetimes
from coatcheck.model.record import (
    Change,
    Create,
    Destroy,
    Edit,
    Holder,
    Record,
    Rotation,
    SignIn,
    Update,
    settle,
)
from coatcheck.testing.clock import START

__all__ = ["changes_for", "histories", "keys", "lifetimes", "records"]

NOW = round(START * 1000)
DAY = 86_400_000
T = TypeVar("T")

_SECRETS = (*(bytes([byte]) * 32 for byte in range(4)), bytes(range(32)))
_USERS = ("ada", "grace", "1", "", "\N{OLD KEY}", "x" * 255)
_CLIENTS = ("", "Browser/1.0", "\N{OLD KEY}" * 50)
_NAMES: tuple[str, ...] = (
    *("a", "b", "c", "theme", "cart", "\0flash:1", "\0flash:2", "", "\0", "\N{OLD KEY}", "x" * 32, "x" * 256),
)
_VALUES = (b"1", b"", b"\0", b"\xc4\xff", bytes(range(256)), b"x" * 255)
_LISTS = (b"\x90", b"\x91\x01", b"\x92\x01\x02", b"\x01", b"")
_KEYS = (bytes(16), b"\xff" * 16, bytes(range(16)), b"\r\n *?{}\\\"'%\0\x80\xc1:/")
_MARKS = (bytes(4), b"mark", b"\xff" * 4)
_SPANS = (20_000, 0, 1, 2, 1_000, DAY, 400 * DAY)
_IDLE, _ABSOLUTE = (DAY, 1, 1_000), (30 * DAY, 1, 1_000)
_REMEMBER_IDLE, _REMEMBER_ABSOLUTE = (30 * DAY, 1), (90 * DAY, 30 * DAY, 1)
_PARTS = (
    "clear",
    "remove",
    "take",
    "set",
    "user",
    "permanent",
    "sign_in",
    "rotate",
    "seen",
    "unused",
    "at",
    "edits",
    "limits",
    "flashes",
)


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
        secret_hash=_pick(draw, _SECRETS),
        mark=_pick(draw, _MARKS),
        secret_at=created,
        created=created,
        last_used=_pick(draw, (created, NOW - 1, NOW, NOW + 1)),
        expires=NOW + _pick(draw, (DAY, 1_000, 400 * DAY, 2, 1, 0)),
        fields={name: _pick(draw, _VALUES) for name in _some(draw, _NAMES, 4)[1:]},
    )
    kind = draw(_below(32))
    if kind & 1:
        record = replace(record, permanent=True)
    if kind & 2:
        signed_in = _pick(draw, (created, NOW - 1, NOW, NOW + 1))
        record = replace(record, signed_in=signed_in, user=_pick(draw, _USERS), client=_pick(draw, _CLIENTS))
    if kind & 4:
        record = replace(record, previous=_pick(draw, _SECRETS), seen=_pick(draw, (0, NOW - 1_000, NOW)))
    if kind & 8:
        record = replace(record, idle=_pick(draw, _SPANS), absolute=_pick(draw, _SPANS))
    if kind & 16:
        record = replace(record, sealed=_pick(draw, _VALUES))
    return record


@st.composite
def _edits(draw: DrawFn, record: Record, name: str) -> Edit:
    """An edit of a field that is as it was read, was changed since, or has gone."""
    base = _pick(draw, (*_LISTS, None))
    stored = _pick(draw, (base, record.fields.get(name)))
    return Edit(_pick(draw, _LISTS), base, stored, _pick(draw, (None, None, merges.add, merges.largest)))


@st.composite
def _updates_for(draw: DrawFn, record: Record) -> Update:
    flags = draw(_below(2 ** len(_PARTS)))
    parts = {part for number, part in enumerate(_PARTS) if flags >> number & 1}
    # So few names that the same one is often set, removed and taken at once.
    names = [*list(record.fields)[:3], _pick(draw, _NAMES)]
    known = [record.secret_hash] if record.previous is None else [record.secret_hash, record.previous]
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
        rotate = Rotation(
            _pick(draw, [*_SECRETS, *known]), _pick(draw, _MARKS), derived=_pick(draw, (True, False))
        )
    return Update(
        key=record.key,
        at=at,
        lifetimes=draw(lifetimes()),
        grace=grace,
        secret_hash=_pick(draw, [*known, *known, None, *_SECRETS[:2]]),
        user=_pick(draw, users) if "user" in parts else None,
        clear="clear" in parts,
        remove=frozenset(_some(draw, names, 3)) if "remove" in parts else frozenset(),
        take=tuple(_some(draw, names, 3)) if "take" in parts else (),
        set={name: _pick(draw, _VALUES) for name in _some(draw, names, 3)} if "set" in parts else {},
        edits={name: draw(_edits(record, name)) for name in _some(draw, names, 2)}
        if "edits" in parts
        else {},
        max_flashes=_pick(draw, (1, 2)) if "flashes" in parts else 0,
        permanent=_pick(draw, (True, False)) if "permanent" in parts else None,
        limits=(_pick(draw, _SPANS), _pick(draw, _SPANS)) if "limits" in parts else None,
        sign_in=sign_in,
        rotate=rotate,
        seen="seen" in parts,
        used="unused" not in parts,
    )


@st.composite
def _destroys_for(draw: DrawFn, record: Record) -> Destroy:
    holders = [None, Holder(record.user), Holder(record.user, record.signed_in)]
    others = [Holder("grace"), Holder(None), Holder(record.user, record.signed_in + 1)]
    return Destroy(
        key=record.key,
        at=_pick(draw, (NOW, record.expires - 1, record.expires)),
        holder=_pick(draw, holders * 2 + others),
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
        after = settle(current, change).state
        if isinstance(after, Record):
            current = after
    return first, changes
