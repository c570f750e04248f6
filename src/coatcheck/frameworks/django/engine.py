"""The session of a request: ours, and on top of it the whole of Django's interface."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from asgiref.sync import sync_to_async
from django.conf import settings
from django.contrib.auth import (
    BACKEND_SESSION_KEY,
    HASH_SESSION_KEY,
    SESSION_KEY,
    get_user_model,
    load_backend,
)
from django.contrib.sessions.backends.base import CreateError, SessionBase, UpdateError
from django.core.exceptions import ValidationError
from django.utils import timezone
from django.utils.asyncio import async_unsafe

from coatcheck.core.state import State, Status
from coatcheck.frameworks.bound import BoundSession
from coatcheck.frameworks.django.configuration import is_test, sessions
from coatcheck.model.lifetimes import LONGEST_COOKIE
from coatcheck.responder import Responder
from coatcheck.session import Session, is_untouched, state_of
from coatcheck.sessions import Sessions

if TYPE_CHECKING:
    from django.http import HttpRequest

__all__ = ["DjangoSession", "SessionStore", "current_request", "get_session", "given_to_tests", "remember"]

_HANDLE_LENGTH, _NAME_LENGTH = 32, 40
_current: ContextVar[HttpRequest | None] = ContextVar("current", default=None)
"""The request that is being served. A library may replace its session."""
_SECOND = timedelta(seconds=1)
given_to_tests: dict[str | None, str] = {}
"""Cookies by the public name that Django's test client puts in their place; empty but in tests."""
_BACKEND = "coatcheck.frameworks.django.auth.Backend"
_waits = async_unsafe(
    "The store would block the event loop: use the methods of request.session that begin with `a`, or a thread."
)


@contextmanager
def current_request(request: HttpRequest) -> Generator[None]:
    """Make `request` the one that is being served. A view of it may let the handler serve another in between."""
    outer = _current.get()
    _current.set(request)
    try:
        yield
    finally:
        _current.set(outer)


class DjangoSession(BoundSession):
    """A `Session` whose methods raise SynchronousOnlyOperation where they would block an event loop.

    Where another framework signed the user in, and `auth.Backend` is in use, it answers to Django as if `login` had.
    """

    if not TYPE_CHECKING:  # a checker sees the types of what they wrap
        save = _waits(BoundSession.save)
        reload = _waits(BoundSession.reload)
        take = _waits(BoundSession.take)
        take_flashes = _waits(BoundSession.take_flashes)
        is_live = _waits(BoundSession.is_live)
    _load: Any = _waits(BoundSession._look)  # noqa: SLF001

    def _look(self) -> State:
        return super()._look() if state_of(self).ready else self._load()

    def __contains__(self, name: object) -> bool:
        return super().__contains__(name) or (name == SESSION_KEY and self._is_of_another_framework())

    def __getitem__(self, name: str) -> Any:
        try:
            return super().__getitem__(name)
        except KeyError:
            of_login = name in {SESSION_KEY, BACKEND_SESSION_KEY, HASH_SESSION_KEY}
            if not of_login or not self._is_of_another_framework():
                raise
        if name != HASH_SESSION_KEY:
            return self.user if name == SESSION_KEY else _BACKEND
        user: Any = load_backend(_BACKEND).get_user(self.user)
        if user is None:
            raise KeyError(name)
        # Stored, so that a change of the password ends this session, too.
        return self.setdefault(name, user.get_session_auth_hash())

    def __delitem__(self, name: str) -> None:
        if name == SESSION_KEY and self._is_of_another_framework():
            self.sign_out()
        else:
            super().__delitem__(name)

    def _is_of_another_framework(self) -> bool:
        """Whether another framework signed in what may be a user of this site, and Django's `login` did not."""
        user, state, pk = self.user, state_of(self), get_user_model()._meta.pk  # noqa: SLF001
        if _BACKEND not in settings.AUTHENTICATION_BACKENDS or user is None or SESSION_KEY in state.changes:
            return False
        try:
            return not super().__contains__(SESSION_KEY) and str(pk.to_python(user)) == user
        except ValidationError:
            return False


class SessionStore(SessionBase):
    """``request.session``.

    ``session_key`` is a public name: safe to store, to log and to show. `exists` and `delete` take it. The constructor
    takes it only in a request, for the request's own session and for others of the user who is signed in to it.
    """

    responder: Responder
    modified: bool

    def __init__(self, session_key: str | None = None, *, responder: Responder | None = None) -> None:
        """Open a session. The store is asked when it is first looked at.

        Args:
            session_key: The value of a visitor's cookie, or a public name; None: a new session.
            responder: Stores the session of a request at its end.
        """
        super().__init__()
        responder = responder or _of_this_user(session_key or "")
        if responder is None:
            manager = sessions()
            cookies = f"{manager.settings.template.name}={session_key}" if session_key else ""
            if is_test():
                cookies = given_to_tests.get(session_key, cookies)
            responder = Responder(manager, manager.open(cookies, session_type=DjangoSession))
            if session_key in given_to_tests:
                state = state_of(responder.session)
                state.load(state)  # an async test asks for its name, and can't wait for it
        self.responder = responder

    @property
    def session(self) -> DjangoSession:
        """The session behind this one; see `get_session`."""
        self.accessed = True
        session: Any = self.responder.session
        return session  # type: ignore[no-any-return]

    # What SessionBase's methods stand on

    _session = session

    async def _aget_session(self, no_load: bool = False) -> DjangoSession:
        if not state_of(self.session).ready:
            await sync_to_async(self.responder.sessions.load)(self.session)
        return self.session

    if not TYPE_CHECKING:  # as above
        aget = sync_to_async(SessionBase.get)  # in a thread: Django may look for the user in its database
        aflush = sync_to_async(SessionBase.flush)

    @property
    def session_key(self) -> str | None:
        """The public name: a str of 40 characters that changes at each sign-in, or None while nothing is stored.

        A sign-in that is not stored yet is stored now, since it changes the name.
        """
        state = state_of(self.session)
        if state.sign_in or state.rotate or state.settings.identity_field in state.changes:
            self._store()
        return _given_to_tests(self.session)

    def get_session_cookie_age(self) -> int:
        """How long an unused session lives, in seconds."""
        return int(self.responder.sessions.settings.remember_idle.total_seconds())

    def is_empty(self) -> bool:
        """Whether nothing is stored for this visitor, and nothing is to be stored. It never asks the store, as in Django."""
        session = self.session
        state = state_of(session)
        state.looked_at = True
        if not state.ready and not self.responder.sessions.may_be_in(state.cookies):
            state.load(state)  # asks no store either
        return state.ready and session.is_new and not session

    def clear(self) -> None:
        """Remove every field, and sign the user out."""
        self.session.destroy()
        self.modified = True

    def cycle_key(self) -> None:
        """Change the name and the secret now, and keep the fields. A new session gets its first where it is stored."""
        self.modified = True
        state = state_of(self.session)
        if self.session.is_new:
            if state.status is not Status.NEW or state.competing:
                # Of a session that has just ended elsewhere, a late request stores nothing: this begins another.
                # So it does in place of several that came together.
                fields, limits, permanent = dict(self.session), state.limits, state.permanent
                self.session.destroy()
                self.session.update(fields)
                state.limits, state.permanent = limits, permanent
        else:
            self.session.rotate()
            self._store()

    if not TYPE_CHECKING:
        acycle_key = sync_to_async(cycle_key)

    # The store

    def exists(self, session_key: str | None) -> bool:
        """Whether there is a session of this public name."""
        session = _find(sessions(), session_key) if session_key else None
        return session is not None and _name_of(session) == session_key

    def create(self) -> None:
        """Store a new session now, without a field, so that it has a name. After a login it is that of the login."""
        if not self.session.is_new and SESSION_KEY not in state_of(self.session).changes:
            self.clear()
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
        session = self.session
        remember(session)
        session.save(create=create)
        _given_to_tests(session)

    def delete(self, session_key: str | None = None) -> None:
        """End the session, or that of a public name."""
        if session_key is None:
            self.clear()
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
        session, limits = self.session, self.responder.sessions.settings
        if value is None or value == 0:
            by_default = value is None and not settings.SESSION_EXPIRE_AT_BROWSER_CLOSE
            session.set_lifetime(idle=None, absolute=None, persistent=by_default)
            return
        if isinstance(value, int | float):
            left = timedelta(seconds=value)
            absolute = max(left, limits.remember_absolute)
        else:
            left = value - timezone.now() if isinstance(value, datetime) else value
            now = datetime.fromtimestamp(limits.clock(), UTC)
            # The absolute limit counts from the sign-in, or from the creation.
            signs_in = state_of(session).sign_in is not None
            since = now if signs_in else session.signed_in_at or session.created_at or now
            absolute = now + left - since
        if left <= timedelta(0):
            session.destroy()
            return
        idle, absolute = [max(_SECOND, min(limit, LONGEST_COOKIE)) for limit in (left, absolute)]
        session.set_lifetime(idle=idle, absolute=absolute, persistent=True)

    if not TYPE_CHECKING:
        aset_expiry = sync_to_async(set_expiry)


def get_session(request: HttpRequest) -> DjangoSession:
    """The session behind ``request.session``: its ``user``, ``handle``, times, ``flash`` and ``csrf_token``."""
    store: Any = request.session
    session: DjangoSession = store.session
    return session


def _name_of(session: Session) -> str | None:
    return None if session.handle is None else f"{session.handle}{session.mark}"


def _given_to_tests(session: DjangoSession) -> str | None:
    """The name of the session. In Django's test environment it stands for the cookie from now on."""
    key = _name_of(session)
    if is_test():
        for name, cookie in session.sessions.cookie_of(session).items():
            given_to_tests[key] = f"{name}={cookie}"
    return key


@_waits
def _find(manager: Sessions, name: str) -> Session | None:
    return manager.find(name[:_HANDLE_LENGTH])


def _of_this_user(name: str) -> Responder | None:
    """What a public name opens: the session of the request that is being served, or another of its user's.

    Libraries keep names in their tables (allauth's list of sessions). A client that sends a name gains nothing by it.
    """
    serving = getattr(_current.get(), "session", None)
    if not isinstance(serving, SessionStore) or len(name) != _NAME_LENGTH or serving.responder.head_sent:
        return None  # a task that the request began, and that is still running, has its context
    own, manager = serving.session, serving.responder.sessions
    if _name_of(own) == name:
        return serving.responder
    # The field, since a login of this request may not be stored yet.
    found = _find(manager, name) if own.get(SESSION_KEY) else None
    if found is None or _name_of(found) != name or found.get(SESSION_KEY) != own[SESSION_KEY]:
        return None
    return Responder(manager, manager.share(found, DjangoSession))


def remember(session: Session) -> None:
    """Let a session that begins outlive the browser, unless SESSION_EXPIRE_AT_BROWSER_CLOSE says otherwise."""
    if not is_untouched(session) and (state := state_of(session)).record is None and state.permanent is None:
        state.permanent = not settings.SESSION_EXPIRE_AT_BROWSER_CLOSE
