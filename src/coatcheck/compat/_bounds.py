"""How large the values of a pickle are, and how much work they took, while it is read.

The size of a value is how many values it consists of, where one that is shared counts each time it is reached, and how
deep they are nested. It is known when the value is made and bounded from then on, so that neither reading nor anything
that goes through the value later (hash, comparison, copy, repr, encoding) takes more than the bound. For that a value
must not change once it is part of another. Pickles change it only to say that a value contains itself; these are refused.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from types import NoneType
from typing import Any, cast
from uuid import UUID

from coatcheck.errors import DecodeError

__all__ = ["ATOMS", "CONTAINERS", "Bounds"]

_LARGEST = 1_000_000
"""The size of a value; 32 bytes of text count as one more value."""
_DEEPEST = 100
_MOST_WORK = 1_000_000
"""Of what takes longer than an opcode: calls, by the size of their arguments, and hashing."""

_SMALL = frozenset({NoneType, bool, float, complex, date, datetime, time, timedelta, timezone})
_TEXT = frozenset({str, bytes})
_HASHING: tuple[type[Any], ...] = (set, frozenset, dict)
ATOMS: frozenset[type[Any]] = _SMALL | {int, str, bytes, bytearray, Decimal, UUID}
"""Types of values with no others in them."""
CONTAINERS: frozenset[type[Any]] = frozenset({list, tuple, dict, set, frozenset, OrderedDict})
"""Types of values that consist of others. All else is of a class that the application allows."""


class _Size:
    __slots__ = ("depth", "is_part", "weight")

    def __init__(self) -> None:
        self.weight = 1
        self.depth = 1
        self.is_part = False  # of another value


class Bounds:
    """The sizes of all values that are no atoms, by id, and the work so far."""

    def __init__(self) -> None:
        self._sizes: dict[int, _Size] = {}
        self._work = 0

    def made(self, value: Any, parts: Iterable[Any]) -> None:
        """A new value consists of `parts`. Its id may have been that of another one, which is gone.

        Raises:
            DecodeError: As all of these: a bound is exceeded.
        """
        if type(value) not in ATOMS:
            self._sizes[id(value)] = self._with(_Size(), parts)

    def changes(self, value: Any, parts: Iterable[Any]) -> None:
        """A value is about to get more parts."""
        size = None if type(value) in ATOMS else self._sizes.get(id(value))
        if size is None:
            raise DecodeError("The pickle changes what can't be changed.")
        self._with(size, parts)
        if size.is_part:
            raise DecodeError("The pickle holds a value that contains itself.")

    def called(self, arguments: Iterable[Any]) -> None:
        """A call is about to go through its arguments, once, and as often as it is called."""
        self._charge(self._with(_Size(), arguments).weight)

    def finished(self, value: Any) -> None:
        """This is the value that was read."""
        self._with(_Size(), (value,))

    def hashed(self, keys: Iterable[Any], before: int = 0) -> None:
        """Keys are about to be put into a container that has some `before`.

        The hash of a text is random, and kept with it. Other keys can be chosen so that all collide: each is charged
        for its own hash, and for a comparison with one in 32 of those before it.
        """
        for position, key in enumerate(keys, before):
            if type(key) not in _TEXT:
                self._charge(self._weight(key) * (1 + position // 32))

    def hashed_by(self, kind: type[Any], arguments: Sequence[Any]) -> None:
        """An object is about to be made of these arguments. If it is a set or dict, it will hash what is in them."""
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
            raise DecodeError("The pickle holds a value that is too large, or nested too deep.")
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
            return (
                1 + value.int.bit_length() // 32
            )  # compared by code in Python; fails where it has no state yet
        return 8  # a Decimal, of at most 256 characters

    def _charge(self, work: int) -> None:
        self._work += work
        if self._work > _MOST_WORK:
            raise DecodeError("The pickle takes too much work.")
