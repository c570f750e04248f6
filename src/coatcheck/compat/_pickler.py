"""Writes pickles that `pickles.loads` reads, and servers of the old libraries."""

from __future__ import annotations

import io
import pickle
from types import BuiltinFunctionType, FunctionType
from typing import Any

from coatcheck.compat._plain import PLAIN, Allowed, full_name, reconstructor
from coatcheck.compat.pickles import loads
from coatcheck.errors import DecodeError, NotStorable

__all__ = ["PROTOCOL_OF_OLD", "dumps"]

PROTOCOL_OF_OLD = 2
"""The newest that Python 2.7, 3.2 and 3.3 read."""

_WRITTEN = frozenset(id(thing) for thing, _ in PLAIN.values() if thing not in (object, reconstructor))


def dumps(value: Any, allowed: Allowed, protocol: int, *, field: str | None = None) -> bytes:
    """A pickle of plain values, and of what is allowed.

    Raises:
        NotStorable: There is something else in `value`, or it exceeds a bound of `loads`.
    """
    file = io.BytesIO()
    try:
        _Pickler(file, protocol, allowed).dump(value)
        loads(file.getvalue(), allowed)
    except _Refused as error:
        raise NotStorable(
            f"A session keeps plain values, and no {error}, unless the setting 'allow' names it.", field=field
        ) from None
    except DecodeError as error:
        raise NotStorable(f"The value could not be read again. {error}", field=field) from None
    except (pickle.PicklingError, RecursionError, TypeError, AttributeError, ValueError) as error:
        raise NotStorable(f"The value can't be pickled: {type(error).__name__}.", field=field) from error
    return file.getvalue()


class _Refused(Exception):
    """The name of a class or function that may not be written."""


class _Pickler(pickle.Pickler):
    def __init__(self, file: io.BytesIO, protocol: int, allowed: Allowed) -> None:
        super().__init__(file, protocol)
        self._allowed = _WRITTEN.union(map(id, allowed.values()))

    def reducer_override(self, obj: Any, /) -> Any:
        """Called for everything but plain values: for instances, and for the classes and functions that they name."""
        thing: Any = obj if isinstance(obj, type | FunctionType | BuiltinFunctionType) else type(obj)
        if id(thing) not in self._allowed:
            raise _Refused(full_name(thing))
        return NotImplemented
