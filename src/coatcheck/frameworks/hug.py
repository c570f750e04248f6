"""Sessions for hug: ``request.context["session"]``, and the directive ``hug_session``.

::

    api = hug.API(__name__)
    api.http.add_middleware(SessionMiddleware(api, sessions))

Add it before other middleware, so that these may use the session, too.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any, Self, cast

from coatcheck.core.state import State
from coatcheck.errors import StoreError
from coatcheck.frameworks.bound import BoundSession
from coatcheck.frameworks.environ import begin_request
from coatcheck.frameworks.streams import Stream, close_body
from coatcheck.http.headers import amend
from coatcheck.responder import Refusal, of_kind
from coatcheck.session import Session, end_of_request
from coatcheck.sessions import Sessions

__all__ = ["HugSession", "SessionMiddleware"]

_SERVER_ERROR = 500
_VISITS = "coatcheck.frameworks.hug"  # a key of the environment


class HugSession(BoundSession):
    """A `Session` that brings what handlers need of the manager: ``session.save()``."""

    # hug calls the annotation of an argument with its value: ``hug_session: HugSession``.
    def __new__(cls, begin: Callable[[Session], State] | Session, sessions: object = None) -> Self:  # noqa: ARG004 - as `__init__`
        return begin if isinstance(begin, cls) else super().__new__(cls)

    def __init__(self, begin: Callable[[Session], State] | Session, sessions: object = None) -> None:
        if not isinstance(begin, Session):
            super().__init__(begin, sessions)

    def __native_types__(self) -> dict[str, Any]:
        """What hug's output formats make of a session that a handler returns: its fields."""
        return dict(self)

    def fail(self, error: BaseException | None = None) -> None:
        """Drop the changes of this request, but for ending the session: for a handler of `hug.exception`.

        An exception that no such handler answers does so by itself.

        Args:
            error: The exception; see `Sessions.fail`.
        """
        self.sessions.fail(self, error)


class SessionMiddleware:
    """Puts a `HugSession` into the context of each request. A `StoreError` becomes a 503 with Retry-After."""

    def __init__(self, api: Any, sessions: Sessions, *, context_name: str = "session") -> None:
        """Make the middleware of one API.

        Args:
            api: The `hug.API` that it is added to.
            sessions: The manager.
            context_name: The session's name in the context of a request.
        """
        self.api = api
        self.sessions: Sessions = of_kind(sessions, Sessions)
        self.context_name = context_name
        self._prepared: object = None

    def process_request(self, request: Any, _response: Any) -> None:
        """Open the session. The store is not called before the session is used."""
        if request.options is not self._prepared:
            self._prepared = request.options
            self._prepare(request.options)
        visit = _Visit(self, request.env)
        request.env.setdefault(_VISITS, []).append(visit)
        request.context[self.context_name] = visit.session

    def process_response(self, request: Any, response: Any, _resource: Any, req_succeeded: bool) -> None:
        """Store what was changed, and write the headers."""
        # hug takes over the middleware of an API that is extended: there may be several, or one twice.
        visits: list[_Visit] = request.env.get(_VISITS, [])
        visit = next((each for each in reversed(visits) if each.middleware is self), None)
        if visit is None:
            return
        visit.middleware = None
        error = sys.exc_info()[1]
        if error is not None and error is not visit.around:
            visit.responder.fail()
            visit.responder.end(last=True)
            return
        try:
            if not req_succeeded and int(response.status[:3]) >= _SERVER_ERROR:
                visit.responder.fail()
            else:
                visit.settle(request.context.get(self.context_name))
            visit.store(response, secure=request.scheme == "https")  # Falcon calls `_answer` if it raises
        except BaseException:
            visit.responder.fail()
            raise

    def _prepare(self, options: object) -> None:
        """Let the server with these options answer an outage: that of our API, or of one that extends it."""
        # hug makes a server when it is asked for a WSGI application, and keeps each API in a module, as `__hug__`.
        modules = [getattr(module, "__dict__", {}) for module in tuple(sys.modules.values())]
        for api in (self.api, *(module["__hug__"] for module in modules if "__hug__" in module)):
            server = getattr(api.http, "falcon", None)
            if server is not None and server.req_options is options:
                if (StoreError, _answer) not in server._error_handlers:  # noqa: SLF001 - hug pins the release of Falcon
                    server.add_error_handler(StoreError, _answer)
                return


def _answer(request: Any, response: Any, error: StoreError, _params: Any) -> None:
    """What Falcon calls with a `StoreError` of a handler, of another middleware or of `process_response`."""
    visits: list[_Visit] | None = request.env.get(_VISITS)
    if visits is None:
        raise error  # a middleware before ours has raised it
    for visit in visits:
        visit.refuse(response, error)


class _Visit:
    """One request's session, from its opening to the end of the response."""

    def __init__(self, middleware: SessionMiddleware, environ: dict[str, Any]) -> None:
        self.middleware: SessionMiddleware | None = middleware  # None: it has processed the response
        self.around = sys.exc_info()[1]
        self.session, self.responder = begin_request(middleware.sessions, environ, HugSession)

    def settle(self, placed: object) -> None:
        """Do to the session what a handler meant that put something else in its place."""
        session = self.session
        if isinstance(placed, Session):  # it, or that of another middleware of ours
            return
        if not placed:
            session.clear()
            return
        if not isinstance(placed, Mapping):
            raise TypeError(
                f"Only a dict may stand in place of the session, not an object of type {type(placed).__name__}."
            )
        fields = cast("Mapping[str, Any]", placed)
        for name in session.keys() - fields.keys():
            del session[name]
        session.update(fields)

    def store(self, response: Any, *, secure: bool) -> None:
        """Store what was changed, and write the headers."""
        stream: Any = response.stream
        streams = stream is not None and not hasattr(stream, "read")
        headers = response._wsgi_headers()  # noqa: SLF001 - as above
        outcome = self.responder.head(int(response.status[:3]), headers, secure=secure, last=not streams)
        if outcome.vary:
            _replace_headers(response, amend(headers, outcome.set_cookie))
        if streams:
            response.stream = Stream(self.session, self.responder, cast("Iterable[bytes]", stream))

    def refuse(self, response: Any, failure: StoreError) -> None:
        """Make the response a 503."""
        refusal: Refusal | None = self.responder.failed(failure)
        assert refusal is not None  # Falcon sends the head when every middleware is done
        end_of_request(self.session)
        close_body(response.stream)
        response.stream = response.body = None
        response.data = refusal.body
        response.status = f"{refusal.status} {refusal.reason}"
        _replace_headers(response, refusal.headers)


def _replace_headers(response: Any, headers: list[tuple[str, str]]) -> None:
    """Falcon keeps cookies apart from other headers, and names the others in lower case."""
    response._cookies = None  # noqa: SLF001 - as above
    response._extra_headers = [pair for pair in headers if pair[0].lower() == "set-cookie"]  # noqa: SLF001
    response._headers = {  # noqa: SLF001
        name.lower(): value for name, value in headers if name.lower() != "set-cookie"
    }
