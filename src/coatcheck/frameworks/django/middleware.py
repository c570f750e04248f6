"""Django's `SessionMiddleware`, on our sessions. It is Django's by inheritance, so that the admin's checks find it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from http.cookies import Morsel
from typing import TYPE_CHECKING, Any

from asgiref.sync import sync_to_async
from django.conf import settings
from django.contrib.sessions.middleware import SessionMiddleware as DjangoSessionMiddleware
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpResponse

from coatcheck.frameworks.django.configuration import is_test, sessions
from coatcheck.frameworks.django.engine import (
    DjangoSession,
    SessionStore,
    current_request,
    given_to_tests,
    remember,
)
from coatcheck.frameworks.streams import Stream
from coatcheck.http.headers import amend
from coatcheck.responder import ENVIRON_KEY, Refusal, Responder, SharedResponder, session_in
from coatcheck.session import state_of
from coatcheck.sessions import Sessions

if TYPE_CHECKING:
    from django.http import HttpRequest

__all__ = ["SessionMiddleware"]

_SERVER_ERROR = 500
# What Python's cookies know from 3.14 on.
Morsel._reserved.setdefault("partitioned", "Partitioned")  # type: ignore[attr-defined]  # noqa: SLF001
Morsel._flags.add("partitioned")  # type: ignore[attr-defined]  # noqa: SLF001


class SessionMiddleware(DjangoSessionMiddleware):
    """In place of ``django.contrib.sessions.middleware.SessionMiddleware``."""

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:
        """Make the manager, too, so that a wrong setting shows at the start.

        Raises:
            ImproperlyConfigured: ``SESSION_ENGINE`` names another engine, so that `client.login` would store its session
                where nothing looks for it.
        """
        super().__init__(get_response)
        if not issubclass(self.SessionStore, SessionStore):
            raise ImproperlyConfigured(
                f'SESSION_ENGINE is "{settings.SESSION_ENGINE}": set SESSION_ENGINE = "coatcheck.frameworks.django".'
            )
        self.sessions: Sessions = sessions()

    def __call__(self, request: HttpRequest) -> Any:
        """Serve a request."""
        with current_request(request):
            return super().__call__(request)

    async def __acall__(self, request: HttpRequest) -> Any:
        """Serve a request on an event loop."""
        with current_request(request):
            return await super().__acall__(request)

    def process_request(self, request: HttpRequest) -> None:
        """Open the session. The store is asked when it is first looked at."""
        if _responder_of(request) is not None:
            return  # a middleware that is listed twice
        # A test may override the settings after the server of its tests has begun.
        manager, meta = sessions() if is_test() else self.sessions, request.META
        outer = session_in({"asgi.scope": getattr(request, "scope", {}), **meta})
        if outer is not None and manager.agrees_with(outer):
            session = manager.share(outer, DjangoSession)
            responder: Responder = SharedResponder(manager, session, outer)
        else:
            cookies: str = meta.get("HTTP_COOKIE", "")
            if is_test():
                cookies = given_to_tests.get(request.COOKIES.get(manager.settings.template.name), cookies)
            client, path = meta.get("HTTP_USER_AGENT", ""), request.path_info
            session = manager.open(cookies, client=client, path=path, session_type=DjangoSession)
            responder = Responder(manager, session)
        meta[ENVIRON_KEY] = session  # for an application that a view calls
        request.session = SessionStore(responder=responder)
        if hasattr(request, "scope") and not (state := state_of(session)).ready:
            state.load(state)  # in this thread: an async view can't wait for an item

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        """The view raised: store its endings only, and answer a failure of the store."""
        responder = _responder_of(request)
        refusal = None if responder is None else responder.failed(exception)
        return None if responder is None or refusal is None else _refused(refusal, responder)

    def process_response(self, request: HttpRequest, response: Any) -> Any:
        """Store what was changed, and write the headers. Of a 5xx only endings are stored, as Django has it."""
        responder = _responder_of(request)
        if responder is None or responder.head_sent:
            return response
        session, status = responder.session, response.status_code
        if status >= _SERVER_ERROR and not responder.over:
            responder.sessions.fail(session)
        # A file that Django or its server reads runs no code of the application.
        streams = response.streaming and getattr(response, "file_to_stream", None) is None
        try:
            if settings.SESSION_SAVE_EVERY_REQUEST:
                len(session)  # a look is a use, and prolongs it
            remember(session)
            outcome = responder.head(status, response.items(), secure=request.is_secure(), last=not streams)
        except Exception as error:
            refusal = responder.failed(error)
            if refusal is None:
                raise
            if response.streaming:
                response.close()
            return _refused(refusal, responder)
        responder.head_sent = True
        if streams:
            chunks = response.streaming_content
            response.streaming_content = (
                _followed(chunks, responder) if response.is_async else Stream(session, responder, chunks)
            )
        for name, value in amend(response.items(), outcome.set_cookie) if outcome.vary else ():
            if name == "Set-Cookie":
                response.cookies.pop(responder.sessions.settings.template.name, None)
                response.cookies.load(value)
            else:
                response[name] = value
        return response


def _responder_of(request: HttpRequest) -> Responder | None:
    store = getattr(request, "session", None)
    return store.responder if isinstance(store, SessionStore) else None


def _refused(refusal: Refusal, responder: Responder) -> HttpResponse:
    responder.head_sent = True
    headers = dict(refusal.headers)
    return HttpResponse(refusal.body, status=refusal.status, reason=refusal.reason, headers=headers)


async def _followed(chunks: AsyncIterator[bytes], responder: Responder) -> AsyncIterator[bytes]:
    """The chunks of a stream. At its end what changed since the head is stored."""
    try:
        async for chunk in chunks:
            yield chunk
    except GeneratorExit:
        await sync_to_async(responder.end)(last=True)  # the client has gone
        raise
    except BaseException:
        await sync_to_async(responder.fail)()
        raise
    await sync_to_async(responder.end)(last=True)
