"""An API of hug as a user types it. Checked by mypy and pyright, never run."""

from __future__ import annotations

from typing import Any, assert_type

from coatcheck import Flash, Sessions
from coatcheck.frameworks.hug import HugSession, SessionMiddleware

sessions = Sessions.from_url("sqlite:///sessions.db", secret="secret")


def set_up(api: Any) -> None:
    api.http.add_middleware(SessionMiddleware(api, sessions, context_name="session"))


def sign_in(hug_session: HugSession) -> dict[str, Any]:
    hug_session.sign_in("ada")
    hug_session["seen"] = hug_session.get("seen", 0) + 1
    assert_type(hug_session.user, str | None)
    assert_type(hug_session.save(), bool)
    assert_type(hug_session.take("a", "b"), dict[str, Any])
    assert_type(hug_session.take_flashes(), list[Flash])
    return {"devices": len(sessions.of_user("ada", current=hug_session))}
