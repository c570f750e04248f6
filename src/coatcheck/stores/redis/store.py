"""The Redis stores: `RedisStore` for threads, `AsyncRedisStore` for event loops."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Self, TypeVar

from coatcheck.errors import ConfigurationError, StoreError
from coatcheck.model.ports import Entry, Index, Loaded, Write, Written
from coatcheck.stores.breaker import Breaker
from coatcheck.stores.loops import PerLoop
from coatcheck.stores.redis.address import address_of, no_host
from coatcheck.stores.redis.calls import Calls, driven, driven_async
from coatcheck.stores.redis.clients import Source, source_of_client, source_of_url
from coatcheck.stores.redis.clusters import Cluster, Server
from coatcheck.stores.redis.index import UserIndex
from coatcheck.stores.redis.pools import Pool
from coatcheck.stores.redis.records import Records, loaded, ping
from coatcheck.stores.redis.scripts import SERVERS, Command, Steps

__all__ = ["AsyncRedisStore", "RedisStore"]

_T = TypeVar("_T")
_PATIENCE = 2.0
"""Seconds for which a failed server is tried by one caller only."""
_CLOSING = 2.0
"""Seconds for which closing waits for connections that say goodbye, as those with TLS do."""


def _calls(steps: Steps[_T], servers: Pool | Cluster, deadline: float) -> Calls[_T]:
    """The calls of an operation on some servers."""
    try:
        commands = next(steps)
        while True:
            replies: Sequence[Any] = ()
            if commands is SERVERS:
                replies = yield from servers.servers(deadline)
            elif commands:
                replies = yield from servers.exchange(commands, deadline)
            commands = steps.send(replies)
    except StopIteration as end:
        answer: _T = end.value
        return answer


class _Store:
    _is_async: bool

    def __init__(self, client: Any, *, prefix: str = "coatcheck:", max_connections: int = 50) -> None:
        if not isinstance(max_connections, int) or isinstance(max_connections, bool) or max_connections < 1:
            raise ConfigurationError("max_connections must be a number of connections, at least 1")
        if not isinstance(client, Source):
            client = source_of_client(client, is_async=self._is_async)
        self._source: Source = client
        self._max_connections = max_connections
        self._breakers: dict[str, Breaker] = {}
        self._records = Records(prefix, together=not client.seeds)
        self._index = UserIndex(self._records.prefix)

    @classmethod
    def from_url(
        cls,
        url: str,
        *,
        client: Any = None,
        prefix: str = "coatcheck:",
        max_connections: int = 50,
        tls_ca: str | None = None,
        tls_cert: str | None = None,
        tls_key: str | None = None,
        sentinel_username: str | None = None,
        sentinel_password: str | None = None,
    ) -> Self:
        """The store on the servers that a URL names. Nothing is connected before the first call.

        Args:
            url: See `docs/how-to/redis.md` for its forms.
            client: A client of the application's own; the URL is then ``redis://`` alone. See `RedisStore`.
            prefix: The text that all keys begin with.
            max_connections: See `RedisStore`.
            tls_ca: The file of certificates by which the server's is checked. None: those of the system.
            tls_cert: The file of the certificate by which the server knows this client.
            tls_key: The file of its key.
            sentinel_username: The user at the Sentinels, if they ask for one.
            sentinel_password: The password at the Sentinels.

        Raises:
            ConfigurationError: No store can be made of these settings.
        """
        options = {
            "tls_ca": tls_ca,
            "tls_cert": tls_cert,
            "tls_key": tls_key,
            "sentinel_username": sentinel_username,
            "sentinel_password": sentinel_password,
        }
        if client is None:
            client = source_of_url(address_of(url, options), is_async=cls._is_async)
        else:
            no_host(url, options)
        return cls(client, prefix=prefix, max_connections=max_connections)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}, {self._source.where}>"

    @property
    def index(self) -> Index:
        """A list beside the records."""
        return "beside"

    def _connected(self) -> Pool | Cluster:
        """The servers, with connections of this process or event loop."""
        return Cluster(self._source.seeds, self._pool) if self._source.seeds else self._pool(None)

    def _pool(self, server: Server | None) -> Pool:
        where = self._source.where if server is None else f"{server.host}:{server.port}"
        breaker = self._breakers.setdefault(where, Breaker(where, patience=_PATIENCE))
        settings = self._source.settings(server)
        return Pool(settings, where, self._max_connections, breaker, is_async=self._is_async)


class RedisStore(_Store):
    """A store on one Redis server, a pair behind Sentinels, or a cluster. Safe for threads and across forks.

    `from_url` makes one without a client.

    Args:
        client: A client of redis-py or valkey-py: `redis.Redis`, that of a Sentinel, or `redis.RedisCluster`; for
            `AsyncRedisStore` the same of `redis.asyncio`. The store makes connections of its own to the client's servers,
            with its credentials and TLS; the client's pool, retries and time-outs are not used.
        prefix: The text that all keys begin with.
        max_connections: How many connections there are at most to each server, and in async for each event loop. A
            caller that finds all of them taken waits.

    Raises:
        ConfigurationError: No store can be made of these settings.
    """

    _is_async = False

    def __init__(self, client: Any, *, prefix: str = "coatcheck:", max_connections: int = 50) -> None:
        super().__init__(client, prefix=prefix, max_connections=max_connections)
        self._servers = self._connected()

    def load(self, keys: Sequence[bytes], now: int, deadline: float) -> Sequence[Loaded]:
        """The data under each key, in one round trip; in a cluster, in one for each server."""
        if len(keys) == 1 and isinstance(self._servers, Pool):
            # The same as below in fewer calls, for the budget of a WSGI read.
            command = Command(keys[0], self._records.get(keys[0]), reads=True)
            return [loaded(driven(self._servers.exchange([command], deadline), deadline)[0])]
        return self._do(self._records.load(keys), deadline)

    def write(self, writes: Sequence[Write], now: int, deadline: float) -> Sequence[Written]:
        """Carry out each write by itself, all in one round trip; in a cluster, in one for each server."""
        return self._do(self._records.write(writes, now), deadline)

    def remove(self, keys: Sequence[bytes], now: int, deadline: float) -> Sequence[bool | StoreError]:
        """Remove what lies under each key."""
        return self._do(self._records.remove(keys), deadline)

    def note(self, entries: Sequence[Entry], now: int, deadline: float) -> None:
        """Store entries in the index, in one round trip."""
        self._do(self._index.note(entries, now), deadline)

    def sessions_of(
        self, user: str, now: int, limit: int, after: Entry | None, deadline: float
    ) -> Sequence[Entry]:
        """A page of the user's entries, the newest sign-in first."""
        return self._do(self._index.sessions_of(user, now, limit, after), deadline)

    def index_may_be_incomplete(self, deadline: float) -> str | None:
        """Why the server may have lost index entries, by its maxmemory-policy; None: it can't have."""
        return self._do(self._index.incomplete(), deadline)

    def forget(self, entries: Sequence[Entry], deadline: float) -> None:
        """Remove each entry that still is exactly the same."""
        self._do(self._index.forget(entries), deadline)

    def count(self, now: int, deadline: float) -> int:
        """How many sessions there are. It walks through all keys of the servers: for scripts, not for requests."""
        return self._do(self._records.count(), deadline)

    def sweep(self, now: int, limit: int, deadline: float) -> int:
        """Remove expired index entries; records expire by themselves.

        It stops after half of the time until the deadline, and the next one goes on from there.
        """
        return self._do(self._index.sweep(now, limit, (time.monotonic() + deadline) / 2), deadline)

    def ping(self, deadline: float) -> int:
        """The server's clock, in a cluster the latest of all primaries'. Raises a `StoreError` if one can't be reached."""
        return self._do(ping(), deadline)

    def close(self) -> None:
        """Close all connections. The next call opens new ones."""
        driven(self._servers.close(), time.monotonic() + _CLOSING)

    def _do(self, steps: Steps[_T], deadline: float) -> _T:
        return driven(_calls(steps, self._servers, deadline), deadline)


class AsyncRedisStore(_Store):
    """`RedisStore`, with the same arguments and methods, for asyncio. Each event loop has connections of its own."""

    _is_async = True

    def __init__(self, client: Any, *, prefix: str = "coatcheck:", max_connections: int = 50) -> None:
        super().__init__(client, prefix=prefix, max_connections=max_connections)
        self._loops: PerLoop[Pool | Cluster] = PerLoop(self._connected, _closed, _abandoned)

    @property
    def loads_in_place(self) -> bool:
        """Loading waits for the server."""
        return False

    async def load(self, keys: Sequence[bytes], now: int, deadline: float) -> Sequence[Loaded]:
        servers = self._loops.here()
        if len(keys) == 1 and isinstance(servers, Pool):
            # As in `RedisStore`, for the budget of an ASGI read (`tests/test_call_counts.py`).
            command = Command(keys[0], self._records.get(keys[0]), reads=True)
            return [loaded((await driven_async(servers.exchange([command], deadline), deadline))[0])]
        return await self._do(self._records.load(keys), deadline)

    async def write(self, writes: Sequence[Write], now: int, deadline: float) -> Sequence[Written]:
        return await self._do(self._records.write(writes, now), deadline)

    async def remove(self, keys: Sequence[bytes], now: int, deadline: float) -> Sequence[bool | StoreError]:
        return await self._do(self._records.remove(keys), deadline)

    async def note(self, entries: Sequence[Entry], now: int, deadline: float) -> None:
        await self._do(self._index.note(entries, now), deadline)

    async def sessions_of(
        self, user: str, now: int, limit: int, after: Entry | None, deadline: float
    ) -> Sequence[Entry]:
        return await self._do(self._index.sessions_of(user, now, limit, after), deadline)

    async def index_may_be_incomplete(self, deadline: float) -> str | None:
        return await self._do(self._index.incomplete(), deadline)

    async def forget(self, entries: Sequence[Entry], deadline: float) -> None:
        await self._do(self._index.forget(entries), deadline)

    async def count(self, now: int, deadline: float) -> int:
        return await self._do(self._records.count(), deadline)

    async def sweep(self, now: int, limit: int, deadline: float) -> int:
        return await self._do(self._index.sweep(now, limit, (time.monotonic() + deadline) / 2), deadline)

    async def ping(self, deadline: float) -> int:
        return await self._do(ping(), deadline)

    async def close(self) -> None:
        await self._loops.close()

    async def _do(self, steps: Steps[_T], deadline: float) -> _T:
        return await driven_async(_calls(steps, self._loops.here(), deadline), deadline)


async def _closed(servers: Pool | Cluster) -> None:
    await driven_async(servers.close(), time.monotonic() + _CLOSING)


def _abandoned(servers: Pool | Cluster) -> None:
    servers.abandon()
