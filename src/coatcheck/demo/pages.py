"""How a page is made: the layout needs to know who is looking."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

import flask

from coatcheck.demo import basket
from coatcheck.demo.csrf import token_of
from coatcheck.demo.forms import visitor
from coatcheck.demo.wording import COST, LOCKED
from coatcheck.errors import StoreError

__all__ = ["COUNTER", "PAGES", "back", "error_page", "page"]

COUNTER = "express.counter"
"""The other half's page: Flask knows its address, and does not serve it."""

PAGES = (
    "shop.rail",
    "shop.basket_page",
    "account.sign_in_page",
    "account.devices",
    "account.happened",
    COUNTER,
)
"""The pages that a form may lead back to."""

_UNKNOWN = HTTPStatus.INTERNAL_SERVER_ERROR


def page(template: str, status: int = HTTPStatus.OK, **values: Any) -> flask.Response:
    """A page in the shop's layout."""
    session = visitor()
    html = flask.render_template(
        template,
        user=session.user,
        theme=session.get("theme", "auto"),
        pieces=basket.pieces(session),
        csrf=token_of(session),
        here=flask.request.endpoint if flask.request.endpoint in PAGES else "shop.rail",
        cost=COST,
        messages=flask.get_flashed_messages(with_categories=True),
        **values,
    )
    return _html(html, status)


def error_page(status: int, title: str, text: str) -> flask.Response:
    """A page for what went wrong; without the visitor's name and theme where the store can't tell them."""
    values: dict[str, Any] = {"code": int(status), "title": title, "text": text}
    if status < _UNKNOWN:
        try:
            return page("error.html", status, **values)
        except StoreError:
            # The store is the one that page() just asked, so this is what the visitor should hear instead.
            return unavailable_page()
    return _html(flask.render_template("error.html", bare=True, **values), status)


def unavailable_page(retry_after: int = 1) -> flask.Response:
    """The page for a store that can't be reached, or can't store."""
    response = error_page(HTTPStatus.SERVICE_UNAVAILABLE, *LOCKED)
    response.headers["Retry-After"] = str(retry_after)
    response.headers["Cache-Control"] = "no-store"
    return response


def back(anchor: str | None = None) -> flask.Response:
    """Back to the page that the form was on."""
    endpoint = flask.request.form.get("next")
    target = flask.url_for(endpoint if endpoint in PAGES else "shop.rail", _anchor=anchor)
    return flask.Response(status=HTTPStatus.SEE_OTHER, headers={"Location": target})


def _html(html: str, status: int) -> flask.Response:
    response = flask.Response(html, status, mimetype="text/html")
    response.headers["Cache-Control"] = "private, no-cache"
    return response
