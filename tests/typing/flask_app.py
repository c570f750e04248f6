"""A Flask application as a user types it. Checked by mypy and pyright, never run."""

from __future__ import annotations

from typing import Any, assert_type

from flask import Flask

from coatcheck import Flash, Sessions
from coatcheck.frameworks.flask import FlaskSession, SessionInterface, session

sessions = Sessions.from_url("sqlite:///sessions.db", secret="secret", identity="user_id")
app = Flask(__name__)
app.session_interface = SessionInterface(sessions)
SessionInterface(sessions).init_app(app)


@app.post("/basket/<item>")
def add(item: str) -> dict[str, Any]:
    assert_type(session, FlaskSession)
    session.setdefault("basket", []).append(item)
    session["seen"] = session.get("seen", 0) + 1
    session.permanent = True
    return {"basket": session["basket"]}


@app.post("/sign-in/<name>")
def sign_in(name: str) -> dict[str, int]:
    session.sign_in(name)
    assert_type(session.user, str | None)
    assert_type(session.save(), bool)
    assert_type(session.take("a", "b"), dict[str, Any])
    assert_type(session.take_flashes(), list[Flash])
    return {"devices": len(sessions.of_user(name, current=session))}


@app.post("/sign-out")
def sign_out() -> str:
    session.sign_out()
    return ""
