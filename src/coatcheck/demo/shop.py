"""The shop's pages: the rail, the basket, the theme."""

from __future__ import annotations

from http import HTTPStatus

import flask
from werkzeug.exceptions import BadRequest

from coatcheck.demo import basket, orders
from coatcheck.demo.forms import form, say, visitor
from coatcheck.demo.goods import BESIDE, GOODS
from coatcheck.demo.pages import back, error_page, page
from coatcheck.demo.scenes.plays import SCENES

__all__ = ["shop"]

shop: flask.Blueprint = flask.Blueprint("shop", __name__)


@shop.get("/")
def rail() -> flask.Response:
    """Everything there is."""
    return page("rail.html", goods=GOODS, beside=BESIDE, scenes=SCENES)


@shop.get("/basket")
def basket_page() -> flask.Response:
    """What the visitor has taken."""
    session = visitor()
    return page("basket.html", lines=basket.lines(session), total=basket.total(session), most=basket.MOST)


@shop.post("/basket/add")
@form
def add() -> flask.Response:
    """One more of something."""
    sent = flask.request.form
    good, said = orders.take(visitor(), sent.get("good", ""), sent.get("choice", ""))
    say(said, beside=good.id)
    return back(anchor=good.id)


@shop.post("/basket/change")
@form
def change() -> flask.Response:
    """So many of something; "remove" takes all of them out."""
    sent = flask.request.form
    wanted = sent.get("good", ""), sent.get("choice", ""), sent.get("quantity", "")
    say(orders.change(visitor(), *wanted, remove="remove" in sent))
    return flask.Response(
        status=HTTPStatus.SEE_OTHER, headers={"Location": flask.url_for("shop.basket_page")}
    )


@shop.errorhandler(orders.BadOrder)
def refused(error: orders.BadOrder) -> flask.Response:
    """What is not to be had is said on a page."""
    return error_page(HTTPStatus.BAD_REQUEST, HTTPStatus.BAD_REQUEST.phrase, str(error))


@shop.post("/theme")
@form
def theme() -> flask.Response:
    """Light, dark, or as the visitor's system has it, which is what it is before anybody chose."""
    session, wanted = visitor(), flask.request.form.get("theme")
    if wanted not in ("light", "dark", "auto"):
        raise BadRequest("The themes are light, dark and auto.")
    if wanted == "auto":
        if session.pop("theme", None) is not None:
            say("The theme follows your system.")
        return back()
    session["theme"] = wanted
    say(f"The theme is {wanted} now.")
    return back()
