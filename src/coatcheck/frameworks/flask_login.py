"""Flask-Login: ``login_user`` and the "remember me" cookie sign in, ``logout_user`` signs out.

Flask-Login's own fields say little about what has happened. An anonymous visitor has no ``_user_id``, and at a logout it
is gone before the signal comes. Who is signed in is read from the session itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from coatcheck.core.identity import chosen
from coatcheck.core.state import Status, write_field
from coatcheck.session import Session, state_of

if TYPE_CHECKING:
    from flask import Flask

__all__ = ["USER_ID", "bind", "check_id", "is_used_by"]

USER_ID: str = "_user_id"
"""The field in which Flask-Login keeps the user's id."""


def is_used_by(app: object) -> bool:
    """Whether an application has a `LoginManager`."""
    return hasattr(app, "login_manager")


def bind(app: Flask) -> None:
    """Listen to Flask-Login's signals. Calling it again is harmless."""
    import flask_login  # pyright: ignore[reportMissingTypeStubs]

    flask_login.user_logged_in.connect(_sign_in, app)
    flask_login.user_loaded_from_cookie.connect(_remember, app)
    flask_login.user_login_confirmed.connect(_confirm, app)
    flask_login.user_logged_out.connect(_sign_out, app)
    flask_login.session_protected.connect(_protect, app)


def check_id(session: Session, value: object) -> None:
    """Check the value that is about to be stored as the user's id. ``login_user`` has changed nothing yet.

    Raises:
        TypeError: The user has no id. ``UserMixin.get_id`` makes the text "None" of an id that is None.
    """
    import flask

    # A test may set the field to None in a session of its own (`session_transaction`), where it is a logout.
    if value == "None" or (value in (None, "") and flask.has_request_context() and session is _current()):
        raise TypeError(
            f"login_user: the user has no id: get_id() returned {value!r}. A new user gets its id from the database: "
            "flush or commit it first (db.session.add(user); db.session.commit())."
        )


def _sign_in(app: Any, user: Any, **_: object) -> None:
    session = _current()
    if session is not None:
        # Signing in another user clears every field but those that this request has set: Flask-Login's are among them.
        session.sign_in(str(getattr(user, app.login_manager.id_attribute)()), keep=chosen(state_of(session)))


def _remember(app: Any, user: Any, **_: object) -> None:
    """The "remember me" cookie stood in for a session that is missing."""
    session = _current()
    if session is None:
        return
    if state_of(session).status is not Status.LATE:
        _sign_in(app, user)
    else:
        # The session was just ended. The request is answered, but must not undo the logout. Without this field,
        # Flask-Login does not send the "remember me" cookie again either.
        session.pop(USER_ID)


def _confirm(_app: Any, **_: object) -> None:
    """A remembered user has shown the password again: a step up in powers."""
    session = _current()
    if session is not None:
        session.rotate()


def _sign_out(_app: Any, **_: object) -> None:
    session = _current()
    if session is None:
        return
    state = state_of(session)
    # While the store fails, nobody knows whether somebody is logged in, and `sign_out` raises.
    if session.user is None and state.failure is None and not state.competing:
        return
    # Among them is how Flask-Login tells its own after_request that the "remember me" cookie must go.
    kept = chosen(state)
    session.sign_out()
    for name, value in kept.items():
        write_field(state, name, value)


def _protect(app: Any, **_: object) -> None:
    """The address or browser is another than at the login. With the protection "strong", Flask-Login logs out."""
    session = _current()
    if session is not None and USER_ID in state_of(session).base and USER_ID not in session:
        _sign_out(app)


def _current() -> Session | None:
    import flask

    session = flask.session._get_current_object()  # type: ignore[attr-defined]  # noqa: SLF001
    return session if isinstance(session, Session) else None
