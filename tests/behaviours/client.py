"""A tiny client that calls an application in place, and a model of a browser's cookie jar."""

from __future__ import annotations

import io
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from tests.behaviours.app import query_of

if TYPE_CHECKING:
    from wsgiref.types import WSGIApplication, WSGIEnvironment

__all__ = ["Browser", "Client", "Reply", "Request", "WsgiClient"]


@dataclass(frozen=True)
class Request:
    """One request for the script `steps`."""

    steps: tuple[str, ...] = ()
    cookies: bytes | None = None
    """The Cookie header, as its bytes; None for none."""
    secure: bool = True
    """Whether it comes by https."""
    method: str = "GET"
    agent: str = "Browser/1.0"
    path: str = "/play"
    mount: str = ""
    """Where the application is mounted: SCRIPT_NAME, root_path."""
    also: bytes | None = None
    """A second Cookie header."""

    @property
    def cookie_header(self) -> bytes | None:
        """The Cookie header as a server hands it on: without the white space around it (RFC 9110 §5.5)."""
        return None if self.cookies is None else self.cookies.strip(b" \t")


@dataclass
class Reply:
    """What came back: every header line by itself, in order."""

    status: int = 500
    headers: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    body: bytes = b""
    raised: BaseException | None = None
    """The exception that the application raised to its server; a client of a real server can't see it."""
    broken: bool = False
    """Whether the response ended before its time, after its head had left."""

    def broke_off(self, kind: type[Exception]) -> bool:
        """Whether the response ended before its time, by a `kind` if the client sees what was raised."""
        return self.broken and (self.raised is None or isinstance(self.raised, kind))

    @property
    def results(self) -> list[Any]:
        """What the steps of the script gave back, one after the other."""
        return [json.loads(line) for line in self.body.splitlines() if line]

    @property
    def result(self) -> Any:
        """What the last step gave back. The request must have succeeded."""
        assert self.status == 200, (self.status, self.body, self.raised)
        return self.results[-1]

    def all(self, name: str) -> list[str]:
        """The values of every header line called `name`."""
        return [value for other, value in self.headers if other.lower() == name.lower()]

    def words(self, name: str) -> list[str]:
        """The members of a list header, in lower case, over all its lines."""
        return [word.strip().lower() for value in self.all(name) for word in value.split(",")]

    def cookies(self, name: str) -> list[str]:
        """The Set-Cookie lines for the cookie `name`."""
        return [line for line in self.all("set-cookie") if line.startswith(f"{name}=")]


class Client(Protocol):
    """Sends a request to an application in place. Several threads may do so at once."""

    def send(self, request: Request, note: Callable[[str], None]) -> Reply:
        """The reply. Notes "head" when the application hands over the head of its response, "end" after its body."""
        ...


class WsgiClient:
    """Calls a WSGI application as a server does."""

    def __init__(self, app: WSGIApplication) -> None:
        self.app = app

    def send(self, request: Request, note: Callable[[str], None]) -> Reply:
        """The reply; what the application raises is in it."""
        reply, sent = Reply(), [b""]
        started = ended = False

        def start_response(status: str, headers: list[tuple[str, str]], exc_info: Any = None, /) -> Any:
            nonlocal started
            if started and exc_info is None:
                raise AssertionError("start_response was called twice")
            if any(sent) and exc_info is not None:
                raise exc_info[1]
            started = True
            note("head")
            reply.status, reply.headers = int(status.split(" ", 1)[0]), list(headers)
            return sent.append

        try:
            body = self.app(environ_of(request), start_response)
            try:
                for chunk in body:
                    assert started, "a body came before its head"
                    sent.append(chunk)
                ended = True
                note("end")
            finally:
                if (close := getattr(body, "close", None)) is not None:
                    close()
            assert started, "the response has no head"
        except Exception as error:  # noqa: BLE001 - a server logs it
            reply.raised = error
        reply.body, reply.broken = b"".join(sent), started and not ended
        return reply


def environ_of(request: Request) -> WSGIEnvironment:
    """What a WSGI server makes of a request."""
    environ: WSGIEnvironment = {
        "REQUEST_METHOD": request.method,
        "SCRIPT_NAME": request.mount,
        "PATH_INFO": request.path,
        "QUERY_STRING": query_of(request.steps),
        "SERVER_NAME": "shop.example",
        "SERVER_PORT": "443" if request.secure else "80",
        "SERVER_PROTOCOL": "HTTP/1.1",
        "HTTP_HOST": "shop.example",
        "HTTP_USER_AGENT": request.agent,
        "wsgi.version": (1, 0),
        "wsgi.url_scheme": "https" if request.secure else "http",
        "wsgi.input": io.BytesIO(),
        "wsgi.errors": sys.stderr,
        "wsgi.multithread": True,
        "wsgi.multiprocess": False,
        "wsgi.run_once": False,
    }
    if (cookies := request.cookie_header) is not None:
        both = cookies if request.also is None else cookies + b"," + request.also  # as servers join them
        environ["HTTP_COOKIE"] = both.decode("latin-1")
    return environ


class Browser:
    """A visitor: his cookies, and when they go out and come in.

    `request` takes the cookies of now and `receive` keeps those of a reply, so that a test can let replies overtake
    each other; `play` does both.
    """

    def __init__(self, send: Callable[[Request], Reply], cookies: dict[str, str] | None = None) -> None:
        self._send = send
        self.cookies: dict[str, str] = {} if cookies is None else cookies

    def request(self, *steps: str, secure: bool = True) -> Request:
        """A request with the cookies of now."""
        pairs = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        return Request(steps, pairs.encode() or None, secure)

    def receive(self, reply: Reply) -> Reply:
        """Keep the cookies of a reply; they replace those that are there."""
        for line in reply.all("set-cookie"):
            pair, *attributes = [part.strip() for part in line.split(";")]
            name, _, value = pair.partition("=")
            if "Max-Age=0" in attributes:
                self.cookies.pop(name, None)
            else:
                self.cookies[name] = value
        return reply

    def play(self, *steps: str, secure: bool = True) -> Reply:
        """Send a request for `steps`, and receive the reply."""
        return self.receive(self._send(self.request(*steps, secure=secure)))

    def twin(self) -> Browser:
        """Another with the same cookies: what was copied, or is to be tried out."""
        return Browser(self._send, dict(self.cookies))
