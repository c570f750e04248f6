"""A FastAPI application as a user types it. Checked by mypy and pyright, never run."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from datetime import datetime, timedelta
from typing import Annotated, Any, assert_type

from fastapi import Depends, FastAPI, Request, WebSocket
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.requests import HTTPConnection

from coatcheck import AsyncSessions, CookieSettings, Flash, Session, SessionInfo
from coatcheck.frameworks import asgi
from coatcheck.frameworks import starlette as for_starlette
from coatcheck.frameworks.fastapi import CurrentSession, SessionDependency, SessionMiddleware, get_session
from coatcheck.frameworks.starlette import StarletteSession
from coatcheck.testing import async_cookies_for

SECRET = ["new", "old"]

sessions = AsyncSessions.from_url(
    "sqlite:///sessions.db",
    secret=SECRET,
    idle_timeout=timedelta(hours=12),
    cookie=CookieSettings(name="shop"),
)
assert_type(sessions, AsyncSessions)

ShopSession = Annotated[StarletteSession, Depends(SessionDependency("shop"))]


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
    async with sessions:
        assert_type(await sessions.sweep(), int)
        yield


app = FastAPI(lifespan=lifespan)
app.add_middleware(
    SessionMiddleware, sessions=sessions, load="on_demand", exclude=("/static",), shutdown=False
)


@app.get("/basket")
async def basket(session: CurrentSession) -> list[str]:
    assert_type(session, StarletteSession)
    assert_type(session["basket"], Any)
    assert_type(session.user, str | None)
    assert_type(session.created_at, datetime | None)
    assert_type(session.get("n", 0), Any | int)
    await session.save()
    assert_type(await session.take("a", "b"), dict[str, Any])
    assert_type(await session.take_flashes(), list[Flash])
    assert_type(await session.is_live(), bool)
    goods: list[str] = session.get("basket", [])
    return goods


@app.get("/devices")
async def devices(session: ShopSession, request: Request) -> int:
    infos = await sessions.of_user(session.user or "", current=session)
    assert_type(infos, list[SessionInfo])
    assert_type(await sessions.revoke(infos[0].handle), bool)
    async with sessions.edit(infos[0].handle) as edited:
        assert_type(edited, Session)
        edited["seen"] = True
    return await sessions.revoke_user("ada", keep=session)


@app.websocket("/ws")
async def chat(websocket: WebSocket, session: CurrentSession) -> None:
    await websocket.accept()
    session["said"] = await websocket.receive_text()


async def without_a_parameter(request: Request, websocket: WebSocket, connection: HTTPConnection) -> None:
    assert_type(await get_session(request), StarletteSession)
    assert_type(await get_session(websocket), StarletteSession)
    assert_type(for_starlette.get_session(request), StarletteSession)
    assert_type(for_starlette.get_session(websocket), StarletteSession)
    assert_type(for_starlette.get_session(connection).user, str | None)


async def in_a_test() -> StarletteSession:
    session = sessions.open(b"", session_type=StarletteSession)
    await session.load()
    return session


app.dependency_overrides[get_session] = in_a_test

starlette_app = Starlette(
    middleware=[Middleware(for_starlette.SessionMiddleware, sessions=sessions, load="eager")]
)
any_asgi_app = asgi.SessionMiddleware(starlette_app, sessions, exclude=["/health"])


async def prepared() -> dict[str, str]:
    return await async_cookies_for(sessions, {"basket": ["scarf"]}, user="ada")
