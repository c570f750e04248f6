"""An aiohttp application as a user types it. Checked by mypy and pyright, never run."""

from __future__ import annotations

from typing import Any, assert_type

from aiohttp import web

from coatcheck import AsyncSessions, Flash
from coatcheck.frameworks.aiohttp import (
    SESSIONS,
    AiohttpSession,
    check_csrf,
    get_session,
    new_session,
    setup,
)

app = web.Application()
setup(app, AsyncSessions.from_url("sqlite:///sessions.db", secret="secret"))
assert_type(app[SESSIONS], AsyncSessions)


async def add(request: web.Request) -> web.StreamResponse:
    session = await get_session(request)
    assert_type(session, AiohttpSession)
    session.setdefault("basket", []).append(request.match_info["item"])
    session["seen"] = session.get("seen", 0) + 1
    return web.json_response(session["basket"])


async def sign_in(request: web.Request) -> web.Response:
    assert_type(await check_csrf(request, "token"), bool)
    session = await new_session(request)
    session.sign_in(request.match_info["name"])
    assert_type(session.user, str | None)
    assert_type(session.new, bool)
    assert_type(await session.save(), bool)
    assert_type(await session.take("a", "b"), dict[str, Any])
    assert_type(await session.take_flashes(), list[Flash])
    return web.Response()


app.router.add_post("/basket/{item}", add)
app.router.add_post("/sign-in/{name}", sign_in)
