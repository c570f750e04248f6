"""A Litestar application as a user types it. Checked by mypy and pyright, never run."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, assert_type

from litestar import Litestar, Request, WebSocket, get, post, websocket
from litestar.connection import ASGIConnection
from litestar.security.session_auth import SessionAuth
from litestar.testing import TestClient

from coatcheck import AsyncSessions, Flash
from coatcheck.frameworks.litestar import CurrentSession, LitestarSession, SessionPlugin

sessions = AsyncSessions.from_url("sqlite:///sessions.db", secret="secret", identity="user_id")


@post("/basket")
async def add(session: CurrentSession) -> list[str]:
    assert_type(session, LitestarSession)
    session["basket"] = [*session.get("basket", []), "scarf"]
    assert_type(session["basket"], Any)
    assert_type(session.user, str | None)
    assert_type(await session.save(), bool)
    assert_type(await session.take("a", "b"), dict[str, Any])
    assert_type(await session.take_flashes(), list[Flash])
    goods: list[str] = session["basket"]
    return goods


@post("/login")
async def login(request: Request[Any, Any, Any]) -> None:
    assert_type(request.session, dict[str, Any])  # as Litestar types it
    request.session["seen"] = request.session.get("seen", 0) + 1
    request.set_session({"user_id": "ada"})  # pyright: ignore[reportUnknownMemberType] - Litestar's own type


@post("/logout")
async def logout(request: Request[Any, Any, Any]) -> None:
    request.clear_session()


@get("/devices")
async def devices(session: CurrentSession) -> int:
    return len(await sessions.of_user(session.user or "", current=session))


@websocket("/news")
async def news(socket: WebSocket[Any, Any, Any], session: CurrentSession) -> None:
    await socket.accept()
    while await session.is_live():
        await socket.send_text("news")


async def user_of(session: dict[str, Any], connection: ASGIConnection[Any, Any, Any, Any]) -> str | None:
    return session.get("user_id")


plugin = SessionPlugin(
    sessions, load="on_demand", exclude=["^/health"], shutdown=False, sweep_every=timedelta(hours=1)
)
auth = SessionAuth[str, Any](
    retrieve_user_handler=user_of, session_backend_config=plugin, exclude=["^/login"]
)
app = Litestar([add, login, logout, devices, news], plugins=[plugin], on_app_init=[auth.on_app_init])


def prepared() -> None:
    with TestClient(app, session_config=plugin) as client:
        client.set_session_data({"basket": ["scarf"]})
        assert_type(client.get_session_data(), dict[str, Any])
