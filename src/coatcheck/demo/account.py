"""Who is looking: signing in and out, the visitor's devices, and what the session layer did for him."""

from __future__ import annotations

from datetime import UTC, datetime
from http import HTTPStatus

import flask
from werkzeug.exceptions import BadRequest

from coatcheck.demo.forms import form, say, visitor
from coatcheck.demo.history import History
from coatcheck.demo.pages import page
from coatcheck.demo.wording import GOODBYE, NAME_WANTED, visitor_name
from coatcheck.frameworks.flask import FlaskSession

__all__ = ["account"]

account: flask.Blueprint = flask.Blueprint("account", __name__)


@account.get("/sign-in")
def sign_in_page() -> flask.Response:
    """Where a visitor says his name."""
    session = visitor()
    cookie = session.sessions.settings.template.name
    return page("sign_in.html", ended=session.is_new and cookie in flask.request.cookies)


@account.post("/sign-in")
@form
def sign_in() -> flask.Response:
    """Sign in under a name; what was in the basket stays there."""
    name = visitor_name(flask.request.form.get("name", ""))
    if name is None:
        return page("sign_in.html", HTTPStatus.UNPROCESSABLE_ENTITY, problem=NAME_WANTED)
    session = visitor()
    session.sign_in(name)
    session.permanent = "remember" in flask.request.form
    say(f"Welcome, {name}.")
    return _to("shop.rail")


@account.post("/sign-out")
@form
def sign_out() -> flask.Response:
    """End the session. The goodbye, and the theme as it was, go to a fresh one."""
    session = visitor()
    handle = session.handle
    if handle is None or session.user is None:
        return _to("shop.rail")
    _history().forget(handle)
    theme = session.get("theme")
    session.sign_out()
    if theme is not None:
        session["theme"] = theme
    say(GOODBYE)
    return _to("shop.rail")


@account.get("/devices")
def devices() -> flask.Response:
    """Where the visitor is signed in."""
    session = visitor()
    if session.user is None:
        return _to("account.sign_in_page")
    found = session.sessions.of_user(session.user, current=session) if _has_lists(session) else None
    return page("devices.html", devices=found, now=datetime.now(UTC))


@account.post("/devices/end")
@form
def end_device() -> flask.Response:
    """End one of the visitor's other sessions; only one of his own."""
    session, handle = visitor(), flask.request.form.get("handle", "")
    if session.user is None:
        return _to("account.sign_in_page")
    if not _has_lists(session):
        raise BadRequest("The store of this shop keeps no list of devices.")
    his = session.sessions.of_user(session.user, current=session)
    if any(info.current for info in his if info.handle == handle):
        raise BadRequest("This device is the one in your hands: sign out instead.")
    if any(info.handle == handle for info in his) and session.sessions.revoke(handle, user=session.user):
        say("That device is signed out.")
    else:
        say("That device was signed out already.")
    return _to("account.devices")


@account.post("/devices/end-others")
@form
def end_others() -> flask.Response:
    """End all of the visitor's sessions but this one."""
    session = visitor()
    if session.user is None:
        return _to("account.sign_in_page")
    ended = session.sessions.revoke_user(session.user, keep=session)
    if not _has_lists(session):
        say("All other devices are signed out now.")
        return _to("account.devices")
    devices = "One other device is" if ended == 1 else f"{ended} other devices are"
    say(f"{devices} signed out now." if ended else "There was no other device.")
    return _to("account.devices")


@account.get("/what-happened")
def happened() -> flask.Response:
    """What the session layer did for this visitor's last requests."""
    handle = visitor().handle
    return page("happened.html", requests=[] if handle is None else _history().of(handle))


def _has_lists(session: FlaskSession) -> bool:
    """Whether the store finds the sessions of a user. Memcached can only end them."""
    return session.sessions.store.index != "none"


def _history() -> History:
    history: History = flask.current_app.extensions["coatcheck.demo"]
    return history


def _to(endpoint: str) -> flask.Response:
    return flask.Response(status=HTTPStatus.SEE_OTHER, headers={"Location": flask.url_for(endpoint)})
