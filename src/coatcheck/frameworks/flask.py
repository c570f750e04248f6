"""Sessions for Flask: ``flask.session``, `flash`, ``session.permanent`` and the rest work as they are.

::

    app.session_interface = SessionInterface(sessions)  # checked at the first request
    SessionInterface(sessions).init_app(app)  # checked now

Flask's own settings (``SESSION_COOKIE_*``, ``PERMANENT_SESSION_LIFETIME``) count where the application set them away
from Flask's defaults; one that contradicts ours is a `ConfigurationError`. With Flask-Login, ``login_user`` signs in
and ``logout_user`` signs out: the secret changes, and the session is in the user's list.
"""

from __future__ import annotations

import threading
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, cast
from weakref import WeakKeyDictionary, proxy

try:
    import flask
    from flask.sessions import SessionInterface as FlaskSessionInterface
    from flask.sessions import SessionMixin
except ModuleNotFoundError as _error:  # pragma: no cover - needs an installation without Flask
    raise ModuleNotFoundError(
        "coatcheck.frameworks.flask needs Flask: pip install 'coatcheck[flask]'"
    ) from _error

from coatcheck.errors import StoreError
from coatcheck.frameworks.bound import BoundSession
from coatcheck.frameworks.flask_login import USER_ID, check_id, is_used_by
from coatcheck.frameworks.flask_login import bind as bind_flask_login
from coatcheck.frameworks.flask_messages import FLASHES, MessageFields, shown
from coatcheck.frameworks.flask_settings import merged, seen
from coatcheck.frameworks.streams import Stream, close_body
from coatcheck.http.headers import amend, unavailable
from coatcheck.responder import ENVIRON_KEY, Refusal, Responder, SharedResponder, of_kind, session_in
from coatcheck.sessions import Sessions

__all__ = ["FlaskSession", "SessionInterface", "session"]


class FlaskSession(MessageFields, BoundSession):
    """What ``flask.session`` is: a `Session` that keeps each flashed message in a field of its own.

    Flask's `flash` and `get_flashed_messages` keep their list under ``_flashes``; here that name stands for the
    messages, so that those of parallel requests all stay and none is shown twice.
    """

    responder: Responder
    """Has only a weak reference to this session, so that no request leaves a cycle behind."""

    app: flask.Flask | None = None
    """The application that opened it."""

    def __setitem__(self, name: str, value: Any) -> None:
        """Set a field; under ``_flashes``, add what is new in the list, or put the list in place of what waits."""
        if name == USER_ID and self.app is not None and is_used_by(self.app):
            check_id(self, value)
        super().__setitem__(name, value)

    def pop(self, name: str, *default: Any) -> Any:
        """Remove a field and return its value; under ``_flashes``, take the messages, so that none is shown twice."""
        if name != FLASHES:
            return super().pop(name, *default)
        taken = [shown(flash) for flash in self.take_flashes()]
        return taken or (default[0] if default else [])

    def fail(self) -> None:
        """Drop the changes of this request, but for ending the session: for an application's own error handlers.

        Flask does so by itself for an exception that nobody handles, and for a `StoreError` that only we handle.
        """
        self.responder.fail()


session: FlaskSession = cast("FlaskSession", flask.session)
"""``flask.session`` itself, typed for type checkers as what it is here."""


class SessionInterface(FlaskSessionInterface):
    """``app.session_interface = SessionInterface(sessions)``."""

    def __init__(self, sessions: Sessions) -> None:
        """Make the interface for one application, or for several.

        Args:
            sessions: The manager.
        """
        self.sessions: Sessions = of_kind(sessions, Sessions)
        self._managers: WeakKeyDictionary[flask.Flask, tuple[tuple[object, ...], Sessions]] = (
            WeakKeyDictionary()
        )
        self._setting_up = threading.Lock()

    def init_app(self, app: flask.Flask) -> None:
        """Put the interface into `app`, and check its settings now and not at the first request.

        Raises:
            ConfigurationError: A setting of the application contradicts one of ours.
        """
        self._manager(app)
        app.session_interface = self

    def open_session(self, app: flask.Flask, request: flask.Request) -> FlaskSession:
        """The session of a request. Asks the store nothing before it is looked at."""
        manager = self._manager(app)
        environ = request.environ
        outer = session_in(environ)
        # A test client's `session_transaction` opens a session twice for one request of the same application.
        again = isinstance(outer, FlaskSession) and outer.app is app
        named = (
            self.sessions.settings.identity is not None
        )  # else Flask-Login's field, whose logins have signals
        if outer is not None and not again and manager.agrees_with(outer, named=named):
            session = manager.share(outer, FlaskSession)
            session.responder = SharedResponder(manager, proxy(session), outer)
            session.app = app
            return session
        session = manager.open(
            environ.get("HTTP_COOKIE", ""),
            client=environ.get("HTTP_USER_AGENT", ""),
            path=request.path,
            session_type=FlaskSession,
        )
        session.responder = Responder(manager, proxy(session))
        session.app = app
        environ[ENVIRON_KEY] = session  # for an application that a view calls
        return session

    def save_session(self, app: flask.Flask, session: SessionMixin, response: flask.Response) -> None:
        """Store what was changed, and write the headers; where it can't be stored, the response becomes a 503."""
        if not isinstance(session, FlaskSession):
            return
        responder = session.responder
        session.modified = session.modified  # tests ask for it after the response
        streams = response.is_streamed and not response.direct_passthrough
        try:
            secure = flask.request.is_secure
            outcome = responder.head(response.status_code, response.headers, secure=secure, last=not streams)
        except StoreError as error:
            _refuse(response, responder.failed(error))
            return
        if streams:
            response.response = Stream(session, responder, cast("Iterable[bytes]", response.response))
        headers = response.headers
        if not outcome.vary:
            return
        if outcome.set_cookie is None and "Vary" not in headers:
            headers.add("Vary", "Cookie")  # the budget of a read: nothing to join
            return
        amended = amend(headers.to_wsgi_list(), outcome.set_cookie)
        headers.clear()
        headers.extend(amended)

    def _manager(self, app: flask.Flask) -> Sessions:
        """The manager with the settings that the application has now. Flask, too, reads them at each request."""
        now = seen(app)
        known = self._managers.get(app)
        if known is None or known[0] != now:
            # The first requests of an application may come in several threads at once.
            with self._setting_up:
                known = self._managers.get(app)
                if known is None or known[0] != now:
                    known = self._managers[app] = now, self._set_up(app)
        return known[1]

    def _set_up(self, app: flask.Flask) -> Sessions:
        manager = merged(self.sessions, app)
        flask.got_request_exception.connect(_failed, app)
        if StoreError not in app.error_handler_spec[None][None]:
            app.register_error_handler(StoreError, _answer)
        if is_used_by(app):
            bind_flask_login(app)
        return manager


def _failed(_app: flask.Flask, *, exception: BaseException, **_: object) -> None:
    """Something raised, and nobody handled it."""
    session = None
    with suppress(AssertionError, RuntimeError):  # there is none where opening it was what raised
        session = flask.session._get_current_object()  # type: ignore[attr-defined]  # noqa: SLF001
    if isinstance(session, FlaskSession):
        session.responder.failed(exception)


def _answer(error: StoreError) -> flask.Response:
    """A handler let a failing store's error through."""
    _failed(flask.current_app, exception=error)
    status, headers, body = unavailable(error.retry_after)
    return flask.Response(body, status, headers)


def _refuse(response: flask.Response, refusal: Refusal | None) -> None:
    """Make the response a 503."""
    assert refusal is not None  # Flask sends the head when all is said
    replaced = response.response
    response.direct_passthrough = False
    response.response = [refusal.body]
    response.status = f"{refusal.status} {refusal.reason}"
    response.headers.clear()
    response.headers.extend(refusal.headers)
    close_body(replaced)
