"""The same for an event loop: what its tasks ask of one server at the same time goes there together.

Each server has its own batches and its own breaker, so that one that is down holds up nobody whose session lies on
another. A batch has a task and a connection to itself, and a connection whose answer was not read to its end is never
used again: no cancelled request can leave behind what the next one would take for its own.
"""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, NoReturn, TypeVar
from weakref import WeakKeyDictionary

from coatcheck.errors import StoreError, StoreTimeout, StoreUnavailable, TooLarge
from coatcheck.model.ports import Capabilities, Found, Life
from coatcheck.model.record import Applied, Change, Refused
from coatcheck.stores import _memcached_flows as flows
from coatcheck.stores import _memcached_wire as wire
from coatcheck.stores._memcached_connection import Connection
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
from coatcheck.stores.breaker import Breaker
from coatcheck.stores.coalesce import Lane, Tasks

__all__ = ["AsyncMemcachedStore", "from_url"]

_T = TypeVar("_T")
_LARGEST_BATCH = 128
_IN_FLIGHT = 2


class AsyncMemcachedStore:
    """A store in Memcached for asyncio and uvloop. It may be used from several loops; each has its own connections."""

    capabilities: Capabilities = CAPABILITIES

    def __init__(
        self,
        servers: str | Sequence[str],
        *,
        prefix: str = "coatcheck:",
        deadline: timedelta = timedelta(seconds=1),
        connect_deadline: timedelta = timedelta(milliseconds=250),
        max_item_bytes: int = 1 << 20,
    ) -> None:
        """Make a store. See `MemcachedStore`; a client that is ready it does not take."""
        self._items = Items(prefix, max_item_bytes)
        self._deadline = seconds("deadline", deadline)
        self._connect_deadline = seconds("connect_deadline", connect_deadline)
        self._servers = servers_of([servers] if isinstance(servers, str) else servers)
        self._place = placement(self._servers)
        self._desks: WeakKeyDictionary[asyncio.AbstractEventLoop, _Desk] = WeakKeyDictionary()

    async def load(self, keys: Sequence[bytes], now: int) -> list[Found]:
        """See `MemcachedStore.load`."""
        return await self._run(self._desk(), flows.load(self._items, keys, now), self._until())

    async def apply(self, changes: Sequence[Change]) -> list[Applied | Refused]:
        """See `MemcachedStore.apply`. Once begun it goes on, also when its caller is cancelled."""
        desk = self._desk()
        return await desk.alone(self._apply(desk, changes, self._until()))

    async def enroll(self, user: str, life: Life, expires: int) -> None:
        """See `MemcachedStore.enroll`."""
        await self._alone(self._items.of_user(user), flows.enroll(self._items, user, life, expires))

    async def revoke_all(self, user: str, at: int, until: int, keep: bytes | None) -> None:
        """See `coatcheck.model.ports.RevokesAll`."""
        steps = flows.revoke_all(self._items, user, at, until, keep)
        await self._alone(self._items.of_user(user), steps)

    async def lives_of(self, user: str, now: int) -> NoReturn:
        """See `MemcachedStore.lives_of`."""
        raise StoreError("Memcached keeps no list of a user's sessions")

    async def count(self, now: int) -> NoReturn:
        """See `MemcachedStore.count`."""
        raise StoreError("Memcached does not count sessions")

    async def sweep(self, now: int, limit: int) -> int:
        """See `MemcachedStore.sweep`."""
        return 0

    async def ping(self) -> None:
        """See `MemcachedStore.ping`."""
        desk = self._desk()
        for node in desk.nodes:
            await desk.alone(node.ping())

    async def close(self) -> None:
        """Wait for what this loop's callers were promised, then close its connections."""
        desk = self._desks.pop(asyncio.get_running_loop(), None)
        if desk is not None:
            while desk.tasks:
                await asyncio.wait(desk.tasks)
            for node in desk.nodes:
                await node.close()

    def _desk(self) -> _Desk:
        loop = asyncio.get_running_loop()
        desk = self._desks.get(loop)
        if desk is None or desk.pid != os.getpid():
            desk = self._desks[loop] = _Desk(
                self._servers, self._deadline, self._connect_deadline, self._items.max_item_bytes
            )
        return desk

    def _until(self) -> float:
        return asyncio.get_running_loop().time() + self._deadline

    async def _apply(self, desk: _Desk, changes: Sequence[Change], until: float) -> list[Applied | Refused]:
        answers: list[Applied | Refused] = []
        for change in changes:
            steps = flows.apply(self._items, change)
            answers.append(await self._in_turn(desk, self._items.of_record(change.key), steps, until))
        return answers

    async def _alone(self, name: bytes, steps: Steps[None]) -> None:
        desk = self._desk()
        await desk.alone(self._in_turn(desk, name, steps, self._until()))

    async def _in_turn(self, desk: _Desk, name: bytes, steps: Steps[_T], until: float) -> _T:
        # Of the tasks of this loop that change the same item, one at a time asks the server.
        async with desk.turn(name, until):
            return await self._run(desk, steps, until)

    async def _run(self, desk: _Desk, steps: Steps[_T], until: float) -> _T:
        """Do what a flow wants of the servers."""
        answer: Any = None
        failure: Exception | None = None
        wish: Get | Put | Delete | Pause | None = None
        try:
            async with asyncio.timeout_at(until):
                while True:
                    wish = steps.send(answer) if failure is None else steps.throw(failure)
                    answer, failure = None, None
                    try:
                        answer = await self._do(desk, wish)
                    except (StoreError, TooLarge) as error:
                        failure = error
        except StopIteration as stop:
            result: _T = stop.value
            return result
        except TimeoutError as error:
            raise StoreTimeout(
                "Memcached did not get it done in time", ambiguous=isinstance(wish, Put | Delete)
            ) from error

    async def _do(self, desk: _Desk, wish: Get | Put | Delete | Pause) -> object:
        match wish:
            case Get(names):
                return await self._get(desk, names)
            case Put(name):
                return await desk.nodes[self._place(name)].put(wish)
            case Delete(name):
                return await desk.nodes[self._place(name)].put(wish)
            case Pause(tries):
                await asyncio.sleep(random.uniform(0, longest_pause(tries)))  # noqa: S311 - no secret
                return None

    async def _get(self, desk: _Desk, names: Sequence[bytes]) -> Sequence[Item | None]:
        places = [self._place(name) for name in names]
        if len(set(places)) == 1:
            return await desk.nodes[places[0]].reads.submit(names)
        found = await asyncio.gather(
            *(desk.nodes[place].reads.submit((name,)) for place, name in zip(places, names, strict=True))
        )
        return [item for (item,) in found]


class _Desk(Tasks):
    """What one event loop has of the servers."""

    def __init__(
        self, servers: Sequence[Server], deadline: float, connect_deadline: float, max_item_bytes: int
    ) -> None:
        super().__init__()
        self.pid = os.getpid()
        self.nodes = [_Node(self, server, deadline, connect_deadline, max_item_bytes) for server in servers]
        self._turns: dict[bytes, _Turn] = {}

    @asynccontextmanager
    async def turn(self, name: bytes, until: float) -> AsyncGenerator[None]:
        """Alone, among the tasks of this loop, with what lies under `name`: first come, first served."""
        turn = self._turns.setdefault(name, _Turn())
        turn.wanted += 1
        try:
            try:
                if turn.lock.locked():
                    async with asyncio.timeout_at(until):
                        await turn.lock.acquire()
                else:
                    await turn.lock.acquire()  # at once
            except TimeoutError as error:
                raise StoreTimeout("it did not get to this change in time", ambiguous=False) from error
            try:
                yield
            finally:
                turn.lock.release()
        finally:
            turn.wanted -= 1
            if not turn.wanted:
                del self._turns[name]


class _Turn:
    __slots__ = ("lock", "wanted")

    def __init__(self) -> None:
        self.lock = asyncio.Lock()
        self.wanted = 0


class _Node:
    """One server, as one event loop has it."""

    def __init__(
        self, desk: Tasks, server: Server, deadline: float, connect_deadline: float, max_item_bytes: int
    ) -> None:
        self._server = server
        self._name = f"Memcached at {server.name}"
        self._deadline = deadline
        self._connect_deadline = connect_deadline
        self._max_item_bytes = max_item_bytes
        self._breaker = Breaker(self._name, patience=deadline)
        self._free: list[Connection] = []
        self.reads: Lane[bytes, Item | None] = Lane(
            desk, self._read, _LARGEST_BATCH, _IN_FLIGHT, for_nobody=False
        )
        self._writes: Lane[Put | Delete, bool | str] = Lane(
            desk, self._write, _LARGEST_BATCH, _IN_FLIGHT, for_nobody=True
        )

    async def put(self, wish: Put | Delete) -> bool:
        """Store or remove an item."""
        (answer,) = await self._writes.submit((wish,))
        if isinstance(answer, bool):
            return answer
        refused = refusal(answer, self._name)
        if isinstance(refused, ItemRefused) and isinstance(wish, Put):
            raise too_large(self._name, wish.data, self._max_item_bytes) from refused
        raise refused

    async def ping(self) -> None:
        await self._ask(wire.VERSION, wire.Version(), ambiguous=False)

    async def close(self) -> None:
        while self._free:
            connection = self._free.pop()
            connection.abort()
            await connection.ended

    async def _read(self, names: Sequence[bytes], _now: int) -> Sequence[Item | None]:
        # Parallel requests of one visitor ask for one record.
        unique = list(dict.fromkeys(names))
        found = await self._ask(wire.get(unique), wire.Values(unique), ambiguous=False)
        return [found.get(name) for name in names]

    async def _write(self, wishes: Sequence[Put | Delete], _now: int) -> Sequence[bool | str]:
        return await self._ask(wire.put(wishes), wire.Answers(len(wishes)), ambiguous=True)

    async def _ask(self, request: bytes, reading: wire.Reading[_T], *, ambiguous: bool) -> _T:
        """Send a request, and read its answer to the end, on a connection that nobody else has meanwhile."""
        self._breaker.admit()
        connection: Connection | None = None
        try:
            async with asyncio.timeout(self._deadline):
                connection = await self._borrow()
                answer = await connection.ask(request, reading)
        except TimeoutError as error:
            self._breaker.failed()
            if connection is None:
                raise StoreTimeout(f"{self._name} took no connection in time", ambiguous=False) from error
            raise StoreTimeout(f"{self._name} did not answer in time", ambiguous=ambiguous) from error
        except (OSError, wire.OutOfStep) as error:
            self._breaker.failed()
            raise StoreUnavailable(f"{self._name} can't be reached: {error}") from error
        finally:
            if connection is not None:
                if connection.is_idle:
                    self._free.append(connection)
                else:
                    connection.abort()
        self._breaker.succeeded()
        return answer

    async def _borrow(self) -> Connection:
        while self._free:
            connection = self._free.pop()
            if connection.is_idle:
                return connection
        loop, server = asyncio.get_running_loop(), self._server
        async with asyncio.timeout(self._connect_deadline):
            if server.path:
                _, connection = await loop.create_unix_connection(Connection, server.path)
            else:
                _, connection = await loop.create_connection(Connection, server.host, server.port)
        return connection


def from_url(
    url: str,
    *,
    prefix: str = "coatcheck:",
    deadline: timedelta = timedelta(seconds=1),
    connect_deadline: timedelta = timedelta(milliseconds=250),
    max_item_bytes: int = 1 << 20,
) -> AsyncMemcachedStore:
    """The store that ``memcached://host:port,host:port`` or ``memcached:///path/of/a/socket`` names.

    Raises:
        ConfigurationError: It names none.
    """
    return AsyncMemcachedStore(
        [server.name for server in servers_of_url(url)],
        prefix=prefix,
        deadline=deadline,
        connect_deadline=connect_deadline,
        max_item_bytes=max_item_bytes,
    )
