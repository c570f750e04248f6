"""Sessions for aiohttp's server: ``await get_session(request)``.

::

    from aiohttp import web
    from coatcheck import AsyncSessions
    from coatcheck.frameworks.aiohttp import get_session, setup

    app = web.Application()
    setup(app, AsyncSessions.from_url("sqlite:///sessions.db", secret=SECRET))


    async def visits(request):
        session = await get_session(request)
        session["visits"] = session.get("visits", 0) + 1
        return web.Response(text=str(session["visits"]))

Changes are stored before the head of the response leaves. Later ones are stored before its last byte, those of a
websocket when its handler returns.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, MutableMapping
from datetime import timedelta
from typing import Any

try:
    from aiohttp import hdrs, web
except ModuleNotFoundError as _error:  # pragma: no cover - needs an installation without aiohttp
    raise ModuleNotFoundError(
        "coatcheck.frameworks.aiohttp needs aiohttp: pip install 'coatcheck[aiohttp]'"
    ) from _error

from coatcheck.errors import ConfigurationError
from coatcheck.frameworks.aiohttp_layer import SESSION, AiohttpSession, Layer
from coatcheck.frameworks.asgi_lifespan import Lifespan
from coatcheck.http.csrf import SAFE_METHODS
from coatcheck.sessions import AsyncSessions

__all__ = ["SESSIONS", "AiohttpSession", "check_csrf", "get_session", "new_session", "setup"]

SESSIONS: web.AppKey[AsyncSessions] = web.AppKey("coatcheck.sessions", AsyncSessions)
"""Where an application has its manager: ``request.config_dict[SESSIONS].of_user(…)``."""


def setup(
    app: web.Application,
    sessions: AsyncSessions,
    *,
    shutdown: bool = True,
    sweep_every: timedelta | None = None,
) -> None:
    """Give each request of an application a session.

    Middlewares that use the session are added after this call.

    Args:
        app: The application.
        sessions: The manager.
        shutdown: Whether to shut the manager down with the application.
        sweep_every: How often to remove expired records from the store while the application runs, give or take a
            half; None: never.

    Raises:
        ConfigurationError: The application has sessions already, `sweep_every` is too short, or `sessions` is something
            else.
    """
    if not isinstance(sessions, AsyncSessions):
        raise ConfigurationError(f"setup takes an AsyncSessions, not a {type(sessions).__name__}.")
    if SESSIONS in app:
        raise ConfigurationError("The application has sessions already: call setup once.")
    app[SESSIONS] = sessions
    layer = Layer(app, sessions)
    app.middlewares.append(layer.serve)
    app.on_response_prepare.append(layer.prepare)
    lifespan = Lifespan(sessions, shutdown=shutdown, sweep_every=sweep_every)

    async def run(_: web.Application) -> AsyncIterator[None]:
        tell = lifespan.watched(_to_nobody)
        await tell({"type": "lifespan.startup.complete"})
        yield
        await tell({"type": "lifespan.shutdown.complete"})

    app.cleanup_ctx.append(run)


async def get_session(request: web.Request) -> AiohttpSession:
    """The loaded session of a request or a websocket. If it can't be loaded, its first use raises a `StoreError`.

    Raises:
        ConfigurationError: There is no session: `setup` is missing, or a middleware asks that was added before it.
    """
    session: AiohttpSession | None = request.get(SESSION)
    if session is None:
        raise ConfigurationError(
            "There is no session: call setup(app, sessions), before middlewares that use the session are added."
        )
    await session.sessions.preload(session)
    return session


async def new_session(request: web.Request) -> AiohttpSession:
    """The session of a request, emptied: what it held has ended, and what is set now is stored under a new secret.

    Raises:
        ConfigurationError: As `get_session`.
        StoreError: The old one can't be ended.
    """
    session = await get_session(request)
    session.destroy()
    return session


async def check_csrf(request: web.Request, value: str | None = None) -> bool:
    """Whether a request may change something: its method is safe, or it brings a CSRF token of its session.

    A websocket has no safe method: it is refused unless it brings one.

    Args:
        request: The request.
        value: The token that its form or its first message brought, if any. A token in the ``X-CSRF-Token`` header
            counts as well.
    """
    if request.method in SAFE_METHODS and request.headers.get(hdrs.UPGRADE, "").lower() != "websocket":
        return True
    session = await get_session(request)
    return any(session.check_csrf(token) for token in (value, request.headers.get("X-CSRF-Token")))


async def _to_nobody(_: MutableMapping[str, Any]) -> None:
    """No server waits for the lifespan's messages."""
