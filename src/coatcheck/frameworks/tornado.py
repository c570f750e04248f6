"""Sessions for Tornado: ``self.session`` by a mixin, or ``await get_session(self)`` without one.

::

    from coatcheck import AsyncSessions
    from coatcheck.frameworks.tornado import SessionMixin


    class Visits(SessionMixin, RequestHandler):
        def get(self):
            self.session["visits"] = self.session.get("visits", 0) + 1
            self.write(str(self.session["visits"]))


    sessions = AsyncSessions.from_url("sqlite:///sessions.db", secret=SECRET)
    application = Application([("/", Visits)], sessions=sessions)

`finish` and `flush` don't wait, but a store has to be waited for. So the session stands between a handler and its
connection: the head leaves when the changes are stored, and the rest of the response follows it.
"""

from __future__ import annotations

from functools import partial
from typing import Any, NoReturn, cast

try:
    from tornado.web import RequestHandler
except ModuleNotFoundError as _error:  # pragma: no cover - needs an installation without Tornado
    raise ModuleNotFoundError(
        "coatcheck.frameworks.tornado needs Tornado: pip install 'coatcheck[tornado]'"
    ) from _error

from coatcheck.frameworks.tornado_connection import TornadoSession, session_of

__all__ = ["NotificationMixin", "Notifications", "SessionMixin", "TornadoSession", "get_session"]


class SessionMixin:
    """``self.session`` for a request handler, first or last among its bases.

    The session is loaded before `prepare`. The manager is the application's setting ``sessions``.
    """

    def __init_subclass__(cls, **options: Any) -> None:
        """Let the handler load its session. A mixin that stands last can't override a method."""
        super().__init_subclass__(**options)
        execute: Any = getattr(cls, "_execute", None)
        if execute is None:
            return

        async def _execute(self: RequestHandler, *args: Any, **kwargs: Any) -> None:
            try:
                await get_session(self)
            except Exception as error:  # noqa: BLE001 - Tornado answers what `prepare` raises, and nothing outside
                self.prepare = partial(_raise, error)  # type: ignore[method-assign]
            await execute(self, *args, **kwargs)

        cls._execute = _execute  # type: ignore[attr-defined]

    @property
    def session(self) -> TornadoSession:
        """The session of the request."""
        return session_of(cast("RequestHandler", self))


class Notifications:
    """Values that are read once, by name. They are the session's flash messages, each of the category of its name."""

    def __init__(self, session: TornadoSession) -> None:
        self._session = session

    def set(self, name: str, value: Any) -> None:
        """Leave a value for the next request that asks for this name."""
        self._session.flash(value, name)

    async def get(self, name: str, default: Any = None) -> Any:
        """Remove the value and return it; no other request gets it. Of several, the last."""
        taken = await self._session.take_flashes(name)
        return taken[-1].message if taken else default


class NotificationMixin(SessionMixin):
    """``self.notifications`` for a request handler, beside ``self.session``."""

    @property
    def notifications(self) -> Notifications:
        """The visitor's notifications."""
        return Notifications(self.session)


async def get_session(handler: RequestHandler) -> TornadoSession:
    """The loaded session of a handler's request, with or without the mixin.

    If it can't be loaded, its first use raises a `StoreError`.

    Raises:
        ConfigurationError: The application has no setting ``sessions``.
    """
    session = session_of(handler)
    await session.sessions.preload(session)
    return session


def _raise(error: Exception) -> NoReturn:
    raise error
