"""The express counter and the rail are one shop with one session."""

from __future__ import annotations

import pytest

from tests.demo.visitor import Visitor

HALVES = ("/", "/express")


def test_each_page_says_which_framework_served_it_and_leads_to_the_other_half(visitor):
    rail, counter = visitor.get("/"), visitor.get("/express")
    assert rail.text("half") == "Served by Flask"
    assert counter.text("half") == "Served by FastAPI"
    assert 'href="/express"' in rail.html
    assert 'href="/"' in counter.html


def test_what_is_taken_in_one_half_is_in_the_basket_of_the_other(visitor):
    visitor.take("mac", "L")
    page = visitor.get("/express")
    assert (page.text("pieces"), page.text("total")) == ("1", "€160")
    visitor.submit("/express/basket/change", {"good": "mac"}, quantity="3")
    visitor.add("scarf", "Moss")
    page = visitor.get("/basket")
    assert (page.text("pieces"), page.text("total")) == ("4", "€528")
    visitor.submit("/basket/change", {"good": "mac"}, remove="yes")
    assert visitor.basket == {
        "user": None,
        "lines": [{"good": "scarf", "choice": "Moss", "quantity": 1, "price": 48}],
        "pieces": 1,
        "total": 48,
    }


def test_who_signs_in_at_the_rail_is_signed_in_at_the_counter_and_the_other_way_round(visitor, other):
    visitor.sign_in("Ada")
    assert visitor.get("/express").text("user") == "Ada"
    page = other.sign_in_there("  Bob \u00a0 Brown ", remember="yes")
    assert page.messages == ["Welcome, Bob Brown."]
    page = other.get("/devices")
    assert page.text("user") == "Bob Brown"
    assert "stays signed in" in page.html


def test_who_signs_out_in_one_half_is_signed_out_in_the_other(visitor):
    visitor.sign_in()
    visitor.take()
    visitor.get("/express")
    page = visitor.submit("/express/sign-out")
    assert page.messages == ["You are signed out. See you soon."]
    page = visitor.get("/")
    assert (page.text("user"), page.text("pieces"), page.messages) == (None, "0", [])
    visitor.sign_in_there()
    visitor.get("/")
    visitor.submit("/sign-out")
    assert visitor.get("/express").text("user") is None


def test_signing_in_and_out_at_the_counter_changes_the_cookie(visitor):
    tokens = [visitor.token]
    for step in (visitor.add, visitor.sign_in_there, lambda: visitor.submit("/express/sign-out")):
        step()
        tokens.append(visitor.token)
    assert len(set(tokens)) == 4


def test_signing_out_at_the_counter_leaves_the_theme_as_it_was(visitor):
    visitor.sign_in()
    visitor.submit("/theme", theme="dark")
    visitor.get("/express")
    assert visitor.submit("/express/sign-out").theme == "dark"


def test_signing_out_twice_is_no_trouble(visitor):
    visitor.sign_in_there()
    page = visitor.submit("/express/sign-out")
    token = page.form("/theme")["csrf"]
    page = visitor.post("/express/sign-out", {"csrf": token})
    assert (page.status, page.messages) == (200, [])


@pytest.mark.parametrize(("there", "here"), [HALVES, HALVES[::-1]], ids=["from Flask", "from FastAPI"])
def test_a_message_that_one_half_leaves_is_shown_once_by_the_other(visitor, there, here):
    visitor.get(there)
    action = "/basket/add" if there == "/" else "/express/basket/add"
    visitor.submit(action, {"good": "mac"}, choice="M", follow=False)
    assert visitor.get(here).messages == ["Matinée mac (M) is in your basket."]
    assert visitor.get(here).messages == []
    assert visitor.get(there).messages == []


def test_the_theme_can_be_changed_from_the_counter_and_lead_back_to_it(visitor):
    visitor.get("/express")
    page = visitor.submit("/theme", theme="dark")
    assert page.response.request.path == "/express"
    assert (page.theme, page.messages) == ("dark", ["The theme is dark now."])


def test_a_device_that_is_ended_elsewhere_hears_of_it_at_the_counter(visitor, other):
    visitor.sign_in_there()
    other.sign_in()
    other.get("/devices")
    other.submit("/devices/end-others")
    assert "has ended" in visitor.get("/express/sign-in").text("ended")
    assert visitor.get("/express").text("user") is None


def test_the_rail_alone_knows_the_way_to_the_counter(app):
    assert 'href="/express"' in Visitor(app).get("/").html
