"""Sessions that bring with them what their manager does to them: ``request.session.save()``."""

from __future__ import annotations

from typing import Any

from coatcheck.session import Flash, Session
from coatcheck.sessions import AsyncSessions, Sessions

__all__ = ["AsyncBoundSession", "BoundSession"]


class BoundSession(Session):
    """The session of a synchronous framework."""

    sessions: Sessions

    def save(self, *, create: bool = False) -> bool:
        """Store the changes so far; see `Sessions.save`."""
        return self.sessions.save(self, create=create)

    def reload(self) -> bool:
        """Read what other requests have stored since; see `Sessions.reload`."""
        return self.sessions.reload(self)

    def take(self, *names: str) -> dict[str, Any]:
        """Remove fields and return their values, atomically; see `Sessions.take`."""
        return self.sessions.take(self, *names)

    def take_flashes(self, category: str | None = None) -> list[Flash]:
        """The messages that wait, of every category or of one, taken; see `Sessions.take_flashes`."""
        return self.sessions.take_flashes(self, category)

    def is_live(self) -> bool:
        """Whether the session still exists; see `Sessions.is_live`."""
        return self.sessions.is_live(self)


class AsyncBoundSession(Session):
    """The session of an asynchronous framework: ``await request.session.save()``."""

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
        """The messages that wait, of every category or of one, taken; see `Sessions.take_flashes`."""
        return await self.sessions.take_flashes(self, category)

    async def is_live(self) -> bool:
        """Whether the session still exists; see `Sessions.is_live`."""
        return await self.sessions.is_live(self)
