"""Sessions for Quart: ``quart.session``, `flash`, ``session.permanent`` and the rest work as they are.

::

    SessionInterface(sessions).init_app(app)

`init_app` puts our ASGI middleware around ``app.asgi_app``. Quart's own settings (``SESSION_COOKIE_*``,
``PERMANENT_SESSION_LIFETIME``) count where they are not Quart's defaults, as Flask's do in a Flask application.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import timedelta
from functools import partial
from typing import Any, Literal, cast

try:
    import quart
    from flask.sessions import SessionMixin
    from quart.sessions import SessionInterface as QuartSessionInterface
    from quart.wrappers.base import BaseRequestWebsocket
    from werkzeug.wrappers import Response as WerkzeugResponse
except ModuleNotFoundError as _error:  # pragma: no cover - needs an installation without Quart
    raise ModuleNotFoundError(
        "coatcheck.frameworks.quart needs Quart: pip install 'coatcheck[quart]'"
    ) from _error

from coatcheck.errors import ConfigurationError, StoreError
from coatcheck.frameworks import asgi
from coatcheck.frameworks.bound import AsyncBoundSession
from coatcheck.frameworks.flask_messages import MessageFields
from coatcheck.frameworks.flask_settings import merged, seen
from coatcheck.http.headers import amend, unavailable
from coatcheck.responder import ENVIRON_KEY, of_kind
from coatcheck.session import Session, has_ended
from coatcheck.sessions import AsyncSessions

__all__ = ["QuartSession", "SessionInterface", "session"]

_EXTENSION = "coatcheck"


class QuartSession(MessageFields, AsyncBoundSession):  # pyright: ignore[reportIncompatibleMethodOverride]
    """What ``quart.session`` is: a `Session` that keeps each flashed message in a field of its own.

    Quart's `get_flashed_messages` can't wait for the store, so the messages that it returns are removed at the end of the
    request: two requests at once may both show one. ``await session.take_flashes()`` returns each to one request only.
    """

    unserved = False
    """Whether no middleware serves its request: that of a test client's `session_transaction`."""

    async def fail(self) -> None:
        """Drop the changes of this request, but for ending the session: for an application's own error handlers."""
        await self.sessions.fail(self)


session: QuartSession = cast("QuartSession", quart.session)
"""``quart.session`` itself, typed for type checkers as what it is here."""


class SessionInterface(QuartSessionInterface):
    """``SessionInterface(sessions).init_app(app)``."""

    def __init__(
        self,
        sessions: AsyncSessions,
        *,
        load: Literal["eager", "on_demand"] = "eager",
        exclude: Iterable[str] = (),
        shutdown: bool = True,
        sweep_every: timedelta | None = None,
    ) -> None:
        """Make the interface for one application, or for several.

        Args:
            sessions: The manager.
            load: Whether to load the session before the view, or when it says ``await session.load()``.
            exclude: Prefixes of paths for which it is not loaded before the view: ``("/static",)``.
            shutdown: Whether to shut the manager down with the server.
            sweep_every: How often to remove expired records from the store while the server runs; None: never.
        """
        self.sessions: AsyncSessions = of_kind(sessions, AsyncSessions)
        self._wrap = partial(
            _Middleware, load=load, exclude=exclude, shutdown=shutdown, sweep_every=sweep_every
        )

    def init_app(self, app: quart.Quart) -> None:
        """Put the interface into `app` and the middleware around it, and check the application's settings.

        Raises:
            ConfigurationError: A setting of the application contradicts one of ours.
        """
        layer: _Layer | None = app.extensions.get(_EXTENSION)
        if layer is not None:
            layer.use(self)
        else:
            layer = app.extensions[_EXTENSION] = _Layer(app, self)
            app.asgi_app = cast("Any", layer)  # type: ignore[method-assign]  # so Quart adds middleware
            quart.got_request_exception.connect(_failed, app)
            quart.got_websocket_exception.connect(_failed, app)
            quart.request_tearing_down.connect(_torn_down, app)
            if StoreError not in app.error_handler_spec[None][None]:
                app.register_error_handler(StoreError, _answer)
        app.session_interface = cast("Any", self)  # Quart types the default one

    def around(self, inside: asgi.App, app: quart.Quart) -> _Middleware:
        """The middleware around an application, with the settings that it has now."""
        return self._wrap(inside, merged(self.sessions, app))

    async def open_session(self, app: quart.Quart, request: BaseRequestWebsocket) -> QuartSession:
        """The session of a request or a websocket, which the middleware has opened."""
        layer: _Layer | None = app.extensions.get(_EXTENSION)
        if layer is None:
            raise ConfigurationError("The middleware is missing: SessionInterface(sessions).init_app(app).")
        scope = cast("asgi.Scope", request.scope)
        session = scope.get(ENVIRON_KEY)
        if isinstance(session, QuartSession):
            return session
        # A test client's `session_transaction`, or a `test_request_context`.
        cookies, client = asgi.cookies_of(scope)
        sessions = layer.middleware().sessions
        session = sessions.open(cookies, client=client, path=request.path, session_type=QuartSession)
        session.unserved = True
        await sessions.preload(session)
        return session

    async def save_session(
        self, app: quart.Quart, session: SessionMixin, response: quart.Response | WerkzeugResponse | None
    ) -> None:
        """Store the changes of a test's `session_transaction`; the middleware stores those of a request."""
        if not isinstance(session, QuartSession) or not session.unserved or response is None:
            return
        outcome = await session.sessions.close(session)
        amended = amend(response.headers.to_wsgi_list(), outcome.set_cookie)
        response.headers.clear()
        response.headers.extend(amended)


class _Middleware(asgi.SessionMiddleware):
    session_type: type[Session] = QuartSession


class _Layer:
    """Around the application: the middleware, with the settings that the application has now."""

    def __init__(self, app: quart.Quart, interface: SessionInterface) -> None:
        self._app = app
        self._inside = cast("asgi.App", app.asgi_app)
        self.use(interface)

    def use(self, interface: SessionInterface) -> None:
        """Serve with the options of this interface from now on."""
        self._interface = interface
        self._seen, self._middleware = seen(self._app), interface.around(self._inside, self._app)

    def middleware(self) -> _Middleware:
        """The middleware of now. Quart, too, reads its settings at each request."""
        if self._seen != seen(self._app):
            self.use(self._interface)
        return self._middleware

    async def __call__(self, scope: asgi.Scope, receive: asgi.Receive, send: asgi.Send) -> None:
        """Serve one connection."""
        await self.middleware()(scope, receive, send)


async def _failed(_app: quart.Quart, *, exception: BaseException, **_: object) -> None:
    """Something raised, and nobody handled it."""
    if (session := _current()) is not None:
        await session.sessions.fail(session, exception)


async def _torn_down(_app: quart.Quart, *, exc: BaseException | None, **_: object) -> None:
    """The request has ended. If its client left before the view returned, Quart has cancelled the view."""
    session = _current()
    if exc is not None and session is not None and not has_ended(session):
        await session.sessions.fail(session, exc)


def _current() -> QuartSession | None:
    """The session; None where the application has another interface by now."""
    found = quart.session._get_current_object()  # type: ignore[attr-defined]  # noqa: SLF001
    return found if isinstance(found, QuartSession) else None


async def _answer(error: StoreError) -> quart.Response:
    """A view let a failing store's error through."""
    await _failed(quart.current_app, exception=error)
    if has_ended(session):  # only that of a websocket, which was accepted
        # 1013: try again later (RFC 6455 registry).
        await quart.websocket.close(1013, "session store unavailable")
    line, headers, body = unavailable(error.retry_after)
    return quart.Response(body, int(line[:3]), dict(headers))
