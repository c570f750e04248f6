"""The same as `_redis_lines` for an event loop: each loop has connections of its own."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import Any

from coatcheck.errors import StoreUnavailable
from coatcheck.stores._redis_errors import is_reply, said
from coatcheck.stores._redis_lines import arguments_of, broken_off, most_of, none_free, sentinels_of
from coatcheck.stores._redis_replies import Reply
from coatcheck.stores.breaker import Breaker

__all__ = ["AsyncLines", "AsyncPoolLines"]


class AsyncLines:
    """Connections to one server, made by a pool of redis-py, for one event loop."""

    def __init__(
        self, pool: Any, where: str, *, most: int, connect_deadline: float, breaker: Breaker
    ) -> None:
        """Make connections as `pool` does, which lends none itself, nor counts any.

        Args:
            pool: What has a `connection_class` and `connection_kwargs`: a pool of redis-py, or a node of a cluster.
            where: The server's name in messages.
            most: How many connections there are at most; who finds all of them taken waits.
            connect_deadline: For how many seconds connecting may take, logging in included.
            breaker: What is known of the server, by all event loops.
        """
        self._pool = pool
        self._where = where
        self._most = most
        self._connect_deadline = connect_deadline
        self._turns = asyncio.Semaphore(most)
        self._idle: list[Any] = []
        self._open: set[Any] = set()
        self._closed = False
        self.breaker: Breaker = breaker

    async def exchange(self, data: bytes, count: int, until: float) -> list[Reply]:
        """Send some commands at once, and read their replies.

        Raises:
            Broken: It did not come to its end.
            StoreUnavailable: The breaker is open, or the store is closed.
        """
        self.breaker.admit()
        sent, its_turn, connection = False, False, None
        try:
            async with asyncio.timeout(until - time.monotonic()):
                await self._turns.acquire()
                its_turn = True
                try:
                    connection = await self._take()
                    sent = count > 1
                    await connection.send_packed_command([data])
                    sent = True
                    replies = [await _read(connection) for _ in range(count)]
                except BaseException:
                    # Also where the caller was cancelled: what comes next would be the answer to this call.
                    if connection is not None:
                        await self._drop(connection)
                    raise
                finally:
                    self._turns.release()
        except StoreUnavailable:
            raise
        except Exception as error:
            if not its_turn and isinstance(error, TimeoutError):
                raise none_free(self._where, self._most) from error
            raise broken_off(self.breaker, self._where, error, sent=sent) from error
        self.breaker.succeeded()
        if self._closed:
            await self._drop(connection)
        else:
            self._idle.append(connection)
        return replies

    async def renew(self) -> None:
        """Let go of the connections that are idle: the next ones ask anew where the server is."""
        while self._idle:
            await self._drop(self._idle.pop())

    async def close(self) -> None:
        """Close what is idle now, and the rest as it is given back."""
        self._closed = True
        while self._idle:
            connection = self._idle.pop()
            self._open.discard(connection)
            with suppress(Exception):
                await connection.disconnect()  # TLS says goodbye: a loop that ends must not end before
        for sentinel in sentinels_of(self._pool):
            with suppress(Exception):
                await sentinel.aclose()

    def abandon(self) -> None:
        """Let go of all connections at once: their loop is closed, or another process's."""
        self._closed = True
        for connection in self._open:
            with suppress(Exception):
                connection._close()  # noqa: SLF001 - redis-py has no public way that needs no running loop
        self._open.clear()
        self._idle.clear()

    async def _take(self) -> Any:
        while self._idle:
            connection = self._idle.pop()
            check = getattr(connection, "can_read", None) or connection.can_read_destructive
            with suppress(Exception):
                if not await check():
                    return connection
            # It has something to read that nobody asked for, or its end.
            await self._drop(connection)
        if self._closed:
            raise StoreUnavailable("the store is closed")
        connection = self._pool.connection_class(**self._pool.connection_kwargs)
        self._open.add(connection)
        try:
            async with asyncio.timeout(self._connect_deadline):
                await connection.connect()
        except BaseException:
            await self._drop(connection)
            raise
        return connection

    async def _drop(self, connection: Any) -> None:
        self._open.discard(connection)
        with suppress(Exception):
            await connection.disconnect(nowait=True)


class AsyncPoolLines:
    """Connections that a client of the application's lends from its own pool. It serves one event loop only."""

    def __init__(self, pool: Any, where: str, *, breaker: Breaker) -> None:
        self._pool = pool
        self._where = where
        self._most = most_of(pool)
        self._turns = asyncio.Semaphore(self._most)
        # Before 5.3, and in valkey-py, its argument must be there; since then it must not.
        self._arguments: tuple[str, ...] = arguments_of(pool.get_connection)
        self.breaker: Breaker = breaker

    async def exchange(self, data: bytes, count: int, until: float) -> list[Reply]:
        """See `AsyncLines.exchange`."""
        self.breaker.admit()
        sent = its_turn = False
        try:
            async with asyncio.timeout(until - time.monotonic()), self._turns:
                its_turn = True
                connection = await self._pool.get_connection(*self._arguments)
                try:
                    sent = count > 1
                    await connection.send_packed_command([data])
                    sent = True
                    replies = [await _read(connection) for _ in range(count)]
                except BaseException:
                    with suppress(Exception):
                        await connection.disconnect(nowait=True)
                    raise
                finally:
                    await self._pool.release(connection)
        except Exception as error:
            if not its_turn and isinstance(error, TimeoutError):
                raise none_free(self._where, self._most) from error
            raise broken_off(self.breaker, self._where, error, sent=sent) from error
        self.breaker.succeeded()
        return replies

    async def renew(self) -> None:
        """Let go of the connections that are idle."""
        with suppress(Exception):
            await self._pool.disconnect(inuse_connections=False)

    async def close(self) -> None:
        """It is theirs."""

    def abandon(self) -> None:
        """It is theirs."""


async def _read(connection: Any) -> Reply:
    try:
        return await connection.read_response()
    except Exception as error:
        if is_reply(error):
            return said(error)
        raise
