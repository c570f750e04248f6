"""Django's `SessionMiddleware`, on our sessions. It is Django's by inheritance, so that the admin's checks find it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator
from http.cookies import Morsel
from typing import TYPE_CHECKING, Any

from asgiref.sync import sync_to_async
from django.conf import settings
from django.contrib.sessions.middleware import SessionMiddleware as DjangoSessionMiddleware
from django.http import HttpResponse

from coatcheck.frameworks.django.configuration import is_test, sessions
from coatcheck.frameworks.django.engine import DjangoSession, SessionStore, cookie_of_test, current, remember
from coatcheck.http.headers import amend
from coatcheck.responder import ENVIRON_KEY, Refusal, Responder, SharedResponder, session_in
from coatcheck.session import state_of

if TYPE_CHECKING:
    from django.http import HttpRequest

__all__ = ["SessionMiddleware"]

_SERVER_ERROR = 500


class SessionMiddleware(DjangoSessionMiddleware):
    """In place of ``django.contrib.sessions.middleware.SessionMiddleware``."""

    def __init__(self, get_response: Callable[[HttpRequest], Any]) -> None:
        """Make the manager, too, so that a wrong setting shows at the start."""
        super().__init__(get_response)
        self.sessions = sessions()

    def process_request(self, request: HttpRequest) -> None:
        """Open the session. The store is asked when it is first looked at."""
        manager = self.sessions
        outer = session_in({"asgi.scope": getattr(request, "scope", {}), **request.META})
        if outer is not None and manager.agrees_with(outer):
            session = manager.share(outer, DjangoSession)
            responder: Responder = SharedResponder(manager, session, outer)
        else:
            cookies = request.META.get("HTTP_COOKIE", "")
            name = manager.settings.template.name
            if is_test() and (cookie := cookie_of_test(request.COOKIES.get(name))):
                cookies = f"{name}={cookie}"
            agent = request.META.get("HTTP_USER_AGENT", "")
            session = manager.open(cookies, client=agent, path=request.path_info, session_type=DjangoSession)
            responder = Responder(manager, session)
        request.META[ENVIRON_KEY] = session  # for an application that a view calls
        request.session = SessionStore(responder=responder)
        current.set(request)
        if hasattr(request, "scope") and not (state := state_of(session)).ready:
            state.load(state)  # in this thread: an async view can't wait for an item

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        """The view raised: store its endings only, and answer a failure of the store."""
        store = request.session
        if not isinstance(store, SessionStore) or (refusal := store.responder.failed(exception)) is None:
            return None
        return _refused(refusal, store.responder)

    def process_response(self, request: HttpRequest, response: Any) -> Any:
        """Store what was changed, and write the headers. Of a 5xx only endings are stored, as Django has it."""
        current.set(None)
        store = getattr(request, "session", None)
        if not isinstance(store, SessionStore) or store.responder.head_sent:
            return response
        responder, session = store.responder, store.session
        if response.status_code >= _SERVER_ERROR and not responder.over:
            responder.sessions.fail(session)
        # A file that Django or its server reads runs no code of the application.
        streams = response.streaming and getattr(response, "file_to_stream", None) is None
        status, secure = response.status_code, request.is_secure()
        try:
            if settings.SESSION_SAVE_EVERY_REQUEST:
                len(session)  # a look is a use, and prolongs it
            remember(session)
            outcome = responder.head(status, response.items(), secure=secure, last=not streams)
        except Exception as error:
            refusal = responder.failed(error)
            if refusal is None:
                raise
            if response.streaming:
                response.close()
            return _refused(refusal, responder)
        responder.head_sent = True
        if streams:
            _follow(response, responder)
        if outcome.vary:
            for name, value in amend(list(response.items()), outcome.set_cookie):
                if name == "Set-Cookie":
                    morsel = _Morsel(value)
                    response.cookies[morsel.key] = morsel
                else:
                    response[name] = value
        return response


def _refused(refusal: Refusal, responder: Responder) -> HttpResponse:
    responder.head_sent = True
    headers = dict(refusal.headers)
    return HttpResponse(refusal.body, status=refusal.status, reason=refusal.reason, headers=headers)


class _Morsel(Morsel[str]):
    """Our Set-Cookie among Django's, byte for byte. `http.cookies` of some Pythons knows no ``Partitioned``."""

    def __init__(self, text: str) -> None:
        super().__init__()
        name, _, rest = text.partition("=")
        value, *attributes = rest.split("; ")
        self.set(name, value, rest)
        for attribute in attributes:
            key, _, content = attribute.partition("=")
            if self.isReservedKey(key):
                self[key] = content or True

    def OutputString(self, attrs: object = None) -> str:  # noqa: N802
        return f"{self.key}={self.coded_value}"


def _follow(response: Any, responder: Responder) -> None:
    """Store at the end of a stream what changed since its head."""
    chunks = response.streaming_content
    response.streaming_content = (_awaited if response.is_async else _passed)(chunks, responder)


def _passed(chunks: Iterator[bytes], responder: Responder) -> Iterator[bytes]:
    try:
        yield from chunks
    except GeneratorExit:
        responder.end(last=True)  # the client has gone
        raise
    except BaseException:
        responder.fail()
        raise
    responder.end(last=True)


async def _awaited(chunks: AsyncIterator[bytes], responder: Responder) -> AsyncIterator[bytes]:
    try:
        async for chunk in chunks:
            yield chunk
    except GeneratorExit:
        await sync_to_async(responder.end)(last=True)
        raise
    except BaseException:
        await sync_to_async(responder.fail)()
        raise
    await sync_to_async(responder.end)(last=True)
