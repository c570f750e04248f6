"""Sessions for Starlette: ``request.session``, as people know it.

::

    from starlette.middleware import Middleware
    from coatcheck.frameworks.starlette import SessionMiddleware

    app = Starlette(routes=…, middleware=[Middleware(SessionMiddleware, sessions=sessions)])

Nothing here imports Starlette: its `request.session` is ``scope["session"]``.
"""

from __future__ import annotations

from typing import Any

from coatcheck.frameworks import asgi
from coatcheck.session import Flash, Session
from coatcheck.sessions import AsyncSessions

__all__ = ["SessionMiddleware", "StarletteSession"]


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
