"""The session of a request, with the whole of Django's interface."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from asgiref.sync import sync_to_async
from django.conf import settings
from django.contrib.sessions.backends.base import CreateError, SessionBase, UpdateError
from django.utils import timezone

from coatcheck.frameworks.django.configuration import is_test, sessions
from coatcheck.frameworks.django.session import DjangoSession
from coatcheck.model.lifetimes import LONGEST_COOKIE
from coatcheck.responder import Responder
from coatcheck.session import Session, is_untouched, state_of

if TYPE_CHECKING:
    from django.http import HttpRequest

__all__ = ["SessionStore", "get_session", "given_to_tests", "remember"]

_HANDLE_LENGTH = 32
_SECOND = timedelta(seconds=1)
given_to_tests: dict[str | None, str] = {}
"""Cookies by the public name that Django's test client puts in their place; empty but in tests."""


class SessionStore(SessionBase):
    """``request.session``.

    ``session_key`` is a public name: safe to store, to log and to show. It opens nothing: `exists` and `delete` take it,
    and no constructor.
    """

    responder: Responder

    def __init__(self, session_key: str | None = None, *, responder: Responder | None = None) -> None:
        """Open a session. The store is asked when it is first looked at.

        Args:
            session_key: The value of a visitor's cookie; None: a new session.
            responder: Stores the session of a request at its end.
        """
        super().__init__()
        if responder is None:
            manager = sessions()
            cookies = f"{manager.settings.template.name}={session_key or ''}"
            if is_test():
                cookies = given_to_tests.get(session_key, cookies)
            responder = Responder(manager, manager.open(cookies, session_type=DjangoSession))
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

    async def aget(self, key: str, default: Any = None) -> Any:
        """See `get`. In a thread, since what Django asks for may be in its database."""
        return await sync_to_async(self.get)(key, default)

    @property
    def session_key(self) -> str | None:
        """The public name: a str of 40 characters that changes at each sign-in, or None while nothing is stored.

        A sign-in that is not stored yet is stored now, since it changes the name.
        """
        state = state_of(self.session)
        if state.sign_in or state.rotate or state.settings.identity_field in state.changes:
            self._store()
        return _name_of(self.session)

    def get_session_cookie_age(self) -> int:
        """How long an unused session lives, in seconds."""
        return int(self.responder.sessions.settings.remember_idle.total_seconds())

    def is_empty(self) -> bool:
        """Whether nothing is stored for this visitor, and nothing is to be stored."""
        return self.session.is_new and not self.session

    def clear(self) -> None:
        """Remove every field, and sign the user out."""
        self.session.destroy()
        self.modified = True

    async def aflush(self) -> None:
        """See `flush`."""
        await sync_to_async(self.flush)()

    def cycle_key(self) -> None:
        """Change the name and the secret now, and keep the fields. A new session gets its first where it is stored."""
        self.modified = True
        if not self.session.is_new:
            self.session.rotate()
            self._store()

    async def acycle_key(self) -> None:
        """See `cycle_key`."""
        await sync_to_async(self.cycle_key)()

    # The store

    def exists(self, session_key: str | None) -> bool:
        """Whether there is a session of this public name."""
        session = sessions().find(session_key[:_HANDLE_LENGTH]) if session_key else None
        return session is not None and _name_of(session) == session_key

    def create(self) -> None:
        """Store a new session now, without a field, so that it has a name."""
        if not self.session.is_new:
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
        if is_test():
            for name, cookie in session.sessions.cookie_of(session).items():
                given_to_tests[_name_of(session)] = f"{name}={cookie}"

    def delete(self, session_key: str | None = None) -> None:
        """End the session, or that of a public name."""
        if session_key is None:
            self.clear()
            self._store()
        elif self.exists(session_key):
            sessions().revoke(session_key[:_HANDLE_LENGTH])

    def load(self) -> dict[str, Any]:
        """The fields, as they are stored now."""
        self.session.reload()
        return dict(self.session)

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
        if isinstance(value, int):
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

    async def aset_expiry(self, value: int | datetime | timedelta | None) -> None:
        """See `set_expiry`."""
        await self._aget_session()
        self.set_expiry(value)


def get_session(request: HttpRequest) -> DjangoSession:
    """The session behind ``request.session``: its ``user``, ``handle``, times, ``flash`` and ``csrf_token``."""
    store: Any = request.session
    session: DjangoSession = store.session
    return session


def _name_of(session: Session) -> str | None:
    return None if session.handle is None else f"{session.handle}{session.mark}"


def remember(session: Session) -> None:
    """Let a session that begins outlive the browser, unless SESSION_EXPIRE_AT_BROWSER_CLOSE says otherwise."""
    if not is_untouched(session) and (state := state_of(session)).record is None and state.permanent is None:
        state.permanent = not settings.SESSION_EXPIRE_AT_BROWSER_CLOSE
