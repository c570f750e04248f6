"""Where a scene plays: a real HTTP server for the length of the scene, and the browsers in front of it."""

from __future__ import annotations

import json
import socketserver
import threading
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from http.cookies import SimpleCookie
from typing import Any, ClassVar, Self
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from coatcheck.demo.scenes.corner_shop import PATIENCE, SLOW, BrokenOff
from coatcheck.demo.scenes.sides import Side

__all__ = ["Answer", "Browser", "Stage"]


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back."""

    status: int
    user: str | None
    basket: list[str]


class Browser:
    """One browser: its name, and the cookies that it has."""

    def __init__(self, name: str, stage: Stage) -> None:
        self.name = name
        self._stage = stage
        self._cookies: dict[str, str] = {}

    def copied(self, name: str) -> Browser:
        """Another browser, with a copy of the cookies."""
        other = Browser(name, self._stage)
        other._cookies = dict(self._cookies)
        return other

    def look(self, *, also: HTTPStatus = HTTPStatus.OK) -> Answer:
        """Open the shop. See `send`."""
        return self.send("GET", "/", also=also)

    def post(self, path: str, *, also: HTTPStatus = HTTPStatus.OK) -> Answer:
        """Do something in the shop. See `send`."""
        return self.send("POST", path, also=also)

    def send(self, method: str, path: str, query: str = "", *, also: HTTPStatus = HTTPStatus.OK) -> Answer:
        """One HTTP request, over a connection of its own.

        Args:
            method: GET or POST.
            path: The path.
            query: `SLOW`, or nothing.
            also: The status that may come instead of 200, where that is what the scene shows.

        Raises:
            BrokenOff: The answer did not come in time, or has another status: the shop's store failed by itself.
        """
        headers = {"User-Agent": self.name.replace("’", "'")}
        if self._cookies:
            headers["Cookie"] = "; ".join(f"{name}={value}" for name, value in self._cookies.items())
        connection = HTTPConnection(*self._stage.address, timeout=2 * PATIENCE)
        try:
            connection.request(method, f"{path}?{query}" if query else path, headers=headers)
            response = connection.getresponse()
            body = response.read()
        except (OSError, HTTPException) as error:
            raise BrokenOff from error
        finally:
            connection.close()
        told: dict[str, Any] = json.loads(body) if response.headers.get_content_subtype() == "json" else {}
        did = self._take(response.headers.get_all("Set-Cookie", []))
        if told and method == "GET":
            basket = ", ".join(told["basket"]) or "nothing"
            did += f" (signed in: {told['user'] or 'nobody'}; basket: {basket})"
        slow = " (the slow one)" if query else ""
        self._stage.log.append(
            f"{self.name}: {method} {path}{slow}, {response.status} {response.reason}{did}"
        )
        if response.status not in (HTTPStatus.OK, also):
            raise BrokenOff
        return Answer(response.status, told.get("user"), told.get("basket", []))

    def _take(self, headers: list[str]) -> str:
        """Keep the cookies of a response; what it did, in words."""
        did = ""
        for header in headers:
            for name, cookie in SimpleCookie(header).items():
                if cookie["max-age"] == "0":
                    self._cookies.pop(name, None)
                    did = ", removes the cookie"
                else:
                    self._cookies[name] = cookie.value
                    did = ", sets a cookie"
        return did


class Stage:
    """One scene on one side. In a ``with``; at its end the server is gone, and so is what the scene stored."""

    def __init__(self, side: Side) -> None:
        self.side: Side = side
        self.log: list[str] = []
        """Every request, in the order of the answers."""

    @property
    def address(self) -> tuple[str, int]:
        """Where the server listens."""
        host, port = self._server.server_address[:2]
        return str(host), int(port)

    def browser(self, name: str) -> Browser:
        """A browser without cookies."""
        return Browser(name, self)

    @contextmanager
    def during(self, browser: Browser, path: str) -> Generator[None]:
        """What happens inside happens while a slow request of `browser` is under way.

        The slow request has read its session when the body begins, and writes only when the body is done.

        Raises:
            BrokenOff: The slow request came or ended too late, or failed.
        """
        gate, failed = self.side.shop.gate, list[BaseException]()

        def run() -> None:
            try:
                browser.send("POST", path, SLOW)
            except BaseException as error:  # noqa: BLE001 - of whatever kind: the scene is not what it should be
                failed.append(error)
                gate.arrive()

        slow = threading.Thread(target=run, name="the slow request", daemon=True)
        _start(slow)
        try:
            gate.wait()
            if failed:
                raise BrokenOff from failed[0]
            self.log.append(f"{browser.name}: POST {path} (the slow one) has read the session, and waits")
            yield
        finally:
            gate.open()
            slow.join(3 * PATIENCE)
        if slow.is_alive() or failed:
            raise BrokenOff from (failed[0] if failed else None)

    @contextmanager
    def away(self) -> Generator[None]:
        """What happens inside happens while the store can't be reached."""
        self.log.append("The store is switched off")
        with self.side.away():
            yield
        self.log.append("The store is back")

    def __enter__(self) -> Self:
        try:
            self._server = _Server(("127.0.0.1", 0), _Handler)
        except OSError as error:  # a sandbox may forbid it
            raise BrokenOff from error
        self._server.set_app(self.side.application)
        self._serving = threading.Thread(
            target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, name="a scene", daemon=True
        )
        try:
            _start(self._serving)
        except BrokenOff:
            self._server.server_close()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._serving.join(PATIENCE)
        self._server.server_close()
        self.side.clear()


def _start(thread: threading.Thread) -> None:
    try:
        thread.start()
    except RuntimeError as error:  # the system has no more threads
        raise BrokenOff from error


class _Server(socketserver.ThreadingMixIn, WSGIServer):
    daemon_threads = True

    def server_bind(self) -> None:
        socketserver.TCPServer.server_bind(self)
        # HTTPServer asks the machine's name service for a name here, and may wait for it.
        self.server_name, self.server_port = "127.0.0.1", int(self.server_address[1])
        self.setup_environ()


class _Handler(WSGIRequestHandler):
    timeout: ClassVar[float | None] = PATIENCE

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - its name there
        """Say nothing: the stage keeps the log."""
