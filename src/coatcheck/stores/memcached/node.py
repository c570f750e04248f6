"""One server: what it is asked, and what its replies and failures mean."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from typing import Any

from pymemcache.exceptions import (  # type: ignore[import-untyped] # pyright: ignore[reportMissingTypeStubs]
    MemcacheClientError,
    MemcacheServerError,
    MemcacheUnexpectedCloseError,
    MemcacheUnknownError,
)

from coatcheck.errors import StoreError, StoreFull, StoreTimeout, StoreUnavailable, TooLarge
from coatcheck.model.ports import Conflict, Found, Loaded, Write, Written, revision_of
from coatcheck.silent import frameless
from coatcheck.stores.breaker import Breaker
from coatcheck.stores.memcached.connections import Connections
from coatcheck.stores.memcached.items import Items

__all__ = ["Node"]

_PATIENCE = 2.0  # seconds: one try at a hung server takes the settings' deadline, and this is its default


class Node:
    """One server of Memcached, safe for threads, and usable on both sides of a fork."""

    def __init__(self, name: str, items: Items, connections: Callable[[], Connections]) -> None:
        """Make it.

        Args:
            name: Its name in messages.
            items: How data lies there.
            connections: Makes the connections of this process. They are made anew after a fork or `close`.
        """
        self._name = name
        self._items = items
        self._make = connections
        self._own = _Own(name, connections())

    def load(self, keys: Sequence[bytes], deadline: float) -> list[Loaded]:
        """The data under each key, in one round trip."""
        names = [self._items.name(key) for key in keys]
        try:
            with self._client(deadline) as client:
                lies = client.gets_many(names)
                found = {name: Found(data, int(token)) for name, (data, token) in lies.items()}
        except StoreError as error:
            return [error] * len(names)
        return [found.get(name) for name in names]

    def write(self, writes: Sequence[Write], now: int, deadline: float) -> list[Written]:
        """Carry out each write: one round trip each, and one before for those that know only a revision."""
        unknown = [write.key for write in writes if isinstance(write.expected, bytes)]
        found = dict(zip(unknown, self.load(unknown, deadline), strict=True)) if unknown else {}
        return [self._write(write, found.get(write.key), now, deadline) for write in writes]

    def remove(self, keys: Sequence[bytes], deadline: float) -> list[bool | StoreError]:
        """Remove what lies under each key; whether something did. One round trip each."""
        return [self._remove(self._items.name(key), deadline) for key in keys]

    def ping(self, deadline: float) -> None:
        with self._client(deadline) as client:
            client.version()

    def close(self) -> None:
        self._mine().connections.close()
        self._own = _Own(self._name, self._make())

    def _write(self, write: Write, found: Loaded, now: int, deadline: float) -> Written:
        token = write.expected
        if isinstance(token, bytes):
            if isinstance(found, StoreError):
                return found
            if found is None or revision_of(found.data) != token:
                return Conflict(found)
            token = found.version
        assert token is None or isinstance(token, int)
        name, lifetime = self._items.name(write.key), self._items.lifetime(write.expires, now)
        if (too_large := self._items.too_large(name, write.data)) is not None:
            return too_large
        try:
            with self._client(deadline, writes=True) as client:
                if token is None:
                    stored = client.add(name, write.data, lifetime, noreply=False)
                else:
                    stored = client.cas(name, write.data, token, lifetime, noreply=False)
        except StoreFull as full:
            return self._end(write, token, full, deadline) if write.urgent and not write.live else full
        except TooLarge as error:
            error.size = len(write.data)
            error.limit = error.size - 1  # the server says no more
            return error
        except StoreError as error:
            return error
        return None if stored else self._conflict(write.key, deadline)

    def _end(self, write: Write, token: int | None, full: StoreFull, deadline: float) -> Written:
        """Remove the version `token` where the server has no memory for the tombstone that was to replace it.

        A meta command (Memcached 1.6) compares the token and removes the item in one step. `delete` after a look could
        remove a version that was written in between, such as a sign-in's. Only a write that is smaller than what it
        replaces ends something: an epoch that notes a sign-in is not, and must not be lost.
        """
        (found,) = self.load([write.key], deadline)
        if isinstance(found, StoreError):
            return found
        if (None if found is None else found.version) != token:
            return Conflict(found)
        if token is None or found is None or len(write.data) >= len(found.data):
            return full
        command = b"md %b C%d" % (self._items.name(write.key), token)
        try:
            with self._client(deadline, writes=True) as client:
                reply = client.raw_command(command).strip()
                if reply not in {b"HD", b"EX", b"NF"}:
                    raise MemcacheUnknownError
        except StoreError as error:
            return error
        return None if reply == b"HD" else self._conflict(write.key, deadline)

    def _conflict(self, key: bytes, deadline: float) -> Written:
        (found,) = self.load([key], deadline)
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
                done = True
            finally:
                sent = connection.sent
                own.connections.give_back(client, usable=done)
        except TimeoutError as error:
            words = "took no connection in time: does a firewall drop what is sent there?"
            if client is not None:
                words = "did not answer in time: is it overloaded?"
            late = StoreTimeout(f"{self._name} {words}", ambiguous=writes and sent)
            own.breaker.failed(late)
            raise late from frameless(error)
        except (OSError, MemcacheUnexpectedCloseError) as error:
            gone = StoreUnavailable(
                f"{self._name} can't be reached ({type(error).__name__}): is it running, and is its address right?",
                ambiguous=writes and sent,
            )
            own.breaker.failed(gone)
            raise gone from frameless(error)
        except MemcacheServerError as error:
            own.breaker.succeeded()
            raise _refusal(self._name, error) from frameless(error)
        except MemcacheClientError as error:
            raise StoreError(f"{self._name} refused a command: is it Memcached 1.6 or later?") from frameless(
                error
            )
        except (MemcacheUnknownError, LookupError, ValueError):
            # The error quotes the reply, which may be part of another session: it is not chained.
            garbled = StoreUnavailable(
                f"{self._name} gave a reply to something else: is it a Memcached server?", ambiguous=writes
            )
            own.breaker.failed(garbled)
            raise garbled from None
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
