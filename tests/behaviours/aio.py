"""The same list for asynchronous frameworks: an event loop in a thread, and a client for ASGI applications."""

from __future__ import annotations

import asyncio
import threading
from abc import abstractmethod
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from typing import Any, ClassVar, TypeVar

import pytest

from coatcheck.model.ports import AsyncStore
from coatcheck.runner_async import AsyncRunner, _Desk
from coatcheck.sessions import AsyncSessions, Sessions
from coatcheck.stores.coalesce import Lane, PerLoop
from coatcheck.testing.shim import awaitable
from tests.behaviours.app import query_of
from tests.behaviours.client import Client, Reply, Request
from tests.behaviours.suite import HttpBehaviours

__all__ = ["AsgiClient", "AsyncHttpBehaviours", "BlockingStore", "Portal"]

T = TypeVar("T")
TIMEOUT = 60.0
THREADS = 64  # calls of the store that a test may hold at once


class Portal:
    """An event loop that runs in a thread of its own, for callers in others."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._loop.set_default_executor(ThreadPoolExecutor(THREADS))
        self._thread = threading.Thread(target=self._loop.run_forever, name="event loop")
        self._thread.start()

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        """What `work` returns, run as a task of the loop."""
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(TIMEOUT)

    def close(self) -> None:
        """Stop the loop, and wait for its thread."""
        self.call(self._loop.shutdown_default_executor())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(TIMEOUT)
        self._loop.close()


class BlockingStore:
    """An async store for callers that can't await."""

    def __init__(self, make: Callable[[], AsyncStore]) -> None:
        self.portal = Portal()
        self.store = self.portal.call(self._made(make))
        self.index = self.store.index

    async def _made(self, make: Callable[[], AsyncStore]) -> AsyncStore:
        return make()

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self.store, name)
        return lambda *arguments: self.portal.call(method(*arguments))

    def close(self) -> None:
        self.portal.call(self.store.close())
        self.portal.close()


class AsgiClient:
    """Calls an ASGI application as a server does."""

    def __init__(self, app: Callable[..., Coroutine[Any, Any, None]], portal: Portal) -> None:
        self.app = app
        self.portal = portal

    def send(self, request: Request, note: Callable[[str], None]) -> Reply:
        """The reply; what the application raises is in it."""
        return self.portal.call(self._send(request, note))

    async def _send(self, request: Request, note: Callable[[str], None]) -> Reply:
        reply, started = Reply(), False
        incoming = [{"type": "http.request", "body": b"", "more_body": False}]
        over = asyncio.Event()

        async def receive() -> dict[str, Any]:
            if incoming:
                return incoming.pop()
            await over.wait()
            return {"type": "http.disconnect"}

        async def send(message: dict[str, Any]) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                note("head")
                reply.status = message["status"]
                reply.headers = [
                    (name.decode("latin-1"), value.decode("latin-1")) for name, value in message["headers"]
                ]
            else:
                reply.body += message.get("body", b"")
                if not message.get("more_body", False):
                    over.set()
                    note("end")

        try:
            await self.app(scope_of(request), receive, send)
        except Exception as error:  # noqa: BLE001 - a server logs it
            reply.raised = error
        reply.broken = started and not over.is_set()
        return reply


def scope_of(request: Request) -> dict[str, Any]:
    """What an ASGI server makes of a request."""
    headers = [(b"host", b"shop.example"), (b"user-agent", request.agent.encode())]
    if (cookies := request.cookie_header) is not None:
        headers.append((b"cookie", cookies))
    if request.also is not None:
        headers.append((b"cookie", request.also))
    return {
        "type": "http",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "method": request.method,
        "scheme": "https" if request.secure else "http",
        "path": f"{request.mount}{request.path}",
        "raw_path": f"{request.mount}{request.path}".encode(),
        "query_string": query_of(request.steps).encode(),
        "root_path": request.mount,
        "headers": headers,
        "client": ("192.0.2.1", 50_000),
        "server": ("shop.example", 443 if request.secure else 80),
    }


class AsyncHttpBehaviours(HttpBehaviours):
    """Every behaviour, for one asynchronous framework. Subclass it, and say how an application is built."""

    untouched: ClassVar[tuple[str, ...]] = ("load",)
    joins_cookies: ClassVar[bool] = True

    @abstractmethod
    def build_async(self, sessions: AsyncSessions, portal: Portal) -> Client:
        """An application of the framework under test, with the sessions of `sessions`, and a client for it."""

    @pytest.fixture(autouse=True)
    def _run_a_loop(self) -> Iterator[None]:
        self._portal = Portal()
        yield
        self._portal.close()

    def build(self, sessions: Sessions) -> Client:
        """An application with an asynchronous manager of the same settings, on the same store.

        The store's calls run in threads, so that the loop goes on where a test holds one of them.
        """
        settings = sessions.settings
        options: Any = {each.name: getattr(settings, each.name) for each in fields(settings) if each.init}
        manager = AsyncSessions(awaitable(sessions.store, threads=True), **options)
        manager._runner._desks = PerLoop(lambda: _one_by_one(manager._runner))
        return self.build_async(manager, self._portal)


def _one_by_one(runner: AsyncRunner) -> _Desk:
    """Lanes that let every request write at once, as if each came to another process."""
    tasks = runner._tasks.here()
    desk = _Desk(runner.batches, tasks)
    desk.loads = Lane(tasks, runner.batches.send_loads, largest_batch=1, in_flight=THREADS)
    desk.changes = Lane(
        tasks, runner.batches.send_changes, largest_batch=1, in_flight=THREADS, cancelled=True
    )
    return desk
