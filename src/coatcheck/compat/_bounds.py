"""Limits on the size of a pickle's values, and on the work of reading them.

The size of a value is the number of values in it, where a shared value counts each time it is reached, and the depth of
their nesting. It is computed and limited when the value is made. So reading the value, and each later operation that
walks through it (hash, comparison, copy, repr, encoding), is bounded. This requires that a value does not change once
it is part of another one. Only pickles of values that contain themselves need such changes, and these are refused.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from types import NoneType
from typing import Any, cast
from uuid import UUID
from zoneinfo import ZoneInfo

from coatcheck.errors import DecodeError

__all__ = ["ATOMS", "CONTAINERS", "Bounds"]

_LARGEST = 1_000_000
"""The largest size of a value. Each 32 bytes of text count as one more value."""
_DEEPEST = 100
_MOST_WORK = 1_000_000
"""The limit on operations that take longer than an opcode: calls, by the size of their arguments, and hashing."""

_SMALL = frozenset({NoneType, bool, float, complex, date, datetime, time, timedelta, timezone, ZoneInfo})
_TEXT = frozenset({str, bytes})
_HASHING: tuple[type[Any], ...] = (set, frozenset, dict)
ATOMS: frozenset[type[Any]] = _SMALL | {int, str, bytes, bytearray, Decimal, UUID}
"""Types of values that contain no others."""
CONTAINERS: frozenset[type[Any]] = frozenset({list, tuple, dict, set, frozenset, OrderedDict})
"""Types of values that contain others. Every other type is a class that the application allows."""


class _Size:
    __slots__ = ("depth", "is_part", "weight")

    def __init__(self) -> None:
        self.weight = 1
        self.depth = 1
        self.is_part = False  # of another value


class Bounds:
    """The sizes of all values except atoms, by id, and the work so far."""

    def __init__(self) -> None:
        self._sizes: dict[int, _Size] = {}
        self._work = 0

    def made(self, value: Any, parts: Iterable[Any]) -> None:
        """Record a new value that consists of `parts`. Its id may have belonged to a value that was freed.

        Raises:
            DecodeError: A limit is exceeded. So do all methods.
        """
        if type(value) not in ATOMS:
            self._sizes[id(value)] = self._with(_Size(), parts)

    def changes(self, value: Any, parts: Iterable[Any]) -> None:
        """Record that a value is about to get more parts."""
        size = None if type(value) in ATOMS else self._sizes.get(id(value))
        if size is None:
            raise DecodeError("The pickle changes a value of an immutable type.")
        self._with(size, parts)
        if size.is_part:
            raise DecodeError("The pickle contains a value that contains itself.")

    def called(self, arguments: Iterable[Any], times: int = 1) -> None:
        """Charge for a call, which walks through its arguments each time."""
        self._charge(self._with(_Size(), arguments).weight * times)

    def finished(self, value: Any) -> None:
        """Check the value that was read as a whole."""
        self._with(_Size(), (value,))

    def hashed(self, keys: Iterable[Any], before: int = 0) -> None:
        """Charge for keys that are about to be added to a container with `before` keys.

        Text is free: its hash is seeded and cached. Other keys can be chosen so that all collide. Each is charged for its
        hash and for a comparison with one in 32 of the earlier keys.
        """
        for position, key in enumerate(keys, before):
            if type(key) not in _TEXT:
                self._charge(self._weight(key) * (1 + position // 32))

    def hashed_by(self, kind: type[Any], arguments: Sequence[Any]) -> None:
        """Charge for an object that is about to be made of `arguments`: a set or dict hashes their items."""
        if issubclass(kind, _HASHING):
            for argument in arguments:
                if type(argument) in CONTAINERS:
                    self.hashed(argument)

    def _with(self, size: _Size, parts: Iterable[Any]) -> _Size:
        for part in parts:
            size.weight += self._weight(part)
            if type(part) not in ATOMS:
                inner = self._sizes[id(part)]
                inner.is_part = True
                size.depth = max(size.depth, inner.depth + 1)
        if size.weight > _LARGEST or size.depth > _DEEPEST:
            raise DecodeError("The pickle contains a value that is too large, or nested too deep.")
        return size

    def _weight(self, value: Any) -> int:
        kind = cast("type[object]", type(value))
        if kind in _SMALL:
            return 1
        if kind not in ATOMS:
            return self._sizes[id(value)].weight
        if isinstance(value, str | bytes | bytearray):
            return 1 + len(value) // 32
        if isinstance(value, int):
            return 1 + value.bit_length() // 256
        if isinstance(value, UUID):
            # More than an int, since UUIDs are compared in Python. Raises AttributeError for a UUID without state.
            return 1 + value.int.bit_length() // 32
        return 8  # a Decimal, which has at most 256 characters

    def _charge(self, work: int) -> None:
        self._work += work
        if self._work > _MOST_WORK:
            raise DecodeError("The pickle takes too much work.")
