"""Records in Memcached, through pymemcache: one server, or several between which the records are shared out.

Memcached forgets: a record that was not used for long may be evicted when room is wanted, and a server that is
restarted comes back empty. A session may therefore end early here, never late. There are no lists either: the
sessions of a user can all be ended, and can't be shown. See docs/how-to/memcached.md.
"""

from __future__ import annotations

import inspect
import os
import random
import select
import socket
import threading
import time
from collections import deque
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, NoReturn, Protocol, TypeVar, cast

from pymemcache.client.base import Client  # type: ignore[import-untyped] # pyright: ignore[reportMissingTypeStubs]
from pymemcache.exceptions import (  # type: ignore[import-untyped] # pyright: ignore[reportMissingTypeStubs]
    MemcacheError,
    MemcacheServerError,
    MemcacheUnexpectedCloseError,
    MemcacheUnknownError,
)

from coatcheck.errors import ConfigurationError, StoreError, StoreTimeout, StoreUnavailable, TooLarge
from coatcheck.ports import Capabilities, Found, Life
from coatcheck.record import Applied, Change, Refused
from coatcheck.stores import _memcached_flows as flows
from coatcheck.stores._breaker import Breaker
from coatcheck.stores._memcached_flows import Delete, Get, Item, Pause, Put, Steps
from coatcheck.stores._memcached_items import (
    CAPABILITIES,
    ItemRefused,
    Items,
    Server,
    longest_pause,
    placement,
    refusal,
    seconds,
    servers_of,
    servers_of_url,
    too_large,
)

__all__ = ["MemcachedStore", "from_url"]

_T = TypeVar("_T")
_TURNS = 64


class MemcachedStore:
    """A store in Memcached, safe for threads, and usable on both sides of a fork."""

    capabilities: Capabilities = CAPABILITIES

    def __init__(
        self,
        servers: str | Sequence[str] = (),
        *,
        client: object = None,
        prefix: str = "coatcheck:",
        deadline: timedelta = timedelta(seconds=1),
        connect_deadline: timedelta = timedelta(milliseconds=250),
        max_item_bytes: int = 1 << 20,
    ) -> None:
        """Make a store. No connection is made before it is used.

        Args:
            servers: One or several of ``host:port``, ``[IPv6]:port`` or ``/path/of/a/socket``. Each item has its
                place on one of them, by their names; while that one is down, its sessions are unavailable.
            client: In place of servers, a client of one server that is ready: a `pymemcache.PooledClient`, or what
                behaves like it. Its own timeouts count for each command.
            prefix: What each key begins with.
            deadline: How long one call may take in all.
            connect_deadline: How long to wait for a connection.
            max_item_bytes: The largest item that the servers take, as they were started (``-I``).

        Raises:
            ConfigurationError: One of these can't be.
        """
        self._items = Items(prefix, max_item_bytes)
        self._deadline = seconds("deadline", deadline)
        connect = seconds("connect_deadline", connect_deadline)
        self._nodes: list[_Node]
        if client is not None:
            if servers:
                raise ConfigurationError("Give Memcached's servers or a client, not both.")
            self._nodes = [_ReadyNode(_judged_client(client), max_item_bytes)]
            self._place = placement([Server("client")])
            return
        listed = servers_of([servers] if isinstance(servers, str) else servers)
        self._nodes = [_Node(server, connect, max_item_bytes) for server in listed]
        self._place = placement(listed)

    def load(self, keys: Sequence[bytes], now: int) -> list[Found]:
        """What lies under each key. One round trip for each server; another where somebody is signed in."""
        return self._run(flows.load(self._items, keys, now))

    def apply(self, changes: Sequence[Change]) -> list[Applied | Refused]:
        """Apply each change, one after the other: one to create, else one to read and one to write."""
        until = time.monotonic() + self._deadline
        return [self._apply(change, until) for change in changes]

    def enroll(self, user: str, life: Life, expires: int) -> None:
        """Note the sign-in in the user's epoch. Two round trips."""
        with self._turn(self._items.of_user(user)) as until:
            self._run(flows.enroll(self._items, user, life, expires), until)

    def revoke_all(self, user: str, at: int, until: int, keep: bytes | None) -> None:
        """See `coatcheck.ports.RevokesAll`. Two round trips."""
        with self._turn(self._items.of_user(user)) as end:
            self._run(flows.revoke_all(self._items, user, at, until, keep), end)

    def lives_of(self, user: str, now: int) -> NoReturn:
        """Memcached can't say."""
        raise StoreError("Memcached keeps no list of a user's sessions")

    def count(self, now: int) -> NoReturn:
        """Memcached can't say."""
        raise StoreError("Memcached does not count sessions")

    def sweep(self, now: int, limit: int) -> int:
        """Nothing to do: the servers let go of what has expired."""
        return 0

    def ping(self) -> None:
        """Ask every server for its version."""
        until = time.monotonic() + self._deadline
        for node in self._nodes:
            node.ping(until)

    def close(self) -> None:
        """Close the connections. Used again, it makes new ones."""
        for node in self._nodes:
            node.close()

    def _apply(self, change: Change, until: float) -> Applied | Refused:
        # Of the threads of this process that change the same record, one at a time asks the server: none of them has
        # to try again because of another.
        with self._turn(self._items.of_record(change.key), until):
            return self._run(flows.apply(self._items, change), until)

    @contextmanager
    def _turn(self, name: bytes, until: float | None = None) -> Generator[float]:
        until = until or time.monotonic() + self._deadline
        with self._nodes[self._place(name)].turn(name, until):
            yield until

    def _run(self, steps: Steps[_T], until: float | None = None) -> _T:
        """Do what a flow wants of the servers."""
        until = until or time.monotonic() + self._deadline
        answer: Any = None
        failure: Exception | None = None
        try:
            while True:
                wish = steps.send(answer) if failure is None else steps.throw(failure)
                answer, failure = None, None
                try:
                    answer = self._do(wish, until)
                except (StoreError, TooLarge) as error:
                    failure = error
        except StopIteration as stop:
            result: _T = stop.value
            return result

    def _do(self, wish: Get | Put | Delete | Pause, until: float) -> object:
        match wish:
            case Get(names):
                return self._get(names, until)
            case Put(name):
                return self._nodes[self._place(name)].put(wish, until)
            case Delete(name):
                return self._nodes[self._place(name)].delete(name, until)
            case Pause(tries):
                rest = random.uniform(0, longest_pause(tries))  # noqa: S311 - no secret
                if time.monotonic() + rest >= until:
                    raise StoreTimeout(
                        f"others were first {tries} times: the record is changed all the time",
                        ambiguous=False,
                    )
                time.sleep(rest)
                return None

    def _get(self, names: Sequence[bytes], until: float) -> Sequence[Item | None]:
        places = [self._place(name) for name in names]
        found: dict[bytes, Item] = {}
        for place in dict.fromkeys(places):
            here = [name for name, at in zip(names, places, strict=True) if at == place]
            found |= self._nodes[place].get(here, until)
        return [found.get(name) for name in names]


class _Commands(Protocol):
    """What is asked of a client."""

    def gets_many(self, keys: Sequence[bytes]) -> dict[bytes, tuple[bytes, bytes]]: ...
    def add(self, key: bytes, value: bytes, expire: int, *, noreply: bool) -> bool | None: ...
    def cas(self, key: bytes, value: bytes, cas: bytes, expire: int, *, noreply: bool) -> bool | None: ...
    def delete(self, key: bytes, *, noreply: bool) -> bool: ...
    def version(self) -> bytes: ...
    def close(self) -> None: ...


class _Node:
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
    def _asking(self, until: float, *, ambiguous: bool) -> Generator[_Commands]:
        """A connection for one command. If anything goes wrong meanwhile, whatever it is, it is not used again."""
        own = self._mine()
        own.breaker.admit()
        client: _Commands | None = None
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

    def _borrow(self, own: _Own, until: float) -> _Commands:
        while (client := own.take()) is not None:
            connection = cast("_Connection", client.sock)
            # Idle, it has nothing to say: if it has, the server ended it, or it is out of step.
            if not select.select([connection], [], [], 0)[0]:
                connection.until = until
                return cast("_Commands", client)
            client.close()
        connection = _connected(self._server, min(until, time.monotonic() + self._connect_deadline))
        connection.until = until
        client = Client(self._server.path or (self._server.host, self._server.port))
        client.sock = connection
        return cast("_Commands", client)

    def _give_back(self, own: _Own, client: _Commands, *, usable: bool) -> None:
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


class _ReadyNode(_Node):
    """A client that the application made. It has its own connections, and sees to them."""

    def __init__(self, client: _Commands, max_item_bytes: int) -> None:
        super().__init__(Server("the client's server"), 0, max_item_bytes)
        self._client = client

    def _borrow(self, own: _Own, until: float) -> _Commands:
        return self._client

    def _give_back(self, own: _Own, client: _Commands, *, usable: bool) -> None:
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


def _judged_client(client: object) -> _Commands:
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
    return cast("_Commands", client)


def from_url(
    url: str,
    *,
    prefix: str = "coatcheck:",
    deadline: timedelta = timedelta(seconds=1),
    connect_deadline: timedelta = timedelta(milliseconds=250),
    max_item_bytes: int = 1 << 20,
) -> MemcachedStore:
    """The store that ``memcached://host:port,host:port`` or ``memcached:///path/of/a/socket`` names.

    Raises:
        ConfigurationError: It names none.
    """
    return MemcachedStore(
        [server.name for server in servers_of_url(url)],
        prefix=prefix,
        deadline=deadline,
        connect_deadline=connect_deadline,
        max_item_bytes=max_item_bytes,
    )
