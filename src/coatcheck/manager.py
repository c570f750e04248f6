"""What the two managers are made of: settings, flows, a clock, events."""

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
from typing import Any

from coatcheck.config import Options, Settings
from coatcheck.core.flows import Flows
from coatcheck.core.lifecycle import LOOKED_AT, UNTOUCHED, Outcome, owes_nothing
from coatcheck.core.state import State
from coatcheck.errors import ConfigurationError, InsecureTransportWarning
from coatcheck.events import Event
from coatcheck.http.token import handle_of
from coatcheck.model.lifetimes import moment
from coatcheck.model.ports import Capabilities
from coatcheck.model.record import Record
from coatcheck.session import Session, head_has_left, looked_at_in, note_head

__all__ = [
    "Manager",
    "SessionInfo",
    "checked_user",
    "handle_or_none",
    "infos",
    "log",
    "refuse_colour",
    "settings_from",
]

log: logging.Logger = logging.getLogger("coatcheck")


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionInfo:
    """One of a user's sessions, as a list of devices shows it."""

    handle: str
    """Its public name, for `Sessions.revoke`."""
    user: str
    created_at: datetime
    signed_in_at: datetime
    last_used_at: datetime
    """Exact to a tenth of the idle limit, an hour at most."""
    expires_at: datetime
    """When it ends if it is not used again."""
    permanent: bool
    client: str
    """The User-Agent that signed in, shortened; whatever the client said, so escape it."""
    current: bool
    """Whether it is the one that was named as current."""


class Manager:
    """What both managers are made of: settings, flows, clock, events."""

    def __init__(self, settings: Settings, capabilities: Capabilities) -> None:
        self._counted: Counter[str] = Counter()
        self._counting = threading.Lock()
        self._warned = False
        self._use(settings, capabilities)

    def _use(self, settings: Settings, capabilities: Capabilities) -> None:
        if settings.max_sessions_per_user is not None and not capabilities.users:
            raise ConfigurationError(
                "max_sessions_per_user needs a store that finds the sessions of a user; this one does not: leave it out, "
                "or use another store."
            )
        self.settings = settings
        self._flows = Flows(settings, capabilities, secrets.token_bytes)

    @property
    def counts(self) -> Mapping[str, int]:
        """How many events of each kind there were, in this process."""
        with self._counting:
            return dict(self._counted)

    def _now(self) -> int:
        return int(self.settings.clock() * 1000)

    def _state(
        self, cookies: bytes | str, client: str, path: str, *, load: Callable[[State], None] | None
    ) -> State:
        raw = cookies if isinstance(cookies, bytes) else cookies.encode("latin-1", "replace")
        state = State(raw, client, load, self._now, secrets.token_bytes, self.settings.max_bytes)
        if path:
            state.path = path
        return state

    def close_at_once(self, session: Session) -> Outcome | None:
        """What `close` would say, where it has nothing to store: for most requests. None where it has."""
        state = looked_at_in(session)
        if state is None:
            note_head(session)
            return UNTOUCHED
        head_sent = head_has_left(session)
        if owes_nothing(state, self.settings, 0 if head_sent else self._now(), head_sent=head_sent):
            note_head(session)
            return LOOKED_AT
        return None

    def _tell(self, event: Event) -> None:
        with self._counting:
            self._counted[event.kind] += 1
        if self.settings.on_event is not None:
            try:
                self.settings.on_event(event)
            except Exception:
                log.exception("on_event failed for a %r event", event.kind)

    def _warn_of_http(self, outcome: Outcome, *, secure: bool) -> None:
        if outcome.set_cookie is None or secure or self._warned or self.settings.insecure_http:
            return
        self._warned = True
        warnings.warn(
            "A session cookie went out on plain http. It is Secure, so browsers keep it from plain http: sign-ins "
            "will seem not to last. For local development set insecure_http=True; behind a proxy that ends TLS, make "
            "it send X-Forwarded-Proto and let your server or framework trust it.",
            InsecureTransportWarning,
            stacklevel=4,
        )


def settings_from(options: Mapping[str, Any]) -> Settings:
    """The settings that the keyword arguments of a manager make."""
    unknown = set(options) - Options.__annotations__.keys()
    if unknown:
        raise TypeError(
            f"unknown settings: {', '.join(sorted(unknown))}; there are {', '.join(Options.__annotations__)}"
        )
    if "secret" not in options:
        raise ConfigurationError(
            "secret= is missing: make one with `coatcheck secret`, and keep it out of the source."
        )
    return Settings(**options)


def checked_user(user: str) -> str:
    """`user`, if it can be one."""
    if not isinstance(user, str) or not user:
        raise TypeError("the user's id is a non-empty str, as it was given to sign_in")
    return user


def handle_or_none(session: Session | str | None) -> str | None:
    """The handle of what may be a session, a handle, or nothing."""
    return session.handle if isinstance(session, Session) else session


def infos(records: Sequence[Record], current: str | None, limit: int, after: str | None) -> list[SessionInfo]:
    """The records as a list of devices shows them: `limit` of them behind the one called `after`."""
    handles = [handle_of(record.key) for record in records]
    if after is not None and after not in handles:
        return []
    start = 0 if after is None else handles.index(after) + 1
    return [
        SessionInfo(
            handle=handle,
            user=record.user or "",
            created_at=moment(record.created),
            signed_in_at=moment(record.signed_in),
            last_used_at=moment(record.last_used),
            expires_at=moment(record.expires),
            permanent=record.permanent,
            client=record.client,
            current=handle == current,
        )
        for handle, record in list(zip(handles, records, strict=True))[start : start + limit]
    ]


def refuse_colour(store: object, *, wanted_async: bool) -> None:
    """Refuse an async store under a sync manager, and the other way round.

    Raises:
        ConfigurationError: It names the manager to use.
    """
    if inspect.iscoroutinefunction(getattr(store, "load", None)) is not wanted_async:
        kind = type(store).__name__
        raise ConfigurationError(
            f"{kind} is a synchronous store: use Sessions, or an async store."
            if wanted_async
            else f"{kind} is an async store: use AsyncSessions, or a synchronous store."
        )
