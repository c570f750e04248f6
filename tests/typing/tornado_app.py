"""A Tornado application as a user types it. Checked by mypy and pyright, never run."""

# Tornado declares `get` as an attribute, so that every handler overrides a mutable one.
# mypy: disable-error-code="mutable-override"

from __future__ import annotations

from typing import Any, assert_type

from tornado.web import Application, RequestHandler
from tornado.websocket import WebSocketHandler

from coatcheck import AsyncSessions, Flash
from coatcheck.frameworks.tornado import (
    NotificationMixin,
    Notifications,
    SessionMixin,
    TornadoSession,
    get_session,
)


class First(SessionMixin, RequestHandler):
    async def get(self) -> None:
        assert_type(self.session, TornadoSession)
        self.session["seen"] = self.session.get("seen", 0) + 1
        assert_type(self.session.user, str | None)
        assert_type(await self.session.save(), bool)
        assert_type(await self.session.take("a"), dict[str, Any])
        assert_type(await self.session.take_flashes(), list[Flash])


class Last(RequestHandler, NotificationMixin):
    async def get(self) -> None:
        assert_type(self.session, TornadoSession)
        assert_type(self.notifications, Notifications)
        self.notifications.set("notice", "hello")
        assert_type(await self.notifications.get("notice"), Any)


class Without(RequestHandler):
    async def get(self) -> None:
        assert_type(await get_session(self), TornadoSession)


class Socket(WebSocketHandler, SessionMixin):
    async def on_message(self, message: str | bytes) -> None:
        if not await self.session.is_live():
            self.close()


sessions = AsyncSessions.from_url("sqlite:///sessions.db", secret="secret")
application = Application([("/", First), ("/last", Last)], sessions=sessions)
