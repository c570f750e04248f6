"""What stands between a Tornado handler and its connection: the head leaves when the session is stored."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, cast
from urllib.parse import unquote

from tornado.concurrent import chain_future
from tornado.httputil import HTTPHeaders, RequestStartLine, ResponseStartLine
from tornado.web import Finish, HTTPError, RequestHandler
from tornado.websocket import WebSocketHandler

from coatcheck.core.lifecycle import Outcome
from coatcheck.errors import ConfigurationError
from coatcheck.frameworks.bound import AsyncBoundSession
from coatcheck.http.headers import amend
from coatcheck.responder import AsyncResponder, Refusal
from coatcheck.session import end_of_request, head_has_left, is_untouched
from coatcheck.sessions import AsyncSessions

__all__ = ["TornadoSession", "session_of"]

_SWITCHING = 101
_BROKEN = Refusal(500, "Internal Server Error", [("Content-Length", "0")], b"")
_working: set[asyncio.Task[None]] = set()  # a loop holds its tasks weakly


class TornadoSession(AsyncBoundSession):
    """A `Session` that brings what waits with it: ``await self.session.save()``."""


def session_of(handler: RequestHandler) -> TornadoSession:
    """The session of a handler's request, opened at the first call."""
    request: Any = handler.request
    if isinstance(request.connection, _Connection):
        return cast("TornadoSession", request.connection.session)
    sessions = handler.settings.get("sessions")
    if not isinstance(sessions, AsyncSessions):
        raise ConfigurationError("There are no sessions: Application(…, sessions=AsyncSessions(…)).")
    session = sessions.open(
        "; ".join(request.headers.get_list("Cookie")),
        client=request.headers.get("User-Agent", ""),
        path=unquote(request.path),
        session_type=TornadoSession,
    )
    _Connection(sessions, session).enter(handler)
    return session


class _Connection(AsyncResponder):
    """What a handler takes for its connection."""

    def enter(self, handler: RequestHandler) -> None:
        """Stand between a handler and its connection."""
        request, own = cast("Any", handler.request), cast("Any", handler)
        self._handler = handler
        self._secure = request.protocol == "https"
        self._connection: Any = request.connection
        self._todo: deque[tuple[Callable[[], Awaitable[Any]], asyncio.Future[None]]] = deque()
        self._worker: asyncio.Task[None] | None = None
        self._caught: BaseException | None = None
        self._refused = False
        self._upgrades = isinstance(handler, WebSocketHandler)
        request.connection = self
        # Tornado has no public place that sees what a handler raised.
        own._handle_request_exception = partial(self._catch, own._handle_request_exception)  # noqa: SLF001
        if self._upgrades:
            own.get = partial(self._shake_hands, own.get)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._connection, name)

    def _catch(self, handle: Callable[[BaseException], None], error: BaseException) -> None:
        if not isinstance(error, HTTPError | Finish):  # which stand for a response
            self._caught = error
        handle(error)

    async def _shake_hands(self, get: Callable[..., Awaitable[None]], *args: Any, **kwargs: Any) -> None:
        """A websocket takes the stream over at once, so that its head can't wait."""
        self._kept = await self.head(_SWITCHING, (), secure=self._secure)
        try:
            await get(*args, **kwargs)
        finally:
            await self.end(last=True)

    def write_headers(
        self, line: RequestStartLine | ResponseStartLine, headers: HTTPHeaders, chunk: bytes | None = None
    ) -> asyncio.Future[None]:
        """Send the head, once the session is stored."""
        caught, self._caught = self._caught, None
        if self._kept is not None or is_untouched(self.session):
            self._leave(headers, self._kept)
            return cast("asyncio.Future[None]", self._connection.write_headers(line, headers, chunk))
        return self._queue(partial(self._send_head, cast("ResponseStartLine", line), headers, chunk, caught))

    def write(self, chunk: bytes) -> asyncio.Future[None]:
        """Send a part of the body."""
        if self._worker is None and not self._refused:
            return cast("asyncio.Future[None]", self._connection.write(chunk))
        return self._queue(partial(self._send, chunk))

    def finish(self) -> None:
        """End the response, once the changes since the head are stored."""
        if self._worker is None and (self._upgrades or is_untouched(self.session)):
            if not self._upgrades:
                end_of_request(self.session)
            self._connection.finish()
        else:
            _ = self._queue(partial(self._send_end, self._caught))

    def _queue(self, work: Callable[[], Awaitable[Any]]) -> asyncio.Future[None]:
        sent: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        sent.add_done_callback(_seen)
        self._todo.append((work, sent))
        if self._worker is None:
            self._worker = asyncio.ensure_future(self._work())
            _working.add(self._worker)
            self._worker.add_done_callback(_working.discard)
        return sent

    async def _work(self) -> None:
        while self._todo:
            work, sent = self._todo.popleft()
            try:
                chain_future(await work(), sent)
            except Exception as error:  # noqa: BLE001 - a body, say, that is shorter than its Content-Length
                self._log(error)
                sent.set_exception(error)
        self._worker = None

    def _leave(self, headers: HTTPHeaders, outcome: Outcome | None) -> None:
        self.head_sent = True
        head_has_left(self.session)
        if outcome is None or not outcome.vary:
            return
        amended = amend(list(headers.get_all()), outcome.set_cookie)
        headers.clear()
        for name, value in amended:
            headers.add(name, value)

    async def _send_head(
        self, line: ResponseStartLine, headers: HTTPHeaders, chunk: bytes | None, caught: BaseException | None
    ) -> asyncio.Future[None]:
        refusal, reason = None, caught
        try:
            if caught is not None:
                refusal = await self.failed(caught)
            if refusal is None:
                self._leave(headers, await self.head(line.code, headers.get_all(), secure=self._secure))
        except Exception as error:  # noqa: BLE001 - the handler is done, and can't be told
            refusal, reason = await self.failed(error), error
            if refusal is None:
                self._log(error)
                refusal = _BROKEN
        if refusal is None:
            return cast("asyncio.Future[None]", self._connection.write_headers(line, headers, chunk))
        self.head_sent = self._refused = True
        line = ResponseStartLine(line.version, refusal.status, refusal.reason)
        body = None if self._handler.request.method == "HEAD" else refusal.body
        self._connection.write_headers(line, HTTPHeaders(dict(refusal.headers)), body)
        return _done(reason)  # a handler that awaits `flush` learns of it

    async def _send(self, chunk: bytes) -> asyncio.Future[None]:
        return _done() if self._refused else cast("asyncio.Future[None]", self._connection.write(chunk))

    async def _send_end(self, caught: BaseException | None) -> asyncio.Future[None]:
        try:
            if caught is not None:
                await self.fail()
            await self.end(last=True)
        except Exception as error:  # noqa: BLE001 - as above
            self._log(error)
            caught = error
        if caught is None or self._refused:
            self._connection.finish()
        else:
            self._connection.close()  # so that a body that is broken off does not look complete
        return _done()

    def _log(self, error: Exception) -> None:
        self._handler.log_exception(type(error), error, error.__traceback__)


def _done(error: BaseException | None = None) -> asyncio.Future[None]:
    done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    if error is None:
        done.set_result(None)
    else:
        done.set_exception(error)
    return done


def _seen(sent: asyncio.Future[None]) -> None:
    """Where the client has gone, Tornado leaves the error to whoever awaits `flush`, too."""
    if not sent.cancelled():
        sent.exception()
