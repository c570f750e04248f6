"""A client for real servers: a connection for each request, and its bytes as they are."""

from __future__ import annotations

import itertools
import socket
import threading
from collections.abc import Callable, Mapping
from http.client import HTTPException, HTTPResponse, IncompleteRead
from typing import TYPE_CHECKING

from tests.behaviours.app import query_of
from tests.behaviours.client import Reply, Request

if TYPE_CHECKING:
    from websockets.sync.client import ClientConnection

PATIENCE = 60.0
_NUMBERS = itertools.count(1)
TELLS = "X-Request"
"""The request header by which the application under test finds whom it tells of the head and the end."""


class SocketClient:
    """Sends requests to a server on this machine."""

    def __init__(self, ports: Mapping[str, int], notes: dict[str, Callable[[str], None]]) -> None:
        """Know where to send them.

        Args:
            ports: Of the servers, by what their application is mounted below.
            notes: Of the application under test, by the value of the header `TELLS`.
        """
        self.ports = ports
        self.notes = notes

    def send(self, request: Request, note: Callable[[str], None]) -> Reply:
        """The reply. A server hides what its application raises."""
        number, told, ended = str(next(_NUMBERS)), list[str](), threading.Event()

        def tell(what: str) -> None:
            note(what)
            told.append(what)
            if what == "end":
                ended.set()

        self.notes[number] = tell
        lines = [
            f"{request.method} {request.mount}{request.path}?{query_of(request.steps)} HTTP/1.1".encode(),
            b"Host: shop.example",
            b"Connection: close",
            *(f"{name}: {value}".encode() for name, value in headers_of(request, number).items()),
        ]
        if request.cookies is not None:
            lines.append(b"Cookie: " + request.cookies)
        if request.also is not None:
            lines.append(b"Cookie: " + request.also)
        reply = Reply()
        with socket.create_connection(("127.0.0.1", self.ports[request.mount]), PATIENCE) as connection:
            connection.sendall(b"\r\n".join([*lines, b"", b""]))
            response = HTTPResponse(connection, method=request.method)
            try:
                response.begin()
                reply.status, reply.headers = response.status, response.getheaders()
                reply.body = response.read()
            except IncompleteRead as cut:
                reply.body, reply.broken = cut.partial, True
            except (HTTPException, OSError) as error:
                reply.raised = error
        # The last byte may be here before its server has returned from the call that sent it.
        if told and reply.raised is None and not reply.broken:
            assert ended.wait(PATIENCE), "the response has ended, and its server does not know it"
        return reply

    def connect(self, request: Request) -> ClientConnection:
        """A websocket, as a context manager."""
        from websockets.sync.client import connect

        number = str(next(_NUMBERS))
        self.notes[number] = lambda _: None
        headers = headers_of(request, number)
        if request.cookies is not None:
            headers["Cookie"] = request.cookies.decode("latin-1")
        address = f"ws://127.0.0.1:{self.ports[request.mount]}/ws?{query_of(request.steps)}"
        return connect(address, additional_headers=headers, user_agent_header=None, proxy=None)


def headers_of(request: Request, number: str) -> dict[str, str]:
    """What every request has: its browser, what a proxy says of it, and whom the application tells."""
    return {
        "User-Agent": request.agent,
        "X-Forwarded-Proto": "https" if request.secure else "http",
        TELLS: number,
    }
