"""Sessions for Pyramid: ``request.session`` with the whole of Pyramid's `ISession`.

::

    config.include("coatcheck.frameworks.pyramid")  # with settings coatcheck.url and coatcheck.secret

The settings are those of `Sessions`, each behind ``coatcheck.``; in the .ini file spans of time are in seconds, secrets
stand apart by white space, and ``coatcheck.cookie.name`` is a part of the cookie. A manager that exists already is
``coatcheck.sessions``: itself, or its dotted name. After the `include`, the manager stands under that name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

try:
    from pyramid.response import FileIter, Response  # pyright: ignore[reportMissingTypeStubs]
    from pyramid.tweens import EXCVIEW, INGRESS  # pyright: ignore[reportMissingTypeStubs]
except ModuleNotFoundError as _error:  # pragma: no cover - needs an installation without Pyramid
    raise ModuleNotFoundError(
        "coatcheck.frameworks.pyramid needs Pyramid: pip install 'coatcheck[pyramid]'"
    ) from _error

from coatcheck.errors import StoreError
from coatcheck.frameworks.pyramid_session import CSRFStoragePolicy, PyramidSession
from coatcheck.frameworks.pyramid_settings import SESSIONS, sessions_from
from coatcheck.frameworks.streams import Stream, close_body
from coatcheck.http.headers import amend
from coatcheck.responder import ENVIRON_KEY, Refusal, Responder, SharedResponder, session_in
from coatcheck.session import Session, failure_met
from coatcheck.sessions import Sessions

__all__ = ["CSRFStoragePolicy", "PyramidSession", "includeme"]

_SERVER_ERROR = 500


def includeme(config: Any) -> None:
    """Set up sessions, for ``config.include("coatcheck.frameworks.pyramid")``.

    Raises:
        ConfigurationError: A setting is unknown, impossible, or contradicts another.
    """
    settings = config.get_settings()
    settings[SESSIONS] = sessions = sessions_from(settings, config.maybe_dotted)
    # Exceptions become responses, and transactions are committed, within this tween.
    config.add_tween("coatcheck.frameworks.pyramid.tween_factory", under=INGRESS)
    config.add_tween("coatcheck.frameworks.pyramid.inner_tween_factory", under=EXCVIEW)
    config.set_session_factory(partial(_session_of, sessions))
    config.set_csrf_storage_policy(CSRFStoragePolicy())


def tween_factory(handler: Callable[[Any], Any], registry: Any) -> Callable[[Any], Any]:
    """What Pyramid makes the tween with."""
    sessions: Sessions = registry.settings[SESSIONS]

    def tween(request: Any) -> Any:
        visit = _Visit(sessions, request)
        try:
            return handler(request)
        except BaseException as error:
            refusal = visit.responder.failed(error)
            if refusal is None:
                raise
            return _refuse(Response(), refusal)

    return tween


def inner_tween_factory(handler: Callable[[Any], Any], registry: Any) -> Callable[[Any], Any]:
    """What Pyramid makes the tween within exception views with."""
    sessions: Sessions = registry.settings[SESSIONS]

    def tween(request: Any) -> Any:
        try:
            return handler(request)
        except Exception:
            session = request.environ.get(ENVIRON_KEY)
            if isinstance(session, Session) and failure_met(session):
                sessions.note_failure(session)  # else an exception view would fail by the same outage again
            raise

    return tween


def _session_of(sessions: Sessions, request: Any) -> PyramidSession:
    """The session that the tween has opened, or one for a request that bypassed it (`invoke_subrequest`)."""
    session = request.environ.get(ENVIRON_KEY)
    return session if isinstance(session, PyramidSession) else _Visit(sessions, request).session


class _Visit:
    """One request's session, from its opening to the end of the response."""

    _waited = False

    def __init__(self, sessions: Sessions, request: Any) -> None:
        environ: dict[str, Any] = request.environ
        outer = session_in(environ)
        self.session: PyramidSession
        self.responder: Responder
        if outer is not None and sessions.agrees_with(outer):
            self.session = sessions.share(outer, PyramidSession)
            self.responder = SharedResponder(sessions, self.session, outer)
        else:
            # The Cookie header as it came (PEP 3333: bytes as latin-1 text), not as WebOb has parsed it.
            self.session = sessions.open(
                environ.get("HTTP_COOKIE", ""),
                client=environ.get("HTTP_USER_AGENT", ""),
                path=environ.get("PATH_INFO", "").encode("latin-1", "replace").decode("utf-8", "replace"),
                session_type=PyramidSession,
            )
            self.responder = Responder(sessions, self.session)
        environ[ENVIRON_KEY] = self.session  # also for an application that a view calls
        request.add_response_callback(self.store)
        request.add_finished_callback(self.finish)

    def store(self, request: Any, response: Any) -> None:
        """Store what was changed, and write the headers: after every tween, and after the other callbacks."""
        if not self._waited and any(other != self.store for other in request.response_callbacks):
            self._waited = True
            request.add_response_callback(self.store)
            return
        responder = self.responder
        streams = _is_made_while_sent(response.app_iter, request.environ)
        exception = getattr(request, "exception", None)
        if exception is not None and response.status_int >= _SERVER_ERROR:
            responder.failed(exception)  # an exception view has made a page of it
        try:
            outcome = responder.head(
                response.status_int,
                response.headerlist,
                secure=request.environ.get("wsgi.url_scheme") == "https",
                last=not streams,
            )
        except StoreError as error:
            _refuse(response, responder.failed(error))
            responder.end(last=True)
        else:
            if outcome.vary:
                response.headerlist = amend(response.headerlist, outcome.set_cookie)
            if streams:
                length = response.content_length
                response.app_iter = Stream(self.session, responder, response.app_iter)
                response.content_length = length  # WebOb drops it with the body that it was of
        responder.head_sent = True

    def finish(self, _request: Any) -> None:
        """Where no response came of the request: another with the same environment opens another session."""
        if not self.responder.head_sent:
            self.responder.fail()
            self.responder.end(last=True)


def _is_made_while_sent(body: object, environ: Mapping[str, Any]) -> bool:
    """Whether code of the application may run while the body is sent."""
    wrapper = environ.get("wsgi.file_wrapper")
    return not isinstance(
        body, (list, tuple, FileIter, wrapper) if isinstance(wrapper, type) else (list, tuple, FileIter)
    )


def _refuse(response: Any, refusal: Refusal | None) -> Any:
    """The response, made a 503."""
    assert refusal is not None  # the head has not left
    close_body(response.app_iter)
    response.app_iter = [refusal.body]
    response.status = f"{refusal.status} {refusal.reason}"
    response.headerlist = refusal.headers
    return response
