"""The session of a request, with the whole of Django's interface."""

from __future__ import annotations

from contextvars import ContextVar
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from asgiref.sync import sync_to_async
from django.conf import settings
from django.contrib.sessions.backends.base import CreateError, SessionBase, UpdateError
from django.utils import timezone
from django.utils.asyncio import async_unsafe

from coatcheck.core.state import State
from coatcheck.frameworks.django.configuration import USER_FIELD, is_test, sessions
from coatcheck.model.lifetimes import LONGEST_COOKIE
from coatcheck.responder import Responder
from coatcheck.session import Session, is_untouched, state_of

if TYPE_CHECKING:
    from django.http import HttpRequest

__all__ = [
    "DjangoSession",
    "SessionStore",
    "aget_session",
    "cookie_of_test",
    "current",
    "get_session",
    "refuse_loop",
    "remember",
]

_HANDLE_LENGTH, _NAME_LENGTH = 32, 40
_SECOND = timedelta(seconds=1)
current: ContextVar[HttpRequest | None] = ContextVar("current", default=None)
"""The request that is being served. A library may replace its session."""
_given_to_tests: dict[str, str] = {}
"""Cookies by the public name that Django's test client puts in their place; empty but in tests."""


class DjangoSession(Session):
    """A `Session` that is not loaded, nor stored, on an event loop."""

    def _look(self) -> State:
        if not state_of(self).ready:
            refuse_loop()
        return super()._look()


@async_unsafe(
    "The store would block the event loop: use the methods of request.session that begin with `a`, first."
)
def refuse_loop() -> None:
    """Raise SynchronousOnlyOperation in an async view, as Django's database does."""


class SessionStore(SessionBase):
    """``request.session``.

    ``session_key`` is a public name: safe to store, to log and to show. `exists` and `delete` take it. The constructor
    takes it only in a request, for the request's own session and for others of the user who is signed in to it.
    """

    responder: Responder

    def __init__(self, session_key: str | None = None, *, responder: Responder | None = None) -> None:
        """Open a session. The store is asked when it is first looked at.

        Args:
            session_key: The value of a visitor's cookie, or a public name; None: a new session.
            responder: Stores the session of a request at its end.
        """
        responder = responder or _of_this_user(session_key or "")
        if responder is None:
            manager = sessions()
            cookies = f"{manager.settings.template.name}={cookie_of_test(session_key) or session_key or ''}"
            responder = Responder(manager, manager.open(cookies, session_type=DjangoSession))
        self.responder = responder
        self._wanted = False
        self._of_test = session_key if session_key in _given_to_tests else None
        super().__init__()

    @property
    def session(self) -> Session:
        """The session behind this one; see `get_session`."""
        self.accessed = True
        return self.responder.session

    # What SessionBase's methods stand on

    def _get_session(self, no_load: bool = False) -> Session:
        return self.session

    async def _aget_session(self, no_load: bool = False) -> Session:
        if not state_of(self.session).ready:
            await sync_to_async(self.responder.sessions.load)(self.session)
        return self.session

    _session = property(_get_session)

    @property
    def session_key(self) -> str | None:
        """The public name: a str of 40 characters that changes at each sign-in, or None while nothing is stored.

        A sign-in that is not stored yet is stored now, since it changes the name.
        """
        session = self.session
        state = state_of(session)
        if self._of_test and not state.ready:
            return self._of_test  # as an async test asks for it
        name = name_of(session)
        if self._wanted or state.sign_in or state.rotate or state.settings.identity_field in state.changes:
            self._store(create=self._wanted)
            name = name_of(session)
        return name

    @property
    def _session_key(self) -> str | None:
        return self.session_key

    @_session_key.setter
    def _session_key(self, value: str | None) -> None:
        """SessionBase's constructor sets it."""

    def get_session_cookie_age(self) -> int:
        """How long an unused session lives, in seconds."""
        return int(self.responder.sessions.settings.remember_idle.total_seconds())

    def is_empty(self) -> bool:
        """Whether nothing is stored for this visitor, and nothing is to be stored. It never loads, as in Django."""
        session = self.session
        return state_of(session).ready and session.is_new and not session

    def clear(self) -> None:
        """Remove every field, and sign the user out."""
        self.session.destroy()
        self._wanted = self.modified = True

    def flush(self) -> None:
        """End the session now."""
        self.session.destroy()
        self.modified = True
        self._store()

    async def aflush(self) -> None:
        """See `flush`."""
        await sync_to_async(self.flush)()

    def cycle_key(self) -> None:
        """Change the name and the secret now, and keep the fields."""
        self.modified = True
        if self.session.is_new:
            # Of a session that has just ended elsewhere, a late request stores nothing: this begins another.
            fields = dict(self.session)
            self.session.destroy()
            self.session.update(fields)
            self._wanted = True  # it gets its first ones where it is stored
        else:
            self.session.rotate()
            self._store()

    async def acycle_key(self) -> None:
        """See `cycle_key`."""
        await sync_to_async(self.cycle_key)()

    # The store

    def exists(self, session_key: str) -> bool:
        """Whether there is a session of this public name."""
        session = sessions().find(session_key[:_HANDLE_LENGTH]) if session_key else None
        return session is not None and name_of(session) == session_key

    def create(self) -> None:
        """Store a new session now, without a field, so that it has a name."""
        if not self.session.is_new:
            self.session.destroy()
        self.modified = True
        self.save()

    def save(self, must_create: bool = False) -> None:
        """Store the changes now.

        Raises:
            CreateError: There is a session already, and `must_create`.
            UpdateError: The session ended meanwhile.
        """
        was_new = self.session.is_new
        if must_create and not was_new:
            raise CreateError
        self._store(create=True)
        if not was_new and self.session.is_new:
            raise UpdateError

    def _store(self, *, create: bool = False) -> None:
        refuse_loop()
        session, manager = self.session, self.responder.sessions
        self._wanted = False
        remember(session, create=create)
        manager.save(session, create=create)
        if is_test():
            name = name_of(session)
            for cookie in manager.cookie_of(session).values():
                _given_to_tests[name or ""] = cookie

    def delete(self, session_key: str | None = None) -> None:
        """End the session, or that of a public name."""
        if session_key is None:
            self.session.destroy()
            self._store()
        elif self.exists(session_key):
            sessions().revoke(session_key[:_HANDLE_LENGTH])

    def load(self) -> dict[str, Any]:
        """The stored fields."""
        handle = self.session.handle
        return {} if handle is None else dict(self.responder.sessions.find(handle) or {})

    @classmethod
    def clear_expired(cls) -> None:
        """Remove expired sessions, for the command ``clearsessions``."""
        sessions().sweep()

    def set_expiry(self, value: int | datetime | timedelta | None) -> None:
        """Set how long this session lives; see Django. The record keeps it, and the limits of the session follow it."""
        super().set_expiry(value)  # for `get_expiry_age` and its relatives
        session = self.session
        by_default = value is None and not settings.SESSION_EXPIRE_AT_BROWSER_CLOSE
        if value is None or value == 0:
            session.set_lifetime(idle=None, absolute=None, persistent=by_default)
            return
        limits = session.sessions.settings
        if isinstance(value, datetime | timedelta):
            left = value - timezone.now() if isinstance(value, datetime) else value
            now = datetime.fromtimestamp(limits.clock(), UTC)
            # The absolute limit counts from the sign-in, or from the creation.
            signs_in = state_of(session).sign_in is not None
            since = now if signs_in else session.signed_in_at or session.created_at or now
            idle = absolute = now + left - since
        else:
            left = idle = timedelta(seconds=value)
            absolute = max(idle, limits.remember_absolute)
        if left <= timedelta(0):
            session.destroy()
            return
        idle, absolute = [max(_SECOND, min(limit, LONGEST_COOKIE)) for limit in (idle, absolute)]
        session.set_lifetime(idle=idle, absolute=absolute, persistent=True)

    async def aset_expiry(self, value: int | datetime | timedelta | None) -> None:
        """See `set_expiry`."""
        await self._aget_session()
        self.set_expiry(value)


def get_session(request: HttpRequest) -> Session:
    """The session behind ``request.session``: its ``user``, ``handle``, times, ``flash`` and ``csrf_token``."""
    store: Any = request.session
    session: Session = store.session
    return session


async def aget_session(request: HttpRequest) -> Session:
    """The same in an async view: loaded."""
    store: Any = request.session
    session: Session = await store._aget_session()  # noqa: SLF001
    return session


def name_of(session: Session) -> str | None:
    """The public name of a session."""
    return None if session.handle is None else f"{session.handle}{session.mark}"


def _of_this_user(name: str) -> Responder | None:
    """What a public name opens: the session of the request that is being served, or another of its user's.

    Libraries keep names in their tables (allauth's list of sessions). A client that sends a name gains nothing by it.
    """
    serving = getattr(current.get(), "session", None)
    if not isinstance(serving, SessionStore) or len(name) != _NAME_LENGTH:
        return None
    own, manager = serving.session, serving.responder.sessions
    if name_of(own) == name:
        return serving.responder
    # The field, since a login of this request may not be stored yet.
    found = manager.find(name[:_HANDLE_LENGTH]) if own.get(USER_FIELD) else None
    if found is None or name_of(found) != name or found.get(USER_FIELD) != own[USER_FIELD]:
        return None
    return Responder(manager, found)


def remember(session: Session, *, create: bool = False) -> None:
    """Let a session that begins outlive the browser, unless SESSION_EXPIRE_AT_BROWSER_CLOSE says otherwise."""
    if settings.SESSION_EXPIRE_AT_BROWSER_CLOSE or is_untouched(session):
        return
    state = state_of(session)
    begins = state.sign_in is not None or (state.record is None and (create or bool(state.changes)))
    if begins and state.permanent is None:
        session.permanent = True


def cookie_of_test(value: str | None) -> str | None:
    """The cookie that Django's test client means by a public name."""
    return _given_to_tests.get(value or "")
