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
    """Keeps each record under its bare id: as with gimlet, the prefix is not used.

    Of several hosts the id's hash says which one has it, as in libmemcached. A host that is down is an error for its
    sessions, and no other host takes them over: they would come back, outdated, when it does.
    """

    def __init__(self, hosts: str | Iterable[str] = ("localhost",), *args: Any, **kw: Any) -> None:
        """Make one; nothing is connected yet.

        Args:
            hosts: ``host`` or ``host:port``, in a list, or in one text with blanks or commas between them.
            *args: What `BaseBackend` takes.
            **kw: What `BaseBackend` takes.
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
        """One round trip for each host that has one of them."""
        raws: dict[bytes, bytes] = {}
        for pool in self.pools:
            here = [key for key in ids if self._pool_of(key) is pool]
            if here:
                raws |= pool.get_many(here)
        return self._read((key, raws.get(key)) for key in ids)

    def write_many(
        self, writes: Sequence[Write], gone: Sequence[bytes], renewals: Sequence[Renewal]
    ) -> set[bytes]:
        """One round trip for each; Memcached knows nothing that writes several records."""
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
                f"The record has {len(raw)} bytes, more than the server takes (its option -I).",
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
    """Memcached counts more than 30 days from 1970."""
    return seconds if seconds <= _LONGEST_RELATIVE else int(time.time()) + seconds


def _one_at_a_time(key: bytes) -> int:
    """Bob Jenkins' hash, by which libmemcached's default distribution chooses a host."""
    value = 0
    for byte in key:
        value = (value + byte) & 0xFFFFFFFF
        value = (value + (value << 10)) & 0xFFFFFFFF
        value ^= value >> 6
    value = (value + (value << 3)) & 0xFFFFFFFF
    value ^= value >> 11
    return (value + (value << 15)) & 0xFFFFFFFF
