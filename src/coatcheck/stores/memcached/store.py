"""Sessions in Memcached: one server, or several between which the keys are shared out."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import NoReturn, TypeVar

from coatcheck.errors import ConfigurationError, StoreError
from coatcheck.model.ports import Index, Loaded, Write, Written
from coatcheck.stores.memcached.connections import OwnConnections, ReadyConnections
from coatcheck.stores.memcached.items import Items
from coatcheck.stores.memcached.node import Node
from coatcheck.stores.memcached.servers import Server, placement, servers_of
from coatcheck.stores.threaded import ThreadedStore

__all__ = ["AsyncMemcachedStore", "MemcachedStore"]

_T = TypeVar("_T")
_Answer = TypeVar("_Answer")


class MemcachedStore:
    """A store in Memcached, safe for threads, and usable on both sides of a fork.

    Its versions are cas tokens, as int. It keeps no index: `Sessions` ends a user's sessions by an epoch.
    """

    index: Index = "none"

    def __init__(
        self,
        servers: str | Sequence[str] = (),
        *,
        client: object = None,
        prefix: str = "coatcheck:",
        max_item_bytes: int = 1 << 20,
    ) -> None:
        """Make a store. The first call makes the first connection.

        Args:
            servers: One or several of ``host:port``, ``[IPv6]:port`` or ``/path/of/a/socket``. Each key has its place
                on one of them, by their names; while that one is down, its sessions are unavailable.
            client: In place of servers, a `pymemcache.PooledClient` of one server. It stays the application's to close.
            prefix: The beginning of each key's name.
            max_item_bytes: The largest item that the servers take, as they were started (``-I``).

        Raises:
            ConfigurationError: One of these can't be.
        """
        self._items = Items(prefix, max_item_bytes)
        if client is not None:
            if servers:
                raise ConfigurationError("Give Memcached's servers or a client, not both.")
            ready = ReadyConnections(client)
            listed = [Server("the client's server")]
            self._nodes = [Node(f"Memcached at {listed[0].name}", self._items, lambda: ready)]
        else:
            listed = servers_of(servers)
            self._nodes = [
                Node(f"Memcached at {server.name}", self._items, partial(OwnConnections, server))
                for server in listed
            ]
        self._place = placement(listed)
        self.where: str = "Memcached at " + ",".join(server.name for server in listed)

    def __repr__(self) -> str:
        return f"<{type(self).__name__}, {self.where}>"

    def load(self, keys: Sequence[bytes], now: int, deadline: float) -> Sequence[Loaded]:
        """One round trip to each server that holds one of the keys."""
        return self._each(keys, keys, deadline, lambda node, some, until: node.load(some, until))

    def write(self, writes: Sequence[Write], now: int, deadline: float) -> Sequence[Written]:
        """One round trip for each write; one more for each server that is sent a write whose version is a revision."""
        keys = [write.key for write in writes]
        return self._each(keys, writes, deadline, lambda node, some, until: node.write(some, now, until))

    def remove(self, keys: Sequence[bytes], now: int, deadline: float) -> Sequence[bool | StoreError]:
        """One round trip for each key."""
        return self._each(keys, keys, deadline, lambda node, some, until: node.remove(some, until))

    def shares(self, keys: Sequence[bytes]) -> dict[int, list[int]]:
        """For each server that holds one of `keys`: the positions in `keys` of those that it holds."""
        shares: dict[int, list[int]] = {}
        for position, key in enumerate(keys):
            shares.setdefault(self._place(self._items.name(key)), []).append(position)
        return shares

    def sweep(self, now: int, limit: int, deadline: float) -> int:
        """Nothing to do: the servers remove what has expired."""
        return 0

    def ping(self, deadline: float) -> None:
        """Ask every server for its version."""
        for node in self._nodes:
            node.ping(deadline)

    def close(self) -> None:
        for node in self._nodes:
            node.close()

    def _no_lists(self, *_: object, **__: object) -> NoReturn:
        raise ConfigurationError(
            "Memcached keeps no lists: sessions can't be counted, or listed by user. "
            "Use SQLite, Redis, PostgreSQL, MySQL or MariaDB."
        )

    note: Callable[..., NoReturn] = _no_lists
    sessions_of: Callable[..., NoReturn] = _no_lists
    index_may_be_incomplete: Callable[..., NoReturn] = _no_lists
    forget: Callable[..., NoReturn] = _no_lists
    count: Callable[..., NoReturn] = _no_lists

    def _each(
        self,
        keys: Sequence[bytes],
        items: Sequence[_T],
        deadline: float,
        ask: Callable[[Node, list[_T], float], list[_Answer]],
    ) -> list[_Answer]:
        """The answer to each item, from the server that holds its key.

        Each server gets an equal part of the time that is left, so that one that hangs leaves some for the others.
        """
        shares = self.shares(keys)
        answers: dict[int, _Answer] = {}
        for number, (server, some) in enumerate(shares.items()):
            now = time.monotonic()
            until = now + (deadline - now) / (len(shares) - number)
            answers.update(
                zip(some, ask(self._nodes[server], [items[one] for one in some], until), strict=True)
            )
        return [answers[position] for position in range(len(items))]


class AsyncMemcachedStore(ThreadedStore):
    """`MemcachedStore` for an event loop, with the same arguments.

    A batch is one hop to a thread for each server that it concerns. Each server has threads of its own, so that one that
    is down takes none from the others.
    """

    def __init__(
        self,
        servers: str | Sequence[str] = (),
        *,
        client: object = None,
        prefix: str = "coatcheck:",
        max_item_bytes: int = 1 << 20,
    ) -> None:
        make = partial(MemcachedStore, prefix=prefix, max_item_bytes=max_item_bytes)
        whole = make(servers, client=client)
        super().__init__(whole, name=whole.where)
        self._shares = whole.shares
        named = (
            {whole.where: whole}
            if client is not None
            else {f"Memcached at {server.name}": make(server.name) for server in servers_of(servers)}
        )
        self._parts = [ThreadedStore(part, name=name) for name, part in named.items()]

    async def load(self, keys: Sequence[bytes], now: int, deadline: float) -> Sequence[Loaded]:
        return await self._all(keys, keys, lambda part, some: part.load(some, now, deadline))

    async def write(self, writes: Sequence[Write], now: int, deadline: float) -> Sequence[Written]:
        keys = [write.key for write in writes]
        return await self._all(keys, writes, lambda part, some: part.write(some, now, deadline))

    async def remove(self, keys: Sequence[bytes], now: int, deadline: float) -> Sequence[bool | StoreError]:
        return await self._all(keys, keys, lambda part, some: part.remove(some, now, deadline))

    async def close(self) -> None:
        for part in self._parts:
            await part.close()
        await super().close()

    async def _all(
        self,
        keys: Sequence[bytes],
        items: Sequence[_T],
        ask: Callable[[ThreadedStore, list[_T]], Awaitable[Sequence[_Answer]]],
    ) -> list[_Answer | StoreError]:
        """The answer to each item, from the server that holds its key, all servers at once."""
        shares = self._shares(keys)
        replies = await asyncio.gather(
            *(ask(self._parts[server], [items[one] for one in some]) for server, some in shares.items()),
            return_exceptions=True,
        )
        answers: dict[int, _Answer | StoreError] = {}
        for some, reply in zip(shares.values(), replies, strict=True):
            if isinstance(reply, StoreError):
                answers.update(dict.fromkeys(some, reply))
            elif isinstance(reply, BaseException):
                raise reply
            else:
                answers.update(zip(some, reply, strict=True))
        return [answers[position] for position in range(len(items))]
