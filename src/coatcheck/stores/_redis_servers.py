"""Which server is asked: the only one, or that of the cluster to which the key belongs."""

from __future__ import annotations

import threading
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Protocol

from coatcheck.stores import _redis_clients as clients
from coatcheck.stores._redis_errors import Broken, Said
from coatcheck.stores._redis_lines import Lines, PoolLines, broken_off
from coatcheck.stores._redis_replies import Reply
from coatcheck.stores._redis_url import Address, Limits
from coatcheck.stores.breaker import Breaker

__all__ = ["Servers", "their_servers", "url_servers"]

_ASKED_ANEW = 0.2
"""How often (seconds) a cluster is asked at most where its keys are: all callers see a failure at the same time."""


class _Line(Protocol):
    def exchange(self, data: bytes, count: int, until: float) -> list[Reply]: ...
    def renew(self) -> None: ...
    def close(self) -> None: ...


class Servers:
    """One server; also the one that Sentinels name, which may be another with each connection.

    Attributes:
        line: The connections to it, if there is but one.
    """

    line: _Line | None

    def __init__(self, line: _Line, sentinels: Sequence[Any] = ()) -> None:
        """Take the connections to it, and the clients that ask Sentinels which one it is."""
        self.line = line
        self._one = line
        self._sentinels = sentinels

    def line_of(self, key: bytes, moved: Said | None, until: float) -> _Line:
        """The connections to the server that has the key, or to which it was moved."""
        return self._one

    def all(self, until: float) -> list[_Line]:
        """The connections to each server that may be written to."""
        return [self._one]

    def renew(self, until: float) -> None:
        """Ask anew where the server is, if a connection can't be trusted to know."""
        self._one.renew()

    def close(self) -> None:
        """Close the connections."""
        self._one.close()
        for sentinel in self._sentinels:
            with suppress(Exception):
                sentinel.close()


class _Cluster(Servers):
    def __init__(self, make: Any, where: str, *, limits: Limits | None) -> None:
        self.line = None
        self._make = make
        self._where = where
        self._limits = limits
        self._client: Any = None
        self._lines: dict[str, _Line] = {}
        self._lock = threading.Lock()  # for asking, which takes a while
        self._making = threading.Lock()
        self._asked = 0.0
        self._breaker = Breaker(where, patience=limits.deadline if limits else 0.0)
        self._closed = False

    def line_of(self, key: bytes, moved: Said | None, until: float) -> _Line:
        client = self._connected(until)
        try:
            node = None
            if moved is not None and moved.address is not None:
                node = client.get_node(*moved.address)
                if node is None:
                    self._ask_anew(client, until)
                    node = client.get_node(*moved.address)
            return self._line_to(client, node or client.get_node_from_key(key))
        except Exception as error:
            raise Broken(self._where, error, sent=False) from error

    def all(self, until: float) -> list[_Line]:
        client = self._connected(until)
        return [self._line_to(client, node) for node in client.get_primaries()]

    def renew(self, until: float) -> None:
        if self._client is not None:
            self._ask_anew(self._client, until)

    def close(self) -> None:
        self._closed = True
        for line in list(self._lines.values()):
            line.close()
        if self._limits is not None and self._client is not None:
            with suppress(Exception):
                self._client.close()

    def _connected(self, until: float) -> Any:
        if self._client is None:
            self._breaker.admit()
            with self._one_at_a_time(until):
                if self._client is None:
                    try:
                        self._client = self._make()
                    except Exception as error:
                        raise broken_off(self._breaker, self._where, error, sent=False) from error
        return self._client

    @contextmanager
    def _one_at_a_time(self, until: float) -> Generator[None]:
        if not self._lock.acquire(timeout=max(0.0, until - time.monotonic())):
            raise Broken(self._where, TimeoutError("others are asking where the servers are"), sent=False)
        try:
            yield
        finally:
            self._lock.release()

    def _line_to(self, client: Any, node: Any) -> _Line:
        line = self._lines.get(node.name)
        if line is None:
            with self._making:
                line = self._lines.get(node.name)
                if line is None:
                    pool = client.get_redis_connection(node).connection_pool
                    if self._limits is None:
                        line = PoolLines(pool, node.name)
                    else:
                        line = Lines(
                            pool, node.name, most=self._limits.max_connections, deadline=self._limits.deadline
                        )
                    if self._closed:
                        line.close()
                    self._lines[node.name] = line
        return line

    def _ask_anew(self, client: Any, until: float) -> None:
        with suppress(Exception), self._one_at_a_time(until):
            if time.monotonic() >= self._asked + _ASKED_ANEW:
                try:
                    client.nodes_manager.initialize()
                finally:
                    self._asked = time.monotonic()


def url_servers(address: Address, limits: Limits) -> Servers:
    """The servers that a URL names. Nothing is connected before it is asked for."""
    if address.kind == "cluster":
        return _Cluster(lambda: clients.cluster(address, limits), address.where, limits=limits)
    pool = clients.pool(address, limits)
    line = Lines(pool, address.where, most=limits.max_connections, deadline=limits.deadline)
    return Servers(line, clients.sentinels_of(pool))


def their_servers(client: Any) -> Servers:
    """The servers of a client of the application's own."""
    where = "the server of the client that was given"
    if getattr(client, "connection_pool", None) is None:
        return _Cluster(lambda: client, "the cluster of the client that was given", limits=None)
    return Servers(PoolLines(client.connection_pool, where))
