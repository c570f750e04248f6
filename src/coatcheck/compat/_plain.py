"""The classes that a pickle may name: plain types, each with the one way in which pickles make it, and `allow`.

A pickle names a type and the arguments to call it with. Types of the standard library take more arguments than their
pickles hold, and some of these calls cost memory or time without bound (``bytes(2**40)``, a codec that unpacks, the
conversion of a huge number). So each plain type has a function here that takes what real pickles hold, of protocols 0
to 5 and of Python 2, and nothing else.
"""

from __future__ import annotations

import codecs
import pkgutil
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from types import FunctionType
from typing import Any, TypeAlias, cast
from uuid import UUID

from coatcheck.errors import ConfigurationError, DecodeError

__all__ = [
    "LONGEST_ZONE",
    "PLAIN",
    "Allow",
    "Allowed",
    "checked",
    "full_name",
    "named",
    "reconstructor",
    "set_state",
    "set_uuid",
]

Allow: TypeAlias = Iterable[type[Any] | Callable[..., Any] | str] | str
"""What an application may allow in addition to plain types: classes, functions, or their full names (``"shop.Cart"``). One text
may hold several names, with commas or blanks between them."""
Allowed: TypeAlias = Mapping[str, Any]
"""The same by the names that pickles call them."""

_LONGEST_DECIMAL = 256
LONGEST_ZONE = 100


def named(allow: Allow) -> dict[str, Any]:
    """The classes and functions that `allow` names.

    Raises:
        ConfigurationError: One of them can't be imported, or is neither a class nor a function.
    """
    found: dict[str, Any] = {}
    for entry in allow.replace(",", " ").split() if isinstance(allow, str) else allow:
        thing: object = entry
        if isinstance(entry, str):
            try:
                thing = pkgutil.resolve_name(entry)
            except (ImportError, AttributeError, ValueError) as error:
                raise ConfigurationError(f"allow names {entry!r}, which can't be imported.") from error
        if not isinstance(thing, type | FunctionType):
            raise ConfigurationError(
                f"allow takes classes, functions, and their full names ('shop.Cart'), not {entry!r}."
            )
        if isinstance(entry, str):
            found[entry] = thing
        found[full_name(thing)] = thing
    return found


def full_name(thing: Any) -> str:
    """The name that a pickle of Python 3 calls a class or function."""
    return f"{thing.__module__}.{thing.__qualname__}"


def _members(kind: type[Any]) -> Callable[..., Any]:
    def make(members: object) -> Any:
        return kind(checked(members, list))

    return make


def _bytes() -> bytes:
    # Protocols below 3 write b"" so, and other bytes with `_codecs.encode`.
    return b""


def _bytearray(content: bytes | str = b"", encoding: str = "latin-1") -> bytearray:
    return bytearray(_latin1(content, encoding) if isinstance(content, str) else checked(content, bytes))


def _latin1(text: str, encoding: str) -> bytes:
    if encoding not in ("latin1", "latin-1"):
        raise DecodeError("The pickle encodes text with another codec than Latin-1.")
    return text.encode("latin-1")


def _ordered(pairs: Iterable[object] = ()) -> OrderedDict[Any, Any]:
    return OrderedDict(checked(pair, list) for pair in pairs)


def _complex(real: float, imaginary: float) -> complex:
    return complex(real, imaginary)


def _of_state(kind: type[Any], size: int) -> Callable[..., Any]:
    """Dates and times are pickled as the bytes that they consist of."""

    def make(state: bytes | str, *zone: tzinfo) -> Any:
        if isinstance(state, str):
            # A byte string of Python 2, which was read as UTF-8 where it could be, and as Latin-1 where not.
            encoded = state.encode("latin-1", "replace")
            state = encoded if len(encoded) == size else state.encode()
        if len(checked(state, bytes)) != size:
            raise DecodeError("The pickle holds a date that is none.")
        # `replace` checks the numbers, which the constructor takes from a state as they are.
        return kind(state, *zone).replace()

    return make


def _timedelta(days: int, seconds: int, microseconds: int) -> timedelta:
    return timedelta(checked(days, int), checked(seconds, int), checked(microseconds, int))


def _timezone(offset: timedelta, name: str = "") -> timezone:
    if len(name) > LONGEST_ZONE:
        raise DecodeError("The pickle holds a time zone with a name that is none.")
    return timezone(offset, name) if name else timezone(offset)


def _decimal(text: str) -> Decimal:
    if len(checked(text, str)) > _LONGEST_DECIMAL:
        raise DecodeError(f"The pickle holds a Decimal of more than {_LONGEST_DECIMAL} characters.")
    return Decimal(text)


def checked(value: object, kind: type[Any]) -> Any:
    """A value of exactly this type."""
    if type(value) is not kind:
        raise DecodeError(f"The pickle has a {type(value).__name__} where only a {kind.__name__} can be.")
    return value


def reconstructor(*_: object) -> Any:
    """In place of the function that protocols 0 and 1 call to make an object of a class: `pickles` makes it itself."""
    raise DecodeError("The pickle calls what can't be called.")


def set_uuid(made: UUID, state: Any) -> None:
    """Give a UUID its number, once."""
    number, is_safe = state["int"], state.get("is_safe")
    if hasattr(made, "int") or type(number) is not int or not 0 <= number < 1 << 128:
        raise DecodeError("The pickle holds a UUID that is none.")
    cast("Any", made).__setstate__({"int": number, "is_safe": is_safe})


def set_state(made: Any, state: Any) -> None:
    """Give an object of a class that is allowed its state as `pickle` does: by the class's own method, or as attributes."""
    own = getattr(made, "__setstate__", None)
    if own is not None:
        own(state)
        return
    both: tuple[Any, Any] = cast("Any", state) if isinstance(state, tuple) else (state, None)
    attributes, slots = (cast("dict[str, Any]", part or {}) for part in both)
    if attributes:  # an object with only `__slots__` has no place for any
        made.__dict__.update(attributes)
    for name, value in slots.items():
        if name.startswith("__"):
            raise DecodeError("The pickle changes the class of an object.")
        setattr(made, name, value)


PLAIN: Mapping[str, tuple[Any, Callable[..., Any]]] = {
    "builtins.set": (set, _members(set)),
    "builtins.frozenset": (frozenset, _members(frozenset)),
    "builtins.complex": (complex, _complex),
    "builtins.bytes": (bytes, _bytes),
    "builtins.bytearray": (bytearray, _bytearray),
    "_codecs.encode": (codecs.encode, _latin1),
    "collections.OrderedDict": (OrderedDict, _ordered),
    "datetime.date": (date, _of_state(date, 4)),
    "datetime.datetime": (datetime, _of_state(datetime, 10)),
    "datetime.time": (time, _of_state(time, 6)),
    "datetime.timedelta": (timedelta, _timedelta),
    "datetime.timezone": (timezone, _timezone),
    "decimal.Decimal": (Decimal, _decimal),
    # These three are named for what opcodes do with them, and never called.
    "uuid.UUID": (UUID, reconstructor),
    "builtins.object": (object, reconstructor),
    "copyreg._reconstructor": (reconstructor, reconstructor),
}
"""By name, what may be named without being allowed, and what a call of it does. None of it runs code."""
