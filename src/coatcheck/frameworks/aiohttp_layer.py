"""What `setup` adds to an aiohttp application: the middleware, and the signal before a head leaves."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from itertools import pairwise
from typing import cast

from aiohttp import WSCloseCode, hdrs, web
from aiohttp.abc import AbstractStreamWriter
from aiohttp.typedefs import Handler

from coatcheck.frameworks.bound import AsyncBoundSession
from coatcheck.http.headers import amend
from coatcheck.responder import AsyncResponder, Refusal
from coatcheck.sessions import AsyncSessions

__all__ = ["SESSION", "AiohttpSession", "Layer"]


class AiohttpSession(AsyncBoundSession):
    """A `Session` that brings what waits with it, ``await session.save()``, and the names that aiohttp-session has."""

    @property
    def new(self) -> bool:
        """Whether nothing is stored for this visitor yet."""
        return self.is_new

    @property
    def empty(self) -> bool:
        """Whether it has no field."""
        return not self

    @property
    def max_age(self) -> int | None:
        """Seconds that it lives without use, where it has a limit of its own. Then it outlives the browser, too."""
        state = self._look()
        own = state.limits or (state.record and (state.record.idle, state.record.absolute))
        return own[0] // 1000 or None if own else None

    @max_age.setter
    def max_age(self, age: int | None) -> None:
        self.set_lifetime(idle=None if age is None else timedelta(seconds=age), persistent=age is not None)

    def changed(self) -> None:
        """Does nothing: changes are found without it, also those inside a value."""

    def invalidate(self) -> None:
        """End the session, as `destroy` does."""
        self.destroy()


SESSION: web.RequestKey[AiohttpSession] = web.RequestKey("coatcheck.session", AiohttpSession)


class Layer:
    """One application's session layer."""

    def __init__(self, app: web.Application, sessions: AsyncSessions) -> None:
        self._app = app
        self._sessions = sessions
        # A request's writer has its visit: clones of the request share it (a proxy's scheme is put into a clone).
        self._name = f"coatcheck_{id(self)}"

    @web.middleware
    async def serve(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """The middleware: changes are stored when the handler has returned."""
        outer = request.get(SESSION)
        if outer is not None and self._sessions.agrees_with(outer):
            request[SESSION] = self._sessions.share(outer, AiohttpSession)
            try:
                return await handler(request)  # the outer layer stores it
            except BaseException as error:
                if not isinstance(error, web.HTTPException):
                    self._sessions.note_failure(outer)
                raise
        # As they came: aiohttp has decoded its headers, and parsed its cookies.
        cookies = [value for name, value in request.raw_headers if name.lower() == b"cookie"]
        request[SESSION] = session = self._sessions.open(
            b"; ".join(cookies),
            client=request.headers.get(hdrs.USER_AGENT, ""),
            path=self._path_of(request) if self._sessions.settings.outage_by_path else "",
            session_type=AiohttpSession,
        )
        visit = vars(request.writer)[self._name] = _Visit(self._sessions, session)
        visit.secure = request.secure
        try:
            return await visit.served(request, handler)
        except BaseException as error:
            if isinstance(error, web.HTTPException) or (answer := await visit.refuse(error)) is None:
                raise
            return answer
        finally:
            request[SESSION] = session if outer is None else outer

    async def prepare(self, request: web.Request, response: web.StreamResponse) -> None:
        """The signal before a head leaves."""
        visit: _Visit | None = vars(request.writer).get(self._name)
        if visit is not None:
            request[SESSION] = cast("AiohttpSession", visit.session)  # for the signals after this one
            visit.begun = response
            # Also one that was written: this may be another, of a middleware outside, or aiohttp's page of a 500.
            await visit.write(response)
            visit.head_sent = True
            visit.watch(response, request.writer)

    def _path_of(self, request: web.Request) -> str:
        """The path within the application, which may be mounted below a prefix."""
        apps, prefix = request.match_info.apps, ""
        for outer, inner in pairwise(apps[: apps.index(self._app) + 1]):
            for resource in outer.router.resources():
                mounted = resource.get_info()
                if mounted.get("app") is inner:
                    prefix = mounted.get("prefix", "")
        return request.path.removeprefix(prefix)


class _Visit(AsyncResponder):
    """The end of one request."""

    secure: bool
    _left: bool = False
    """The handler is done, and the middlewares within ours."""
    begun: web.StreamResponse | None = None
    """The response whose head has left, or was about to leave when the store failed."""

    async def served(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        """The handler's response, after its session is stored."""
        try:
            response = await handler(request)
        except web.HTTPException as raised:  # a response like any other
            await self._leave(raised)
            raise
        await self._leave(response)
        return response

    async def _leave(self, response: web.StreamResponse) -> None:
        if (prepared := getattr(response, "prepared", None)) is None:
            raise TypeError(f"A handler returned a {type(response).__name__} in place of a response.")
        if prepared:
            await self.end(last=True)
        else:
            await self.write(response)
        self._left = True

    async def write(self, response: web.StreamResponse) -> None:
        """Store what was changed, and write the headers. See `AsyncResponder.head`."""
        pairs = list(response.headers.items())
        # A 500 that a middleware outside made of our 503 stays: from here, an error would cut the connection.
        outcome = await self.head(0 if self._left else response.status, pairs, secure=self.secure)
        if outcome.vary:
            response.headers.clear()
            response.headers.extend(amend(pairs, outcome.set_cookie))

    async def refuse(self, error: BaseException) -> web.StreamResponse | None:
        """The response in place of `error`: a 503, or the closed websocket. None: it is raised again."""
        self._left = True
        if (refusal := await self.failed(error)) is not None:
            return self._answer(refusal)
        if self.failure_behind(error) is not None and isinstance(self.begun, web.WebSocketResponse):
            socket = cast("web.WebSocketResponse[bool]", self.begun)  # pyright: ignore[reportUnknownMemberType]
            await socket.close(code=WSCloseCode.TRY_AGAIN_LATER, message=b"session store unavailable")
            await self.end(last=True)
            return socket
        if self.head_sent or not isinstance(error, Exception):  # a handler that is cancelled has no response
            await self.end(last=True)
        return None

    def _answer(self, refusal: Refusal) -> web.Response:
        status, reason, body = refusal.status, refusal.reason, refusal.body
        answer = web.Response(status=status, reason=reason, body=body, headers=refusal.headers)
        # A stream that met the failure has told the connection how its body is coded.
        begun: Mapping[str, str] = {} if self.begun is None else self.begun.headers
        if hdrs.TRANSFER_ENCODING in begun:
            del answer.headers[hdrs.CONTENT_LENGTH]
            answer.enable_chunked_encoding()
        if hdrs.CONTENT_ENCODING in begun:
            answer.headers[hdrs.CONTENT_ENCODING] = begun[hdrs.CONTENT_ENCODING]
        return answer

    def watch(self, response: web.StreamResponse, writer: AbstractStreamWriter) -> None:
        """See the end of the body, which may be made when the handler is done: a payload of a generator."""
        write_body, write_end = response.write_eof, writer.write_eof

        async def body(*data: bytes) -> None:
            try:
                await write_body(*data)
            except BaseException as error:
                if self._left:
                    await self.refuse(error)
                raise

        async def last_byte(chunk: bytes = b"") -> None:
            """Wait until everything is stored that was changed after the head."""
            await self.end(last=self._left)
            await write_end(chunk)

        response.write_eof = body  # type: ignore[assignment, method-assign]
        writer.write_eof = last_byte  # type: ignore[method-assign]
