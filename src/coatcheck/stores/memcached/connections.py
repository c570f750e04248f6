"""pymemcache's clients, lent for one command each, on connections that keep a deadline.

pymemcache speaks the protocol. Connections are made and pooled here: its own have no deadline for a whole reply, give
up after the first of a host's addresses, and its pool lends connections that the server has closed meanwhile.
"""

from __future__ import annotations

import select
import socket
import time
from collections import deque
from typing import Any, TypeAlias, cast

from pymemcache.client.base import Client, PooledClient  # type: ignore[import-untyped] # pyright: ignore[reportMissingTypeStubs]

from coatcheck.errors import ConfigurationError, StoreUnavailable
from coatcheck.stores.memcached.servers import Server

__all__ = ["Connections", "OwnConnections", "ReadyConnections"]


class TimedSocket:
    """A connected socket that stops working at a deadline, however slowly a reply trickles in.

    Attributes:
        deadline: A reading of `time.monotonic()`.
        sent: Whether anything was sent since the connection was lent.
    """

    __slots__ = ("deadline", "plain", "sent")

    def __init__(self, plain: socket.socket, deadline: float) -> None:
        self.plain: socket.socket = plain
        self.deadline: float = deadline
        self.sent: bool = False

    def recv(self, size: int) -> bytes:
        self._hurry()
        return self.plain.recv(size)

    def sendall(self, data: bytes) -> None:
        self._hurry()
        self.sent = True
        self.plain.sendall(data)

    def close(self) -> None:
        self.plain.close()

    def _hurry(self) -> None:
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError("the deadline has passed")
        # Each change is a system call, and mostly the last one is near enough.
        last = self.plain.gettimeout()
        if last is None or abs(last - left) > left / 20:
            self.plain.settimeout(left)


class OwnConnections:
    """Connections of one process to a server, made here. The client that is lent is in use by one caller alone."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._idle: deque[Any] = deque()
        self._closed = False

    def __del__(self) -> None:
        self.close()  # of a manager that was not shut down, such as one for each job or test

    def borrow(self, deadline: float) -> Any:
        while (idle := self._take()) is not None:
            # An idle connection has nothing to say. If it is readable, the server has closed it.
            if not _is_readable(idle.sock.plain):
                idle.sock.deadline, idle.sock.sent = deadline, False
                return idle
            idle.close()
        client: Any = Client(self._server.path or (self._server.host, self._server.port))
        client.sock = TimedSocket(_connected(self._server, deadline), deadline)
        return client

    def give_back(self, client: Any, *, usable: bool) -> None:
        if usable:
            self._idle.append(client)
        else:
            client.close()
        if self._closed:
            self.close()

    def close(self) -> None:
        """Close the connections that are not in use, and those in use as they are given back."""
        self._closed = True
        while (client := self._take()) is not None:
            client.close()

    def abandon(self) -> None:
        """Close, in a child of a fork, what the parent goes on using."""
        self.close()

    def _take(self) -> Any:  # a client, or None
        try:
            return self._idle.pop()  # in one step: another thread may take the last one
        except IndexError:
            return None


class ReadyConnections:
    """The connections of a `PooledClient` that the application made."""

    def __init__(self, client: object) -> None:
        """Check that the client can keep the store's promises.

        Raises:
            ConfigurationError: It can't. The message says what to change.
        """
        if not isinstance(client, PooledClient):
            raise ConfigurationError(
                f"client={type(client).__name__}: give a pymemcache.PooledClient of one server. Several servers are "
                "given by their names: a HashClient would move the sessions of a dead server to another one."
            )
        pooled: Any = client  # pymemcache has no types
        if pooled.ignore_exc:
            raise ConfigurationError(
                "client= has ignore_exc=True: a server that is down would look like a session that does not exist."
            )
        if pooled.timeout is None or pooled.connect_timeout is None:
            raise ConfigurationError(
                "client= would wait for ever for a connection: give it timeout= and connect_timeout=."
            )
        if pooled.key_prefix:
            raise ConfigurationError("client= has a key_prefix=: give the prefix to the store instead.")
        if pooled.serde.serialize(b"key", b"\0\xff") != (b"\0\xff", 0):
            raise ConfigurationError("client= has a serializer that changes bytes: make it without serde=.")
        self._client = pooled

    def borrow(self, deadline: float) -> Any:
        pool: Any = self._client.client_pool
        try:
            client = pool.get()
        except RuntimeError as error:
            raise StoreUnavailable(
                "all connections of the given client are in use: raise its max_pool_size", ambiguous=False
            ) from error
        try:
            if client.sock is None:
                client.version()  # makes the connection, within the client's own timeouts
            client.sock = TimedSocket(cast("socket.socket", client.sock), deadline)
        except BaseException:
            pool.destroy(client)
            raise
        return client

    def give_back(self, client: Any, *, usable: bool) -> None:
        if usable:
            client.sock = client.sock.plain
            self._client.client_pool.release(client)
        else:
            self._client.client_pool.destroy(client)

    def close(self) -> None:
        pass  # the application closes it

    def abandon(self) -> None:
        self._client.close()


Connections: TypeAlias = OwnConnections | ReadyConnections


def _is_readable(connection: socket.socket) -> bool:
    poll = select.poll()
    poll.register(connection, select.POLLIN)
    return bool(poll.poll(0))


def _connected(server: Server, deadline: float) -> socket.socket:
    """A connection to the first of the server's addresses that takes one. Each has an equal part of the time left."""
    failure: OSError | None = None
    addresses = _addresses(server)
    for number, (family, address) in enumerate(addresses):
        connection = socket.socket(family, socket.SOCK_STREAM)
        try:
            left = (deadline - time.monotonic()) / (len(addresses) - number)
            connection.settimeout(max(0.001, left))
            connection.connect(address)
            if family != socket.AF_UNIX:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError as error:
            connection.close()
            failure = error
        else:
            return connection
    assert failure is not None  # a host without an address is an error of getaddrinfo
    raise failure


def _addresses(server: Server) -> list[tuple[int, Any]]:
    if server.path:
        return [(socket.AF_UNIX, server.path)]
    infos = socket.getaddrinfo(server.host, server.port, type=socket.SOCK_STREAM)
    return [(family, address) for family, _, _, _, address in infos]
