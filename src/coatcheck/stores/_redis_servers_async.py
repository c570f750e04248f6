"""The same as `_redis_servers` for event loops: each has servers, and so connections, of its own."""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import suppress
from typing import Any, Protocol

from coatcheck.errors import ConfigurationError
from coatcheck.stores import _redis_clients as clients
from coatcheck.stores._redis_errors import Broken, Said
from coatcheck.stores._redis_lines import broken_off
from coatcheck.stores._redis_lines_async import AsyncLines, AsyncPoolLines
from coatcheck.stores._redis_replies import Reply
from coatcheck.stores._redis_url import Address, Limits
from coatcheck.stores.breaker import Breaker

__all__ = ["AsyncServers", "PerLoop", "their_servers", "url_servers"]

_ASKED_ANEW = 0.2


class _Line(Protocol):
    async def exchange(self, data: bytes, count: int, until: float) -> list[Reply]: ...
    async def renew(self) -> None: ...
    async def close(self) -> None: ...
    def abandon(self) -> None: ...


class AsyncServers:
    """See `_redis_servers.Servers`."""

    def __init__(self, line: _Line, sentinels: Sequence[Any] = ()) -> None:
        """Take the connections to it, and the clients that ask Sentinels which one it is."""
        self._one = line
        self._sentinels = sentinels

    async def line_of(self, key: bytes, moved: Said | None, until: float) -> _Line:
        """The connections to the server that has the key, or to which it was moved."""
        return self._one

    async def all(self, until: float) -> list[_Line]:
        """The connections to each server that may be written to."""
        return [self._one]

    async def renew(self, until: float) -> None:
        """Ask anew where the server is, if a connection can't be trusted to know."""
        await self._one.renew()

    async def close(self) -> None:
        """Close the connections."""
        await self._one.close()
        for sentinel in self._sentinels:
            with suppress(Exception):
                await sentinel.aclose()

    def abandon(self) -> None:
        """Let go of them at once, without a loop to wait in."""
        self._one.abandon()
        for sentinel in self._sentinels:
            clients.abandon_pool(sentinel.connection_pool)


class _AsyncCluster(AsyncServers):
    def __init__(
        self, make: Callable[[], Any], where: str, breakers: dict[str, Breaker], limits: Limits | None
    ) -> None:
        self._make = make
        self._where = where
        self._limits = limits
        self._client: Any = None
        self._lines: dict[str, _Line] = {}
        self._breakers = breakers
        self._lock = asyncio.Lock()
        self._asked = 0.0

    async def line_of(self, key: bytes, moved: Said | None, until: float) -> _Line:
        client = await self._connected(until)
        try:
            node = None
            if moved is not None and moved.address is not None:
                node = client.get_node(*moved.address)
                if node is None:
                    await self._ask_anew(client, until)
                    node = client.get_node(*moved.address)
            return self._line_to(node or client.get_node_from_key(key))
        except Exception as error:
            raise Broken(self._where, error, sent=False) from error

    async def all(self, until: float) -> list[_Line]:
        client = await self._connected(until)
        return [self._line_to(node) for node in client.get_primaries()]

    async def renew(self, until: float) -> None:
        if self._client is not None:
            await self._ask_anew(self._client, until)

    async def close(self) -> None:
        for line in self._lines.values():
            await line.close()
        if self._limits is not None and self._client is not None:
            with suppress(Exception):
                await self._client.aclose()

    def abandon(self) -> None:
        for line in self._lines.values():
            line.abandon()

    async def _connected(self, until: float) -> Any:
        if self._client is None:
            breaker = self._breakers.setdefault("", self._new_breaker(self._where))
            breaker.admit()
            try:
                async with asyncio.timeout(until - time.monotonic()), self._lock:
                    if self._client is None:
                        self._client = await self._initialized()
            except Exception as error:
                raise broken_off(breaker, self._where, error, sent=False) from error
        return self._client

    def _new_breaker(self, where: str) -> Breaker:
        return Breaker(where, patience=self._limits.deadline if self._limits else 0.0)

    async def _initialized(self) -> Any:
        client = self._make()
        try:
            await client.initialize()
        except BaseException:
            with suppress(Exception):
                await client.aclose()
            raise
        return client

    def _line_to(self, node: Any) -> _Line:
        line = self._lines.get(node.name)
        if line is None:
            breaker = self._breakers.setdefault(node.name, self._new_breaker(node.name))
            if self._limits is None:
                line = AsyncPoolLines(_Lender(node), node.name, breaker=breaker)
            else:
                line = AsyncLines(
                    node,
                    node.name,
                    most=self._limits.max_connections,
                    connect_deadline=self._limits.connect_deadline,
                    breaker=breaker,
                )
            self._lines[node.name] = line
        return line

    async def _ask_anew(self, client: Any, until: float) -> None:
        with suppress(Exception):
            async with asyncio.timeout(until - time.monotonic()), self._lock:
                if time.monotonic() >= self._asked + _ASKED_ANEW:
                    try:
                        await client.nodes_manager.initialize()
                    finally:
                        self._asked = time.monotonic()


class _Lender:
    """What a pool does for `AsyncPoolLines`, by a node of a cluster, which has no pool."""

    def __init__(self, node: Any) -> None:
        self._node = node

    async def get_connection(self) -> Any:
        return self._node.acquire_connection()

    async def release(self, connection: Any) -> None:
        # Before redis-py 6 its pipelines did it themselves.
        release = getattr(self._node, "release", None) or self._node._free.append  # noqa: SLF001
        release(connection)

    async def disconnect(self, *, inuse_connections: bool) -> None:
        await self._node.disconnect_free_connections()


class PerLoop:
    """The servers, for each event loop anew, and for each process."""

    def __init__(
        self, make: Callable[[], AsyncServers], *, is_cluster: bool, for_one_loop: bool = False
    ) -> None:
        self._make = make
        self._for_one_loop = for_one_loop
        self.is_cluster: bool = is_cluster
        self._start()

    def _start(self) -> None:
        self._pid = os.getpid()
        self._lock = threading.Lock()
        self._servers: dict[asyncio.AbstractEventLoop, AsyncServers] = {}
        self._ends: dict[asyncio.AbstractEventLoop, AsyncGenerator[None, None]] = {}

    def here(self) -> AsyncServers:
        """Those of the running loop."""
        loop = asyncio.get_running_loop()
        servers = self._servers.get(loop)
        if servers is None or self._pid != os.getpid():
            servers = self._anew(loop)
        return servers

    async def close(self) -> None:
        """Close the connections of the running loop, and have those of other loops closed by them."""
        here = asyncio.get_running_loop()
        for loop, its in list(self._servers.items()):
            if loop is here:
                await self._ends[loop].aclose()
            else:
                self._servers.pop(loop, None)
                with suppress(RuntimeError):
                    loop.call_soon_threadsafe(its.abandon)

    def _anew(self, loop: asyncio.AbstractEventLoop) -> AsyncServers:
        if self._pid != os.getpid():
            # Forked: those connections are the parent's, not to be used, nor to be closed.
            _inherited.append((self._servers, self._ends))
            self._start()
        with self._lock:
            # A loop would never be let go while its connections are kept.
            for other in [other for other in self._servers if other.is_closed()]:
                self._servers.pop(other).abandon()
                self._ends.pop(other, None)
            if self._for_one_loop and self._servers:
                raise ConfigurationError(
                    "The client that was given is in use by another event loop; give a URL, of which each loop has"
                    " its own connections."
                )
            servers = self._servers[loop] = self._make()
            end = self._ends[loop] = self._until_the_loop_ends(loop, servers)
        # A loop that is shut down in order (`asyncio.run` does it) ends its asynchronous generators; so this one closes
        # the connections in time. Its beginning waits for nothing.
        with suppress(StopIteration):
            end.__anext__().send(None)
        return servers

    async def _until_the_loop_ends(
        self, loop: asyncio.AbstractEventLoop, servers: AsyncServers
    ) -> AsyncGenerator[None, None]:
        try:
            yield
        finally:
            self._servers.pop(loop, None)
            self._ends.pop(loop, None)
            await servers.close()


_inherited: list[object] = []


def url_servers(address: Address, limits: Limits) -> PerLoop:
    """The servers that a URL names. Nothing is connected before it is asked for."""
    breakers: dict[str, Breaker] = {}
    breaker = Breaker(address.where, patience=limits.deadline)

    def make() -> AsyncServers:
        if address.kind == "cluster":
            return _AsyncCluster(
                lambda: clients.async_cluster(address, limits), address.where, breakers, limits
            )
        pool = clients.async_pool(address, limits)
        line = AsyncLines(
            pool,
            address.where,
            most=limits.max_connections,
            connect_deadline=limits.connect_deadline,
            breaker=breaker,
        )
        return AsyncServers(line, clients.sentinels_of(pool))

    return PerLoop(make, is_cluster=address.kind == "cluster")


def their_servers(client: Any, deadline: float) -> PerLoop:
    """The servers of a client of the application's own, by calls that take no longer than `deadline`."""
    is_cluster = getattr(client, "connection_pool", None) is None

    def make() -> AsyncServers:
        if is_cluster:
            return _AsyncCluster(lambda: client, "the cluster of the client that was given", {}, None)
        where = "the server of the client that was given"
        breaker = Breaker(where, patience=deadline)
        return AsyncServers(AsyncPoolLines(client.connection_pool, where, breaker=breaker))

    return PerLoop(make, is_cluster=is_cluster, for_one_loop=True)
