"""The shop's Flask half."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Unpack, cast

import flask
from flask.sessions import SessionMixin
from werkzeug.exceptions import HTTPException, InternalServerError

from coatcheck import __version__
from coatcheck.config import Options
from coatcheck.demo.account import account
from coatcheck.demo.devices import ago, device
from coatcheck.demo.elsewhere import THEATRE, elsewhere
from coatcheck.demo.forms import BadForm, visitor
from coatcheck.demo.history import History
from coatcheck.demo.pages import COUNTER, error_page, unavailable_page
from coatcheck.demo.retelling import consequences, headline
from coatcheck.demo.scenes.theatre import Theatre
from coatcheck.demo.shop import shop
from coatcheck.demo.steps import Request, Step, redacted
from coatcheck.demo.trace import TracedStore
from coatcheck.demo.wording import COST, GUARD, LARGEST_FORM, OUR_FAULT, nothing_here
from coatcheck.errors import StoreError
from coatcheck.frameworks.flask import FlaskSession, SessionInterface
from coatcheck.model.ports import Store
from coatcheck.sessions import Sessions

__all__ = ["create_app"]


def create_app(store: Store, history: History | None = None, **options: Unpack[Options]) -> flask.Flask:
    """The shop, keeping its sessions in `store`.

    Args:
        store: Where the sessions are.
        history: Where it is noted what each request came to, if other halves note it there too.
        options: The fields of `Settings`.

    Raises:
        ConfigurationError: The settings, or the settings and the store, don't go together.
    """
    app = flask.Flask(__name__)
    app.config["MAX_CONTENT_LENGTH"] = LARGEST_FORM
    app.extensions["coatcheck.demo"] = history = History() if history is None else history
    _Interface(Sessions(TracedStore(store, _note), **options), history).init_app(app)
    app.register_blueprint(shop)
    app.register_blueprint(account)
    app.register_blueprint(elsewhere)
    app.extensions[THEATRE] = Theatre(store, options.get("clock", time.time))
    app.before_request(_begin)
    app.after_request(_guard)
    app.register_error_handler(StoreError, _unavailable)
    app.register_error_handler(HTTPException, _wrong)
    app.add_url_rule("/express", endpoint=COUNTER, build_only=True)
    app.context_processor(
        lambda: {"version": __version__, "half": "Flask", "endpoint": flask.request.endpoint}
    )
    app.add_template_filter(ago)
    app.add_template_filter(device)
    app.add_template_filter(headline)
    app.add_template_filter(consequences)
    return app


class _Interface(SessionInterface):
    """Flask's sessions, with an eye on what they cost."""

    def __init__(self, sessions: Sessions, history: History) -> None:
        super().__init__(sessions)
        self._history = history

    def save_session(self, app: flask.Flask, session: SessionMixin, response: flask.Response) -> None:
        """Store what was changed, then write down what it took, into the page and into the visitor's history."""
        before = response.headers.to_wsgi_list()
        super().save_session(app, session, response)
        added = [header for header in response.headers.to_wsgi_list() if header not in before]
        steps: list[Step] = flask.g.get("steps", [])
        request = Request(
            at=datetime.now(UTC),
            by="Flask",
            method=flask.request.method,
            path=flask.request.path,
            status=response.status_code,
            milliseconds=(time.perf_counter() - flask.g.get("began", time.perf_counter())) * 1000,
            steps=tuple(steps),
            headers=tuple((name, redacted(name, value)) for name, value in added),
        )
        if response.mimetype == "text/html" and not response.is_streamed:
            cost = flask.render_template("cost.html", request_cost=request)
            response.set_data(response.get_data(as_text=True).replace(COST, cost))
        if "Cookie" in response.vary:
            # Only now: whether a session was looked at must not depend on our looking.
            handle = _handle(cast("FlaskSession", session))
            if handle is not None:
                self._history.keep(handle, request)


def _handle(session: FlaskSession) -> str | None:
    try:
        return session.handle
    except StoreError:
        return None


def _note(step: Step) -> None:
    if flask.has_request_context():
        flask.g.steps.append(step)


def _begin() -> None:
    flask.g.began = time.perf_counter()
    flask.g.steps = []


def _guard(response: flask.Response) -> flask.Response:
    response.headers.update(GUARD)
    return response


def _unavailable(error: StoreError) -> flask.Response:
    session = visitor()
    # What failed is over: it must not be tried again behind the visitor's back when this page leaves.
    session.fail()
    return unavailable_page(error.retry_after)


def _wrong(error: HTTPException) -> flask.Response:
    code = error.code or HTTPStatus.INTERNAL_SERVER_ERROR
    if isinstance(error, InternalServerError):
        return error_page(code, *OUR_FAULT)
    if isinstance(error, BadForm):
        return error_page(code, error.title, error.description or "")
    if code == HTTPStatus.NOT_FOUND:
        return error_page(code, *nothing_here("in the shop"))
    response = error_page(code, error.name, error.description or "")
    for name, value in error.get_headers():
        if name.lower() not in ("content-type", "content-length"):
            response.headers[name] = value
    return response
