"""Pickles and unpickles session values with a site's settings."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from coatcheck.compat._pickler import PROTOCOL_OF_OLD, dumps
from coatcheck.compat._plain import Allow, named
from coatcheck.compat.pickles import loads
from coatcheck.errors import DecodeError

__all__ = ["PROTOCOL", "PROTOCOL_OF_OLD", "Pickles", "pickles"]

PROTOCOL = 4
"""The protocol has an opcode for each plain value, so that pickles of builtins name no class."""


class Pickles:
    """Pickles and unpickles the values of sessions."""

    def __init__(self, allow: Allow = (), *, protocol: int = PROTOCOL) -> None:
        """`allow` names the classes and functions that are allowed besides plain values.

        Raises:
            ConfigurationError: A name can't be imported, or is neither a class nor a function.
        """
        self._allowed = named(allow)
        self._protocol = protocol

    def dumps(self, value: Any, *, field: str | None = None) -> bytes:
        """A pickle of `value`.

        Raises:
            NotStorable: The value contains something that is not allowed, or is too large or nested too deep.
        """
        return dumps(value, self._allowed, self._protocol, field=field)

    def loads(self, data: bytes) -> Any:
        """The value of a pickle. Only the code of allowed names is run.

        Raises:
            DecodeError: `data` is not a pickle, exceeds a limit, or names something that is not allowed.
        """
        return loads(data, self._allowed)

    def loads_dict(self, data: bytes) -> dict[Any, Any]:
        """The value of a pickle that must be a dict.

        Raises:
            DecodeError: As in `loads`, or the value is not a dict.
        """
        values: dict[Any, Any] = self.loads(data)
        if not isinstance(values, dict):
            raise DecodeError("The value is not a dict.")
        return values


@lru_cache(maxsize=32)
def pickles(allow: Allow, protocol: int) -> Pickles:
    """A cached `Pickles`, since each request needs the one for its settings."""
    return Pickles(allow, protocol=protocol)
