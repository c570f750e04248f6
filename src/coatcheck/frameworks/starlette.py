"""Sessions for Starlette: ``request.session``, as people know it.

::

    from starlette.middleware import Middleware
    from coatcheck.frameworks.starlette import SessionMiddleware

    app = Starlette(routes=…, middleware=[Middleware(SessionMiddleware, sessions=sessions)])

Nothing here imports Starlette: its `request.session` is ``scope["session"]``. Type checkers take that for a
``dict[str, Any]``, and `get_session` for what it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from coatcheck.errors import ConfigurationError
from coatcheck.frameworks import asgi
from coatcheck.responder import ENVIRON_KEY
from coatcheck.session import Flash, Session
from coatcheck.sessions import AsyncSessions

if TYPE_CHECKING:
    from starlette.requests import HTTPConnection

__all__ = ["SessionMiddleware", "StarletteSession", "get_session"]


class StarletteSession(Session):
    """A `Session` that brings what waits with it: ``await request.session.save()``."""

    sessions: AsyncSessions

    async def load(self) -> None:
        """Load it now; see `Sessions.load`."""
        await self.sessions.load(self)

    async def save(self, *, create: bool = False) -> bool:
        """Store the changes so far; see `Sessions.save`."""
        return await self.sessions.save(self, create=create)

    async def reload(self) -> bool:
        """Read what other requests have stored since; see `Sessions.reload`."""
        return await self.sessions.reload(self)

    async def take(self, *names: str) -> dict[str, Any]:
        """Remove fields and return their values, atomically; see `Sessions.take`."""
        return await self.sessions.take(self, *names)

    async def take_flashes(self, category: str | None = None) -> list[Flash]:
        """The messages that wait, taken; see `Sessions.take_flashes`."""
        return await self.sessions.take_flashes(self, category)

    async def is_live(self) -> bool:
        """Whether the session still exists; see `Sessions.is_live`."""
        return await self.sessions.is_live(self)


class SessionMiddleware(asgi.SessionMiddleware):
    """`coatcheck.frameworks.asgi.SessionMiddleware`, handing out a `StarletteSession`."""

    session_type: type[Session] = StarletteSession


def get_session(connection: HTTPConnection) -> StarletteSession:
    """The session of a request or a websocket, with its type. This call does not load it.

    It is also the one of Coatcheck where a middleware of another library has put its own at ``request.session``.

    Raises:
        ConfigurationError: There is no session: the middleware is missing.
    """
    session = connection.scope.get(ENVIRON_KEY)
    if not isinstance(session, StarletteSession):
        raise ConfigurationError(
            "There is no session: app.add_middleware(SessionMiddleware, sessions=sessions) with the SessionMiddleware of "
            "coatcheck.frameworks.starlette or coatcheck.frameworks.fastapi."
        )
    return session
