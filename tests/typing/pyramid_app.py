"""A Pyramid application as a user types it. Checked by mypy and pyright, never run."""

from __future__ import annotations

from typing import Any, assert_type

from coatcheck import Flash
from coatcheck.frameworks.pyramid import PyramidSession


def basket(request: Any) -> dict[str, Any]:
    session: PyramidSession = request.session
    session.setdefault("basket", []).append("scarf")
    session["seen"] = session.get("seen", 0) + 1
    assert_type(session.created, int)
    assert_type(session.new, bool)
    session.flash("Put into the basket.", "note", allow_duplicate=False)
    assert_type(session.peek_flash("note"), list[Any])
    assert_type(session.pop_flash(), list[Any])
    assert_type(session.get_csrf_token(), str)
    assert_type(session.new_csrf_token(), str)
    session.changed()
    return {"basket": session["basket"]}


def sign_in(request: Any) -> dict[str, int]:
    session: PyramidSession = request.session
    session.sign_in("ada")
    assert_type(session.user, str | None)
    assert_type(session.save(), bool)
    assert_type(session.take("a", "b"), dict[str, Any])
    assert_type(session.take_flashes(), list[Flash])
    return {"devices": len(session.sessions.of_user("ada", current=session))}


def sign_out(request: Any) -> None:
    session: PyramidSession = request.session
    session.invalidate()
