"""The Redis stores: `RedisStore` for threads, `AsyncRedisStore` for event loops."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, TypeVar, cast

from coatcheck.errors import ConfigurationError, StoreError
from coatcheck.model.ports import Entry, Index, Loaded, Write, Written
from coatcheck.stores.breaker import Breaker
from coatcheck.stores.redis.clients import Source, source_of_client
from coatcheck.stores.redis.clusters import AnyCluster, AsyncCluster, Cluster
from coatcheck.stores.redis.index import UserIndex
from coatcheck.stores.redis.loops import PerLoop
from coatcheck.stores.redis.pools import (
    PATIENCE,
    AnyPool,
    AsyncPool,
    Calls,
    Pool,
    Share,
    driven,
    driven_async,
    exchanged,
)
from coatcheck.stores.redis.records import Records, loaded, ping
from coatcheck.stores.redis.scripts import SERVERS, Command, Steps
from coatcheck.stores.redis.sockets import bounded

__all__ = ["MAX_CONNECTIONS", "AsyncRedisStore", "RedisStore"]

_T = TypeVar("_T")
MAX_CONNECTIONS = 50


def _calls(steps: Steps[_T], servers: AnyPool | AnyCluster, deadline: float) -> Calls[_T]:
    """The calls of an operation on some servers: a pool, or a cluster."""
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
        return cast("_T", end.value)


class _Store:
    _is_async: bool

    def __init__(
        self, client: Any, *, prefix: str = "coatcheck:", max_connections: int = MAX_CONNECTIONS
    ) -> None:
        if not isinstance(max_connections, int) or isinstance(max_connections, bool) or max_connections < 1:
            raise ConfigurationError("max_connections must be a number of connections, at least 1")
        if not isinstance(client, Source):
            client = source_of_client(client, asynchronous=self._is_async)
        self._source: Source = client
        self._most = max_connections
        self._breakers = {client.where: Breaker(client.where, patience=PATIENCE)}
        self._records = Records(prefix, together=not client.is_cluster)
        self._index = UserIndex(self._records.prefix)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}, {self._source.where}>"

    @property
    def index(self) -> Index:
        """A list beside the records."""
        return "beside"


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

    def __init__(
        self, client: Any, *, prefix: str = "coatcheck:", max_connections: int = MAX_CONNECTIONS
    ) -> None:
        super().__init__(client, prefix=prefix, max_connections=max_connections)
        source, breakers = self._source, self._breakers
        self._servers: Cluster | Pool
        if source.is_cluster:
            self._servers = Cluster(source, self._most, breakers)
        else:
            self._servers = Pool(source.make(bounded), source.where, self._most, breakers[source.where])

    def load(self, keys: Sequence[bytes], now: int, deadline: float) -> Sequence[Loaded]:
        """The data under each key, in one round trip; in a cluster, in one for each server."""
        if len(keys) == 1 and isinstance(self._servers, Pool):
            # The same as below, in fewer calls: the budget of a WSGI read. `test_cost` holds them equal.
            share = Share(self._servers, [Command(keys[0], self._records.get(keys[0]), reads=True)])
            driven(exchanged([share], deadline), deadline)
            if share.error is not None:
                raise share.error
            return [loaded(share.replies[0])]
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

    def ping(self, deadline: float) -> None:
        """Return if the server can be reached, in a cluster each primary, else raise a `StoreError`."""
        self._do(ping(), deadline)

    def close(self) -> None:
        """Close all connections. The next call opens new ones."""
        self._servers.close()

    def _do(self, steps: Steps[_T], deadline: float) -> _T:
        return driven(_calls(steps, self._servers, deadline), deadline)


class AsyncRedisStore(_Store):
    """`RedisStore`, with the same arguments and methods, for asyncio. Each event loop has connections of its own."""

    _is_async = True

    def __init__(
        self, client: Any, *, prefix: str = "coatcheck:", max_connections: int = MAX_CONNECTIONS
    ) -> None:
        super().__init__(client, prefix=prefix, max_connections=max_connections)
        self._loops: PerLoop[AsyncCluster | AsyncPool] = PerLoop(self._made)

    def _made(self) -> AsyncCluster | AsyncPool:
        source, breakers = self._source, self._breakers
        if source.is_cluster:
            return AsyncCluster(source, self._most, breakers)
        return AsyncPool(source.make(lambda kind: kind), source.where, self._most, breakers[source.where])

    @property
    def loads_in_place(self) -> bool:
        """Loading waits for the server."""
        return False

    async def load(self, keys: Sequence[bytes], now: int, deadline: float) -> Sequence[Loaded]:
        servers = self._loops.here()
        if len(keys) == 1 and isinstance(servers, AsyncPool):
            # As in `RedisStore`: the budget of an ASGI read.
            share = Share(servers, [Command(keys[0], self._records.get(keys[0]), reads=True)])
            await driven_async(exchanged([share], deadline), deadline)
            if share.error is not None:
                raise share.error
            return [loaded(share.replies[0])]
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

    async def ping(self, deadline: float) -> None:
        await self._do(ping(), deadline)

    async def close(self) -> None:
        await self._loops.close()

    async def _do(self, steps: Steps[_T], deadline: float) -> _T:
        return await driven_async(_calls(steps, self._loops.here(), deadline), deadline)
