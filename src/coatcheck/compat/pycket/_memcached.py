"""The Memcached commands that pycket needs, on pymemcache, with python-memcached's distribution over servers."""

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

# Options of python-memcached for its pickling, dead servers and checks, which this client does not have.
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
    """A client that is safe for threads. A server that can't be reached raises `StoreUnavailable`.

    Its keys are not moved to another server, as python-memcached does after a while: records that were deleted there
    would reappear when the server returns.
    """

    def __init__(
        self, servers: str | Iterable[str | tuple[str, int]], *, socket_timeout: float = 3, **options: Any
    ) -> None:
        """`servers` has python-memcached's format; the other options are those of pymemcache."""
        listed = re.split(r"[\s,]+", servers.strip()) if isinstance(servers, str) else servers
        options = {name: value for name, value in options.items() if name not in _WITHOUT_MEANING}
        options = {"connect_timeout": socket_timeout, "timeout": socket_timeout, "no_delay": True, **options}
        self._servers = [_server(listed_one, options) for listed_one in listed]
        self._buckets = [server for server in self._servers for _ in range(server.weight)]

    def get(self, key: str) -> bytes | None:
        """The value, or None if there is none."""
        return self.gets(key)[0]

    def gets(self, key: str) -> tuple[bytes | None, bytes | None]:
        """The value, and the token of its version for `cas`."""
        value, token = self._ask(key, lambda client: client.gets(key))
        return value, token

    def set(self, key: str, value: bytes, expire: int) -> None:
        """Write the value unconditionally."""
        self._store(key, value, lambda client: client.set(key, value, expire))

    def add(self, key: str, value: bytes, expire: int) -> bool:
        """Write the value if the key does not exist. Returns whether it was written."""
        return bool(self._store(key, value, lambda client: client.add(key, value, expire)))

    def cas(self, key: str, value: bytes, token: bytes, expire: int) -> bool:
        """Write the value if its version is still that of `token`. Returns whether it was written."""
        # No retry after a lost reply: it would take the first try's value for that of another writer.
        return bool(
            self._store(key, value, lambda client: client.cas(key, value, token, expire), again=False)
        )

    def delete(self, key: str) -> None:
        """Delete the key if it exists."""
        self._ask(key, lambda client: client.delete(key))

    def get_stats(self) -> list[tuple[str, dict[str, str]]]:
        """The statistics of each server."""
        answers: list[tuple[str, dict[str, str]]] = []
        for server in self._servers:
            stats = _asked(server, lambda client: client.stats(), again=True)
            answers.append(
                (f"{server.name} ({server.weight})", {_text(name): _text(stats[name]) for name in stats})
            )
        return answers

    def close(self) -> None:
        """Close the connections. The next command opens new ones."""
        for server in self._servers:
            server.client.close()

    def _store(self, key: str, value: bytes, ask: Callable[[Any], Any], *, again: bool = True) -> Any:
        try:
            return self._ask(key, ask, again=again)
        except StoreError as error:
            reply = str(error.__cause__)
            if "too large" in reply:
                raise TooLarge(
                    f"A session of {len(value)} bytes is larger than Memcached accepts (1 MiB, or its option -I).",
                    size=len(value),
                    limit=_MEBIBYTE,
                ) from error.__cause__
            if "out of memory" in reply:
                raise StoreFull("Memcached has no room left.") from error.__cause__
            raise

    def _ask(self, key: str, ask: Callable[[Any], Any], *, again: bool = True) -> Any:
        # python-memcached's hash, so that existing sessions are found on their server.
        place = (crc32(key.encode()) >> 16) & 0x7FFF
        return _asked(self._buckets[place % len(self._buckets)], ask, again=again)


def _asked(server: _Server, ask: Callable[[Any], Any], *, again: bool) -> Any:
    try:
        return ask(server.client)
    except TimeoutError as error:
        raise StoreTimeout(f"Memcached at {server.name} did not answer.", ambiguous=True) from error
    except (OSError, MemcacheUnexpectedCloseError) as error:
        if again:
            # The server was restarted while the connections were idle.
            server.client.close()
            return _asked(server, ask, again=False)
        raise StoreUnavailable(f"Memcached at {server.name} can't be reached.") from error
    except MemcacheClientError:
        raise
    except MemcacheError as error:
        raise StoreError(f"Memcached at {server.name} refused the command.") from error


def _server(listed: str | tuple[str, int], options: dict[str, Any]) -> _Server:
    name, weight = (listed, 1) if isinstance(listed, str) else listed
    if found := _UNIX.fullmatch(name):
        address: str | tuple[str, int] = found["path"]
    elif found := _INET6.fullmatch(name) or _INET.fullmatch(name):
        port = int(found["port"] or _DEFAULT_PORT)
        if port > 65535:
            raise OverflowError(f"{name}: a port must be 0 to 65535.")
        address = found["host"], port
    else:
        raise ValueError(f"Unable to parse connection string: {name!r}")
    # Each write waits for its reply; by default pymemcache does not.
    return _Server(name, weight, PooledClient(address, default_noreply=False, **options))


def _text(value: object) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
