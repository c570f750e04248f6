"""What goes wrong has a page of the shop's own."""

from __future__ import annotations

import pytest

from coatcheck.errors import StoreFull, StoreUnavailable
from tests.demo.visitor import Visitor

DOWN = StoreUnavailable("the store is down", ambiguous=False)


def test_a_page_that_is_not_there_is_a_404_in_the_shops_layout(visitor):
    visitor.sign_in()
    page = visitor.get("/nowhere")
    assert page.status == 404
    assert "Nothing hangs here" in page.html
    assert page.text("user") == "Ada"


def test_a_wrong_method_keeps_its_allow_header(visitor):
    page = visitor.get("/sign-out")
    assert page.status == 405
    assert "POST" in page.response.headers["Allow"]
    assert page.response.mimetype == "text/html"


def test_a_form_that_is_too_large_is_refused(visitor):
    assert visitor.post("/sign-in", {"name": "x" * 20_000}).status == 413


@pytest.mark.parametrize("path", ["/", "/basket", "/devices", "/sign-in", "/what-happened", "/nowhere"])
def test_while_the_store_is_down_every_page_says_so_and_signs_nobody_out(visitor, failing, path):
    visitor.sign_in()
    failing.fail("load", error=DOWN)
    page = visitor.get(path)
    assert page.status == 503
    assert "The cloakroom is locked" in page.html
    assert page.response.headers["Retry-After"] == "1"
    assert page.response.headers["Cache-Control"] == "no-store"
    assert "Set-Cookie" not in page.response.headers
    failing.recover()
    assert visitor.get("/").text("user") == "Ada"


def test_strangers_and_the_style_sheet_do_not_notice_that_the_store_is_down(visitor, failing):
    failing.fail("load", "write", error=DOWN)
    assert visitor.get("/").status == 200
    with visitor.client.get("/static/shop.css") as response:
        assert response.status_code == 200


@pytest.mark.parametrize("error", [DOWN, StoreFull("no room")])
def test_what_can_not_be_stored_is_not_said_to_be(visitor, failing, store, error):
    visitor.take("mac")
    visitor.get("/")
    failing.fail("write", error=error)
    store.reset()
    page = visitor.submit("/basket/add", {"good": "scarf"}, choice="Moss")
    assert page.status == 503
    assert "The cloakroom is locked" in page.html
    assert store.counts["write"] == 1  # and is not tried again behind the visitor's back
    failing.recover()
    page = visitor.get("/")
    assert (page.text("pieces"), page.messages) == ("1", [])


def test_a_message_that_can_not_be_taken_waits(visitor, failing):
    visitor.get("/")
    visitor.submit("/basket/add", {"good": "mac"}, choice="M", follow=False)
    failing.fail("write", error=DOWN)
    assert visitor.get("/").status == 503
    assert visitor.get("/nowhere").status == 503
    failing.recover()
    assert visitor.get("/").messages == ["Matinée mac (M) is in your basket."]


def test_signing_in_that_can_not_be_stored_gives_no_cookie(visitor, failing):
    failing.fail("write", error=DOWN)
    page = visitor.sign_in()
    assert page.status == 503
    assert visitor.token is None


def test_a_fault_of_our_own_is_a_500_in_the_shops_layout(app, visitor, monkeypatch, caplog):
    visitor.sign_in()
    app.config["PROPAGATE_EXCEPTIONS"] = False
    monkeypatch.setitem(app.view_functions, "shop.basket_page", lambda: 1 / 0)
    page = visitor.get("/basket")
    assert page.status == 500
    assert "Something fell off its hanger" in page.html
    assert "ZeroDivisionError" in caplog.text
    assert visitor.get("/").text("user") == "Ada"


def test_a_cookie_that_is_none_of_ours_is_no_trouble(app, store):
    for value in ("x", "A" * 86, "é", '"', "%00"):
        stranger = Visitor(app)
        stranger.client.set_cookie("coatcheck", value)
        assert stranger.get("/").status == 200
    assert store.calls == []


def test_an_address_with_a_slash_too_many_leads_to_the_right_one(visitor):
    page = visitor.get("/static//shop.css")
    assert page.status == 308
    assert page.response.location.endswith("/static/shop.css")
