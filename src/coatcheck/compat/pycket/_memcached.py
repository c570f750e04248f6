"""The few commands that pycket needs of Memcached, on pymemcache, with the places that python-memcached chose."""

from __future__ import annotations

import re
from binascii import crc32
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

# It ships no types.
from pymemcache.client.base import (  # type: ignore[import-untyped,unused-ignore]  # pyright: ignore[reportMissingTypeStubs]
    PooledClient,
)
from pymemcache.exceptions import (  # type: ignore[import-untyped,unused-ignore]  # pyright: ignore[reportMissingTypeStubs]
    MemcacheClientError,
    MemcacheError,
    MemcacheUnexpectedCloseError,
)

from coatcheck.errors import StoreError, StoreFull, StoreTimeout, StoreUnavailable, TooLarge

__all__ = ["MemcachedClient"]

_DEFAULT_PORT = 11211
_MEBIBYTE = 1 << 20
_UNIX = re.compile(r"unix:(?P<path>.+)")
_INET6 = re.compile(r"inet6:\[(?P<host>[^\[\]]+)\](?::(?P<port>[0-9]+))?")
_INET = re.compile(r"(?:inet:)?(?P<host>[^:\s]+)(?::(?P<port>[0-9]+))?")

# Of python-memcached's options, those that have no meaning here: its pickling, its waiting for dead servers, its checks.
_WITHOUT_MEANING = frozenset(
    {
        *("debug", "pickleProtocol", "pickler", "unpickler", "compressor", "decompressor", "pload", "pid"),
        *(
            "server_max_key_length",
            "server_max_value_length",
            "dead_retry",
            "flush_on_reconnect",
            "cache_cas",
        ),
        *("check_keys",),
    }
)


class _Server(NamedTuple):
    name: str
    weight: int
    client: Any


class MemcachedClient:
    """Safe for threads. A server that can't be reached is `StoreUnavailable`, never an empty session.

    Nor is its share moved to another server, as python-memcached does after a while: what is deleted there would come
    back from here.
    """

    def __init__(
        self, servers: str | Iterable[str | tuple[str, int]], *, socket_timeout: float = 3, **options: Any
    ) -> None:
        """With servers as python-memcached takes them; the other options are those of pymemcache."""
        listed = re.split(r"[\s,]+", servers.strip()) if isinstance(servers, str) else servers
        options = {name: value for name, value in options.items() if name not in _WITHOUT_MEANING}
        options = {"connect_timeout": socket_timeout, "timeout": socket_timeout, "no_delay": True, **options}
        self._servers = [_server(listed_one, options) for listed_one in listed]
        self._buckets = [server for server in self._servers for _ in range(server.weight)]

    def get(self, key: str) -> bytes | None:
        """The value, None if there is none."""
        return self.gets(key)[0]

    def gets(self, key: str) -> tuple[bytes | None, bytes | None]:
        """The value, and what names this version of it."""
        value, token = self._ask(key, lambda client: client.gets(key))
        return value, token

    def set(self, key: str, value: bytes, expire: int) -> None:
        """Write it, whatever lies there."""
        self._store(key, value, lambda client: client.set(key, value, expire))

    def add(self, key: str, value: bytes, expire: int) -> bool:
        """Write it, if nothing lies there."""
        return bool(self._store(key, value, lambda client: client.add(key, value, expire)))

    def cas(self, key: str, value: bytes, token: bytes, expire: int) -> bool:
        """Write it in place of the version that `token` names."""
        # Not asked again where the reply was lost: a second try would not know the first one for its own.
        return bool(
            self._store(key, value, lambda client: client.cas(key, value, token, expire), again=False)
        )

    def delete(self, key: str) -> None:
        """Let go of it, if it is there."""
        self._ask(key, lambda client: client.delete(key))

    def get_stats(self) -> list[tuple[str, dict[str, str]]]:
        """What each server says of itself."""
        answers: list[tuple[str, dict[str, str]]] = []
        for server in self._servers:
            stats = _asked(server, lambda client: client.stats(), again=True)
            answers.append(
                (f"{server.name} ({server.weight})", {_text(name): _text(stats[name]) for name in stats})
            )
        return answers

    def close(self) -> None:
        """Let go of the connections. They are made again when needed."""
        for server in self._servers:
            server.client.close()

    def _store(self, key: str, value: bytes, ask: Callable[[Any], Any], *, again: bool = True) -> Any:
        try:
            return self._ask(key, ask, again=again)
        except StoreError as error:
            told = str(error.__cause__)
            if "too large" in told:
                raise TooLarge(
                    f"A session of {len(value)} bytes is more than Memcached takes (1 MiB unless it is started "
                    "with another -I).",
                    size=len(value),
                    limit=_MEBIBYTE,
                ) from error.__cause__
            if "out of memory" in told:
                raise StoreFull("Memcached has no room left.") from error.__cause__
            raise

    def _ask(self, key: str, ask: Callable[[Any], Any], *, again: bool = True) -> Any:
        # What python-memcached computes, so that running sessions are found where it has put them.
        place = (crc32(key.encode()) >> 16) & 0x7FFF
        return _asked(self._buckets[place % len(self._buckets)], ask, again=again)


def _asked(server: _Server, ask: Callable[[Any], Any], *, again: bool) -> Any:
    try:
        return ask(server.client)
    except TimeoutError as error:
        raise StoreTimeout(f"Memcached at {server.name} did not answer.", ambiguous=True) from error
    except (OSError, MemcacheUnexpectedCloseError) as error:
        if again:
            # The connections were idle while the server was started anew.
            server.client.close()
            return _asked(server, ask, again=False)
        raise StoreUnavailable(f"Memcached at {server.name} can't be reached.") from error
    except MemcacheClientError:
        raise
    except MemcacheError as error:
        raise StoreError(f"Memcached at {server.name} refused.") from error


def _server(listed: str | tuple[str, int], options: dict[str, Any]) -> _Server:
    name, weight = (listed, 1) if isinstance(listed, str) else listed
    if found := _UNIX.fullmatch(name):
        address: str | tuple[str, int] = found["path"]
    elif found := _INET6.fullmatch(name) or _INET.fullmatch(name):
        port = int(found["port"] or _DEFAULT_PORT)
        if port > 65535:
            raise OverflowError(f"{name}: a port is 0 to 65535.")
        address = found["host"], port
    else:
        raise ValueError(f"Unable to parse connection string: {name!r}")
    # Each write is acknowledged; pymemcache's default is to hope.
    return _Server(name, weight, PooledClient(address, default_noreply=False, **options))


def _text(told: object) -> str:
    return told.decode("utf-8", "replace") if isinstance(told, bytes) else str(told)
