"""Flask-Login: ``login_user`` and the "remember me" cookie sign in, ``logout_user`` signs out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from coatcheck.core.state import Status
from coatcheck.session import Session, state_of

if TYPE_CHECKING:
    from flask import Flask

__all__ = ["bind"]

_BOUND = "coatcheck.flask_login"
# What Flask-Login keeps in the session. It has put it there before it tells us.
_ITS_FIELDS = ("_user_id", "_fresh", "_id", "_remember", "_remember_seconds")


def bind(app: Flask) -> None:
    """Listen to Flask-Login's signals, if the application uses it. Calling it again is harmless."""
    if not hasattr(app, "login_manager") or _BOUND in app.extensions:
        return
    import flask_login  # pyright: ignore[reportMissingTypeStubs]

    flask_login.user_logged_in.connect(_sign_in, app)
    flask_login.user_loaded_from_cookie.connect(_remember, app)
    flask_login.user_login_confirmed.connect(_confirm, app)
    flask_login.user_logged_out.connect(_sign_out, app)
    flask_login.session_protected.connect(_protect, app)
    app.extensions[_BOUND] = True


def _sign_in(app: Any, user: Any, **_: object) -> None:
    session = _current()
    if session is not None:
        kept = _kept(session, _ITS_FIELDS)
        session.sign_in(str(getattr(user, app.login_manager.id_attribute)()))
        # Signing in another user has cleared every field.
        session.update(kept)


def _remember(app: Any, user: Any, **_: object) -> None:
    """The "remember me" cookie stood in for a session that is missing."""
    session = _current()
    # A late request, whose session was just ended, is answered, but must not undo a log-out.
    if session is not None and state_of(session).status is not Status.LATE:
        _sign_in(app, user)


def _confirm(_app: Any, **_: object) -> None:
    """Somebody who was remembered has shown his password again: a step up in powers."""
    session = _current()
    if session is not None:
        session.rotate()


def _sign_out(_app: Any, **_: object) -> None:
    session = _current()
    if session is not None:
        # How Flask-Login tells its own after_request that the "remember me" cookie must go.
        kept = _kept(session, ("_remember",))
        session.sign_out()
        session.update(kept)


def _protect(app: Any, **_: object) -> None:
    """Another browser than the one that logged in; with the protection "strong", Flask-Login logs it out."""
    session = _current()
    if session is not None and "_user_id" not in session:
        _sign_out(app)


def _kept(session: Session, names: tuple[str, ...]) -> dict[str, Any]:
    return {name: session[name] for name in names if name in session}


def _current() -> Session | None:
    import flask

    session = flask.session._get_current_object()  # type: ignore[attr-defined]  # noqa: SLF001
    return session if isinstance(session, Session) else None
