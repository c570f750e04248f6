"""The events of sessions, for audit logs and metrics (OWASP: log the life cycle of sessions)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal, get_args

__all__ = ["KINDS", "Event", "EventKind"]

EventKind = Literal[
    "migrated",  # a session of another library was carried over; the reason names what could not be
    "created",  # a record was stored for a new session
    "signed_in",
    "rotated",  # the secret changed, periodically or by `rotate`
    "destroyed",  # the application ended it, by `sign_out` or `destroy`
    "revoked",  # ended from another request: `revoke`, `revoke_user`, a sign-in beyond the limit
    "expired",  # a request came with a session past its limits
    "dropped",  # a late request's writes were dropped
    "merged",  # two requests changed the same fields at once; the reason names the fields
    "unreadable",  # the record of a valid token can't be read; it was not changed
    "refused",  # a cookie of our name holds no token that the ring of secrets signed
    "ambiguous",  # one request came with several live sessions, or too many cookies of our name; none was used
    "unavailable",  # the store failed
]
KINDS: frozenset[str] = frozenset(get_args(EventKind))


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One event. It contains no token, no secret and no value of a session."""

    kind: EventKind
    handle: str | None
    """The session's public name, where it is known."""
    user: str | None
    """The signed-in user, where it is known."""
    reason: str
    """The reason in a few words; empty where the kind needs none."""
    at: datetime
    """The time by the application's clock: aware, UTC."""
