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

from coatcheck.errors import StoreError
from coatcheck.http.headers import amend, unavailable
from coatcheck.session import Session, failure_met
from coatcheck.sessions import Sessions

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

__all__ = ["SessionMiddleware"]

ENVIRON_KEY = "coatcheck.session"
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
        self.sessions = sessions
        self._by_path = bool(sessions.settings.outage_by_path)

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Serve one request."""
        path = _path_of(environ) if self._by_path else ""
        # The Cookie header as it came (PEP 3333: its bytes as latin-1 text), not as a framework has parsed it.
        session = self.sessions.open(
            environ.get("HTTP_COOKIE", ""), client=environ.get("HTTP_USER_AGENT", ""), path=path
        )
        environ[ENVIRON_KEY] = session
        response = _Response(self.sessions, session, environ, start_response)
        body: Iterable[bytes] = ()
        try:
            body = self.app(environ, response.start)
            if response.head_sent or not _has_run(body, environ):
                return _Body(response, body)
            response.send_head()
        except StoreError as error:
            _close_body(body)
            return response.refuse(error)
        except BaseException:
            response.abandon()
            _close_body(body)
            raise
        return body


def _has_run(body: Iterable[bytes], environ: WSGIEnvironment) -> bool:
    """Whether no code of the application runs any more when `body` is sent: then it needs no wrapping."""
    if isinstance(body, list | tuple):
        return True
    file_wrapper = environ.get("wsgi.file_wrapper")
    return isinstance(file_wrapper, type) and isinstance(body, file_wrapper)


def _close_body(body: object) -> None:
    """What PEP 3333 wants done with every body, at its end or before it."""
    if (close := getattr(body, "close", None)) is not None:
        close()


def _path_of(environ: WSGIEnvironment) -> str:
    """The path within the application, decoded (PEP 3333 has its bytes as latin-1 text)."""
    path: str = environ.get("PATH_INFO", "")
    return path if path.isascii() else path.encode("latin-1", "replace").decode("utf-8", "replace")


class _Response:
    """One response: what the application said of it, held back until the session is stored."""

    __slots__ = (
        "_environ",
        "_exc_info",
        "_head",
        "_session",
        "_sessions",
        "_start",
        "_write",
        "head_sent",
        "over",
    )

    def __init__(
        self, sessions: Sessions, session: Session, environ: WSGIEnvironment, start: StartResponse
    ) -> None:
        self._sessions = sessions
        self._session = session
        self._environ = environ
        self._start = start
        self._head: tuple[str, _Headers] | None = None
        self._exc_info: Any = None
        self._write: _Write | None = None
        self.head_sent = False
        self.over = False

    def start(self, status: str, headers: _Headers, exc_info: _ExcInfo = None, /) -> _Write:
        """What the application calls as ``start_response``."""
        if self.head_sent:
            # Too late for another head: the server raises `exc_info`, as PEP 3333 wants it.
            return self._start(status, headers, exc_info)
        if self._head is not None and exc_info is None:
            raise AssertionError("start_response was called a second time without exc_info")
        self._head, self._exc_info = (status, headers), exc_info
        return self.write

    def write(self, data: bytes) -> None:
        """The old way to send a body: the head leaves first."""
        self.send_head()
        assert self._write is not None
        self._write(data)

    def send_head(self) -> None:
        """Store what was changed, then let the head go, with the session's headers."""
        if self.head_sent:
            return
        if self._head is None:
            raise AssertionError("the application sent a body before it called start_response")
        status, headers = self._head
        if status[:3] == "500" and (failure := failure_met(self._session)) is not None:
            # What the store's failure raised, a framework inside has made a 500 of.
            raise failure
        secure = self._environ.get("wsgi.url_scheme") == "https"
        outcome = self._sessions.close(self._session, secure=secure)
        if outcome.vary:
            headers = amend(
                headers,
                cookie_name=self._sessions.settings.template.name,
                set_cookie=outcome.set_cookie,
                vary="Cookie",
            )
        self.head_sent = True
        if self._exc_info is None:
            self._write = self._start(status, headers)
        else:
            self._write = self._start(status, headers, self._exc_info)

    def end(self) -> None:
        """The body has ended, or the client has gone: store what changed since the head left."""
        if not self.over:
            try:
                self._sessions.close(self._session)
            except BaseException:
                self.abandon()
                raise

    def abandon(self) -> None:
        """The application raised: only ending the session is carried out."""
        self.over = True
        self._sessions.abandon(self._session)

    def refuse(self, error: StoreError) -> list[bytes]:
        """Answer 503, where nothing was sent yet."""
        self.abandon()
        if self.head_sent:
            raise error
        status, headers, body = unavailable(error.retry_after)
        self.head_sent = True
        self._start(status, headers)
        return [body]


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
        except StoreError as error:
            self._done = True
            return response.refuse(error)[0]
        except BaseException:
            self._done = True
            response.abandon()
            raise
        if chunk is None:
            self._done = True
            # Now, and not in `close`: who has received the end of the body sees what it has stored.
            response.end()
            raise StopIteration
        return chunk

    def close(self) -> None:
        """Called by the server at the end, also when the client hung up."""
        try:
            _close_body(self._body)
        finally:
            self._response.end()
