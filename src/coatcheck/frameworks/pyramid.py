"""Sessions for Pyramid: ``request.session`` with the whole of Pyramid's `ISession`.

::

    config.include("coatcheck.frameworks.pyramid")  # with settings coatcheck.url and coatcheck.secret

The settings are those of `Sessions`, each behind ``coatcheck.``; in the .ini file spans of time are in seconds, secrets
stand apart by white space, and ``coatcheck.cookie.name`` is a part of the cookie. A manager that exists already is
``coatcheck.sessions``: itself, or its dotted name. After the `include`, the manager stands under that name.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any
from weakref import proxy

try:
    from pyramid.interfaces import ICSRFStoragePolicy, ISession  # pyright: ignore[reportMissingTypeStubs]
    from pyramid.response import FileIter, Response  # pyright: ignore[reportMissingTypeStubs]
    from pyramid.tweens import EXCVIEW, INGRESS  # pyright: ignore[reportMissingTypeStubs]
    from zope.interface import implementer
except ModuleNotFoundError as _error:  # pragma: no cover - needs an installation without Pyramid
    raise ModuleNotFoundError(
        "coatcheck.frameworks.pyramid needs Pyramid: pip install 'coatcheck[pyramid]'"
    ) from _error

from coatcheck.core.state import read_field
from coatcheck.errors import StoreError
from coatcheck.frameworks.pyramid_settings import SESSIONS, sessions_from
from coatcheck.http.csrf import SECRET_BYTES, masked
from coatcheck.http.headers import amend
from coatcheck.model.fields import CSRF
from coatcheck.responder import ENVIRON_KEY, Refusal, Responder, SharedResponder, session_in
from coatcheck.session import Flash, Session, end_of_request, failure_met
from coatcheck.sessions import Sessions

__all__ = ["CSRFStoragePolicy", "PyramidSession", "includeme"]

_SERVER_ERROR = 500


class _Markup(str):
    """A message that was markup when it was flashed: templates show it unescaped."""

    def __html__(self) -> str:
        return self


@implementer(ISession)
class PyramidSession(Session):
    """What ``request.session`` is: a `Session` with the names of Pyramid's `ISession`, and its `save`, `take`, …"""

    sessions: Sessions

    @property
    def created(self) -> int:
        """When it was created, in seconds since 1970; now, while nothing is stored."""
        created = self.created_at
        return int(self.sessions.settings.clock() if created is None else created.timestamp())

    @property
    def new(self) -> bool:
        """Whether nothing is stored for this visitor yet."""
        return self.is_new

    def invalidate(self) -> None:
        """End the session. Fields that are set afterwards start a new one; see `Session.destroy`."""
        self.destroy()

    def changed(self) -> None:
        """Nothing: a value that is changed in place is found without it."""
        self._look()

    def flash(  # type: ignore[override]
        self,
        msg: Any,  # pyright: ignore[reportIncompatibleMethodOverride]
        queue: str = "",
        allow_duplicate: bool = True,
        *,
        tags: str = "",
    ) -> None:
        """Put a message at the end of a queue, which is its category; see `Session.flash`.

        With ``allow_duplicate=False`` a message that is in the queue already is not put there again.
        """
        if allow_duplicate or msg not in self.peek_flash(queue):
            super().flash(msg, queue, tags=tags)

    def pop_flash(self, queue: str = "") -> list[Any]:
        """Take the messages of a queue, the oldest first. Each is given to one request only."""
        return [_message(flash) for flash in self.take_flashes(queue)]

    def peek_flash(self, queue: str = "") -> list[Any]:
        """The messages of a queue, which stay there."""
        return [_message(flash) for flash in self.peek_flashes(queue)]

    def get_csrf_token(self) -> str:
        """The CSRF token, the same at each call until a sign-in or `new_csrf_token`, for code that compares it itself.

        In a page, `pyramid.csrf.get_csrf_token` is better: it masks the token anew each time (BREACH).
        """
        self.csrf_token()  # makes the secret, if there is none
        return masked(read_field(self._look(), CSRF), bytes(SECRET_BYTES))

    def new_csrf_token(self) -> str:
        """A new CSRF token, as `get_csrf_token` gives it back. Earlier ones are not good any more."""
        super().new_csrf_token()
        return self.get_csrf_token()

    def save(self, *, create: bool = False) -> bool:
        """Store the changes so far; see `Sessions.save`."""
        return self.sessions.save(self, create=create)

    def reload(self) -> bool:
        """Read what other requests have stored since; see `Sessions.reload`."""
        return self.sessions.reload(self)

    def take(self, *names: str) -> dict[str, Any]:
        """Remove fields and return their values, atomically; see `Sessions.take`."""
        return self.sessions.take(self, *names)

    def take_flashes(self, category: str | None = None) -> list[Flash]:
        """The messages that wait, of every queue or of one, taken; see `Sessions.take_flashes`."""
        return self.sessions.take_flashes(self, category)

    def is_live(self) -> bool:
        """Whether the session still exists; see `Sessions.is_live`."""
        return self.sessions.is_live(self)


def _message(flash: Flash) -> Any:
    return _Markup(flash.message) if flash.markup else flash.message


@implementer(ICSRFStoragePolicy)
class CSRFStoragePolicy:
    """Pyramid's CSRF checks on the session's own token, which a sign-in renews and each page masks anew."""

    def new_csrf_token(self, request: Any) -> str:
        """A new token. Earlier ones are not good any more."""
        return str(request.session.new_csrf_token())

    def get_csrf_token(self, request: Any) -> str:
        """A token for a page."""
        return str(request.session.csrf_token())

    def check_csrf_token(self, request: Any, supplied_token: str) -> bool:
        """Whether `supplied_token` is one of the session's."""
        return bool(request.session.check_csrf(supplied_token))


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
    config.set_session_factory(lambda request: _session_of(sessions, request))
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
            visit.over = True
            return _refuse(Response(), refusal)

    return tween


def inner_tween_factory(handler: Callable[[Any], Any], registry: Any) -> Callable[[Any], Any]:
    """What Pyramid makes the tween within exception views with."""
    sessions: Sessions = registry.settings[SESSIONS]

    def tween(request: Any) -> Any:
        try:
            return handler(request)
        except Exception as error:
            session = request.session
            if not isinstance(error, StoreError) and failure_met(session) is not None:
                sessions.note_failure(session)  # else an exception view would fail by the same outage again
            raise

    return tween


def _session_of(sessions: Sessions, request: Any) -> PyramidSession:
    """The session that the tween has opened, or one for a request that bypassed it (`invoke_subrequest`)."""
    session = request.environ.get(ENVIRON_KEY)
    return session if isinstance(session, PyramidSession) else _Visit(sessions, request).session


class _Visit:
    """One request's session, from its opening to the end of the response."""

    over = False
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
        if request.response_callbacks and not self._waited:
            self._waited = True
            request.add_response_callback(self.store)
            return
        responder = self.responder
        streams = not self.over and _is_made_while_sent(response.app_iter, request.environ)
        if not self.over:
            status = response.status_int
            if request.exception is not None and status >= _SERVER_ERROR:
                responder.failed(request.exception)  # an exception view has made a page of it
            try:
                secure = request.scheme == "https"
                outcome = responder.head(status, response.headerlist, secure=secure, last=not streams)
            except StoreError as error:
                self.over, streams = True, False
                _refuse(response, responder.failed(error))
            else:
                if outcome.vary:
                    response.headerlist = amend(response.headerlist, outcome.set_cookie)
        responder.head_sent = True
        if streams:
            length = response.content_length
            response.app_iter = _Stream(responder, response.app_iter)
            response.content_length = length  # WebOb drops it with the body that it was of
        elif self.over:
            end_of_request(self.session)

    def finish(self, _request: Any) -> None:
        """Where no response came of the request: another with the same environment opens another session."""
        if not self.responder.head_sent:
            self.responder.fail()
            self.responder.end(last=True)


def _is_made_while_sent(body: object, environ: Mapping[str, Any]) -> bool:
    """Whether code of the application may run while the body is sent."""
    wrapper = environ.get("wsgi.file_wrapper")
    return not isinstance(body, (list, tuple, FileIter, wrapper) if isinstance(wrapper, type) else (list, tuple, FileIter))


def _refuse(response: Any, refusal: Refusal | None) -> Any:
    """The response, made a 503."""
    assert refusal is not None  # the head has not left
    _close_body(response.app_iter)
    response.app_iter = [refusal.body]
    response.status = f"{refusal.status} {refusal.reason}"
    response.headerlist = refusal.headers
    return response


def _close_body(body: object) -> None:
    """Every body is closed, at its end or before it (PEP 3333)."""
    if (close := getattr(body, "close", None)) is not None:
        close()


class _Stream:
    """A body that is made while it is sent: its end stores what changed meanwhile."""

    def __init__(self, responder: Responder, body: Iterable[bytes]) -> None:
        self._responder = responder
        self._body = body
        self._chunks = iter(body)

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        try:
            return next(self._chunks)
        except StopIteration:
            self._responder.end()
            raise
        except BaseException:
            self._responder.fail()
            raise

    def close(self) -> None:
        """Called at the end, also when the client hung up."""
        try:
            _close_body(self._body)
        finally:
            self._responder.end(last=True)
