"""Sessions for Pyramid: ``request.session`` with the whole of Pyramid's `ISession`.

::

    config.include("coatcheck.frameworks.pyramid")  # with settings coatcheck.url and coatcheck.secret

The settings are those of `Sessions`, each behind ``coatcheck.``; in the .ini file spans of time are in seconds, secrets
stand apart by white space, and ``coatcheck.cookie.name`` is a part of the cookie. A manager that exists already is
``coatcheck.sessions``: itself, or its dotted name. After the `include`, the manager stands under that name.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from typing import Any, cast

try:
    from pyramid.response import FileIter, Response  # pyright: ignore[reportMissingTypeStubs]
    from pyramid.tweens import EXCVIEW, INGRESS  # pyright: ignore[reportMissingTypeStubs]
except ModuleNotFoundError as _error:  # pragma: no cover - needs an installation without Pyramid
    raise ModuleNotFoundError(
        "coatcheck.frameworks.pyramid needs Pyramid: pip install 'coatcheck[pyramid]'"
    ) from _error

from coatcheck.errors import StoreError
from coatcheck.frameworks.environ import begin_request, is_sent_by_server
from coatcheck.frameworks.pyramid_session import CSRFStoragePolicy, PyramidSession
from coatcheck.frameworks.pyramid_settings import SESSIONS, sessions_from
from coatcheck.frameworks.streams import Stream, close_body
from coatcheck.http.headers import amend
from coatcheck.responder import ENVIRON_KEY
from coatcheck.session import failure_met

__all__ = ["CSRFStoragePolicy", "PyramidSession", "includeme"]

_SERVER_ERROR = 500


def includeme(config: Any) -> None:
    """Set up sessions, for ``config.include("coatcheck.frameworks.pyramid")``.

    Raises:
        ConfigurationError: A setting is unknown, impossible, or contradicts another.
    """
    settings = config.get_settings()
    settings[SESSIONS] = sessions_from(settings, config.maybe_dotted)
    # Exceptions become responses, and transactions are committed, within this tween.
    config.add_tween("coatcheck.frameworks.pyramid.tween_factory", under=INGRESS)
    config.add_tween("coatcheck.frameworks.pyramid.inner_tween_factory", under=EXCVIEW)
    config.set_session_factory(_session_of)
    config.set_csrf_storage_policy(CSRFStoragePolicy())


def tween_factory(handler: Callable[[Any], Any], _registry: Any) -> Callable[[Any], Any]:
    """What Pyramid makes the tween with."""

    def tween(request: Any) -> Any:
        visit = _Visit(request)
        try:
            return _of_one_visitor(handler(request))
        except BaseException as error:
            if (refused := visit.refuse(Response(), error)) is not None:
                return refused
            raise

    return tween


def _of_one_visitor(response: Any) -> Any:
    """A copy, since a view may return one and the same response to everybody."""
    if not isinstance(response, cast("Any", Response)):  # whose types are unknown
        return response
    kind = cast("Any", type(response))
    copied: Any = kind.__new__(kind)
    copied.__dict__.update(response.__dict__)
    return copied


def inner_tween_factory(handler: Callable[[Any], Any], _registry: Any) -> Callable[[Any], Any]:
    """What Pyramid makes the tween within exception views with."""

    def tween(request: Any) -> Any:
        try:
            return handler(request)
        except Exception:
            session = request.environ.get(ENVIRON_KEY)
            if isinstance(session, PyramidSession) and failure_met(session):
                session.sessions.note_failure(
                    session
                )  # else an exception view would fail by the same outage again
            raise

    return tween


def _session_of(request: Any) -> PyramidSession:
    """The session that the tween has opened, or one for a request that bypassed it (`invoke_subrequest`)."""
    session = request.environ.get(ENVIRON_KEY)
    return session if isinstance(session, PyramidSession) else _Visit(request).session


class _Visit:
    """One request's session, from its opening to the end of the response."""

    _response: Any = None

    def __init__(self, request: Any) -> None:
        sessions = request.registry.settings[SESSIONS]
        self._around = sys.exc_info()[1]
        self.session, self.responder = begin_request(sessions, request.environ, PyramidSession)
        request.add_response_callback(self.note)
        request.add_finished_callback(self.finish)

    def note(self, request: Any, response: Any) -> None:
        """Note the response. The other callbacks may change it, and so may the subscribers of `NewResponse`."""
        self._response, callbacks = response, request.response_callbacks
        while callbacks:
            try:
                callbacks.popleft()(request, response)
            except StoreError as error:  # else Pyramid raises it
                self.refuse(response, error)

    def finish(self, request: Any) -> None:
        """The request has been processed: store what was changed, and write the headers of the response."""
        raised = sys.exc_info()[1]
        try:
            if self._response is not None and (raised is None or raised is self._around):
                self.store(request, self._response)
                return
        except BaseException as error:  # noqa: BLE001 - raised when the other callbacks have been called
            request.add_finished_callback(partial(_raise, error))
        # Another request with the same environment opens another session.
        self.responder.fail()
        self.responder.end(last=True)

    def store(self, request: Any, response: Any) -> None:
        """Store what was changed, and write the headers."""
        responder, body = self.responder, response.app_iter
        status, headers = response.status_int, response.headerlist
        streams = not isinstance(body, FileIter) and not is_sent_by_server(body, request.environ)
        if status >= _SERVER_ERROR and request.exception is not None:
            responder.failed(request.exception)  # an exception view has made a page of it
        try:
            outcome = responder.head(status, headers, secure=request.scheme == "https", last=not streams)
        except StoreError as error:
            self.refuse(response, error)
            responder.end(last=True)
            return
        if outcome.vary:
            response.headerlist = amend(headers, outcome.set_cookie)
        if streams:
            length = response.content_length
            response.app_iter = Stream(self.session, responder, body)
            response.content_length = length  # WebOb drops it with the body that it was of

    def refuse(self, response: Any, error: BaseException) -> Any:
        """The response, made a 503; None: the error is to be raised again."""
        refusal = self.responder.failed(error)
        if refusal is None:
            return None
        close_body(response.app_iter)
        response.app_iter = [refusal.body]
        response.status = f"{refusal.status} {refusal.reason}"
        response.headerlist = refusal.headers
        return response


def _raise(error: BaseException, _request: Any) -> None:
    raise error
