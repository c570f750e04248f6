"""One server, as the sync store has it: connections that are borrowed for one command, and whose turn it is.

The protocol is pymemcache's. The connections are made here, since its own have no deadline for a whole answer, and its
pool does not notice that one was ended while it was idle.
"""

from __future__ import annotations

import inspect
import os
import select
import socket
import threading
import time
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol, cast

from pymemcache.client.base import Client  # type: ignore[import-untyped] # pyright: ignore[reportMissingTypeStubs]
from pymemcache.exceptions import (  # type: ignore[import-untyped] # pyright: ignore[reportMissingTypeStubs]
    MemcacheError,
    MemcacheServerError,
    MemcacheUnexpectedCloseError,
    MemcacheUnknownError,
)

from coatcheck.errors import ConfigurationError, StoreError, StoreTimeout, StoreUnavailable
from coatcheck.stores._memcached_flows import Item, Put
from coatcheck.stores._memcached_items import ItemRefused, Server, refusal, too_large
from coatcheck.stores.breaker import Breaker

__all__ = ["Commands", "Node", "ReadyNode", "judged_client"]

_TURNS = 64


class Commands(Protocol):
    """What is asked of a client."""

    def gets_many(self, keys: Sequence[bytes]) -> dict[bytes, tuple[bytes, bytes]]: ...
    def add(self, key: bytes, value: bytes, expire: int, *, noreply: bool) -> bool | None: ...
    def cas(self, key: bytes, value: bytes, cas: bytes, expire: int, *, noreply: bool) -> bool | None: ...
    def delete(self, key: bytes, *, noreply: bool) -> bool: ...
    def version(self) -> bytes: ...
    def close(self) -> None: ...


class Node:
    """One server: its connections, its breaker, and whose turn it is to change what lies there."""

    def __init__(self, server: Server, connect_deadline: float, max_item_bytes: int) -> None:
        self._server = server
        self._connect_deadline = connect_deadline
        self._max_item_bytes = max_item_bytes
        self._name = f"Memcached at {server.name}"
        self._own = _Own(self._name)

    def get(self, names: Sequence[bytes], until: float) -> dict[bytes, Item]:
        with self._asking(until, ambiguous=False) as client:
            found = client.gets_many(names)
        return {name: Item(data, token) for name, (data, token) in found.items()}

    def put(self, put: Put, until: float) -> bool:
        try:
            with self._asking(until, ambiguous=True) as client:
                if put.token is None:
                    stored = client.add(put.name, put.data, put.lifetime, noreply=False)
                else:
                    stored = client.cas(put.name, put.data, put.token, put.lifetime, noreply=False)
        except ItemRefused as error:
            raise too_large(self._name, put.data, self._max_item_bytes) from error
        return bool(stored)

    def delete(self, name: bytes, until: float) -> bool:
        with self._asking(until, ambiguous=True) as client:
            return client.delete(name, noreply=False)

    def ping(self, until: float) -> None:
        with self._asking(until, ambiguous=False) as client:
            client.version()

    @contextmanager
    def turn(self, name: bytes, until: float) -> Generator[None]:
        """Alone, among the threads of this process, with what lies under `name`."""
        lock = self._mine().turns[hash(name) % _TURNS]
        if not lock.acquire(timeout=max(0.0, until - time.monotonic())):
            raise StoreTimeout(f"{self._name}: it did not get to this change in time", ambiguous=False)
        try:
            yield
        finally:
            lock.release()

    def close(self) -> None:
        own, self._own = self._mine(), _Own(self._name)
        own.drop()  # and what is under way is not given back to it, but closed

    def _mine(self) -> _Own:
        """What this process has of the server. A child of a fork begins anew: two must not talk on one connection."""
        own = self._own
        if own.pid != os.getpid():
            own, before = _Own(self._name), own
            self._own = own
            before.drop()  # here; the parent has them still
        return own

    @contextmanager
    def _asking(self, until: float, *, ambiguous: bool) -> Generator[Commands]:
        """A connection for one command. If anything goes wrong meanwhile, whatever it is, it is not used again."""
        own = self._mine()
        own.breaker.admit()
        client: Commands | None = None
        done = False
        try:
            client = self._borrow(own, until)
            yield client
            done = True
        except TimeoutError as error:
            own.breaker.failed()
            if client is None:
                raise StoreTimeout(f"{self._name} took no connection in time", ambiguous=False) from error
            raise StoreTimeout(f"{self._name} did not answer in time", ambiguous=ambiguous) from error
        except (OSError, MemcacheUnexpectedCloseError) as error:
            own.breaker.failed()
            raise StoreUnavailable(f"{self._name} can't be reached: {error}") from error
        except (MemcacheUnknownError, LookupError, ValueError):
            # It quotes what came, which may be part of somebody's session.
            own.breaker.failed()
            raise StoreUnavailable(f"{self._name} gave an answer to something else") from None
        except MemcacheServerError as error:
            own.breaker.succeeded()
            raise refusal(_words(error), self._name) from error
        except MemcacheError as error:
            raise StoreError(f"{self._name} refused: {type(error).__name__}") from error
        finally:
            if client is not None:
                self._give_back(own, client, usable=done)
        own.breaker.succeeded()

    def _borrow(self, own: _Own, until: float) -> Commands:
        while (client := own.take()) is not None:
            connection = cast("_Connection", client.sock)
            # Idle, it has nothing to say: if it has, the server ended it, or it is out of step.
            if not select.select([connection], [], [], 0)[0]:
                connection.until = until
                return cast("Commands", client)
            client.close()
        connection = _connected(self._server, min(until, time.monotonic() + self._connect_deadline))
        connection.until = until
        client = Client(self._server.path or (self._server.host, self._server.port))
        client.sock = connection
        return cast("Commands", client)

    def _give_back(self, own: _Own, client: Commands, *, usable: bool) -> None:
        if usable and own is self._own:
            own.free.append(cast("Client", client))
        else:
            client.close()


def _words(error: MemcacheServerError) -> str:
    words = error.args[0] if error.args else b""
    return words.decode("ascii", "replace") if isinstance(words, bytes) else str(words)


class _Own:
    """What one process has of a server."""

    def __init__(self, name: str) -> None:
        self.pid = os.getpid()
        self.free: deque[Client] = deque()
        self.turns = [threading.Lock() for _ in range(_TURNS)]
        self.breaker = Breaker(name)

    def take(self) -> Client | None:
        """A connection that is not in use, the last that was; None: there is none."""
        try:
            return self.free.pop()  # not asked before whether there is one: another thread may take it
        except IndexError:
            return None

    def drop(self) -> None:
        """Close the connections that are not in use."""
        while (client := self.take()) is not None:
            client.close()


class ReadyNode(Node):
    """A client that the application made. It has its own connections, and sees to them."""

    def __init__(self, client: Commands, max_item_bytes: int) -> None:
        super().__init__(Server("the client's server"), 0, max_item_bytes)
        self._client = client

    def _borrow(self, own: _Own, until: float) -> Commands:
        return self._client

    def _give_back(self, own: _Own, client: Commands, *, usable: bool) -> None:
        pass

    def close(self) -> None:
        """It is the application's."""


class _Connection(socket.socket):
    """A connection whose answers must be complete at a certain time, however they trickle in."""

    until: float = 0.0

    def recv(self, bufsize: int, flags: int = 0, /) -> bytes:
        self._hurry()
        return super().recv(bufsize, flags)

    def sendall(self, data: Any, flags: int = 0, /) -> None:
        self._hurry()
        super().sendall(data, flags)

    def _hurry(self) -> None:
        left = self.until - time.monotonic()
        if left <= 0:
            raise TimeoutError("the deadline has passed")
        # Each setting is a system call, and most of the time the last one is near enough.
        last = self.gettimeout()
        if last is None or abs(last - left) > left / 20:
            self.settimeout(left)


def _connected(server: Server, until: float) -> _Connection:
    """A connection to the first of the server's addresses that takes one."""
    failure: OSError | None = None
    for family, address in _addresses(server):
        connection = _Connection(family, socket.SOCK_STREAM)
        try:
            connection.settimeout(max(0.001, until - time.monotonic()))
            connection.connect(address)
            if family != socket.AF_UNIX:
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        except OSError as error:
            connection.close()
            failure = error
        else:
            return connection
    raise failure or OSError(f"{server.host} has no address")


def _addresses(server: Server) -> Iterator[tuple[int, Any]]:
    if server.path:
        yield socket.AF_UNIX, server.path
        return
    for family, _, _, _, address in socket.getaddrinfo(server.host, server.port, type=socket.SOCK_STREAM):
        yield family, address


def judged_client(client: object) -> Commands:
    """`client`, if it does what the store relies on.

    Raises:
        ConfigurationError: It says what is missing.
    """
    kind = type(client).__name__
    if hasattr(client, "hasher"):
        raise ConfigurationError(
            f"client={kind} moves what lies on a dead server to another, and sessions that were ended would come back: "
            "give the servers themselves, and Coatcheck shares the records out."
        )
    for name in ("gets_many", "add", "cas", "delete", "version", "close"):
        method = getattr(client, name, None)
        if not callable(method):
            raise ConfigurationError(f"client={kind} can't do {name}: give a pymemcache.PooledClient.")
        if inspect.iscoroutinefunction(method):
            raise ConfigurationError(f"client={kind} is async: MemcachedStore takes a synchronous one.")
    if hasattr(client, "sock"):
        raise ConfigurationError(f"client={kind} is for one thread: give a pymemcache.PooledClient.")
    if getattr(client, "ignore_exc", False):
        raise ConfigurationError(
            f"client={kind} has ignore_exc=True: a server that is down would look like a session that does not exist."
        )
    if getattr(client, "timeout", 1) is None or getattr(client, "connect_timeout", 1) is None:
        raise ConfigurationError(f"client={kind} would wait for ever: give it timeout= and connect_timeout=.")
    serde = getattr(client, "serde", None)
    if serde is not None and serde.serialize(b"key", b"\0\xff") != (b"\0\xff", 0):
        raise ConfigurationError(f"client={kind} has a serializer that changes bytes: leave serde= away.")
    return cast("Commands", client)
