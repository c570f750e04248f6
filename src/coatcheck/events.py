"""What happened to sessions, for audit logs and metrics (OWASP: log the life cycle of sessions)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Literal, get_args

__all__ = ["KINDS", "Event", "EventKind"]

EventKind = Literal[
    "created",  # a record was stored for a new session
    "signed_in",
    "rotated",  # the secret changed, periodically or by `rotate`
    "destroyed",  # the visitor signed out
    "revoked",  # it was ended from outside: `revoke`, `revoke_user`, a sign-in beyond the limit
    "expired",  # a visitor came with a session that is past its limits
    "dropped",  # a late request's writes were dropped
    "merged",  # fields were edited by two requests at once; the reason names them
    "unreadable",  # what lies in the store under a good token can't be read; it was left alone
    "refused",  # a cookie of our name held no token that we signed
    "ambiguous",  # several live sessions came with one request, or too many cookies of our name; none was taken
    "unavailable",  # the store failed
]
KINDS: frozenset[str] = frozenset(get_args(EventKind))


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One thing that happened. Holds no token, no secret and no value of a session."""

    kind: EventKind
    handle: str | None
    """The session's public name, where it is known."""
    user: str | None
    """Who was signed in, where it is known."""
    reason: str
    """Why, in a few words; empty where the kind says it all."""
    at: datetime
    """When, by the application's clock; aware, UTC."""
