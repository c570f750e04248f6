"""The pickles of a site's sessions, under its settings."""

from __future__ import annotations

from functools import lru_cache
from typing import Any

from coatcheck.compat._pickler import PROTOCOL_OF_OLD, dumps
from coatcheck.compat._plain import Allow, named
from coatcheck.compat.pickles import loads
from coatcheck.errors import DecodeError

__all__ = ["PROTOCOL", "PROTOCOL_OF_OLD", "Pickles", "pickles"]

PROTOCOL = 4
"""Has an opcode for each plain value, so that the pickle of builtins names nothing."""


class Pickles:
    """Writes and reads the values of sessions."""

    def __init__(self, allow: Allow = (), *, protocol: int = PROTOCOL) -> None:
        """With the names that an application allows beside the plain values.

        Raises:
            ConfigurationError: One of them can't be imported, or is neither a class nor a function.
        """
        self._allowed = named(allow)
        self._protocol = protocol

    def dumps(self, value: Any, *, field: str | None = None) -> bytes:
        """A pickle of `value`.

        Raises:
            NotStorable: There is something in it that is not allowed, or it is too large or nested too deep.
        """
        return dumps(value, self._allowed, self._protocol, field=field)

    def loads(self, data: bytes) -> Any:
        """The value of a pickle. Runs no code but that of the names which are allowed.

        Raises:
            DecodeError: It is no pickle, exceeds a bound, or names something that is not allowed.
        """
        return loads(data, self._allowed)

    def loads_dict(self, data: bytes) -> dict[Any, Any]:
        """The dict of a pickle.

        Raises:
            DecodeError: As `loads`, or it is no dict.
        """
        values: dict[Any, Any] = self.loads(data)
        if not isinstance(values, dict):
            raise DecodeError("It is no dict.")
        return values


@lru_cache(maxsize=32)
def pickles(allow: Allow, protocol: int) -> Pickles:
    """The one for these settings, which are looked up for each request."""
    return Pickles(allow, protocol=protocol)
