"""Merging: what becomes of a field that two requests edited at the same time.

Both began with the same bytes (`base`); `theirs` is what the other request stored meanwhile, `ours` what this one
wants. The functions work on the encoded bytes, element by element, and never raise: what can't be merged is the later
write, that is, `ours`.

A merge rule of the application (``merge={"visits": merges.add}``) works on values: it is called with the base, theirs
and ours, of which `base` or `theirs` is None where the field was absent.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable
from decimal import Decimal
from itertools import compress, count
from operator import ne
from typing import Any, TypeAlias

import msgspec
from msgspec import Raw
from msgspec.msgpack import Ext

from coatcheck.model import codec

__all__ = ["LARGEST", "MOST_ELEMENTS", "MergeRule", "add", "first", "largest", "last", "merged", "ruled"]

MOST_ELEMENTS = 2_000
"""Containers with more elements are not merged."""
LARGEST = 64 * 1024
"""Values of more bytes are not merged."""

MergeRule: TypeAlias = Callable[[Any, Any, Any], Any]
"""``rule(base, theirs, ours)`` gives the value to store. It must be pure: it may be called more than once."""

_pack = msgspec.msgpack.Encoder().encode
_to_list = msgspec.msgpack.Decoder(list[Raw]).decode
_to_dict = msgspec.msgpack.Decoder(dict[Any, Raw]).decode
_to_ext = msgspec.msgpack.Decoder(Ext).decode


def merged(base: bytes, theirs: bytes, ours: bytes) -> bytes:
    """The encoded value that two edits of `base` make together."""
    if max(len(base), len(theirs), len(ours)) > LARGEST:
        return ours
    try:
        return _merged(base, theirs, ours)
    except (msgspec.MsgspecError, ValueError, TypeError, RecursionError):
        # Bytes that the codec did not write. `ours` is whole in any case.
        return ours


def _merged(base: bytes, theirs: bytes, ours: bytes) -> bytes:
    if theirs == base:
        return ours
    if ours == base:
        return theirs
    kind = _kind(base)
    if kind is None or kind != _kind(theirs) or kind != _kind(ours):
        return ours
    if kind == "list":
        return _merged_list(base, theirs, ours)
    if kind == "dict":
        return _merged_dict(base, theirs, ours)
    return _merged_set(base, theirs, ours)


def _kind(data: bytes) -> str | int | None:
    """The kind of container that an encoded value is: list, dict, or the extension code of a set."""
    head = data[0] if data else 0xC0
    if 0x80 <= head <= 0x8F or head in (0xDE, 0xDF):
        return "dict"
    if 0x90 <= head <= 0x9F or head in (0xDC, 0xDD):
        return "list"
    if 0xC7 <= head <= 0xC9 or 0xD4 <= head <= 0xD8:
        code = _to_ext(data).code
        return code if code in codec.SETS else None
    return None


# Elements stay `Raw`, views of the bytes, which compare but have no hash and no order: a copy of each would double the
# time that 2,000 of them take.


def _merged_list(base: bytes, theirs: bytes, ours: bytes) -> bytes:
    """Each side replaced one range of the base. Disjoint ranges: both; otherwise ours."""
    old, new, own = _to_list(base), _to_list(theirs), _to_list(ours)
    if max(len(old), len(new), len(own)) > MOST_ELEMENTS:
        return ours
    their_start, their_end, their_part = _edit(old, new)
    our_start, our_end, our_part = _edit(old, own)
    if their_end <= our_start:  # also two insertions at one place: the stored one's first
        return _pack([*old[:their_start], *their_part, *old[their_end:our_start], *our_part, *old[our_end:]])
    if our_end <= their_start:
        return _pack([*old[:our_start], *our_part, *old[our_end:their_start], *their_part, *old[their_end:]])
    return ours


def _edit(old: list[Raw], new: list[Raw]) -> tuple[int, int, list[Raw]]:
    """The range of `old` that was replaced, and by what: the longest common prefix, then suffix, stay."""
    most = min(len(old), len(new))
    start = next(compress(count(), map(ne, old, new)), most)
    same = next(compress(count(), map(ne, reversed(old), reversed(new))), most)
    same = min(same, most - start)
    return start, len(old) - same, new[start : len(new) - same]


def _merged_dict(base: bytes, theirs: bytes, ours: bytes) -> bytes:
    """Key by key, in the order of theirs; a key that one side removed stays removed."""
    old, new, own = _pairs(base), _to_dict(theirs), _pairs(ours)
    if len(new) > MOST_ELEMENTS:
        return ours
    # The pairs that ours replaced: from the key on, also where a key or a value alone is another.
    start, end, _ = _edit(old, own)
    start, end = start - start % 2, end + end % 2
    before, after = _from_pairs(old[start:end]), _from_pairs(own[start : len(own) - len(old) + end])
    for key in before:
        if key not in after:
            new.pop(key, None)
    for key, here in after.items():
        was, there = before.get(key), new.get(key)
        if there == was or was is None:
            new[key] = here
        elif there is not None:
            new[key] = Raw(_merged(bytes(was), bytes(there), bytes(here)))
    return _pack(new)


def _pairs(data: bytes) -> list[Raw]:
    """The keys and values of an encoded dict, one after the other."""
    size = 1 if data[0] < 0xDE else 3 if data[0] == 0xDE else 5
    length = data[0] & 0x0F if size == 1 else int.from_bytes(data[1:size])
    if length > MOST_ELEMENTS:
        raise ValueError("too many elements to merge")
    return _to_list(b"\xdd" + (2 * length).to_bytes(4) + data[size:])


def _from_pairs(pairs: list[Raw]) -> dict[Any, Raw]:
    return _to_dict(b"\xdf" + (len(pairs) // 2).to_bytes(4) + b"".join(pairs))


def _merged_set(base: bytes, theirs: bytes, ours: bytes) -> bytes:
    """The members of theirs, with those that ours added, and without those that it removed."""
    ext = _to_ext(base)
    old, new, own = (_to_list(bytes(_to_ext(data).data)) for data in (base, theirs, ours))
    if max(len(old), len(new), len(own)) > MOST_ELEMENTS:
        return ours
    start, end, part = _edit(old, own)
    before, after = set(map(bytes, old[start:end])), set(map(bytes, part))
    # The members are in the order of their bytes.
    for member in sorted(before - after):
        at = bisect_left(new, member, key=bytes)
        del new[at : at + (new[at : at + 1] == [Raw(member)])]
    for member in sorted(after - before):
        at = bisect_left(new, member, key=bytes)
        new[at : at + (new[at : at + 1] == [Raw(member)])] = [Raw(member)]
    return _pack(Ext(ext.code, _pack(new)))


# Rules of the application


def ruled(rule: MergeRule, base: bytes | None, theirs: bytes | None, ours: bytes) -> bytes | None:
    """The encoded value that `rule` makes of three encoded ones; None: it raised, or made nothing that can be stored."""
    try:
        values = [None if data is None else codec.decode(data) for data in (base, theirs, ours)]
        return codec.encode(rule(*values))
    except Exception:  # noqa: BLE001 - the application's own function; the later write stands, and an event tells
        return None


def add(base: Any, theirs: Any, ours: Any) -> Any:
    """Add up what both added: for counters. Absent counts as 0.

    Raises:
        TypeError: They are not all numbers of one kind (bool is none).
    """
    numbers: list[object] = [number for number in (base, theirs, ours) if number is not None]
    kind: Any = type(numbers[0])
    if kind not in (int, float, Decimal) or any(type(number) is not kind for number in numbers):
        raise TypeError("merges.add takes numbers of one kind")
    nought = kind(0)
    return (nought if theirs is None else theirs) + ours - (nought if base is None else base)


def largest(_base: Any, theirs: Any, ours: Any) -> Any:
    """The larger of the two: for times and marks that only grow."""
    return ours if theirs is None else max(theirs, ours)


def first(_base: Any, theirs: Any, ours: Any) -> Any:
    """The one that was stored first."""
    return ours if theirs is None else theirs


def last(_base: Any, _theirs: Any, ours: Any) -> Any:
    """The later write: as without a rule, but for edits in place."""
    return ours
