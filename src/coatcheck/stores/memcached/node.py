"""One server: what it is asked, and what its replies and failures mean."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Any

from msgspec import Struct
from pymemcache.exceptions import (  # type: ignore[import-untyped] # pyright: ignore[reportMissingTypeStubs]
    MemcacheClientError,
    MemcacheServerError,
    MemcacheUnexpectedCloseError,
    MemcacheUnknownError,
)

from coatcheck.errors import StoreError, StoreFull, StoreTimeout, StoreUnavailable, TooLarge
from coatcheck.model.ports import Conflict, Found, Loaded, Written, revision_of
from coatcheck.stores.breaker import Breaker
from coatcheck.stores.memcached.connections import Connections

__all__ = ["Node", "Put"]

_PATIENCE = 2.0  # seconds: one try at a hung server takes the settings' deadline, and this is its default


class Put(Struct, frozen=True):
    """One write of an item.

    Attributes:
        expected: An int: the cas token of the version that it replaces. Bytes: that version's revision. None: add it.
        removable: Where the server has no memory for it, removing the item serves as well.
    """

    name: bytes
    data: bytes
    lifetime: int
    expected: object
    removable: bool


class Node:
    """One server of Memcached, safe for threads, and usable on both sides of a fork."""

    def __init__(self, name: str, connections: Callable[[], Connections]) -> None:
        """Make it.

        Args:
            name: What messages call it.
            connections: Makes the connections of this process. They are made anew after a fork or `close`.
        """
        self._name = name
        self._make = connections
        self._own = _Own(name, connections())

    def load(self, names: Sequence[bytes], deadline: float) -> list[Loaded]:
        """What lies under each name, in one round trip."""
        try:
            with self._client(deadline) as client:
                found = {
                    name: Found(data, int(token))
                    for name, (data, token) in client.gets_many([*names]).items()
                }
        except StoreError as error:
            return [error] * len(names)
        return [found.get(name) for name in names]

    def write(self, puts: Sequence[Put], deadline: float) -> list[Written]:
        """Carry out each write: one round trip each, and one before for those that know only a revision."""
        unknown = [put.name for put in puts if isinstance(put.expected, bytes)]
        found = dict(zip(unknown, self.load(unknown, deadline), strict=True)) if unknown else {}
        return [
            self._replace(put, found[put.name], deadline)
            if put.name in found
            else self._put(put, put.expected, deadline)
            for put in puts
        ]

    def remove(self, names: Sequence[bytes], deadline: float) -> list[bool | StoreError]:
        """Remove each item; whether there was one. One round trip each."""
        return [self._remove(name, deadline) for name in names]

    def ping(self, deadline: float) -> None:
        with self._client(deadline) as client:
            client.version()

    def close(self) -> None:
        self._mine().connections.close()
        self._own = _Own(self._name, self._make())

    def _replace(self, put: Put, found: Loaded, deadline: float) -> Written:
        if isinstance(found, StoreError):
            return found
        if found is None or revision_of(found.data) != put.expected:
            return Conflict(found)
        return self._put(put, found.version, deadline)

    def _put(self, put: Put, token: object, deadline: float) -> Written:
        try:
            with self._client(deadline, writes=True) as client:
                if isinstance(token, int):
                    stored = client.cas(put.name, put.data, token, put.lifetime, noreply=False)
                else:
                    stored = client.add(put.name, put.data, put.lifetime, noreply=False)
        except StoreFull as full:
            return self._end(put.name, token, deadline) if put.removable else full
        except TooLarge as error:
            error.size = len(put.data)
            error.limit = error.size - 1  # the server says no more
            return error
        except StoreError as error:
            return error
        return None if stored else self._conflict(put.name, deadline)

    def _end(self, name: bytes, token: object, deadline: float) -> Written:
        """Remove the version `token`, since the server has no memory for what was to replace it.

        A meta command compares the token and removes the item in one step (Memcached 1.6 and later). `delete` after a
        look could remove a version that was written in between, such as a sign-in's.
        """
        if not isinstance(token, int):
            conflict = self._conflict(name, deadline)
            return None if conflict == Conflict(None) else conflict
        try:
            with self._client(deadline, writes=True) as client:
                reply = client.raw_command(b"md %b C%d" % (name, token)).strip()
                if reply not in {b"HD", b"EX", b"NF"}:
                    raise MemcacheUnknownError
        except StoreError as error:
            return error
        return None if reply == b"HD" else self._conflict(name, deadline)

    def _conflict(self, name: bytes, deadline: float) -> Written:
        (found,) = self.load([name], deadline)
        return found if isinstance(found, StoreError) else Conflict(found)

    def _remove(self, name: bytes, deadline: float) -> bool | StoreError:
        try:
            with self._client(deadline, writes=True) as client:
                return bool(client.delete(name, noreply=False))
        except StoreError as error:
            return error

    def _mine(self) -> _Own:
        """The state of this process. A child of a fork must not use the connections of its parent."""
        own = self._own
        if own.pid != os.getpid():
            self._own, before = _Own(self._name, self._make()), own
            before.connections.abandon()
            own = self._own
        return own

    @contextmanager
    def _client(self, deadline: float, *, writes: bool = False) -> Generator[Any]:
        """A client for one command. Its connection is closed if anything goes wrong meanwhile.

        Raises:
            StoreError: The server can't be reached, did not answer in time, or refused.
            TooLarge: The server refused an item of this size.
        """
        if time.monotonic() >= deadline:
            raise StoreTimeout(f"{self._name} was not asked: no time was left", ambiguous=False)
        own = self._mine()
        own.breaker.admit()
        client: Any = None
        done = sent = False
        try:
            client = own.connections.borrow(deadline)
            connection = client.sock
            try:
                yield client
            finally:
                sent = connection.sent
            done = True
        except TimeoutError as error:
            own.breaker.failed()
            if client is None:
                raise StoreTimeout(
                    f"{self._name} took no connection in time: does a firewall drop what is sent there?",
                    ambiguous=False,
                ) from error
            raise StoreTimeout(
                f"{self._name} did not answer in time: is it overloaded?", ambiguous=writes and sent
            ) from error
        except (OSError, MemcacheUnexpectedCloseError) as error:
            own.breaker.failed()
            raise StoreUnavailable(
                f"{self._name} can't be reached ({type(error).__name__}): is it running, and is its address right?",
                ambiguous=writes and sent,
            ) from error
        except MemcacheServerError as error:
            own.breaker.succeeded()
            raise _refusal(self._name, error) from error
        except MemcacheClientError as error:
            raise StoreError(f"{self._name} refused a command: is it Memcached 1.6 or later?") from error
        except (MemcacheUnknownError, LookupError, ValueError):
            # The error quotes the reply, which may be part of another session: it is not chained.
            own.breaker.failed()
            raise StoreUnavailable(
                f"{self._name} gave a reply to something else: is it a Memcached server?", ambiguous=writes
            ) from None
        finally:
            if client is not None:
                own.connections.give_back(client, usable=done)
        own.breaker.succeeded()


class _Own:
    """The state of one process."""

    __slots__ = ("breaker", "connections", "pid")

    def __init__(self, name: str, connections: Connections) -> None:
        self.pid = os.getpid()
        self.breaker = Breaker(name, patience=_PATIENCE)
        self.connections = connections


def _refusal(server: str, error: MemcacheServerError) -> StoreError | TooLarge:
    """The error that a server's own words stand for."""
    words = error.args[0] if error.args else b""
    text = words[:100].decode("ascii", "replace") if isinstance(words, bytes) else str(words)
    if "too large" in text:
        return TooLarge(
            f"{server} takes no item of this size: was it started with a lower -I than max_item_bytes says?",
            size=0,
            limit=0,
        )
    if "out of memory" in text:
        return StoreFull(f"{server} has no room left: give it more memory (-m)")
    return StoreError(f"{server} refused: {text}")
