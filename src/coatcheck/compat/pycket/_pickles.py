"""Pickles that run no code: of plain values only, and read by an unpickler that knows a list of names.

The store of the old library holds pickles of plain dicts, and its tests pin that. What makes a pickle dangerous is
that it may name any callable of the program, and have it called. Here every name is refused but those of values that
do nothing when they are made, and those that the application has named itself.
"""

from __future__ import annotations

import io
import pickle
from collections import OrderedDict
from collections.abc import Callable, Iterable
from datetime import date, datetime, time, timedelta, timezone
from decimal import Decimal
from functools import lru_cache
from types import BuiltinFunctionType, FunctionType
from typing import Any
from uuid import UUID

from coatcheck.errors import ConfigurationError, DecodeError, NotStorable

__all__ = ["PROTOCOL", "PROTOCOL_OF_OLD", "Named", "Pickles", "pickles"]

PROTOCOL = 4
"""Has an opcode for each plain value, so that what is written names nothing."""
PROTOCOL_OF_OLD = 2
"""The newest that Python 2.7, 3.2 and 3.3 read."""

Named = type[Any] | Callable[..., Any] | str
"""What an application may allow: a class, a function, or its full name."""


class _Maker:
    """A callable that a pickle may call, and can't change: its state is refused."""

    __slots__ = ("_make",)

    def __init__(self, make: Callable[..., Any]) -> None:
        self._make = make

    def __call__(self, *args: Any) -> Any:
        return self._make(*args)

    def __setstate__(self, state: object) -> None:
        raise pickle.UnpicklingError("a pickle may not change what it names")


def _bytes(*args: Any) -> bytes:
    # Protocols below 3 write b"" so. With a number it would take as much memory as it likes.
    if args:
        raise pickle.UnpicklingError("bytes() with arguments")
    return b""


def _bytearray(content: bytes | str = b"", encoding: str = "latin-1") -> bytearray:
    return bytearray(_latin1(content, encoding) if isinstance(content, str) else bytes(memoryview(content)))


def _latin1(text: str, encoding: str) -> bytes:
    # Protocols below 3 write bytes so. Any other codec is some other module's code.
    if encoding not in {"latin1", "latin-1"}:
        raise pickle.UnpicklingError("a codec other than Latin-1")
    return text.encode("latin-1")


def _of_state(kind: type[Any]) -> Callable[..., Any]:
    """Python 2 wrote the state of a date as a byte string, which comes as text."""

    def make(state: Any, *rest: Any) -> Any:
        return kind(state.encode("utf-8", "surrogateescape") if isinstance(state, str) else state, *rest)

    return make


def _reconstructed(kind: type[Any], base: type[Any], state: object) -> Any:
    # Protocols below 2 make an object of a plain class so.
    if base is not object or state is not None:
        raise pickle.UnpicklingError("an object made of a state")
    return object.__new__(kind)


_KNOWN: dict[str, Any] = {
    "builtins.set": set,
    "builtins.frozenset": frozenset,
    "builtins.complex": complex,
    "builtins.object": object,
    "builtins.bytes": _Maker(_bytes),
    "builtins.bytearray": _Maker(_bytearray),
    "_codecs.encode": _Maker(_latin1),
    "copyreg._reconstructor": _Maker(_reconstructed),
    "collections.OrderedDict": OrderedDict,
    "datetime.date": _Maker(_of_state(date)),
    "datetime.datetime": _Maker(_of_state(datetime)),
    "datetime.time": _Maker(_of_state(time)),
    "datetime.timedelta": timedelta,
    "datetime.timezone": timezone,
    "decimal.Decimal": Decimal,
    "uuid.UUID": UUID,
}
"""What may be named without being allowed. None of it does anything but make a value; none of it can be changed."""
_ONLY_READ = {"builtins.object", "copyreg._reconstructor"}
_PYTHON_2 = {"__builtin__": "builtins", "copy_reg": "copyreg"}


class _Unpickler(pickle.Unpickler):
    def __init__(self, data: bytes, allowed: frozenset[str]) -> None:
        # What Python 2 wrote as byte strings is text here. Bytes that are no UTF-8 survive as surrogates.
        super().__init__(io.BytesIO(data), encoding="utf-8", errors="surrogateescape")
        self._allowed = allowed

    def find_class(self, module: str, name: str, /) -> Any:
        full = f"{_PYTHON_2.get(module, module)}.{name}"
        if full in _KNOWN:
            return _KNOWN[full]
        if full in self._allowed:
            return super().find_class(module, name)
        raise _Refused(full)


class _Refused(Exception):
    """A name that is not on the list."""


class _Pickler(pickle.Pickler):
    def __init__(self, file: io.BytesIO, protocol: int, allowed: frozenset[str]) -> None:
        super().__init__(file, protocol)
        self._allowed = allowed

    def reducer_override(self, obj: Any, /) -> Any:
        """Asked for everything but plain values: instances, and the classes and functions that they name."""
        is_global = isinstance(obj, type | FunctionType | BuiltinFunctionType)
        name = _name(obj if is_global else type(obj))
        if name in self._allowed or (name in _KNOWN and name not in _ONLY_READ):
            return NotImplemented
        raise _Refused(name)


class Pickles:
    """Writes and reads the values of sessions."""

    def __init__(self, allow: Iterable[Named] = (), *, protocol: int = PROTOCOL) -> None:
        """With the names that an application allows beside the plain values.

        Whoever can write to the store can have what is allowed called, with arguments of his choice. Name classes that
        only hold data.

        Raises:
            ConfigurationError: One of them is neither a class, a function, nor a full name.
        """
        self._allowed = frozenset(_full_name(named) for named in allow)
        self._protocol = protocol

    def dumps(self, value: Any, *, field: str | None = None) -> bytes:
        """A pickle of `value`.

        Raises:
            NotStorable: There is something in it that is not allowed; the message names its class.
        """
        file = io.BytesIO()
        try:
            _Pickler(file, self._protocol, self._allowed).dump(value)
        except _Refused as error:
            raise NotStorable(
                f"A session keeps plain values, and no {error}, but where the setting 'allow' names it.",
                field=field,
            ) from None
        except (pickle.PicklingError, RecursionError, TypeError, AttributeError, ValueError) as error:
            raise NotStorable(f"The value can't be pickled: {type(error).__name__}.", field=field) from error
        return file.getvalue()

    def loads(self, data: bytes) -> Any:
        """What was pickled. Runs no code but that of the names which were allowed.

        Raises:
            DecodeError: It is no pickle, or names something that is not allowed.
        """
        try:
            return _Unpickler(data, self._allowed).load()
        except _Refused as error:
            raise DecodeError(f"It names {str(error)!r}, which the setting 'allow' does not.") from None
        except Exception as error:  # noqa: BLE001 - garbage makes an unpickler raise anything
            # Without its cause, the text of which may have values in it.
            raise DecodeError(f"It is no pickle of plain values: {type(error).__name__}.") from None

    def loads_dict(self, data: bytes) -> dict[Any, Any]:
        """The dict that was pickled.

        Raises:
            DecodeError: As `loads`, or it is no dict.
        """
        values: dict[Any, Any] = self.loads(data)
        if not isinstance(values, dict):
            raise DecodeError("It is no dict.")
        return values


@lru_cache(maxsize=32)
def pickles(allow: tuple[Named, ...], protocol: int) -> Pickles:
    """The one for these settings: they are looked up for each request."""
    return Pickles(allow, protocol=protocol)


def _name(named: Any) -> str:
    return f"{named.__module__}.{named.__qualname__}"


def _full_name(named: object) -> str:
    if isinstance(named, str) and "." in named.strip("."):
        return named
    if isinstance(named, type | FunctionType):
        return _name(named)
    raise ConfigurationError("'allow' takes classes, functions, and full names ('shop.models.Cart').")
