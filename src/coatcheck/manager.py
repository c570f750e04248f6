"""The common base of both managers: settings, flows, clock, events, and entries of a list of devices."""

from __future__ import annotations

import inspect
import logging
import secrets
import threading
import warnings
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from typing import Any, TypeVar
from weakref import ref

from coatcheck.config import Options, Settings
from coatcheck.core.admin import Admin
from coatcheck.core.identity import is_user
from coatcheck.core.requests import Requests
from coatcheck.core.state import State, Status
from coatcheck.core.swap import Swap
from coatcheck.core.users import Users
from coatcheck.errors import ConfigurationError, ForeignSessionWarning, InsecureTransportWarning
from coatcheck.events import Event
from coatcheck.http.token import handle_of
from coatcheck.model.lifetimes import moment
from coatcheck.model.ports import Index
from coatcheck.model.record import Record
from coatcheck.outages import Outages
from coatcheck.session import Session, has_ended, state_of

__all__ = [
    "Manager",
    "SessionInfo",
    "checked_user",
    "handle_or_none",
    "infos",
    "refuse_other_kind",
    "settings_from",
    "shares_docs_of",
    "teller_of",
]

SessionT = TypeVar("SessionT", bound=Session)
Method = TypeVar("Method", bound=Callable[..., object])
log: logging.Logger = logging.getLogger("coatcheck")


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionInfo:
    """One session of a user, for a list of devices."""

    handle: str
    """The session's public name, for `Sessions.revoke`."""
    user: str
    created_at: datetime
    signed_in_at: datetime
    last_used_at: datetime
    """Exact to a tenth of the idle timeout, at most an hour."""
    expires_at: datetime
    """When the session expires if it is not used again."""
    permanent: bool
    client: str
    """The User-Agent of the sign-in, shortened. The client chose this text, so escape it."""
    current: bool
    """Whether this is the session that the caller named as current."""


class Manager:
    """The common part of both managers: settings, flows, clock, events."""

    settings: Settings
    _outages: Outages

    def __init__(self, settings: Settings, index: Index) -> None:
        self._counted: Counter[str] = Counter()
        self._counting = threading.Lock()
        self._warned = False
        self._rival_named = False
        self._has_looked_around = False
        self._use(settings, index)

    def _use(self, settings: Settings, index: Index) -> None:
        if settings.max_sessions_per_user is not None and index == "none":
            raise ConfigurationError(
                "max_sessions_per_user needs a store that finds the sessions of a user, and this one does not: leave the "
                "setting out, or use another store."
            )
        self.settings = settings
        random = secrets.token_bytes
        users = Users(settings, index, random)
        self._requests = self._flows(settings, users, random)
        self._admin = Admin(settings, users, self._requests, random)
        self._swap = Swap(
            random, settings.max_bytes, lifetimes=settings.lifetimes if index == "within" else None
        )

    def _flows(self, settings: Settings, users: Users, random: Callable[[int], bytes]) -> Requests:
        return Requests(settings, users, random)

    @property
    def counts(self) -> Mapping[str, int]:
        """The number of events of each kind in this process."""
        with self._counting:
            return dict(self._counted)

    def _now(self) -> int:
        return int(self.settings.clock() * 1000)

    def _tell(self, event: Event) -> None:
        with self._counting:
            self._counted[event.kind] += 1
        if self.settings.on_event is not None:
            try:
                self.settings.on_event(event)
            except Exception:
                log.exception("on_event failed for a %r event", event.kind)

    def _looked_around(self, off: str | None, warnings: Sequence[str]) -> None:
        """Log what was found at the start: once, also where threads start at the same time."""
        with self._counting:
            first, self._has_looked_around = not self._has_looked_around, True
        if first:
            for text in warnings if off is None else (off, *warnings):
                log.warning("%s", text)

    def cookie_of(self, session: Session) -> dict[str, str]:
        """The cookie that the session's visitor has, as name and value, for test clients: what opens the session.

        Empty while nothing is stored, and for a session that was found by its public name.
        """
        token = state_of(session).token
        if token is None:
            return {}
        return {self.settings.template.name: self.settings.ring.sign(token)}

    def may_be_in(self, cookies: bytes) -> bool:
        """Whether a session may be in a Cookie header. The store is not asked."""
        return any(name in cookies for name in self._cookie_names())

    def _cookie_names(self) -> list[bytes]:
        return [
            self.settings.cookie_name,
            *(template.name.encode() for template, _ in self.settings.former),
        ]

    def agrees_with(self, outer: Session, *, named: bool = True) -> bool:
        """Whether a session that an outer layer of ours opened for this request is the one to use here.

        It is where both have the same cookie and the same secrets. The outer layer's store and limits count then.

        Args:
            outer: The session.
            named: Whether the application itself chose this layer's setting `identity`.

        Raises:
            ConfigurationError: The outer layer would take no notice of a sign-in by this layer's identity field.
        """
        mine, theirs = self.settings, outer.sessions.settings
        if mine.template.name != theirs.template.name or has_ended(outer):
            return False
        if mine.template.clear() == theirs.template.clear() and mine.ring.has_secrets_of(theirs.ring):
            if named and mine.identity_field not in (None, theirs.identity_field):
                raise ConfigurationError(
                    f"Two session layers serve one request and share one session. The inner one has identity={mine.identity!r}, "
                    f"and the outer one, which stores the session, identity={theirs.identity!r}. Give both the same."
                )
            return True
        if not self._rival_named:
            self._rival_named = True
            warnings.warn(
                f"Two session layers serve one request, both with the cookie {mine.template.name}, but with different secrets "
                "or attributes of the cookie: they overwrite each other's. Give both the same, and they share one session; "
                "or give one of them another cookie name.",
                ForeignSessionWarning,
                stacklevel=3,
            )
        return False

    def share(self, outer: Session, session_type: type[SessionT]) -> SessionT:
        """The session of an outer layer as `session_type`. Its outer layer stores it."""
        return session_type(partial(_state_of_outer, outer), self)

    def note_failure(self, session: Session) -> bool:
        """Note that the handler raised. Whether it had ended a session before.

        From now on nothing is stored but endings and what `save` and `take` are called for.
        """
        state = session._state
        if state is None:
            session._failed = True
            return False
        state.failed = True
        if state.failure is not None:
            # A middleware or an error page that still runs must not fail by the same outage again.
            state.status = Status.OUTAGE
        return state.restarted or bool(state.to_destroy)

    def _warn_of_http(self) -> None:
        if self._warned or self.settings.insecure_http:
            return
        self._warned = True
        warnings.warn(
            "A session cookie was set on plain http. It is Secure, so browsers don't send it back on plain http: "
            "sign-ins will seem not to last. For local development set insecure_http=True; behind a proxy that "
            "terminates TLS, make it send X-Forwarded-Proto and let your server or framework trust it.",
            InsecureTransportWarning,
            stacklevel=3,
        )


def teller_of(manager: Manager) -> Callable[[Event], None]:
    """`Manager._tell`, without keeping the manager: its connections are closed with the last reference to it."""
    known = ref(manager)

    def tell(event: Event) -> None:
        if (manager := known()) is not None:
            manager._tell(event)

    return tell


def _state_of_outer(outer: Session, session: Session) -> State:
    state = session._state = state_of(outer)
    return state


def shares_docs_of(sync_method: Callable[..., object]) -> Callable[[Method], Method]:
    """Gives an async method the docstring of the sync method, whose behaviour it shares."""

    def documented(method: Method) -> Method:
        method.__doc__ = sync_method.__doc__
        return method

    return documented


def settings_from(options: Mapping[str, Any]) -> Settings:
    """The settings from the keyword arguments of a manager."""
    unknown = set(options) - Options.__annotations__.keys()
    if unknown:
        raise TypeError(
            f"unknown settings: {', '.join(sorted(unknown))}; the settings are {', '.join(Options.__annotations__)}"
        )
    if "secret" not in options:
        raise ConfigurationError(
            "secret= is missing: make one with `coatcheck secret`, and keep it out of the source."
        )
    return Settings(**options)


def checked_user(user: str) -> str:
    """`user`, if it can be one.

    Raises:
        TypeError: It is nothing that `sign_in` takes.
    """
    if not is_user(user):
        raise TypeError("the user's id must be a str of 1 to 255 characters, as it was given to sign_in")
    return user


def handle_or_none(session: Session | str | None) -> str | None:
    """The handle of a session, a handle, or None."""
    return session.handle if isinstance(session, Session) else session


def infos(records: Sequence[Record], current: State | None) -> list[SessionInfo]:
    """The records as entries of a list of devices."""
    own = None
    if current is not None:
        own = current.selector if current.record is None else current.record.key
    return [
        SessionInfo(
            handle=handle_of(record.key),
            user=record.user or "",
            created_at=moment(record.created),
            signed_in_at=moment(record.signed_in),
            last_used_at=moment(record.last_used),
            expires_at=moment(record.expires),
            permanent=record.permanent,
            client=record.client,
            current=record.key == own,
        )
        for record in records
    ]


def refuse_other_kind(store: object, *, wanted_async: bool) -> None:
    """Refuse an async store for a sync manager, and a sync store for an async one.

    Raises:
        ConfigurationError: The kinds differ; the message names the manager to use.
    """
    if inspect.iscoroutinefunction(getattr(store, "load", None)) is not wanted_async:
        kind = type(store).__name__
        raise ConfigurationError(
            f"{kind} is a synchronous store: use Sessions, or an async store."
            if wanted_async
            else f"{kind} is an async store: use AsyncSessions, or a synchronous store."
        )
