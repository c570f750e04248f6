"""The connections to one server: a stack of redis-py's own, each lent to one exchange at a time.

redis-py's pools take a third of the time of a read, and fail at once when all connections are taken, so lending is done
here. After an exchange that failed or was cancelled, its connection is closed: the next reply on it would be that of
another caller.
"""

from __future__ import annotations

import asyncio
import os
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import Any

from coatcheck.errors import StoreError, StoreTimeout
from coatcheck.stores.breaker import Breaker
from coatcheck.stores.loops import end_socket
from coatcheck.stores.redis.calls import SENT, Calls
from coatcheck.stores.redis.errors import code_of, failure, is_outage, is_reply
from coatcheck.stores.redis.scripts import Command, Reply

__all__ = ["Pool"]


class Pool:
    """The connections to one server: those of a process, or in async those of an event loop.

    Args:
        settings: An object with a `connection_class` and `connection_kwargs`. It is kept, since redis-py's connections
            refer to their pool only weakly.
        where: The server, for messages.
        most: The largest number of connections.
        breaker: Counts the failures of the server.
        is_async: Whether connections are those of `redis.asyncio`.
    """

    def __init__(self, settings: Any, where: str, most: int, breaker: Breaker, *, is_async: bool) -> None:
        self._settings = settings
        self._where = where
        self._most = most
        self._breaker = breaker
        self._is_async = is_async
        kind = settings.connection_class
        # Before redis-py 8, as in valkey-py, async connections have the second one only.
        self._can_read: Any = getattr(kind, "can_read", None) or kind.can_read_destructive
        self._start()

    def _start(self) -> None:
        self.idle: list[Any] = []
        """The connections that are not lent. Closing replaces the list: those that are lent then are not put back."""
        self.turns: Any = (asyncio if self._is_async else threading).Semaphore(self._most)
        # The last: another thread of a forked process that sees it uses what was made before.
        self._pid = os.getpid()

    def exchange(
        self, commands: Sequence[Command], deadline: float, *, pauses: bool = False
    ) -> Calls[list[Reply]]:
        """The replies to commands, in one round trip. A refusal is a reply: an exception in the list.

        A failed exchange is repeated once, on a fresh connection, if nothing was run or the commands only read: the
        server may have closed the first connection, or have become a replica. After `SENT` it is for the caller to
        repeat it: it may have the turns of other servers, and to wait for one more could be in a circle.

        Args:
            commands: At least one.
            deadline: Monotonic seconds.
            pauses: Whether `SENT` is yielded, see `together`.

        Raises:
            StoreError: There are no replies.
        """
        fresh = has_paused = False
        while True:
            self._breaker.admit()
            if self._pid != os.getpid():
                self._start()  # forked: the parent's connections stay the parent's
            left = deadline - time.monotonic()
            if left <= 0:
                raise StoreTimeout("the deadline was over before the store was asked", ambiguous=False)
            turns, idle = self.turns, self.idle
            try:
                has_turn = yield turns.acquire, () if self._is_async else (True, left)
            except TimeoutError:
                has_turn = False
            if has_turn and deadline - time.monotonic() < left / 20:
                # A command sent now would only time out, and count as a failure of the server.
                turns.release()
                has_turn = False
            if not has_turn:
                raise StoreTimeout(
                    f"all {self._most} connections to {self._where} are taken; see max_connections",
                    ambiguous=False,
                )
            connection: Any = None
            replies: list[Reply] = []
            sent = False
            if not fresh:
                try:  # noqa: SIM105 - `suppress` is three calls: the budget of a WSGI read
                    connection = idle.pop()
                except IndexError:
                    pass
            try:
                if connection is None:
                    fresh = True
                    connection = self._settings.connection_class(**self._settings.connection_kwargs)
                    yield connection.connect, ()
                elif (yield self._can_read, (connection,)):
                    # A reply that was not asked for, or the end of the connection.
                    raise ConnectionResetError  # noqa: TRY301 - like any other failure before sending
                # Of several commands that are sent in part, the first ones are run; a single one is not.
                sent = len(commands) > 1
                # In no variable: a traceback would show it.
                yield (
                    connection.send_packed_command,
                    ([commands[0].data if len(commands) == 1 else b"".join([one.data for one in commands])],),
                )
                sent = True
                if pauses:
                    has_paused = True
                    yield SENT
                    if deadline <= time.monotonic():
                        # Another server was waited for. It says nothing of this one.
                        raise StoreTimeout(  # noqa: TRY301 - like any other failure
                            f"no time was left to read the reply of {self._where}",
                            ambiguous=not all(command.reads for command in commands),
                        )
                for _ in commands:
                    try:
                        reply = yield connection.read_response, ()
                    except Exception as error:
                        if not is_reply(error) or code_of(error) == "READONLY":
                            raise
                        reply = error
                    replies.append(reply)
            except BaseException as error:
                self._close(connection)
                turns.release()
                if not isinstance(error, Exception) or isinstance(error, StoreError):
                    raise  # the caller was cancelled, or had no time left
                may_be_run = sent and (bool(replies) or code_of(error) is None)
                ambiguous = may_be_run and not all(command.reads for command in commands)
                if fresh or ambiguous or deadline <= time.monotonic():
                    raise self._failure(error, ambiguous=ambiguous) from error
                fresh = True
                while idle:
                    with suppress(IndexError):  # another thread was faster
                        self._close(idle.pop())
                if has_paused:
                    raise failure(self._where, error, ambiguous=False) from error
            else:
                self._breaker.succeeded()
                if idle is self.idle:
                    idle.append(connection)
                else:  # the pool was closed meanwhile
                    self._close(connection)
                turns.release()
                return replies

    def servers(self, _deadline: float) -> Calls[Sequence[None]]:
        """The values of `Command.server` for all servers that take writes."""
        yield from ()
        return [None]

    def close(self) -> Calls[None]:
        """Close the connections that are not lent, and the others when they are given back."""
        idle, self.idle = self.idle, []
        try:
            for sentinel in getattr(getattr(self._settings, "sentinel_manager", None), "sentinels", ()):
                with suppress(Exception):
                    yield sentinel.aclose if self._is_async else sentinel.close, ()
            for connection in idle:
                with suppress(Exception):
                    yield connection.disconnect, ()
        finally:
            for connection in idle:
                self._close(connection)  # those for which there was no time

    def abandon(self) -> None:
        """End the async connections that are not lent. Their event loop is closed, so nothing can be awaited."""
        for connection in self.idle:
            writer, connection._writer = connection._writer, None  # noqa: SLF001 - there is no public way
            end_socket(writer)

    def _close(self, connection: Any) -> None:
        with suppress(Exception):
            if self._is_async:
                # With `nowait` this coroutine waits for nothing, so its first step is its last.
                connection.disconnect(nowait=True).send(None)
            else:
                connection.disconnect()

    def _failure(self, error: Exception, *, ambiguous: bool) -> StoreError:
        """The meaning of a failed exchange. The breaker is told."""
        met = failure(self._where, error, ambiguous=ambiguous)
        if is_outage(error):
            self._breaker.failed(met)
        return met
