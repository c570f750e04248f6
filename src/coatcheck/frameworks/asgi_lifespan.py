"""A server's start and stop (ASGI's lifespan): looking at the store first, sweeping while the server runs, and shutting the manager down with it."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Awaitable, Callable, MutableMapping
from contextlib import suppress
from datetime import timedelta
from typing import Any, TypeAlias

from coatcheck.errors import ConfigurationError, StoreError
from coatcheck.runner_async import refuse_trio
from coatcheck.sessions import AsyncSessions

__all__ = ["Lifespan"]

Message: TypeAlias = MutableMapping[str, Any]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
log: logging.Logger = logging.getLogger("coatcheck")


class Lifespan:
    """Sweeps the store while the server runs, and shuts the manager down when the server stops."""

    def __init__(self, sessions: AsyncSessions, *, shutdown: bool, sweep_every: timedelta | None) -> None:
        if sweep_every is not None and sweep_every < timedelta(seconds=1):
            raise ConfigurationError("sweep_every must be a timedelta of at least one second.")
        self._sessions = sessions
        self._shutdown = shutdown
        self._sweep_every = sweep_every

    def watched(self, send: Send) -> Send:
        """`send`, which begins to sweep when the application has started, and shuts down when it has stopped.

        Raises:
            ConfigurationError: The server runs under trio.
        """
        refuse_trio()
        sweeping: asyncio.Task[None] | None = None

        async def send_last(message: Message) -> None:
            nonlocal sweeping
            kind = message["type"]
            if kind == "lifespan.startup.complete":
                with suppress(StoreError):  # it is logged, and may be over at the first request
                    await self._sessions.ping()
            if kind == "lifespan.startup.complete" and self._sweep_every is not None:
                sweeping = asyncio.create_task(self._sweep_now_and_then(self._sweep_every.total_seconds()))
            if kind.startswith("lifespan.shutdown."):
                if sweeping is not None:
                    sweeping.cancel()
                    await asyncio.wait([sweeping])
                if self._shutdown:
                    await self._sessions.shutdown()
            await send(message)

        return send_last

    async def _sweep_now_and_then(self, seconds: float) -> None:
        while True:
            # Not all workers at the same moment.
            await asyncio.sleep(seconds * random.uniform(0.5, 1.5))  # noqa: S311 - no secret
            try:
                await self._sessions.sweep()
            except StoreError as error:
                log.warning("expired sessions could not be removed: %s", error)
