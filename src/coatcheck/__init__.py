"""Coatcheck: one session, in any framework, on any store, in one round trip.

    from coatcheck import Sessions
    sessions = Sessions.from_url("sqlite:///sessions.db", secret=SECRET)

then hand `sessions` to the module of your framework: `coatcheck.frameworks.wsgi`, `coatcheck.frameworks.flask`.
"""

from coatcheck.config import CookieSettings, Settings
from coatcheck.errors import (
    CannotSendCookie,
    CoatcheckError,
    ConfigurationError,
    DecodeError,
    ForeignSessionWarning,
    InsecureTransportWarning,
    NotLoaded,
    NotStorable,
    RequestOver,
    RevocationIncomplete,
    SessionGone,
    StoreError,
    StoreFull,
    StoreReadOnly,
    StoreTimeout,
    StoreUnavailable,
    TooLarge,
    WouldBlock,
)
from coatcheck.events import Event
from coatcheck.model import merges
from coatcheck.session import Flash, Session
from coatcheck.sessions import AsyncSessions, SessionInfo, Sessions

__all__ = [
    "AsyncSessions",
    "CannotSendCookie",
    "CoatcheckError",
    "ConfigurationError",
    "CookieSettings",
    "DecodeError",
    "Event",
    "Flash",
    "ForeignSessionWarning",
    "InsecureTransportWarning",
    "NotLoaded",
    "NotStorable",
    "RequestOver",
    "RevocationIncomplete",
    "Session",
    "SessionGone",
    "SessionInfo",
    "Sessions",
    "Settings",
    "StoreError",
    "StoreFull",
    "StoreReadOnly",
    "StoreTimeout",
    "StoreUnavailable",
    "TooLarge",
    "WouldBlock",
    "merges",
]

__version__ = "0.1.0"
