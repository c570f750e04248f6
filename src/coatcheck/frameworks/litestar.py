"""Sessions for Litestar: ``request.session``, `set_session`, `clear_session`, and a typed dependency.

::

    app = Litestar([...], plugins=[SessionPlugin(sessions)])


    @get("/basket")
    async def basket(session: CurrentSession) -> list[str]:
        return session.get("basket", [])

``request.session`` is the same. ``request.set_session({...})`` puts these fields in place of those that are there, and
judges the identity field; ``request.clear_session()`` ends the session. Both act when the response begins.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any, Literal, cast

try:
    from litestar import Litestar, Request, Response
    from litestar.config.app import AppConfig
    from litestar.connection import ASGIConnection
    from litestar.datastructures import MutableScopeHeaders
    from litestar.di import NamedDependency, Provide
    from litestar.exceptions import HTTPException, WebSocketException
    from litestar.middleware import DefineMiddleware
    from litestar.middleware.session.base import BaseBackendConfig, BaseSessionBackend
    from litestar.plugins import InitPlugin
    from litestar.types import Empty, Message, Scope
    from litestar.utils.scope.state import ScopeState
except ModuleNotFoundError as _error:  # pragma: no cover - needs an installation without Litestar
    raise ModuleNotFoundError(
        "coatcheck.frameworks.litestar needs Litestar: pip install 'coatcheck[litestar]'"
    ) from _error

from coatcheck.errors import ConfigurationError, StoreError
from coatcheck.frameworks import asgi
from coatcheck.frameworks.asgi_lifespan import Lifespan
from coatcheck.frameworks.asgi_neighbours import CLEARED_KEY, put_in_place
from coatcheck.frameworks.bound import AsyncBoundSession
from coatcheck.http.headers import unavailable
from coatcheck.responder import ENVIRON_KEY, of_kind
from coatcheck.session import Session
from coatcheck.sessions import AsyncSessions

__all__ = ["CurrentSession", "LitestarSession", "SessionMiddleware", "SessionPlugin", "provide_session"]


class LitestarSession(AsyncBoundSession):
    """A `Session` that brings what waits with it: ``await session.save()``."""


CurrentSession = NamedDependency[LitestarSession]
"""A loaded session: what a handler writes as the type of its parameter ``session``."""


class SessionMiddleware(asgi.SessionMiddleware):
    """`coatcheck.frameworks.asgi.SessionMiddleware`, handing out a `LitestarSession`, but not to every route."""

    session_type: type[Session] = LitestarSession
    passes_over: re.Pattern[str] | None = None  # paths
    opt_key: str | None = None

    async def __call__(self, scope: asgi.Scope, receive: asgi.Receive, send: asgi.Send) -> None:
        """Serve one connection."""
        route, pattern = scope.get("route_handler"), self.passes_over
        excluded = pattern is not None and pattern.search(scope["path"]) is not None
        if excluded or (route is not None and route.opt.get(self.opt_key)):
            await self.app(scope, receive, send)
        else:
            state = ScopeState.from_scope(cast("Any", scope))
            state.session_id = None  # `clear_session` makes it `Empty`
            scope[CLEARED_KEY] = lambda: state.session_id is Empty
            await super().__call__(scope, receive, send)


async def provide_session(scope: Scope) -> LitestarSession:
    """The loaded session of a request or a websocket: the dependency that `SessionPlugin` provides."""
    session = cast("asgi.Scope", scope).get(ENVIRON_KEY)
    if not isinstance(session, LitestarSession):
        raise ConfigurationError("This route has no session: it is excluded, or SessionPlugin is missing.")
    await session.load()
    return session


class SessionPlugin(InitPlugin, BaseBackendConfig["_TestBackend"]):
    """``Litestar(..., plugins=[SessionPlugin(sessions)])``.

    It is also what Litestar calls the configuration of a session backend: the ``session_backend_config`` of its
    `SessionAuth`, and the ``session_config`` of its test clients.
    """

    def __init__(
        self,
        sessions: AsyncSessions,
        *,
        load: Literal["eager", "on_demand"] = "eager",
        exclude: str | list[str] | None = None,
        exclude_opt_key: str = "skip_session",
        dependency_key: str = "session",
        shutdown: bool = True,
        sweep_every: timedelta | None = None,
    ) -> None:
        """Make the plugin.

        Args:
            sessions: The manager.
            load: Whether to load the session before the handler, or when it takes the dependency or says
                ``await request.session.load()``. Handlers in threads load it at their first access.
            exclude: Regular expressions: a path in which one is found has no session.
            exclude_opt_key: A route with this in its `opt` has no session: ``@get("/health", skip_session=True)``.
            dependency_key: The name of the parameter in which a handler takes its session.
            shutdown: Whether to shut the manager down with the application.
            sweep_every: How often to remove expired records from the store while the application runs; None: never.
        """
        self.sessions: AsyncSessions = of_kind(sessions, AsyncSessions)
        self._load: Literal["eager", "on_demand"] = load
        self._dependency_key = dependency_key
        self._lifespan = Lifespan(sessions, shutdown=shutdown, sweep_every=sweep_every)
        self._backend_class = _TestBackend
        self.exclude: str | list[str] | None = exclude
        self.exclude_opt_key: str = exclude_opt_key
        self.key: str = sessions.settings.template.name

    @property
    def middleware(self) -> DefineMiddleware:
        """The middleware alone, for a part of the application: ``middleware=[plugin.middleware]``."""
        return DefineMiddleware(cast("Any", self._around))

    def _around(self, app: asgi.App, backend: object = None) -> SessionMiddleware:
        # `SessionAuth` calls this, too, and hands a backend over.
        middleware = SessionMiddleware(app, self.sessions, load=self._load)
        patterns = [self.exclude] if isinstance(self.exclude, str) else self.exclude
        middleware.passes_over = re.compile("|".join(patterns)) if patterns else None
        middleware.opt_key = self.exclude_opt_key
        return middleware

    def on_app_init(self, app_config: AppConfig) -> AppConfig:
        """Add the middleware, the dependency, the hooks and the answer to an outage, which is a 503."""
        config = cast("Any", app_config)  # whose types are of unknown parts
        config.middleware.insert(0, self.middleware)
        config.after_exception.insert(0, _failed)
        config.exception_handlers.setdefault(StoreError, _answer)
        config.dependencies.setdefault(self._dependency_key, Provide(provide_session))
        config.lifespan.append(self._while_it_runs)
        return app_config

    @asynccontextmanager
    async def _while_it_runs(self, app: Litestar) -> AsyncGenerator[None, None]:
        async def nowhere(message: asgi.Message) -> None:
            pass

        tell = self._lifespan.watched(nowhere)
        await tell({"type": "lifespan.startup.complete"})
        try:
            yield
        finally:
            await tell({"type": "lifespan.shutdown.complete"})


async def _failed(error: Exception, scope: asgi.Scope) -> None:
    """A handler raised. An exception that stands for a response, or closes a websocket, is no failure."""
    if scope["type"] == "websocket" and isinstance(error, StoreError):
        raise error  # the middleware closes it with 1013, Litestar would with 4500
    session = scope.get(ENVIRON_KEY)
    if session is not None and not isinstance(error, HTTPException | WebSocketException):
        await session.sessions.fail(session, error)


def _answer(_: Request[Any, Any, Any], error: StoreError) -> Response[bytes]:
    line, headers, body = unavailable(error.retry_after)
    return Response(body, status_code=int(line[:3]), headers=dict(headers), media_type="text/plain")


class _TestBackend(BaseSessionBackend[SessionPlugin]):
    """The session as a test client of Litestar's prepares it and looks into it."""

    __slots__ = ()

    def get_session_id(self, connection: ASGIConnection[Any, Any, Any, Any]) -> str | None:
        return None

    async def load_from_connection(self, connection: ASGIConnection[Any, Any, Any, Any]) -> dict[str, Any]:
        return (await self._session(connection)).copy()

    async def store_in_message(
        self, scope_session: Any, message: Message, connection: ASGIConnection[Any, Any, Any, Any]
    ) -> None:
        session = await self._session(connection)
        put_in_place(session, scope_session)
        outcome = await session.sessions.close(session)
        if outcome.set_cookie is not None:
            MutableScopeHeaders.from_message(message).add("Set-Cookie", outcome.set_cookie)

    async def _session(self, connection: ASGIConnection[Any, Any, Any, Any]) -> LitestarSession:
        name = self.config.key
        cookies = f"{name}={connection.cookies.get(name, '')}"
        session = self.config.sessions.open(cookies, session_type=LitestarSession)
        await session.load()
        return session
