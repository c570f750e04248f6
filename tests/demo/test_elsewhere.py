"""The scenes on the shop's first page."""

from __future__ import annotations

import pytest

from coatcheck.demo.scenes.naive import InTheStore
from coatcheck.demo.scenes.plays import SCENES
from coatcheck.demo.scenes.sides import NaiveSide
from coatcheck.errors import StoreUnavailable
from tests.demo.test_happened import requests_on

KEPT, BROKEN = 'class="side kept"', 'class="side broken"'


@pytest.mark.parametrize("scene", SCENES, ids=lambda scene: scene.id)
def test_a_stranger_sees_both_sides_and_gets_no_cookie(visitor, scene):
    visitor.get("/")
    page = visitor.submit("/#scene", scene=scene.id)
    assert (page.status, page.text("scene-title")) == (200, scene.title)
    assert page.html.index(KEPT) < page.html.index("Elsewhere <") < page.html.index("On the rail")
    assert page.html.count(KEPT) == page.html.count(BROKEN) == 1
    assert visitor.token is None
    assert page.cost == "This page: no round trip to the store, nothing written."


def test_the_page_shows_what_happened_and_not_what_should_have(visitor, monkeypatch):
    monkeypatch.setattr(
        "coatcheck.demo.scenes.theatre.CoatcheckSide", lambda store, clock: NaiveSide(InTheStore())
    )
    visitor.get("/")
    page = visitor.submit("/#scene", scene="two-tabs")
    assert page.html.count(BROKEN) == 2
    assert page.html.count("The umbrella is gone.") == 2


def test_a_scene_leaves_the_visitors_own_session_alone(visitor):
    visitor.sign_in("Ada")
    visitor.take("mac")
    visitor.get("/")
    page = visitor.submit("/#scene", scene="lost-phone")
    assert (page.text("user"), page.text("pieces")) == ("Ada", "1")
    assert "Set-Cookie" not in page.response.headers
    assert visitor.get("/devices").html.count('<li class="device') == 1
    assert "You watched a scene" in visitor.get("/what-happened").html
    assert requests_on(visitor.page)[1].startswith("POST / 200 nothing written 1 round trip")


def test_a_scene_that_there_is_not_is_refused(visitor):
    visitor.get("/")
    assert visitor.submit("/#scene", scene="a-comedy").status == 400
    assert visitor.post("/", {"csrf": ""}).status == 400


def test_another_site_can_not_play_a_scene(visitor, store):
    page = visitor.post("/", {"scene": "two-tabs"}, Sec_Fetch_Site="cross-site")
    assert page.status == 400
    assert store.calls == []


def test_while_another_scene_plays_the_page_says_when_to_come_back(visitor):
    visitor.get("/")
    theatre = visitor.client.application.extensions["coatcheck.demo.theatre"]
    with theatre._stage:
        page = visitor.submit("/#scene", scene="two-tabs")
    assert (page.status, page.response.headers["Retry-After"]) == (429, "1")
    assert "The stage is taken" in page.html


def test_where_the_store_fails_in_a_scene_the_page_shows_no_outcome(visitor, failing):
    visitor.get("/")
    failing.fail("write", error=StoreUnavailable("down", ambiguous=False), times=1)
    page = visitor.submit("/#scene", scene="sign-out")
    assert (page.status, page.response.headers["Retry-After"]) == (503, "1")
    assert "The scene broke off" in page.html
    assert KEPT not in page.html
    assert BROKEN not in page.html


def test_while_the_shops_store_is_down_there_is_no_scene(visitor, failing):
    visitor.get("/")
    failing.fail("ping", error=StoreUnavailable("down", ambiguous=False))
    assert visitor.submit("/#scene", scene="two-tabs").status == 503
