"""What goes wrong elsewhere: the scenes, on the shop's first page."""

from __future__ import annotations

from http import HTTPStatus

import flask
from werkzeug.exceptions import BadRequest

from coatcheck.demo.forms import form
from coatcheck.demo.goods import BESIDE, GOODS
from coatcheck.demo.pages import error_page, page
from coatcheck.demo.scenes.corner_shop import BrokenOff
from coatcheck.demo.scenes.plays import SCENES
from coatcheck.demo.scenes.theatre import Busy, Theatre

__all__ = ["THEATRE", "elsewhere"]

THEATRE = "coatcheck.demo.theatre"
"""Where the application keeps its `Theatre`, among its extensions."""

elsewhere: flask.Blueprint = flask.Blueprint("elsewhere", __name__)


@elsewhere.post("/")
@form
def play() -> flask.Response:
    """Play a scene, and show how it went on both sides."""
    scene = next((one for one in SCENES if one.id == flask.request.form.get("scene")), None)
    if scene is None:
        raise BadRequest("There is no such scene.")
    theatre: Theatre = flask.current_app.extensions[THEATRE]
    try:
        ours, theirs = theatre.play(scene)
    except Busy:
        response = error_page(
            HTTPStatus.TOO_MANY_REQUESTS,
            "The stage is taken",
            "A scene is being played for somebody else. Please go back, and press the button once more.",
        )
        response.headers["Retry-After"] = "1"
        return response
    except BrokenOff:
        response = error_page(
            HTTPStatus.SERVICE_UNAVAILABLE,
            "The scene broke off",
            "The server or its store was too slow, or failed, so the scene shows nothing. Please go back, and press the button "
            "once more.",
        )
        response.headers["Retry-After"] = "1"
        return response
    return page(
        "rail.html",
        endpoint="shop.rail",
        goods=GOODS,
        beside=BESIDE,
        scenes=SCENES,
        played=scene,
        ours=ours,
        theirs=theirs,
    )
