"""The connections to one server: a stack of redis-py's own, each lent to one exchange at a time.

redis-py's pools take a third of the time of a read, and fail at once when all connections are taken, so lending is done
here. After an exchange that failed or was cancelled, its connection is closed: the next reply on it would be that of
another caller.

An exchange is written once, as a generator of the calls that wait for something. `driven` makes them in this thread,
`driven_async` awaits them: redis-py's connections have the same methods in both forms.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import suppress
from typing import Any, TypeAlias, TypeVar, cast

from coatcheck.errors import StoreError, StoreTimeout
from coatcheck.stores.breaker import Breaker
from coatcheck.stores.redis.errors import code_of, failure, is_outage, is_reply
from coatcheck.stores.redis.scripts import Command, Reply
from coatcheck.stores.redis.sockets import this_call_ends_at

__all__ = [
    "PATIENCE",
    "AnyPool",
    "AsyncPool",
    "Calls",
    "Pool",
    "Share",
    "driven",
    "driven_async",
    "exchanged",
]

_T = TypeVar("_T")
TOO_LATE = "the deadline was over before the store was asked"
PATIENCE = 2.0
"""For how many seconds others are not let through while one caller tries a server that failed."""
Calls: TypeAlias = "Generator[tuple[Callable[..., Any], tuple[Any, ...]], Any, _T]"
"""Work that waits: it yields functions, or coroutine functions, with their arguments, and is sent their results."""


def driven(calls: Calls[_T], deadline: float) -> _T:
    """Do some work in this thread, until `deadline` (monotonic seconds)."""
    this_call_ends_at(deadline)
    try:
        call, arguments = next(calls)
        while True:
            try:
                result = call(*arguments)
            except BaseException as error:  # noqa: BLE001 - the work decides what becomes of it
                call, arguments = calls.throw(error)
            else:
                call, arguments = calls.send(result)
    except StopIteration as end:
        return cast("_T", end.value)


async def driven_async(calls: Calls[_T], deadline: float) -> _T:
    """The same in this event loop."""
    async with asyncio.timeout(deadline - time.monotonic()) as limit:
        try:
            call, arguments = next(calls)
            while True:
                try:
                    result = await call(*arguments)
                except BaseException as error:  # noqa: BLE001 - as above
                    by_limit = isinstance(error, asyncio.CancelledError) and limit.expired()
                    call, arguments = calls.throw(TimeoutError() if by_limit else error)
                else:
                    call, arguments = calls.send(result)
        except StopIteration as end:
            return cast("_T", end.value)


class AnyPool:
    """The parts of a pool that are the same in sync and async. A caller has a turn while it has a connection.

    Args:
        settings: What has a `connection_class` and `connection_kwargs`. It is held, since redis-py's connections refer to
            their pool only weakly.
        where: The server, for messages.
        most: How many connections there are at most.
        breaker: What is known of the server.
    """

    take: Callable[..., Any]
    connect: Callable[..., Any]
    drop: Callable[..., Any]
    drop_idle: Callable[..., Any]
    turns: Any

    def __init__(self, settings: Any, where: str, most: int, breaker: Breaker) -> None:
        self.where = where
        self.breaker = breaker
        self.idle: list[Any] = []
        """The connections that are not lent. Closing replaces the list: those that are lent then are not put back."""
        self._settings = settings
        self._most = most

    def exchange(self, commands: Sequence[Command], deadline: float) -> Calls[Sequence[Reply]]:
        """The replies to commands, in one round trip. A refusal is a reply, as an exception.

        Raises:
            StoreError: There are none.
        """
        share = Share(self, commands)
        yield from exchanged([share], deadline)
        if share.error is not None:
            raise share.error
        return share.replies

    def servers(self, _deadline: float) -> Calls[Sequence[Any]]:
        """What names each server that may be written to, for `Command.server`."""
        yield from ()
        return [None]

    def failure(self, error: Exception, *, ambiguous: bool) -> StoreError:
        """The meaning of a failed exchange. The breaker is told."""
        if not isinstance(error, StoreError) and is_outage(error):
            self.breaker.failed()
        return failure(self.where, error, ambiguous=ambiguous)

    def _new(self) -> Any:
        return self._settings.connection_class(**self._settings.connection_kwargs)

    def _sentinels(self) -> Sequence[Any]:
        return getattr(getattr(self._settings, "sentinel_manager", None), "sentinels", ())

    def none_free(self) -> StoreTimeout:
        """The failure of a caller that waited for a turn in vain."""
        return StoreTimeout(
            f"all {self._most} connections to {self.where} are taken; see max_connections", ambiguous=False
        )


class Share:
    """The part of an exchange that goes to one server."""

    __slots__ = ("commands", "connection", "error", "idle", "pool", "pooled", "replies", "sent")

    def __init__(self, pool: AnyPool, commands: Sequence[Command]) -> None:
        self.pool: AnyPool = pool
        self.commands: Sequence[Command] = commands
        self.connection: Any = None
        self.error: StoreError | None = None  # why there are no replies
        self.idle: list[Any] = pool.idle
        self.pooled: bool = True  # whether the connection may be an old one, which the server may have closed
        self.replies: list[Reply] = []
        self.sent: bool = False  # whether the server may have received a command

    def failed(self, error: Exception, deadline: float) -> Calls[bool]:
        """Take in that the exchange did not come to its end. Whether it is tried again.

        It is, once and on a fresh connection, where the server had probably closed that of the first try or has become a
        replica, and surely ran nothing, or only reads.
        """
        may_be_run = self.sent and (bool(self.replies) or code_of(error) is None)
        ambiguous = may_be_run and not all(command.reads for command in self.commands)
        again = self.connection is not None and self.pooled and not ambiguous and deadline > time.monotonic()
        if self.connection is not None:
            connection, self.connection, self.pooled = self.connection, None, False
            yield self.pool.drop, (connection,)
        if again:
            yield self.pool.drop_idle, ()
        else:
            self.error = self.pool.failure(error, ambiguous=ambiguous)
        return again


def exchanged(shares: Sequence[Share], deadline: float) -> Calls[None]:
    """Send each share to its server, and then read all replies."""
    pending = shares
    try:
        while pending:
            again: list[Share] = []
            for share in pending:
                pool, commands = share.pool, share.commands
                try:
                    pool.breaker.admit()
                    if deadline <= time.monotonic():
                        raise StoreTimeout(TOO_LATE, ambiguous=False)  # noqa: TRY301 - no fault of the server
                    try:
                        share.connection = yield pool.take, (deadline, not share.pooled)
                    except TimeoutError as error:
                        raise pool.none_free() from error
                    if share.connection is None:
                        share.pooled = False
                        share.connection = yield pool.connect, ()
                    # Of several commands that are sent in part, the first ones are run; a single one is not.
                    share.replies, share.sent = [], len(commands) > 1
                    data = b"".join([each.data for each in commands]) if share.sent else commands[0].data
                    yield share.connection.send_packed_command, ([data],)
                    share.sent = True
                except Exception as error:  # noqa: BLE001 - the share holds it
                    if (yield from share.failed(error, deadline)):
                        again.append(share)
            for share in pending:
                connection, pool = share.connection, share.pool
                if connection is None:
                    continue
                try:
                    for _ in share.commands:
                        try:
                            reply = yield connection.read_response, ()
                        except Exception as error:
                            if not is_reply(error) or code_of(error) == "READONLY":
                                raise
                            reply = error
                        share.replies.append(reply)
                except Exception as error:  # noqa: BLE001 - as above
                    if (yield from share.failed(error, deadline)):
                        again.append(share)
                    continue
                pool.breaker.succeeded()
                share.connection = None
                if share.idle is pool.idle:
                    pool.idle.append(connection)
                    pool.turns.release()
                else:
                    yield pool.drop, (connection,)
            pending = again
    finally:
        for share in shares:
            if share.connection is not None:  # the caller was cancelled
                yield share.pool.drop, (share.connection,)


class Pool(AnyPool):
    """The connections of one process, for threads. Their class is one of `sockets.bounded`."""

    idle: list[Any]
    turns: Any

    def __init__(self, settings: Any, where: str, most: int, breaker: Breaker) -> None:
        super().__init__(settings, where, most, breaker)
        self._pid = os.getpid()
        self.turns = threading.Semaphore(most)

    def take(self, deadline: float, fresh: bool) -> Any:
        """Wait for a turn. An idle connection that is still good, unless it has to be a `fresh` one; None: there is none."""
        if self._pid != os.getpid():
            # Forked: the parent's connections stay the parent's.
            self._pid, self.idle, self.turns = os.getpid(), [], threading.Semaphore(self._most)
        if not self.turns.acquire(timeout=max(0.0, deadline - time.monotonic())):
            raise TimeoutError
        with suppress(IndexError):  # another thread was faster
            while self.idle and not fresh:
                connection = self.idle.pop()
                with suppress(Exception):
                    if not connection.can_read():
                        return connection
                self._disconnect(connection)  # something can be read that was not asked for, or its end
        return None

    def connect(self) -> Any:
        """A new connection, for the caller that has a turn."""
        connection = None
        try:
            connection = self._new()
            connection.connect()
        except BaseException:
            self.drop(connection)
            raise
        return connection

    def drop(self, connection: Any) -> None:
        """Close a connection that was lent; the turn ends."""
        self.turns.release()
        self._disconnect(connection)

    def drop_idle(self) -> None:
        """Close the connections that are not lent."""
        with suppress(IndexError):
            while True:
                self._disconnect(self.idle.pop())

    def close(self) -> None:
        """Close the connections that are not lent, and the others when they are given back."""
        idle, self.idle = self.idle, []
        for connection in idle:
            self._disconnect(connection)
        for sentinel in self._sentinels():
            with suppress(Exception):
                sentinel.close()

    def _disconnect(self, connection: Any) -> None:
        with suppress(Exception):
            connection.disconnect()


class AsyncPool(AnyPool):
    """The same for one event loop."""

    idle: list[Any]
    turns: Any

    def __init__(self, settings: Any, where: str, most: int, breaker: Breaker) -> None:
        super().__init__(settings, where, most, breaker)
        self.turns = asyncio.Semaphore(most)

    async def take(self, _deadline: float, fresh: bool) -> Any:
        """See `Pool.take`."""
        await self.turns.acquire()
        while self.idle and not fresh:
            connection = self.idle.pop()
            can_read = getattr(connection, "can_read", None) or connection.can_read_destructive
            try:
                with suppress(Exception):
                    if not await can_read():
                        return connection
            except BaseException:
                await self.drop(connection)
                raise
            await self._disconnect(connection)
        return None

    async def connect(self) -> Any:
        """See `Pool.connect`."""
        connection = None
        try:
            connection = self._new()
            await connection.connect()
        except BaseException:
            await self.drop(connection)
            raise
        return connection

    async def drop(self, connection: Any) -> None:
        """See `Pool.drop`."""
        self.turns.release()
        await self._disconnect(connection)

    async def drop_idle(self) -> None:
        """See `Pool.drop_idle`."""
        while self.idle:
            await self._disconnect(self.idle.pop())

    async def close(self) -> None:
        """See `Pool.close`."""
        idle, self.idle = self.idle, []
        for connection in idle:
            await self._disconnect(connection, nowait=False)  # TLS takes a turn of the loop to say goodbye
        for sentinel in self._sentinels():
            with suppress(Exception):
                await sentinel.aclose()

    async def _disconnect(self, connection: Any, *, nowait: bool = True) -> None:
        with suppress(Exception):
            await connection.disconnect(nowait=nowait)
