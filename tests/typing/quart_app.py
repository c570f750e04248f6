"""A Quart application as a user types it. Checked by mypy and pyright, never run."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, assert_type

from quart import Quart, websocket
from quart_auth import AuthUser, login_required, login_user, logout_user

from coatcheck import AsyncSessions, Flash
from coatcheck.frameworks.quart import QuartSession, SessionInterface, session
from coatcheck.frameworks.quart_auth import SessionAuth

sessions = AsyncSessions.from_url("sqlite:///sessions.db", secret="secret", identity="user_id")
app = Quart(__name__)
SessionInterface(
    sessions, load="on_demand", exclude=("/static",), shutdown=False, sweep_every=timedelta(hours=1)
).init_app(app)
SessionAuth(app)


@app.post("/basket/<item>")
async def add(item: str) -> dict[str, Any]:
    assert_type(session, QuartSession)
    await session.load()
    session.setdefault("basket", []).append(item)
    session["seen"] = session.get("seen", 0) + 1
    session.permanent = True
    assert_type(session.new, bool)
    return {"basket": session["basket"]}


@app.post("/sign-in/<name>")
async def sign_in(name: str) -> dict[str, int]:
    session.sign_in(name)
    assert_type(session.user, str | None)
    assert_type(await session.save(), bool)
    assert_type(await session.take("a", "b"), dict[str, Any])
    assert_type(await session.take_flashes(), list[Flash])
    return {"devices": len(await sessions.of_user(name, current=session))}


@app.post("/sign-out")
async def sign_out() -> str:
    session.sign_out()
    return ""


@app.errorhandler(KeyError)
async def missing(_: KeyError) -> tuple[str, int]:
    await session.fail()
    return "", 409


@app.websocket("/news")
async def news() -> None:
    while await session.is_live():
        await websocket.send("news")


@app.post("/login")
async def login() -> str:
    login_user(AuthUser("ada"), remember=True)
    return ""


@app.post("/logout")
@login_required
async def logout() -> str:
    logout_user()
    return ""
