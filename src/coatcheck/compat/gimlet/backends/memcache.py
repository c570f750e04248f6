"""Records in Memcached."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import Any

from pymemcache.client.base import (  # type: ignore[import-untyped,unused-ignore]  # pyright: ignore[reportMissingTypeStubs]
    PooledClient,
)
from pymemcache.exceptions import (  # type: ignore[import-untyped,unused-ignore]  # pyright: ignore[reportMissingTypeStubs]
    MemcacheServerError,
)

from coatcheck.compat.gimlet.backends.base import BaseBackend, Record, Renewal, Write
from coatcheck.errors import DecodeError, TooLarge

__all__ = ["MemcacheBackend"]

_PORT = 11211
_TIMEOUT = 5.0
_LONGEST_RELATIVE = 30 * 24 * 60 * 60
_ITEM = 1024 * 1024


class MemcacheBackend(BaseBackend):
    """Stores each record under its bare id. As in gimlet, the prefix is not used.

    With several hosts the hash of the id chooses the host, as in libmemcached. While a host is down, its sessions raise
    an error. No other host takes them over, since outdated records would reappear when the host returns.
    """

    def __init__(self, hosts: str | Iterable[str] = ("localhost",), *args: Any, **kw: Any) -> None:
        """Make a backend, without connecting yet.

        Args:
            hosts: ``host`` or ``host:port``, in a list, or in one str separated by blanks or commas.
            *args: The arguments of `BaseBackend`.
            **kw: The arguments of `BaseBackend`.
        """
        several = hosts.replace(",", " ").split() if isinstance(hosts, str) else list(hosts)
        if not several:
            raise ValueError("hosts names no host")
        self.pools: list[Any] = [
            PooledClient(
                _address(host),
                connect_timeout=_TIMEOUT,
                timeout=_TIMEOUT,
                no_delay=True,
                default_noreply=False,
            )
            for host in several
        ]
        super().__init__(*args, **kw)

    def __getitem__(self, key: bytes) -> Any:
        return self._one(key, self._pool_of(key).get(key))

    def __setitem__(self, key: bytes, value: Any) -> None:
        self._store(Write(key, value, 0, there=False), self.serialize(value))

    def close(self) -> None:
        """Close the pooled connections."""
        for pool in self.pools:
            pool.close()

    def read_many(self, ids: Sequence[bytes]) -> dict[bytes, Record | DecodeError]:
        """See `BaseBackend.read_many`. One round trip per host."""
        raws: dict[bytes, bytes] = {}
        for pool in self.pools:
            here = [key for key in ids if self._pool_of(key) is pool]
            if here:
                raws |= pool.get_many(here)
        return self._read((key, raws.get(key)) for key in ids)

    def write_many(
        self, writes: Sequence[Write], gone: Sequence[bytes], renewals: Sequence[Renewal]
    ) -> set[bytes]:
        """See `BaseBackend.write_many`. One round trip per record, since Memcached has no command for several."""
        raws = [self.serialize(write.data) for write in writes]
        ended = {write.id for write, raw in zip(writes, raws, strict=True) if not self._store(write, raw)}
        for key in gone:
            self._pool_of(key).delete(key)
        for renewal in renewals:
            self._pool_of(renewal.id).touch(renewal.id, _expiry(renewal.seconds))
        return ended

    def _store(self, write: Write, raw: bytes) -> bool:
        pool = self._pool_of(write.id)
        try:
            command = pool.replace if write.there else pool.set
            return bool(command(write.id, raw, expire=_expiry(write.seconds)))
        except MemcacheServerError as error:
            if "too large" not in str(error):
                raise
            raise TooLarge(
                f"The record has {len(raw)} bytes, more than the server accepts (its option -I).",
                size=len(raw),
                limit=_ITEM,
            ) from error

    def _pool_of(self, key: bytes) -> Any:
        return self.pools[_one_at_a_time(key) % len(self.pools)]


def _address(host: str) -> tuple[str, int] | str:
    if host.startswith("/"):
        return host
    name, colon, port = host.rpartition(":")
    return (name, int(port)) if colon else (host, _PORT)


def _expiry(seconds: int) -> int:
    """The expiry for Memcached, which reads more than 30 days as a Unix time."""
    return seconds if seconds <= _LONGEST_RELATIVE else int(time.time()) + seconds


def _one_at_a_time(key: bytes) -> int:
    """Bob Jenkins' one-at-a-time hash, with which libmemcached chooses a host by default."""
    value = 0
    for byte in key:
        value = (value + byte) & 0xFFFFFFFF
        value = (value + (value << 10)) & 0xFFFFFFFF
        value ^= value >> 6
    value = (value + (value << 3)) & 0xFFFFFFFF
    value ^= value >> 11
    return (value + (value << 15)) & 0xFFFFFFFF
