"""A cluster: several servers, each with a part of the keys.

The keys are in 16,384 slots. `CLUSTER SLOTS` tells the server of each slot. A server that is asked for a key of another
server answers with `MOVED`, or with `ASK` while the key is being moved, and names that server.

redis-py's client of a cluster would not do: its pipelines repeat writes whose answer was lost, its debug log shows
arguments, and its time-outs begin anew with each server that is asked.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, NamedTuple

from redis.crc import key_slot

from coatcheck.errors import StoreError, StoreUnavailable
from coatcheck.stores.redis.calls import Calls, together
from coatcheck.stores.redis.errors import code_of
from coatcheck.stores.redis.pools import Pool
from coatcheck.stores.redis.scripts import Command, Reply, done, packed

__all__ = ["Cluster", "Server"]

_SLOTS = 16_384
_MOST_HOPS = 5
_REST = 0.2
"""Seconds between renewals of the slots. While a server is down, every call to it would ask for them."""
_ASK_FOR_SLOTS = Command(b"", packed(b"CLUSTER", b"SLOTS"), reads=True)
_ASKING = Command(b"", packed(b"ASKING"), reads=True)
"""Sent before a command that follows an `ASK`; without it the server would answer with `MOVED`."""


class Server(NamedTuple):
    """The address of a server."""

    host: str
    port: int


class _Redirection(NamedTuple):
    server: Server
    asks: bool


class Cluster:
    """The servers of a cluster, for threads, or in async for one event loop.

    Args:
        seeds: Some of the servers.
        pool: Makes the connections to a server.
    """

    def __init__(self, seeds: Sequence[Server], pool: Callable[[Server], Pool]) -> None:
        self._seeds = seeds
        self._make_pool = pool
        self._pools: dict[Server, Pool] = {}
        self._slots: list[Server | None] = []
        """The server of each slot. The list is replaced and never changed, so threads read it without a lock."""
        self._renewed_at = 0.0

    def exchange(self, commands: Sequence[Command], deadline: float) -> Calls[Sequence[Reply]]:
        """The replies to commands, each from the server that has its key.

        If an exchange with a server failed, its `StoreError` is the reply to each command of it.

        Raises:
            StoreError: No server tells where keys are.
        """
        if not self._slots:
            yield from self._locate(deadline)
        replies: dict[int, Reply] = {}
        pending: dict[int, _Redirection | None] = dict.fromkeys(range(len(commands)))
        repeated: set[int] = set()
        for _ in range(_MOST_HOPS):
            latest = yield from self._hop(commands, pending, deadline)
            replies |= latest
            pending, is_outdated = {}, False
            for place, reply in latest.items():
                if isinstance(reply, StoreError):
                    is_outdated = True
                    was_not_run = isinstance(reply, StoreUnavailable) and not reply.ambiguous
                    if was_not_run and place not in repeated and deadline > time.monotonic():
                        repeated.add(place)  # another server may have taken over
                        pending[place] = None
                elif isinstance(reply, Exception):
                    code = code_of(reply)
                    is_outdated |= code in {"MOVED", "CLUSTERDOWN"}
                    if code in {"MOVED", "ASK"}:
                        pending[place] = _redirection(reply, asks=code == "ASK")
            if is_outdated:
                with suppress(StoreError):
                    yield from self._locate(deadline)
            if not pending:
                break
        return [replies[place] for place in range(len(commands))]

    def servers(self, deadline: float) -> Calls[Sequence[Server]]:
        """The values of `Command.server` for all servers that take writes."""
        if not self._slots:
            yield from self._locate(deadline)
        return self._primaries()

    def close(self) -> Calls[None]:
        """Close all connections."""
        for pool in list(self._pools.values()):
            yield from pool.close()

    def abandon(self) -> None:
        """See `Pool.abandon`."""
        for pool in self._pools.values():
            pool.abandon()

    def _hop(
        self, commands: Sequence[Command], pending: Mapping[int, _Redirection | None], deadline: float
    ) -> Calls[dict[int, Reply]]:
        """Send the commands of some places to their servers, all at a time. The replies are by place."""
        replies: dict[int, Reply] = {}
        shares: dict[Server, list[tuple[int | None, Command]]] = {}
        for place, redirection in pending.items():
            command = commands[place]
            if redirection is None:
                server = command.server or self._slots[key_slot(command.key)]
            else:
                server = redirection.server
            if server is None:
                replies[place] = StoreUnavailable("no server has the slot of the key", ambiguous=False)
                continue
            share = shares.setdefault(server, [])
            if redirection is not None and redirection.asks:
                share.append((None, _ASKING))
            share.append((place, command))
        # In one order, so that two callers never wait for each other's connections.
        servers = sorted(shares)
        exchanges = [
            self._pool(server).exchange([command for _, command in shares[server]], deadline, pauses=True)
            for server in servers
        ]
        for server, answer in zip(servers, (yield from together(exchanges)), strict=True):
            for number, (its_place, _) in enumerate(shares[server]):
                if its_place is not None:
                    replies[its_place] = answer if isinstance(answer, StoreError) else answer[number]
        return replies

    def _locate(self, deadline: float) -> Calls[None]:
        """Ask one server after another for the slots, until one tells them."""
        is_renewal = bool(self._slots)
        if is_renewal and time.monotonic() < self._renewed_at + _REST:
            return
        failure: StoreError = StoreUnavailable("no server of the cluster has any slots", ambiguous=False)
        best: list[Server | None] = []
        for server in dict.fromkeys([*self._primaries(), *self._seeds]):
            try:
                (reply,) = yield from self._pool(server).exchange([_ASK_FOR_SLOTS], deadline)
                slots = _slots_in(done(reply), server.host)
            except StoreError as error:
                failure = error
                if deadline <= time.monotonic():
                    break  # the next one could only say that it is too late
                continue
            # One that came back empty, or is on its way into the cluster, knows of few slots or of none.
            if _covered(slots) > _covered(best):
                best = slots
            if _covered(best) == _SLOTS:
                break
        if not best:
            raise failure
        self._slots = best
        if is_renewal:
            self._renewed_at = time.monotonic()
        for gone in self._pools.keys() - set(best):
            pool = self._pools.pop(gone, None)
            if pool is not None:  # another caller was faster
                yield from pool.close()

    def _primaries(self) -> list[Server]:
        return [server for server in dict.fromkeys(self._slots) if server is not None]

    def _pool(self, server: Server) -> Pool:
        return self._pools.get(server) or self._pools.setdefault(server, self._make_pool(server))


def _covered(slots: Sequence[Server | None]) -> int:
    return len(slots) - slots.count(None)


def _slots_in(reply: Sequence[Any], asked: str) -> list[Server | None]:
    """The server of each slot, in a reply to `CLUSTER SLOTS`."""
    slots: list[Server | None] = [None] * _SLOTS
    for first, last, (host, port, *_), *_replicas in reply:
        # A server that does not know its address names none: it is the one that was asked.
        name = host.decode() if host and host != b"?" else asked
        slots[first : last + 1] = [Server(name, port)] * (last + 1 - first)
    return slots


def _redirection(reply: Exception, *, asks: bool) -> _Redirection | None:
    """The redirection in the text of a refusal: ``MOVED 3999 127.0.0.1:6381``, with or without its first word."""
    host, _, port = str(reply).split()[-1].rpartition(":")
    return _Redirection(Server(host, int(port)), asks) if host else None
