"""Sessions that a test begins with, without going through the pages that would make them.

::

    client = TestClient(app, cookies=cookies_for(sessions, {"basket": ["scarf"]}, user="ada"))

The result is a dict of one cookie, as the clients of httpx, Starlette and requests take it. `SignInAs` puts it into the
jar of a client that is there already.

`AsyncSessions` is awaited: ``cookies = await async_cookies_for(sessions, …)``, or, in a synchronous test that uses
Starlette's ``TestClient``, ``asyncio.run(async_cookies_for(sessions, …))``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # so that a test of a store imports no more than the port
    from coatcheck.session import Session
    from coatcheck.sessions import AsyncSessions, Sessions

__all__ = ["async_cookies_for", "async_prepared", "cookies_for", "prepared"]


def cookies_for(
    sessions: Sessions,
    fields: Mapping[str, Any] | None = None,
    *,
    user: str | None = None,
    permanent: bool = False,
) -> dict[str, str]:
    """Store a session, and return its cookie; empty where there is nothing to store.

    Args:
        sessions: The manager of the application under test, or another on the same store and secret.
        fields: The session's fields.
        user: The user to sign in; None: the session is anonymous.
        permanent: Whether the session outlives the browser.
    """
    return sessions.cookie_of(prepared(sessions, fields, user, permanent=permanent))


async def async_cookies_for(
    sessions: AsyncSessions,
    fields: Mapping[str, Any] | None = None,
    *,
    user: str | None = None,
    permanent: bool = False,
) -> dict[str, str]:
    """The same for an asynchronous manager; see `cookies_for`."""
    return sessions.cookie_of(await async_prepared(sessions, fields, user, permanent=permanent))


def prepared(
    sessions: Sessions, fields: Mapping[str, Any] | None, user: str | None, *, permanent: bool = False
) -> Session:
    """A session that is stored, as `cookies_for` stores it."""
    session = sessions.open(b"")
    _fill(session, fields, user, permanent=permanent)
    sessions.close(session)
    return session


async def async_prepared(
    sessions: AsyncSessions, fields: Mapping[str, Any] | None, user: str | None, *, permanent: bool = False
) -> Session:
    """The same for an asynchronous manager; see `prepared`."""
    session = sessions.open(b"")
    await sessions.load(session)
    _fill(session, fields, user, permanent=permanent)
    await sessions.close(session)
    return session


def _fill(session: Session, fields: Mapping[str, Any] | None, user: str | None, *, permanent: bool) -> None:
    session.update(fields or {})
    session.permanent = permanent
    if user is not None:
        session.sign_in(user)
