"""The same list over real sockets: a framework's application behind a server that people deploy it with.

A class that runs the list in place is derived once more, and its requests go through the server::

    class TestServed(OnWaitress, TestInMemory):
        pass

There is one server for a class, in a thread, and it serves the sites of all its tests: each request says by a header
which site it is for. The applications stand in this process, so that a test can hold a call of the store and move the
clock. The servers speak plain http, and trust the X-Forwarded-Proto of a proxy on this machine.
"""

from __future__ import annotations

import asyncio
import logging
import socket
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from typing import Any, ClassVar

import pytest

from tests.behaviours.aio import Portal
from tests.behaviours.client import Client
from tests.behaviours.socket_client import TELLS, SocketClient

__all__ = ["OnHypercorn", "OnUvicorn", "OnWaitress"]

Note = Callable[[str], None]

MOUNT = "/shop"
LARGEST_HEAD = 1 << 18
LARGEST_HEADER = 1 << 16  # servers take no longer one as they are delivered
THREADS = 32
CONTROLS = bytes({*range(0x20), 0x7F} - {ord("\t")})


class _Expected(dict[str, tuple[Any, Note]]):
    """The application of each request that is under way, and whom to tell of its head and its end."""

    def client(self, app: Any, port: int) -> Client:
        """A client that sends to `app`."""
        return SocketClient({"": port, MOUNT: port}, _NotesOf(app, self))


class _NotesOf(dict[str, Note]):
    def __init__(self, app: Any, expected: _Expected) -> None:
        self.app, self.expected = app, expected

    def __setitem__(self, number: str, note: Note) -> None:
        self.expected[number] = self.app, note


class _Served:
    """What the servers have in common. The server is started for the class, and stops with it."""

    refused_bytes = CONTROLS  # 400, by the server

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        cls.largest_header = min(LARGEST_HEADER, getattr(cls, "largest_header", LARGEST_HEADER))

    @pytest.fixture(scope="class", autouse=True)
    @classmethod
    def _server(cls) -> Iterator[None]:
        cls.server = cls.start()
        yield
        cls.server.close()

    def deployed(self, app: Any) -> Any:
        """What the server is given: the application, and around it what its framework has for a proxy's headers."""
        return app

    def build(self, sessions: Any) -> Client:
        """The client of the same application, over a socket."""
        app = self.deployed(super().build(sessions).app)
        return self.server.expected.client(app, self.server.port)


# WSGI


class Waitress:
    """waitress, in threads of this process."""

    def __init__(self, **options: Any) -> None:
        import waitress

        self.expected = _Expected()
        self._server: Any = waitress.create_server(
            self._app,
            host="127.0.0.1",
            port=0,
            threads=THREADS,
            clear_untrusted_proxy_headers=False,
            **options,
        )
        self.port = int(self._server.effective_port)
        self._thread = threading.Thread(target=self._server.run, name="waitress")
        self._thread.start()

    def close(self) -> None:
        server = self._server
        # In its own thread; its loop ends when no connection is left. A request that ends meanwhile wakes it, too: then
        # it may have closed before this call has woken it.
        with suppress(OSError):
            server.trigger.pull_trigger(lambda: server.asyncore.close_all(server._map))
        self._thread.join()
        server.task_dispatcher.shutdown()

    def _app(self, environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
        app, note = self.expected.pop(environ[f"HTTP_{TELLS.upper().replace('-', '_')}"])
        if environ["PATH_INFO"].startswith(MOUNT):
            environ["SCRIPT_NAME"], environ["PATH_INFO"] = MOUNT, environ["PATH_INFO"].removeprefix(MOUNT)

        def start(*args: Any) -> Any:
            write = start_response(*args)
            note("head")
            return write

        return _Body(app(environ, start), note)


class _Body:
    """A body that tells when it was read to its end."""

    def __init__(self, body: Iterable[bytes], note: Note) -> None:
        self._body, self._note = body, note

    def __iter__(self) -> Iterator[bytes]:
        yield from self._body
        self._note("end")

    def close(self) -> None:
        if (close := getattr(self._body, "close", None)) is not None:
            close()


class OnWaitress(_Served):
    """The list on waitress. The name of the class under test stands behind this one's."""

    trusts_proxy: ClassVar[bool] = True
    """Whether the server reads the proxy's header; False where the framework does."""

    @classmethod
    def start(cls) -> Waitress:
        trusted = {"trusted_proxy": "127.0.0.1", "trusted_proxy_headers": {"x-forwarded-proto"}}
        return Waitress(**trusted if cls.trusts_proxy else {})


# ASGI


class _AsgiServer(ABC):
    """An ASGI server, in an event loop of its own."""

    def __init__(self) -> None:
        self.expected = _Expected()
        self.portal = Portal()
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.port = self._socket.getsockname()[1]
        self._over = asyncio.Event()
        self._started = threading.Event()
        self._serving = asyncio.run_coroutine_threadsafe(self.serve(), self.portal._loop)

    @abstractmethod
    async def serve(self) -> None:
        """Serve until `_over` is set."""

    def close(self) -> None:
        self.portal.call(self._stop())
        self._serving.result(60)
        self.portal.close()

    async def _stop(self) -> None:
        self._over.set()

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        number = dict(scope["headers"])[TELLS.lower().encode()].decode()
        app, note = self.expected.pop(number)
        if scope["path"].startswith(MOUNT):
            scope["root_path"] = MOUNT

        async def tell(message: dict[str, Any]) -> None:
            if message["type"] == "http.response.start":
                note("head")
            await send(message)
            if message["type"] == "http.response.body" and not message.get("more_body", False):
                note("end")

        await app(scope, receive, tell)


class Uvicorn(_AsgiServer):
    async def serve(self) -> None:
        import uvicorn

        config = uvicorn.Config(
            self,
            lifespan="off",
            log_config=None,
            log_level="warning",  # the log of accesses has every script, and a test looks for values in all logs
            h11_max_incomplete_event_size=LARGEST_HEAD,
        )
        server = uvicorn.Server(config)
        serving = asyncio.ensure_future(server.serve([self._socket]))
        await self._over.wait()
        server.should_exit = True
        await serving


class Hypercorn(_AsgiServer):
    async def serve(self) -> None:
        from hypercorn.asyncio import serve
        from hypercorn.config import Config
        from hypercorn.middleware import ProxyFixMiddleware

        config = Config()
        config.bind = [f"fd://{self._socket.detach()}"]
        config.h11_max_incomplete_size = LARGEST_HEAD
        config.errorlog = logging.getLogger("hypercorn.error")
        app = ProxyFixMiddleware(self, mode="legacy", trusted_hops=1)
        await serve(app, config, shutdown_trigger=self._over.wait)

    async def __call__(self, scope: dict[str, Any], receive: Any, send: Any) -> None:
        if scope["type"] == "websocket":
            # The middleware takes the proxy's "https" as it is, and Quart refuses a websocket that is not "wss".
            scope["scheme"] = scope["scheme"].replace("http", "ws")
        await super().__call__(scope, receive, send)


class _OnAsgiServer(_Served):
    @pytest.fixture(autouse=True)
    def _run_a_loop(self, _server: None) -> None:
        self._portal = self.server.portal


class OnUvicorn(_OnAsgiServer):
    """The list on uvicorn."""

    @classmethod
    def start(cls) -> Uvicorn:
        return Uvicorn()


class OnHypercorn(_OnAsgiServer):
    """The list on hypercorn."""

    @classmethod
    def start(cls) -> Hypercorn:
        return Hypercorn()
