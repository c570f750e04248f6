"""Sessions for any WSGI application (PEP 3333): ``environ["coatcheck.session"]``.

::

    from coatcheck import Sessions
    from coatcheck.frameworks.wsgi import SessionMiddleware

    sessions = Sessions.from_url("sqlite:///sessions.db", secret=SECRET)
    application = SessionMiddleware(application, sessions)

The head of the response is held back until its first byte of body, so that what the application changes until then
is stored, and its cookie sent, first. What it changes while the body streams is stored when the body ends.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from types import TracebackType
from typing import TYPE_CHECKING, Any, TypeAlias

from coatcheck.frameworks.environ import is_sent_by_server, path_of
from coatcheck.frameworks.streams import close_body
from coatcheck.http.csrf import SAFE_METHODS
from coatcheck.http.headers import amend
from coatcheck.responder import ENVIRON_KEY, Responder, of_kind, session_in
from coatcheck.session import Session, end_of_request
from coatcheck.sessions import Sessions

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

__all__ = ["SessionMiddleware", "check_csrf"]

_Headers: TypeAlias = list[tuple[str, str]]
_ExcInfo: TypeAlias = (
    tuple[type[BaseException], BaseException, TracebackType] | tuple[None, None, None] | None
)
_Write: TypeAlias = Callable[[bytes], object]


class SessionMiddleware:
    """Gives each request a `Session` in ``environ["coatcheck.session"]``.

    A `StoreError` that the application lets through becomes a 503 with Retry-After.
    """

    def __init__(self, app: WSGIApplication, sessions: Sessions) -> None:
        """Wrap an application.

        Args:
            app: The WSGI application.
            sessions: The manager.
        """
        self.app = app
        self.sessions: Sessions = of_kind(sessions, Sessions)
        self._by_path = bool(sessions.settings.outage_by_path)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Serve one request."""
        if ENVIRON_KEY in environ or "asgi.scope" in environ:
            outer = session_in(environ)
            if outer is not None and self.sessions.agrees_with(outer):
                environ[ENVIRON_KEY] = outer
                try:
                    return self.app(environ, start_response)  # the outer layer stores it
                except BaseException:
                    self.sessions.note_failure(outer)
                    raise
        path = path_of(environ) if self._by_path else ""
        # The Cookie header as it came (PEP 3333: its bytes as latin-1 text), not as a framework has parsed it.
        session = self.sessions.open(
            environ.get("HTTP_COOKIE", ""), client=environ.get("HTTP_USER_AGENT", ""), path=path
        )
        environ[ENVIRON_KEY] = session
        response = _Response(self.sessions, session)
        response.environ, response.start_response = environ, start_response
        body: Iterable[bytes] = ()
        try:
            body = self.app(environ, response.start)
            if response.head_sent or not (isinstance(body, list | tuple) or is_sent_by_server(body, environ)):
                return _Body(response, body)
            response.send_head(last=True)
        except BaseException as error:
            refusal = response.refuse(error)
            close_body(body)
            if refusal is None:
                response.end(
                    last=True
                )  # what tries the request again, with the same environ, gets another session
                raise
            return refusal
        return body


def check_csrf(environ: WSGIEnvironment, value: str | None = None) -> bool:
    """Whether a request may change something: its method is safe, or it brings a CSRF token of its session.

    Args:
        environ: The request, behind the middleware.
        value: The token that its form brought, if any. A token in the ``X-CSRF-Token`` header counts as well.
    """
    if environ["REQUEST_METHOD"] in SAFE_METHODS:
        return True
    session: Session = environ[ENVIRON_KEY]
    return session.check_csrf(value) or session.check_csrf(environ.get("HTTP_X_CSRF_TOKEN"))


class _Response(Responder):
    """One response: what the application said of it, held back until the session is stored."""

    environ: WSGIEnvironment
    start_response: StartResponse
    _head: tuple[str, _Headers] | None = None
    _exc_info: Any = None
    _write: _Write

    def start(self, status: str, headers: _Headers, exc_info: _ExcInfo = None, /) -> _Write:
        """What the application calls as ``start_response``."""
        if exc_info is not None and exc_info[1] is not None and status[:1] == "5":
            # A framework in between has caught what the handler raised (PEP 3333, "Error Handling"). A redirect that a
            # handler raises (WebOb) is a response like any other.
            self.failed(exc_info[1])
        if self.head_sent:
            # Too late for another head: the server raises `exc_info`, as PEP 3333 wants it.
            return self.start_response(status, headers, exc_info)
        if self._head is not None and exc_info is None:
            raise AssertionError("start_response was called a second time without exc_info")
        self._head, self._exc_info = (status, headers), exc_info
        return self.write

    def write(self, data: bytes) -> None:
        """The old way to send a body: the head leaves first."""
        self.send_head()
        self._write(data)

    def send_head(self, *, last: bool = False) -> None:
        """Store what was changed, then let the head go, with the session's headers. See `Responder.head`."""
        if self.head_sent:
            return
        if self._head is None:
            raise AssertionError("the application sent a body before it called start_response")
        status, headers = self._head
        secure = self.environ.get("wsgi.url_scheme") == "https"
        outcome = self.head(int(status[:3]), headers, secure=secure, last=last)
        if outcome.vary:
            headers = amend(headers, outcome.set_cookie)
        self.head_sent = True
        if self._exc_info is None:
            self._write = self.start_response(status, headers)
        else:
            self._write = self.start_response(status, headers, self._exc_info)

    def refuse(self, error: BaseException) -> list[bytes] | None:
        """The body of the 503 that is sent in place of `error`; None: it is raised again."""
        refusal = self.failed(error)
        if refusal is None:
            return None
        self.head_sent = True
        end_of_request(self.session)
        self.start_response(f"{refusal.status} {refusal.reason}", refusal.headers)
        return [refusal.body]


class _Body:
    """The application's body: its first chunk sends the head, its end stores what changed meanwhile."""

    __slots__ = ("_body", "_chunks", "_done", "_response")

    def __init__(self, response: _Response, body: Iterable[bytes]) -> None:
        self._response = response
        self._body = body
        self._chunks: Iterator[bytes] | None = None
        self._done = False

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        if self._done:
            raise StopIteration
        response = self._response
        try:
            if self._chunks is None:
                self._chunks = iter(self._body)
            chunk = next(self._chunks, None)
            while chunk is not None and not chunk and not response.head_sent:
                # An empty chunk sends nothing, so the head can still wait (PEP 3333).
                chunk = next(self._chunks, None)
            response.send_head()
        except BaseException as error:
            self._done = True
            refusal = response.refuse(error)
            if refusal is None:
                raise
            return refusal[0]
        if chunk is None:
            self._done = True
            # Now, and not in `close`: who has received the end of the body sees what it has stored.
            response.end()
            raise StopIteration
        return chunk

    def close(self) -> None:
        """Called by the server at the end, also when the client hung up."""
        try:
            close_body(self._body)
        finally:
            self._response.end(last=True)
