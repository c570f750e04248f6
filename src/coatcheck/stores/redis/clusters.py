"""A cluster: redis-py's client knows which server has a key, and a pool of each server sends the commands.

redis-py's own calls would not do: its pipelines repeat writes whose answer was lost, its debug log shows arguments, and
its time-outs begin anew with each server that is asked.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any, cast

from coatcheck.errors import StoreError, StoreTimeout, StoreUnavailable
from coatcheck.stores.breaker import Breaker
from coatcheck.stores.redis.clients import Source
from coatcheck.stores.redis.errors import code_of, failure, is_outage
from coatcheck.stores.redis.pools import PATIENCE, TOO_LATE, AsyncPool, Calls, Pool, Share, exchanged
from coatcheck.stores.redis.scripts import Command, Reply
from coatcheck.stores.redis.sockets import bounded

__all__ = ["AnyCluster", "AsyncCluster", "Cluster"]

_MOST_HOPS = 5
_ASKED_AGAIN = 0.2
"""How often (seconds) a cluster is asked where its keys are: all callers see a failure at the same time."""
_ASKING = Command(b"", b"*1\r\n$6\r\nASKING\r\n", reads=True)


class _Delivery:
    """Commands that go to several servers, some by way of others, and their replies."""

    def __init__(self, commands: Sequence[Command]) -> None:
        self._commands = commands
        self.replies: list[Reply] = [None] * len(commands)
        self._pending: dict[int, Any] = dict.fromkeys(range(len(commands)))
        """The places of the commands that are to be sent; a redirection, if there was one."""
        self._next: dict[int, Any] = {}
        self._repeated: set[int] = set()
        self._hops = 0
        self._renews = False

    def by_server(self, client: Any) -> dict[Any, list[int]]:
        """The places of the commands that each server is sent now."""
        nodes: dict[Any, list[int]] = {}
        for place, moved in self._pending.items():
            command = self._commands[place]
            try:
                node = command.server if moved is None else client.get_node(moved.host, moved.port)
                nodes.setdefault(node or client.get_node_from_key(command.key), []).append(place)
            except Exception as error:  # noqa: BLE001 - redis-py knows no server for this key
                self.replies[place] = failure("the cluster", error, ambiguous=False)
        return nodes

    def commands(self, places: Sequence[int]) -> list[Command]:
        """The commands of these places. A server to which a key is being moved wants to be told that it is known."""
        return [
            command
            for place in places
            for command in ((_ASKING,) if self._is_asked(place) else ()) + (self._commands[place],)
        ]

    def _is_asked(self, place: int) -> bool:
        return self._pending[place] is not None and code_of(self._pending[place]) == "ASK"

    def answered(self, places: Sequence[int], share: Share) -> None:
        """Take in what became of the share of a server."""
        error, following = share.error, iter(share.replies)
        for place in places:
            if error is not None:
                self.replies[place], self._renews = error, True
                if (
                    isinstance(error, StoreUnavailable)
                    and not error.ambiguous
                    and place not in self._repeated
                ):
                    # What was not run is sent once more: another server may have taken over.
                    self._repeated.add(place)
                    self._next[place] = None
                continue
            if self._is_asked(place):
                next(following)
            self.replies[place] = reply = next(following)
            if isinstance(reply, Exception) and (code := code_of(reply)) in {"MOVED", "ASK"}:
                self._next[place] = reply
                self._renews |= code == "MOVED"

    def renews(self) -> bool:
        """Whether the cluster is to be asked now where keys are."""
        renews, self._renews = self._renews, False
        return renews

    def goes_on(self, deadline: float) -> bool:
        """Whether something is still to be sent."""
        self._pending, self._next = self._next, {}
        self._hops += 1
        return bool(self._pending) and self._hops <= _MOST_HOPS and time.monotonic() < deadline


class AnyCluster:
    """The parts of a cluster that are the same in sync and async.

    Args:
        source: Makes the client.
        most: How many connections there are at most to each server.
        breakers: What is known of the servers, and under `source.where` of the cluster.
    """

    ask: Callable[..., Any]
    pool_of: Callable[[Any, Any], Any]

    def __init__(self, source: Source, most: int, breakers: dict[str, Breaker]) -> None:
        self._source = source
        self._most = most
        self._breakers = breakers
        self._client: Any = None
        self._pools: dict[str, Any] = {}
        self._asked = 0.0

    def exchange(self, commands: Sequence[Command], deadline: float) -> Calls[Sequence[Reply]]:
        """The replies to commands, each from the server that has its key, or that it names.

        Of those that got no reply, the `StoreError` stands in its place.

        Raises:
            StoreError: Where keys are can't be found out.
        """
        yield from self._located(deadline)
        delivery, client = _Delivery(commands), self._client
        while True:
            places = delivery.by_server(client)
            shares = [
                Share(self.pool_of(client, node), delivery.commands(those)) for node, those in places.items()
            ]
            yield from exchanged(shares, deadline)
            for share, those in zip(shares, places.values(), strict=True):
                delivery.answered(those, share)
            if delivery.renews():
                with suppress(StoreError):
                    yield from self._located(deadline, again=True)
            if not delivery.goes_on(deadline):
                return delivery.replies

    def servers(self, deadline: float) -> Calls[Sequence[Any]]:
        """What names each server that may be written to, for `Command.server`."""
        yield from self._located(deadline)
        return list(self._client.get_primaries())

    def _located(self, deadline: float, *, again: bool = False) -> Calls[None]:
        """Ask the cluster where keys are: for the first time, or again, but not more often than makes sense."""
        if self._client is not None and not again:
            return
        breaker = self.breaker(self._source.where)
        breaker.admit()
        if deadline <= time.monotonic():
            raise StoreTimeout(TOO_LATE, ambiguous=False)
        try:
            yield self.ask, (deadline,)
        except Exception as error:
            if is_outage(error):
                breaker.failed()
            raise failure(self._source.where, error, ambiguous=False) from error
        breaker.succeeded()

    def breaker(self, where: str) -> Breaker:
        """What is known of a server."""
        return self._breakers.setdefault(where, Breaker(where, patience=PATIENCE))

    def is_due(self) -> bool:
        """Whether the cluster is to be asked again now."""
        is_due = time.monotonic() >= self._asked + _ASKED_AGAIN
        if is_due:
            self._asked = time.monotonic()
        return is_due

    def gone(self) -> list[Any]:
        """The pools of servers that have left the cluster, taken out of it."""
        left = self._pools.keys() - {node.name for node in self._client.get_nodes()}
        return [self._pools.pop(name) for name in left]


class Cluster(AnyCluster):
    """A cluster, for threads and across forks."""

    def __init__(self, source: Source, most: int, breakers: dict[str, Breaker]) -> None:
        super().__init__(source, most, breakers)
        self._start()

    def _start(self) -> None:
        self._pid = os.getpid()
        self._client = None
        self._lock = threading.Lock()

    def _located(self, deadline: float, *, again: bool = False) -> Calls[None]:
        if self._pid != os.getpid():
            self._start()  # forked: another thread may have held the lock
        return super()._located(deadline, again=again)

    def ask(self, deadline: float) -> None:
        """Ask the cluster where keys are."""
        if not self._lock.acquire(timeout=max(0.0, deadline - time.monotonic())):
            raise TimeoutError
        try:
            if self._client is None:
                self._client = self._source.make(bounded)
            elif self.is_due():
                self._client.nodes_manager.initialize()
                for pool in self.gone():
                    pool.close()
        finally:
            self._lock.release()

    def pool_of(self, client: Any, node: Any) -> Pool:
        """The connections to a server."""
        if node.name not in self._pools:
            settings = client.get_redis_connection(node).connection_pool
            pool = Pool(settings, node.name, self._most, self.breaker(node.name))
            self._pools.setdefault(node.name, pool)  # another thread may have been faster
        return cast("Pool", self._pools[node.name])

    def close(self) -> None:
        """Close all connections."""
        client, self._client = self._client, None
        for pool in list(self._pools.values()):
            pool.close()
        if client is not None:
            with suppress(Exception):
                client.close()


class AsyncCluster(AnyCluster):
    """The same for one event loop."""

    def __init__(self, source: Source, most: int, breakers: dict[str, Breaker]) -> None:
        super().__init__(source, most, breakers)
        self._lock = asyncio.Lock()

    async def ask(self, _deadline: float) -> None:
        """See `Cluster.ask`."""
        async with self._lock:
            if self._client is None:
                client = self._source.make(lambda kind: kind)
                try:
                    await client.initialize()
                except BaseException:
                    with suppress(Exception):
                        await client.aclose()
                    raise
                self._client = client
            elif self.is_due():
                await self._client.nodes_manager.initialize()
                for pool in self.gone():
                    await pool.close()

    def pool_of(self, _client: Any, node: Any) -> AsyncPool:
        """See `Cluster.pool_of`."""
        if node.name not in self._pools:
            self._pools[node.name] = AsyncPool(node, node.name, self._most, self.breaker(node.name))
        return cast("AsyncPool", self._pools[node.name])

    async def close(self) -> None:
        """See `Cluster.close`."""
        client, self._client = self._client, None
        for pool in list(self._pools.values()):
            await pool.close()
        if client is not None:
            with suppress(Exception):
                await client.aclose()
