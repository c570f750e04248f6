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

from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any, Literal, TypeAlias

from coatcheck.core.headers import amend
from coatcheck.core.lifecycle import Outcome
from coatcheck.errors import ConfigurationError, StoreError
from coatcheck.frameworks.wsgi import unavailable
from coatcheck.session import Session, is_untouched, state_of
from coatcheck.sessions import AsyncSessions
from coatcheck.state import Standing

__all__ = ["SessionMiddleware", "cookies_of"]

Scope: TypeAlias = MutableMapping[str, Any]
Message: TypeAlias = MutableMapping[str, Any]
Receive: TypeAlias = Callable[[], Awaitable[Message]]
Send: TypeAlias = Callable[[Message], Awaitable[None]]
App: TypeAlias = Callable[[Scope, Receive, Send], Awaitable[None]]

SCOPE_KEY = "session"
_HEADS = frozenset({"http.response.start", "websocket.accept", "websocket.http.response.start"})
_SECURE = frozenset({"https", "wss"})


class SessionMiddleware:
    """Gives each http and websocket connection a `Session` in ``scope["session"]``.

    A `StoreError` that the application lets through becomes a 503 with Retry-After. When the server shuts down
    (lifespan), the manager is shut down too.
    """

    def __init__(
        self,
        app: App,
        sessions: AsyncSessions,
        *,
        load: Literal["eager", "on_demand"] = "eager",
        exclude: Iterable[str] = (),
        shutdown: bool = True,
    ) -> None:
        """Wrap an application.

        Args:
            app: The ASGI application.
            sessions: The manager.
            load: Whether to load the session before the handler, or when it says so.
            exclude: Prefixes of paths for which it is not loaded before the handler: health checks, static files.
            shutdown: Whether to shut the manager down with the server.
        """
        if load not in ("eager", "on_demand"):
            raise ConfigurationError(f"load must be 'eager' or 'on_demand', not {load!r}.")
        if isinstance(exclude, str):
            raise ConfigurationError(f"exclude takes several prefixes: write exclude=({exclude!r},).")
        self.app = app
        self.sessions = sessions
        self._eager = load == "eager"
        self._exclude = tuple(exclude)
        self._shutdown = shutdown

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] not in ("http", "websocket"):
            await self.app(scope, receive, self._closing(send) if scope["type"] == "lifespan" else send)
            return
        cookies, client = cookies_of(scope)
        session = scope[SCOPE_KEY] = self.open(cookies, client)
        if self._eager and not (self._exclude and scope["path"].startswith(self._exclude)):
            await self.sessions.preload(session)
        response = _Response(self.sessions, session, scope, send)
        try:
            await self.app(scope, receive, response.send)
        except StoreError as error:
            await response.refuse(error)
        except BaseException:
            # Also a cancelled request ends a session that its handler ended.
            await self.sessions.abandon(session)
            raise
        else:
            if not response.refused and self.sessions.close_at_once(session) is None:
                await self.sessions.close(session)

    def open(self, cookies: bytes, client: str) -> Session:
        """The session of a connection. Subclasses give it what their framework's users expect of it."""
        return self.sessions.open(cookies, client=client)

    def _closing(self, send: Send) -> Send:
        async def send_last(message: Message) -> None:
            if self._shutdown and message["type"].startswith("lifespan.shutdown."):
                await self.sessions.shutdown()
            await send(message)

        return send_last


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


class _Response:
    """One response: the session is stored before its head leaves, and again before its end."""

    # Every request makes one of these: what it starts with stands in the class.
    _failure: StoreError | None = None
    _streaming = False
    head_sent: bool = False
    refused: bool = False

    def __init__(self, sessions: AsyncSessions, session: Session, scope: Scope, send: Send) -> None:
        self._sessions = sessions
        self._session = session
        self._scope = scope
        self._send = send

    async def send(self, message: Message) -> None:
        """What the application calls as ``send``."""
        kind = message["type"]
        if self.refused:
            return
        if kind in _HEADS and not self.head_sent:
            if message.get("status") == 500 and (failure := self._failure or _failure_of(self._session)):
                # What the store's failure raised, a framework in between has made a 500 of.
                await self.refuse(failure)
                return
            outcome = self._sessions.close_at_once(self._session)
            if outcome is None:
                outcome = await self._close()
            if outcome.vary:
                # A copy: the application may send one and the same head to everybody.
                message = {
                    **message,
                    "headers": self._amended(message.get("headers") or (), outcome.set_cookie),
                }
            self.head_sent = True
        elif kind == "http.response.body":
            if message.get("more_body", False):
                self._streaming = True
            elif self._streaming:
                await self._sessions.close(self._session)
        await self._send(message)

    async def _close(self) -> Outcome:
        secure = self._scope.get("scheme", "http") in _SECURE
        try:
            return await self._sessions.close(self._session, secure=secure)
        except StoreError as error:
            self._failure = error
            raise

    async def refuse(self, error: StoreError) -> None:
        """Answer 503, where nothing was sent yet."""
        if self.refused:
            return
        await self._sessions.abandon(self._session)
        if self.head_sent:
            raise error
        self.head_sent = self.refused = True
        kind = "http.response"
        if self._scope["type"] == "websocket":
            kind = "websocket.http.response"
            if kind not in (self._scope.get("extensions") or ()):
                # 1013: try again later (RFC 6455 registry). Before the handshake, servers make a 403 of it.
                await self._send(
                    {"type": "websocket.close", "code": 1013, "reason": "session store unavailable"}
                )
                return
        status, headers, body = unavailable(error)
        raw = [(name.lower().encode(), value.encode()) for name, value in headers]
        await self._send({"type": f"{kind}.start", "status": int(status[:3]), "headers": raw})
        await self._send({"type": f"{kind}.body", "body": body})

    def _amended(
        self, headers: Iterable[tuple[bytes, bytes]], set_cookie: str | None
    ) -> list[tuple[bytes, bytes]]:
        headers = list(headers)
        if set_cookie is None and b"vary" not in [name.lower() for name, _ in headers]:
            headers.append((b"vary", b"Cookie"))
            return headers
        amended = amend(
            ((name.decode("latin-1"), value.decode("latin-1")) for name, value in headers),
            cookie_name=self._sessions.settings.template.name,
            set_cookie=set_cookie,
            vary="Cookie",
        )
        return [(name.lower().encode("latin-1"), value.encode("latin-1")) for name, value in amended]


def _failure_of(session: Session) -> StoreError | None:
    """What whoever looked at the session was told instead."""
    if is_untouched(session):
        return None
    state = state_of(session)
    return None if state.standing is Standing.OUTAGE else state.failure
