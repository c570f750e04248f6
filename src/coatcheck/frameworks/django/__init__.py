"""Sessions for Django: ``request.session``, as people know it.

::

    SESSION_ENGINE = "coatcheck.frameworks.django"
    COATCHECK = {"url": "redis://localhost"}
    MIDDLEWARE = ["coatcheck.frameworks.django.SessionMiddleware", …]  # in place of Django's

The middleware is Django's by inheritance, so that the admin's checks find it.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, cast

from asgiref.sync import sync_to_async
from django.conf import settings as django_settings
from django.contrib.sessions.backends.base import CreateError, SessionBase, UpdateError
from django.contrib.sessions.middleware import SessionMiddleware as DjangoSessionMiddleware
from django.core import mail
from django.http import HttpResponse
from django.utils import timezone
from django.utils.deprecation import MiddlewareMixin

from coatcheck.errors import StoreError
from coatcheck.frameworks.django.configuration import USER_FIELD, sessions
from coatcheck.http.headers import amend
from coatcheck.responder import ENVIRON_KEY, Refusal, Responder, SharedResponder, session_in
from coatcheck.session import Session, state_of

if TYPE_CHECKING:
    from django.http import HttpRequest
    from django.http.response import HttpResponseBase

__all__ = ["SessionMiddleware", "SessionStore"]

_HANDLE_LENGTH = 32
_SERVER_ERROR = 500
_given_to_tests: dict[str, str] = {}
"""Cookies by the public name that Django's test client puts in their place; empty but in tests."""


class SessionStore(SessionBase):
    """The session of a request, or one that is found by its public name, with the whole of Django's interface.

    ``session_key`` is a public name: it is safe to store, to log and to show, and opens nothing when it comes from a
    client. Give a `SessionStore` only names that come from a database of your own.
    """

    def __init__(self, session_key: str | None = None, *, session: Session | None = None) -> None:
        """Open a session.

        Args:
            session_key: The public name of a stored session; None: a new one.
            session: The session of a request.
        """
        self._own = session
        self._named = session_key if session is None else None
        self._wanted = False
        super().__init__()

    # What SessionBase's methods stand on

    def _get_session(self, no_load: bool = False) -> Session:  # noqa: FBT001, FBT002 - Django's
        self.accessed = True
        session = self._own
        if session is None:
            named, self._named = self._named, None
            session = self._own = _opened_by_test(named) or _found(named) or sessions().open(b"")
        return session

    async def _aget_session(self, no_load: bool = False) -> Session:  # noqa: FBT001, FBT002 - Django's
        session: Session = await sync_to_async(self._get_session)()
        await sync_to_async(session.sessions.load)(session)
        return session

    _session = property(_get_session)

    @property
    def session_key(self) -> str | None:  # type: ignore[override]
        """The public name: a str of 40 characters that changes at each sign-in, or None while nothing is stored.

        A sign-in that is not stored yet is stored now, since it changes the name.
        """
        session = self._get_session()
        state = state_of(session)
        if self._wanted or state.acted or (state.settings.identity_field in state.changes):
            self._store(create=self._wanted)
        return _name_of(session)

    @property
    def _session_key(self) -> str | None:
        return self.session_key

    @_session_key.setter
    def _session_key(self, value: str | None) -> None:
        """SessionBase's constructor sets it."""

    def clear(self) -> None:
        """Remove every field, and sign the user out."""
        self._session.destroy()
        self._wanted, self.modified = True, True

    def is_empty(self) -> bool:
        """Whether nothing is stored for this visitor, and nothing is to be stored."""
        return self._session.is_new and not self._session

    def flush(self) -> None:
        """End the session now."""
        session = self._session
        self._wanted, self.modified = False, True
        session.destroy()
        _store(session)

    async def aflush(self) -> None:
        """See `flush`."""
        await sync_to_async(self.flush)()

    def cycle_key(self) -> None:
        """Change the name and the secret now, and keep the fields."""
        session = self._session
        self.modified = True
        if session.is_new:
            self._wanted = True  # it gets its first ones where it is stored
            return
        session.rotate()
        _store(session)

    async def acycle_key(self) -> None:
        """See `cycle_key`."""
        await sync_to_async(self.cycle_key)()

    # The store

    def exists(self, session_key: str) -> bool:
        """Whether there is a session of this public name."""
        return _found(session_key) is not None

    def create(self) -> None:
        """Store a new session now, without a field, so that it has a name."""
        session = self._session
        if not session.is_new:
            session.destroy()
        self._wanted = self.modified = True
        self.save()

    def save(self, must_create: bool = False) -> None:  # noqa: FBT001, FBT002 - Django's
        """Store the changes now.

        Raises:
            CreateError: There is a session already, and `must_create`.
            UpdateError: The session ended meanwhile.
        """
        session = self._session
        if must_create and not session.is_new:
            raise CreateError
        was_new = session.is_new
        self._store(create=True)
        if not was_new and session.is_new:
            raise UpdateError

    def _store(self, *, create: bool) -> None:
        session = self._session
        self._wanted = False
        _store(session, create=create)
        if _is_test():
            name, cookie = _name_of(session), session.sessions.cookie_of(session)
            if name and cookie:
                _given_to_tests[name] = next(iter(cookie.values()))

    def delete(self, session_key: str | None = None) -> None:
        """End the session, or that of a public name."""
        if session_key is None:
            session = self._session
            session.destroy()
            _store(session)
        elif _found(session_key) is not None:
            sessions().revoke(session_key[:_HANDLE_LENGTH])

    def load(self) -> dict[str, Any]:
        """The stored fields."""
        session = self._session
        session.sessions.reload(session)
        return dict(session)

    @classmethod
    def clear_expired(cls) -> None:
        """What the command ``clearsessions`` calls: remove expired sessions."""
        sessions().sweep()

    # How long it lives

    def set_expiry(self, value: float | datetime | timedelta | None) -> None:
        """Set how long this session lives; see Django. It is kept in the record, and enforced there."""
        if isinstance(value, timedelta | datetime) and _left(value) <= timedelta(0):
            self._session.destroy()
            return
        super().set_expiry(value)  # for `get_expiry_age` and its relatives
        _limit(self._session, value)

    async def aset_expiry(self, value: float | datetime | timedelta | None) -> None:
        """See `set_expiry`."""
        await self._aget_session()
        self.set_expiry(value)


def _left(value: datetime | timedelta) -> timedelta:
    return value if isinstance(value, timedelta) else value - timezone.now()


def _limit(session: Session, value: float | datetime | timedelta | None) -> None:
    if value is None:
        session.set_lifetime(idle=None, absolute=None, persistent=not django_settings.SESSION_EXPIRE_AT_BROWSER_CLOSE)
    elif value == 0:
        session.set_lifetime(idle=None, absolute=None, persistent=False)
    elif isinstance(value, int | float):
        idle = timedelta(seconds=value)
        longest = session.sessions.settings.remember_absolute
        session.set_lifetime(idle=idle, absolute=max(idle, longest), persistent=True)
    else:
        now = timezone.now()
        left = _left(value)
        # The absolute limit counts from the sign-in, or from the creation.
        since = session.signed_in_at or session.created_at or now
        if state_of(session).sign_in is not None:
            since = now
        session.set_lifetime(idle=left, absolute=now + left - since, persistent=True)


def _store(session: Session, *, create: bool = False) -> bool:
    return cast("bool", session.sessions.save(session, create=create))


def _name_of(session: Session) -> str | None:
    handle = session.handle
    return None if handle is None else f"{handle}{session.mark}"


def _found(name: str | None) -> Session | None:
    """The session of a public name."""
    if name is None or len(name) <= _HANDLE_LENGTH:
        return None
    manager = sessions()
    session = manager.find(name[:_HANDLE_LENGTH])
    return session if session is not None and _name_of(session) == name else None


def _is_test() -> bool:
    """Whether Django's test environment is set up."""
    return "outbox" in vars(mail)


def _opened_by_test(value: str | None) -> Session | None:
    """The session that the test client means by the value of its cookie: a cookie, or a public name in place of one."""
    if value is None or not _is_test():
        return None
    manager = sessions()
    cookie = _given_to_tests.get(value, value)
    session = manager.open(f"{manager.settings.template.name}={cookie}")
    return None if session.is_new else session


class SessionMiddleware(DjangoSessionMiddleware):
    """In place of ``django.contrib.sessions.middleware.SessionMiddleware``."""

    def __init__(self, get_response: Any) -> None:
        """Make the manager, too, so that a wrong setting shows at the start."""
        MiddlewareMixin.__init__(self, get_response)
        sessions()

    def process_request(self, request: HttpRequest) -> None:
        """Open the session. The store is asked when it is first looked at."""
        manager = sessions()
        outer = session_in(request.META) or request.__dict__.get("scope", {}).get("session")
        if isinstance(outer, Session) and manager.agrees_with(outer):
            session = manager.share(outer, Session)
            responder: Responder = SharedResponder(manager, session, outer)
        else:
            cookies = request.META.get("HTTP_COOKIE", "")
            name = manager.settings.template.name
            if _given_to_tests and (cookie := _given_to_tests.get(request.COOKIES.get(name, ""))):
                cookies = f"{name}={cookie}"
            session = manager.open(
                cookies, client=request.META.get("HTTP_USER_AGENT", ""), path=request.path_info
            )
            responder = Responder(manager, session)
        request.META[ENVIRON_KEY] = session
        request.session = SessionStore(session=session)
        request.__dict__["_coatcheck"] = responder

    def process_exception(self, request: HttpRequest, exception: Exception) -> HttpResponse | None:
        """The view raised: store its endings only, and answer a failure of the store."""
        refusal = _responder_of(request).failed(exception)
        return None if refusal is None else _refused(refusal)

    def process_response(self, request: HttpRequest, response: HttpResponseBase) -> HttpResponseBase:
        """Store what was changed, and write the headers."""
        responder = _responder_of(request)
        session = responder.session
        if response.status_code >= _SERVER_ERROR and not responder.over:
            with suppress(StoreError):
                responder.fail()  # as Django: what a 5xx changed is not stored, but for endings
            responder.over = False
        _keep_for_long(session)
        try:
            outcome = responder.head(
                response.status_code, response.items(), secure=request.is_secure(), last=not response.streaming
            )
        except StoreError as error:
            refusal = responder.failed(error)
            if refusal is None:
                raise
            return _refused(refusal)
        responder.head_sent = True
        if response.streaming:
            _wrap(response, responder)
        if outcome.vary:
            amended = amend(list(response.items()), None)
            for name, value in amended:
                if name.lower() == "vary":
                    response[name] = value
        if outcome.set_cookie is not None:
            _set_cookie(response, outcome.set_cookie)
        return response


def _keep_for_long(session: Session) -> None:
    """Django's sessions outlive the browser, unless SESSION_EXPIRE_AT_BROWSER_CLOSE says otherwise."""
    state = session._state
    if state is None or not state.looked_at or state.permanent is not None:
        return
    if django_settings.SESSION_EXPIRE_AT_BROWSER_CLOSE:
        return
    if (state.record is None and state.changes) or state.sign_in is not None:
        session.permanent = True


def _responder_of(request: HttpRequest) -> Responder:
    responder: Responder = request.__dict__["_coatcheck"]
    return responder


def _refused(refusal: Refusal) -> HttpResponse:
    response = HttpResponse(refusal.body, status=refusal.status, reason=refusal.reason)
    for name, value in refusal.headers:
        response[name] = value
    return response


def _set_cookie(response: HttpResponseBase, text: str) -> None:
    """Put our Set-Cookie among Django's, byte for byte."""
    name, _, rest = text.partition("=")
    response.cookies[name] = rest.partition(";")[0]  # for the test client
    morsel = response.cookies[name]
    morsel.__class__ = _Morsel
    morsel.text = text


from http.cookies import Morsel  # noqa: E402


class _Morsel(Morsel):  # type: ignore[type-arg]
    text: str

    def OutputString(self, attrs: object = None) -> str:  # noqa: N802
        return self.text


def _wrap(response: Any, responder: Responder) -> None:
    content = response.streaming_content
    if response.is_async:

        async def chunks() -> AsyncIterator[bytes]:
            try:
                async for chunk in content:
                    yield chunk
            except BaseException:
                await sync_to_async(responder.fail)()
                raise
            await sync_to_async(responder.end)()

        response.streaming_content = chunks()
    else:

        def pieces() -> Iterator[bytes]:
            try:
                yield from content
            except BaseException:
                responder.fail()
                raise
            responder.end()

        response.streaming_content = pieces()
