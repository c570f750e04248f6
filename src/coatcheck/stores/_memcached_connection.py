"""One connection of the async store: it is asked one thing at a time, and says whether that was answered in full."""

from __future__ import annotations

import asyncio
from typing import Any, TypeVar, cast

from coatcheck.stores import _memcached_wire as wire

__all__ = ["Connection"]

_T = TypeVar("_T")


class Connection(asyncio.Protocol):
    """One connection, and the answer that it waits for."""

    def __init__(self) -> None:
        loop = asyncio.get_running_loop()
        self.ended: asyncio.Future[None] = loop.create_future()
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._reading: wire.Reading[Any] | None = None
        self._answered: asyncio.Future[None] | None = None

    @property
    def is_idle(self) -> bool:
        """Whether it can be asked something: it is open, and whatever was asked has been answered in full."""
        return self._reading is None and self._transport is not None and not self._transport.is_closing()

    async def ask(self, request: bytes, reading: wire.Reading[_T]) -> _T:
        if self._transport is None or not self.is_idle:
            raise ConnectionResetError("the server closed the connection")
        self._reading = reading
        self._answered = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        await self._answered
        return reading.answer

    def abort(self) -> None:
        """Close it at once, whatever is under way."""
        if self._transport is not None:
            self._transport.abort()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if self._reading is None:
            self.abort()  # nobody asked
            return
        try:
            if not self._reading.feed(self._buffer):
                return
        except wire.OutOfStep as error:
            self._finish(error)
            self.abort()
            return
        self._buffer.clear()
        self._reading = None
        self._finish(None)

    def connection_lost(self, exc: Exception | None) -> None:
        self._finish(exc or ConnectionResetError("the server closed the connection"))
        if not self.ended.done():
            self.ended.set_result(None)

    def _finish(self, error: Exception | None) -> None:
        answered, self._answered = self._answered, None
        if answered is not None and not answered.done():
            if error is None:
                answered.set_result(None)
            else:
                answered.set_exception(error)
