"""Sessions for any ASGI application: ``scope["session"]``, for http and websockets.

::

    from coatcheck import AsyncSessions
    from coatcheck.frameworks.asgi import SessionMiddleware

    sessions = AsyncSessions.from_url("sqlite:///sessions.db", secret=SECRET)
    application = SessionMiddleware(application, sessions)

A mapping can't wait, so the session is loaded before the handler (``load="eager"``), or by the handler's own
``await sessions.load(session)`` (``load="on_demand"``). What is changed before the response's head leaves is stored
first; what is changed later is stored before the response's last byte, or when the application returns.
"""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Iterable, Iterator, MutableMapping
from datetime import timedelta
from typing import Any, Literal, TypeAlias

from coatcheck.errors import ConfigurationError, StoreError
from coatcheck.frameworks.asgi_lifespan import Lifespan
from coatcheck.frameworks.asgi_neighbours import Neighbours
from coatcheck.http.csrf import SAFE_METHODS
from coatcheck.http.headers import amend
from coatcheck.http.paths import Prefixes
from coatcheck.responder import ENVIRON_KEY, SCOPE_KEY, AsyncResponder, of_kind
from coatcheck.session import Session, end_of_request, head_has_left
from coatcheck.sessions import AsyncSessions

__all__ = ["SessionMiddleware", "check_csrf", "cookies_of", "path_of"]

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
App: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

_HEADS = frozenset({"http.response.start", "websocket.accept", "websocket.http.response.start"})
_SECURE = frozenset({"https", "wss"})
_SERVER_ERROR = 500


class SessionMiddleware:
    """Gives each http and websocket connection a `Session` in ``scope["session"]``.

    A `StoreError` that the application lets through becomes a 503 with Retry-After, or closes a websocket with 1013
    ("try again later"). When the server shuts down (lifespan), the manager is shut down too.
    """

    session_type: type[Session] = Session
    """The class of the sessions, with what the framework's users expect of one."""

    def __init__(
        self,
        app: App,
        sessions: AsyncSessions,
        *,
        load: Literal["eager", "on_demand"] = "eager",
        exclude: Iterable[str] = (),
        shutdown: bool = True,
        sweep_every: timedelta | None = None,
    ) -> None:
        """Wrap an application.

        Args:
            app: The ASGI application.
            sessions: The manager.
            load: Whether to load the session before the handler, or when it says so.
            exclude: Prefixes of paths for which it is not loaded before the handler: health checks, static files.
                ``/static`` stands for ``/static`` and all below it, not for ``/staticky``.
            shutdown: Whether to shut the manager down with the server.
            sweep_every: How often to remove expired records from the store while the server runs, give or take a
                half; None: never. For a server that tells of its start (lifespan).
        """
        if load not in ("eager", "on_demand"):
            raise ConfigurationError(f"load must be 'eager' or 'on_demand', not {load!r}.")
        if isinstance(exclude, str):
            raise ConfigurationError(f"exclude takes several prefixes: write exclude=({exclude!r},).")
        self.app = app
        self.sessions: AsyncSessions = of_kind(sessions, AsyncSessions)
        self._eager = load == "eager"
        self._exclude = Prefixes("exclude", dict.fromkeys(exclude, True)) or None
        self._by_path = bool(sessions.settings.outage_by_path)
        self._lifespan = Lifespan(sessions, shutdown=shutdown, sweep_every=sweep_every)
        self.neighbours: Neighbours = Neighbours(sessions)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] not in ("http", "websocket"):
            watched = self._lifespan.watched(send) if scope["type"] == "lifespan" else send
            await self.app(scope, receive, watched)
            return
        path = path_of(scope) if self._by_path or self._exclude is not None else ""
        outer = scope[SCOPE_KEY] if SCOPE_KEY in scope else scope.get("wsgi_environ", {}).get(ENVIRON_KEY)
        # Most requests have no outer layer, and `isinstance` of an abstract class is dear.
        shared = None
        if outer is not None and isinstance(outer, Session) and self.sessions.agrees_with(outer):
            shared = outer
            session = self.sessions.share(shared, self.session_type)
        else:
            if outer is not None:
                scope = dict(scope)  # the other layer finds its own session when the head passes it
                if not isinstance(outer, Session):
                    self.neighbours.name(outer, "outside", "its session is hidden from what is inside")
            cookies, client = cookies_of(scope)
            session = self.sessions.open(cookies, client=client, path=path, session_type=self.session_type)
        scope[SCOPE_KEY] = scope[ENVIRON_KEY] = session
        if self._eager and not (self._exclude is not None and self._exclude.of(path)):
            await self.sessions.preload(session)
        if shared is not None:

            async def settled(message: Message) -> None:
                if message["type"] in _HEADS and scope.get(SCOPE_KEY) is not session:
                    await self.neighbours.settle(scope, session)
                await send(message)

            try:
                await self.app(scope, receive, settled)  # the outer layer stores it
            except BaseException:
                self.sessions.note_failure(shared)
                raise
            return
        response = _Response(self.sessions, session)
        response.scope, response.forward, response.neighbours = scope, send, self.neighbours
        response.outside = sys.exc_info()[1]
        try:
            await self.app(scope, receive, response.send)
        except BaseException as error:
            # Also a cancelled request ends a session that its handler ended.
            if await response.refuse(error):
                end_of_request(session)
            else:
                # A layer may try the request again with the same scope: that try gets another session.
                await response.end(last=True)
                raise
        else:
            if scope.get(SCOPE_KEY) is not session and not response.over:
                await self.neighbours.settle(scope, session)
            if not response.head_sent:
                head_has_left(session)  # the server answers in its place, without our cookie
            await self.sessions.close(session, last=True)


def check_csrf(scope: Scope, value: str | None = None) -> bool:
    """Whether a request may change something: its method is safe, or it brings a CSRF token of its session.

    A websocket has no safe method: it is refused unless it brings one.

    Args:
        scope: The request, behind the middleware, with its session loaded.
        value: The token that its form or its first message brought, if any. A token in the ``X-CSRF-Token`` header
            counts as well.
    """
    if scope.get("method") in SAFE_METHODS and scope["type"] == "http":
        return True
    session: Session = scope[SCOPE_KEY]
    sent = [content.decode("latin-1") for name, content in scope["headers"] if name == b"x-csrf-token"]
    return any(session.check_csrf(token) for token in (value, *sent))


def cookies_of(scope: Scope) -> tuple[bytes, str]:
    """The Cookie header (several lines as one, RFC 9113 §8.2.3) and the User-Agent, as they came."""
    cookies: list[bytes] = []
    client = ""
    for name, value in scope["headers"]:
        if name == b"cookie":
            cookies.append(value)
        elif name == b"user-agent":
            client = value.decode("latin-1")
    return cookies[0] if len(cookies) == 1 else b"; ".join(cookies), client


def path_of(scope: Scope) -> str:
    """The path within the application, which may be mounted below ``root_path``."""
    path: str = scope["path"]
    root: str = (scope.get("root_path") or "").rstrip("/")
    # Servers and routers that are older than ASGI 2.4 have left the root out of the path.
    rest = path.removeprefix(root)
    return (rest if rest[:1] in ("", "/") else path) or "/"


class _Response(AsyncResponder):
    """One response: the session is stored before its head leaves, and again before its end."""

    scope: Scope
    forward: Send
    neighbours: Neighbours
    outside: BaseException | None
    """The exception that was being handled when the request came: that of a first try, if the request is tried again."""
    _streaming = False
    _closed = False
    _refused = False

    async def send(self, message: Message) -> None:
        """What the application calls as ``send``."""
        kind = message["type"]
        if self._refused:
            return
        if kind in _HEADS and not self.head_sent:
            status = message.get("status", 0)
            headers: list[tuple[bytes, bytes]] = list(message.get("headers") or ())
            secure = self.scope.get("scheme", "http") in _SECURE
            own = sys.exc_info()[1] if status >= _SERVER_ERROR else None
            # A framework within ours answers what its handler raised, before it lets that through (Starlette). Not an
            # exception that stands for a response, such as `HTTPException(503)`.
            if own is not None and own is not self.outside and getattr(own, "status_code", None) != status:
                await self.failed(own)
            try:
                if self.scope.get(SCOPE_KEY) is not self.session:
                    await self.neighbours.settle(self.scope, self.session)
                outcome = await self.head(status, headers, secure=secure)
            except StoreError as error:
                self._failure = error  # also one that `settle` met
                # The application is told, unless it answers an error already.
                if status != _SERVER_ERROR or not await self.refuse(error):
                    raise
                return
            if outcome.vary:
                headers = _amended(headers, outcome.set_cookie)
            # Any iterable will do (ASGI), and `list` has used an iterator up.
            if outcome.vary or isinstance(message.get("headers"), Iterator):
                # A copy: the application may send one and the same head to everybody.
                message = {**message, "headers": headers}
            self.head_sent = True
        elif kind == "http.response.body":
            if message.get("more_body", False):
                self._streaming = True
            elif self._streaming:
                await self.end()
        elif kind == "websocket.close":
            if not self.head_sent:
                # A framework within ours closes because the handshake could not be stored (Quart).
                if self._failure is not None and await self.refuse(self._failure):
                    return
                # Servers make a 403 of it, which carries no header of ours.
                head_has_left(self.session)
                await self.end()
            self._closed = True
        await self.forward(message)

    async def refuse(self, error: BaseException) -> bool:
        """Answer 503 in place of `error`, or close the websocket. False: it must be raised again."""
        failure = self.failure_behind(error)
        if self._refused and failure is not None:
            return True
        refusal = await self.failed(error)
        kind = "http.response"
        if self.scope["type"] == "websocket" and failure is not None:
            kind = "websocket.http.response"
            if self.head_sent or kind not in (self.scope.get("extensions") or ()):
                return await self._close_websocket()
        if refusal is None:
            return False
        self.head_sent = self._refused = True
        headers = [(name.lower().encode(), value.encode()) for name, value in refusal.headers]
        await self.forward({"type": f"{kind}.start", "status": refusal.status, "headers": headers})
        await self.forward({"type": f"{kind}.body", "body": refusal.body})
        return True

    async def _close_websocket(self) -> bool:
        if self._closed:
            return False
        self.head_sent = self._refused = True
        # 1013: try again later (RFC 6455 registry). Before the handshake, servers make a 403 of it.
        close = {"type": "websocket.close", "code": 1013, "reason": "session store unavailable"}
        try:
            await self.forward(close)
        except Exception:  # noqa: BLE001 - servers differ in what they raise where the client has gone
            return False
        return True


def _amended(headers: list[tuple[bytes, bytes]], set_cookie: str | None) -> list[tuple[bytes, bytes]]:
    if set_cookie is None:
        # The budget of calls per read.
        for name, _ in headers:
            if name.lower() == b"vary":
                break
        else:
            headers.append((b"vary", b"Cookie"))
            return headers
    amended = amend(
        [(name.decode("latin-1"), value.decode("latin-1")) for name, value in headers], set_cookie
    )
    return [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in amended]
