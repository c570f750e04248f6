"""What stands between a Tornado handler and its connection: the head leaves when the session is stored."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, cast
from urllib.parse import unquote

from tornado.httputil import HTTPConnection, HTTPHeaders, ResponseStartLine
from tornado.web import HTTPError, RequestHandler
from tornado.websocket import WebSocketHandler

from coatcheck.core.lifecycle import UNTOUCHED, Outcome
from coatcheck.errors import ConfigurationError
from coatcheck.frameworks.bound import AsyncBoundSession
from coatcheck.http.headers import amend
from coatcheck.responder import AsyncResponder, Refusal
from coatcheck.session import end_of_request, head_has_left, is_untouched
from coatcheck.sessions import AsyncSessions

__all__ = ["TornadoSession", "session_of"]

_CLIENT_ERROR, _SERVER_ERROR = 400, 500
_BROKEN = Refusal(500, "Internal Server Error", [("Content-Length", "0")], b"")


class TornadoSession(AsyncBoundSession):
    """A `Session` that brings what waits with it: ``await self.session.save()``."""


def session_of(handler: RequestHandler) -> TornadoSession:
    """The session of a handler's request, opened at the first call."""
    request: Any = handler.request
    if isinstance(request.connection, _Connection):
        return cast("TornadoSession", request.connection.session)
    sessions = handler.settings.get("sessions")
    if not isinstance(sessions, AsyncSessions):
        raise ConfigurationError(f"Not {type(sessions).__name__}: Application(…, sessions=AsyncSessions(…)).")
    session = sessions.open(
        "; ".join(request.headers.get_list("Cookie")),
        client=request.headers.get("User-Agent", ""),
        path=unquote(request.path),
        session_type=TornadoSession,
    )
    _Connection(sessions, session).enter(handler)
    return session


class _Connection(AsyncResponder):
    """What a handler takes for its connection.

    A step of the response that waits for the store is a task. Until it is done, every further step waits behind it.
    """

    def enter(self, handler: RequestHandler) -> None:
        """Stand between a handler and its connection."""
        own, request = cast("Any", handler), handler.request
        self._handler = handler
        self._secure = request.protocol == "https"
        self._connection = cast("HTTPConnection", request.connection)
        self._last_step: asyncio.Task[None] | None = None
        self._raised: BaseException | None = None
        self._refused = False
        self._handshake: Outcome | None = None
        request.connection = cast("HTTPConnection", self)
        own.send_error = partial(self._send_error, own.send_error)
        own._log = partial(self._log_request, own._log)  # noqa: SLF001 - `log_request` is that of all handlers
        if isinstance(handler, WebSocketHandler):
            own.get = partial(self._shake_hands, own.get)
            own.log_exception = partial(self._log_exception, own.log_exception)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    # What a handler does to its connection

    def write_headers(
        self, line: ResponseStartLine, headers: HTTPHeaders, chunk: bytes | None = None
    ) -> asyncio.Future[None]:
        """Send the head, once the session is stored."""
        raised, self._raised = self._raised, None
        if self._handshake is not None or is_untouched(self.session):
            self._leave(headers, self._handshake or UNTOUCHED)
            return self._connection.write_headers(line, headers, chunk)
        return self._wait(self._send_head(line, headers, chunk, raised))

    def write(self, chunk: bytes) -> asyncio.Future[None]:
        """Send a part of the body."""
        if self._last_step is None and not self._refused:
            return self._connection.write(chunk)
        return self._wait(self._send(chunk))

    def finish(self) -> None:
        """End the response, once the changes since the head are stored."""
        if self._handshake is not None:
            self._connection.finish()
        elif is_untouched(self.session) and self._raised is None:
            end_of_request(self.session)
            self._connection.finish()
        else:
            _ = self._wait(self._send_end())

    # What Tornado does to the handler

    def _send_error(self, send_error: Callable[..., None], status: int = 500, **options: Any) -> None:
        """The handler raised an exception or was cancelled, or answers an error itself."""
        # An HTTPError stands for a response.
        if status >= _SERVER_ERROR and not isinstance(error := sys.exc_info()[1], HTTPError):
            self._raised = error
        send_error(status, **options)

    def _log_request(self, log: Callable[[], None]) -> None:
        """The access log waits for the status: a 503 may take the place of the response."""
        if self._last_step is None:
            log()
        else:
            self._last_step.add_done_callback(lambda _: log())

    async def _shake_hands(self, get: Callable[..., Awaitable[None]], *args: Any, **kwargs: Any) -> None:
        """A websocket takes the stream over at once, so that its head can't wait."""
        self._handshake = await self.head(101, (), secure=self._secure)
        try:
            await get(*args, **kwargs)
        finally:
            if self._raised is not None:
                await self.fail()
            await self.end(last=True)

    def _log_exception(self, log: Callable[..., None], *raised: Any) -> None:
        """A websocket's method raised an exception. Tornado breaks the connection off after this call."""
        log(*raised)
        if self.head_sent:
            self._raised = error = raised[1]
            if self.failure_behind(error) is not None:
                # 1013: try again later (RFC 6455 registry).
                cast("WebSocketHandler", self._handler).close(1013, "session store unavailable")

    # The steps of the response

    def _wait(self, step: Awaitable[None]) -> asyncio.Future[None]:
        self._last_step = task = asyncio.ensure_future(self._after(self._last_step, step))
        # A handler may give up waiting for `flush`, or never await it, and then does not learn of an error.
        done = asyncio.shield(task)
        done.add_done_callback(lambda done: done.cancelled() or done.exception())
        return done

    async def _after(self, earlier: asyncio.Task[None] | None, step: Awaitable[None]) -> None:
        if earlier is not None:
            await asyncio.wait([earlier])
        try:
            await step
        except Exception as error:
            if self.failure_behind(error) is None:
                self._handler.log_exception(type(error), error, error.__traceback__)
            raise
        finally:
            if self._last_step is asyncio.current_task():
                self._last_step = None

    def _leave(self, headers: HTTPHeaders, outcome: Outcome) -> None:
        self.head_sent = True
        head_has_left(self.session)
        if outcome.vary:
            amended = amend(list(headers.get_all()), outcome.set_cookie)
            headers.clear()
            for name, value in amended:
                headers.add(name, value)

    async def _send_head(
        self, line: ResponseStartLine, headers: HTTPHeaders, chunk: bytes | None, raised: BaseException | None
    ) -> None:
        try:
            refusal = None if raised is None else await self.failed(raised)
            if refusal is None:
                # An error page that raised has no body: if the store made it raise, it is a 503.
                status = _SERVER_ERROR if line.code >= _CLIENT_ERROR and not chunk else line.code
                self._leave(headers, await self.head(status, headers.get_all(), secure=self._secure))
                _ = self._connection.write_headers(line, headers, chunk)
                return
        except Exception as error:  # noqa: BLE001 - the handler is done, and can't be told
            refusal, raised = await self.failed(error) or _BROKEN, error
        self._refused = True
        self._handler.set_status(refusal.status, refusal.reason)
        line = ResponseStartLine(line.version, refusal.status, refusal.reason)
        body = None if self._handler.request.method == "HEAD" else refusal.body
        _ = self._connection.write_headers(line, HTTPHeaders(dict(refusal.headers)), body)
        raise cast("BaseException", raised)  # a handler that awaits `flush` learns of it

    async def _send(self, chunk: bytes) -> None:
        if not self._refused:
            _ = self._connection.write(chunk)

    async def _send_end(self) -> None:
        complete = False
        try:
            if self._raised is not None:
                await self.fail()
            await self.end(last=True)
            complete = self._raised is None
        finally:
            if complete or self._refused:
                self._connection.finish()
            else:
                self.close()  # the connection, so that a body that is broken off does not look complete
