"""Records in Memcached, through pymemcache: one server, or several between which the records are shared out.

Memcached forgets: a record that was not used for long may be evicted when room is wanted, and a server that is
restarted comes back empty. A session may therefore end early here, never late. There are no lists either: the
sessions of a user can all be ended, and can't be shown. See docs/how-to/memcached.md.
"""

from __future__ import annotations

import random
import time
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any, NoReturn, TypeVar

from coatcheck.errors import ConfigurationError, StoreError, StoreTimeout, TooLarge
from coatcheck.model.ports import Capabilities, Found, Life
from coatcheck.model.record import Applied, Change, Refused
from coatcheck.stores import _memcached_flows as flows
from coatcheck.stores._memcached_flows import Delete, Get, Item, Pause, Put, Steps
from coatcheck.stores._memcached_items import (
    CAPABILITIES,
    Items,
    Server,
    longest_pause,
    placement,
    seconds,
    servers_of,
    servers_of_url,
)
from coatcheck.stores._memcached_node import Node, ReadyNode, judged_client

__all__ = ["MemcachedStore", "from_url"]

_T = TypeVar("_T")


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
        self._nodes: list[Node]
        if client is not None:
            if servers:
                raise ConfigurationError("Give Memcached's servers or a client, not both.")
            self._nodes = [ReadyNode(judged_client(client), max_item_bytes)]
            self._place = placement([Server("client")])
            return
        listed = servers_of([servers] if isinstance(servers, str) else servers)
        self._nodes = [Node(server, connect, max_item_bytes) for server in listed]
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
        """See `coatcheck.model.ports.RevokesAll`. Two round trips."""
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
