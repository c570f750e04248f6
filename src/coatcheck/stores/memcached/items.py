"""How data lies in Memcached: under which name, how large, and for how long."""

from __future__ import annotations

from math import ceil

from coatcheck.errors import ConfigurationError, TooLarge

__all__ = ["Items"]

_LONGEST_NAME = 250
_LONGEST_PREFIX = _LONGEST_NAME - 32
# What the server stores beside name and data: a header of 48 bytes, the token of 8, and the fill of a slab's chunk.
_OVERHEAD = 256
_LONGEST_SPAN = 60 * 60 * 24 * 30
"""Seconds. Memcached takes a larger number for a date."""


class Items:
    """The names, sizes and lifetimes of items.

    A name holds the prefix and the key in hex, and so never bytes that a client sent.
    """

    __slots__ = ("_prefix", "max_item_bytes")

    def __init__(self, prefix: str, max_item_bytes: int) -> None:
        """Check both.

        Raises:
            ConfigurationError: Memcached takes no such prefix, or no record would fit.
        """
        if not isinstance(prefix, str) or not all("!" <= letter <= "~" for letter in prefix):
            raise ConfigurationError(
                f"prefix={prefix!r} can't begin a key of Memcached: use visible ASCII characters, without spaces."
            )
        if len(prefix) > _LONGEST_PREFIX:
            raise ConfigurationError(
                f"prefix= has {len(prefix)} characters; Memcached's keys leave room for {_LONGEST_PREFIX}."
            )
        if not isinstance(max_item_bytes, int) or max_item_bytes < 1024:
            raise ConfigurationError(
                "max_item_bytes must be an int of at least 1024: the size that the server was started with (-I)."
            )
        self._prefix = prefix
        self.max_item_bytes: int = max_item_bytes

    def name(self, key: bytes) -> bytes:
        """The name of the item that holds the data of `key`."""
        return f"{self._prefix}{key.hex()}".encode()

    def too_large(self, name: bytes, data: bytes) -> TooLarge | None:
        """The error if the item would be larger than the server's largest, so that it need not be sent."""
        size = len(name) + len(data) + _OVERHEAD
        if size <= self.max_item_bytes:
            return None
        return TooLarge(
            f"The record takes {size} bytes in Memcached, whose largest item is {self.max_item_bytes} "
            "(max_item_bytes). Keep large things elsewhere, and their ids in the session.",
            size=size,
            limit=self.max_item_bytes,
        )

    @staticmethod
    def lifetime(expires: int, now: int) -> int:
        """What to tell Memcached about an item that expires at `expires`, told at `now` (both ms).

        Seconds from now up to 30 days, else a date. Never 0, which would mean for ever. The server's clock ticks once
        a second, so that the item gets one second more: it must not go before its data expires.
        """
        left = ceil((expires - now) / 1000)
        if left <= 0:
            return -1  # expired at once
        left += 1
        return left if left <= _LONGEST_SPAN else now // 1000 + left
