"""The pages of the express counter, also when something goes wrong."""

from __future__ import annotations

import re

import pytest

from coatcheck.demo.goods import GOODS
from coatcheck.errors import StoreFull, StoreUnavailable
from tests.demo.test_happened import requests_on

FORMS = ("/express/basket/add", "/express/basket/change", "/express/sign-in", "/express/sign-out")
DOWN = StoreUnavailable("the store is down", ambiguous=False)


# The counter itself


def test_an_anonymous_visit_of_the_counter_asks_the_store_nothing_and_gets_no_cookie(visitor, store):
    for path in ("/express", "/express/sign-in", "/express/api/basket", "/express/docs", "/express/nowhere"):
        assert "Set-Cookie" not in visitor.get(path).response.headers
    assert store.calls == []


def test_every_good_is_at_the_counter_with_its_own_form(visitor):
    page = visitor.get("/express")
    for good in GOODS:
        assert page.form("/express/basket/add", good=good.id)
    assert "Nothing in it yet" in page.html


def test_putting_back_at_the_counter_what_the_rail_put_back_says_so(visitor):
    visitor.take()
    stale = visitor.get("/express").form("/express/basket/change", good="mac")
    visitor.get("/basket")
    visitor.submit("/basket/change", {"good": "mac"}, remove="yes")
    page = visitor.post("/express/basket/change", stale | {"remove": "yes"})
    assert page.messages == ["Matinée mac (M) was not in your basket any more."]


@pytest.mark.parametrize("name", ["", "   ", "x" * 41, "Ada\x00"])
def test_a_name_that_is_none_is_refused_where_it_was_typed(visitor, name):
    page = visitor.sign_in_there(name)
    assert page.status == 422
    assert "Please type a name" in page.text("problem")


def test_the_documentation_names_each_call_with_its_fields_and_openapi_the_cookie(visitor):
    page = visitor.get("/express/docs")
    assert page.status == 200
    assert "/express/openapi.json" in page.html
    calls = [" ".join(re.sub("<[^>]+>", " ", one).split()) for one in page.html.split('<li class="request">')]
    assert calls[-1].startswith(
        "GET /express/api/basket The visitor&#39;s basket, as data. Answers JSON: user , lines , pieces , total"
    )
    assert "POST /express/basket/add One more of something. Fields: good , choice" in calls
    described = visitor.client.raw.get("/express/openapi.json").json()
    assert described["components"]["securitySchemes"]["Session"]["name"] == "session"
    assert set(described["paths"]) == {"/express", "/express/api/basket", *FORMS}


def test_pages_of_the_counter_run_no_script_and_sit_in_no_frame(visitor):
    for path in ("/express", "/express/sign-in", "/express/docs", "/express/nowhere"):
        page = visitor.get(path)
        assert "default-src 'none'" in page.response.headers["Content-Security-Policy"]
        assert "<script" not in page.html


# What goes wrong


def test_what_is_not_there_is_a_page_of_the_shops_own(visitor):
    visitor.sign_in()
    page = visitor.get("/express/nowhere")
    assert (page.status, page.text("user")) == (404, "Ada")
    assert "no such page at the express counter" in page.html
    page = visitor.get("/express/sign-out")
    assert (page.status, page.response.headers["Allow"]) == (405, "POST")
    assert visitor.get("/expression").text("half") == "Served by Flask"


@pytest.mark.parametrize("path", ["/express", "/express/sign-in", "/express/nowhere", "/"])
def test_while_the_store_is_down_every_page_says_so_and_signs_nobody_out(visitor, failing, path):
    visitor.sign_in()
    failing.fail("load", error=DOWN)
    page = visitor.get(path)
    assert page.status == 503
    assert "The cloakroom is locked" in page.html
    assert page.response.headers["Retry-After"] == "1"
    assert page.response.headers["Cache-Control"] == "no-store"
    assert page.response.headers["Content-Type"] == "text/html; charset=utf-8"
    assert "Set-Cookie" not in page.response.headers
    failing.recover()
    assert visitor.get("/express").text("user") == "Ada"


def test_a_program_is_told_in_plain_text_that_the_store_is_down(visitor, failing):
    visitor.take()
    failing.fail("load", error=DOWN)
    response = visitor.client.raw.get("/express/api/basket", headers={"Accept": "application/json"})
    assert response.status_code == 503
    assert response.headers["Content-Type"].startswith("text/plain")


@pytest.mark.parametrize("error", [DOWN, StoreFull("no room")])
def test_what_can_not_be_stored_is_not_said_to_be(visitor, failing, store, error):
    visitor.add("mac")
    failing.fail("write", error=error)
    store.reset()
    page = visitor.submit("/express/basket/add", {"good": "scarf"}, choice="Moss")
    assert (page.status, store.counts["write"]) == (503, 1)
    assert "The cloakroom is locked" in page.html
    failing.recover()
    page = visitor.get("/express")
    assert (page.text("pieces"), page.messages) == ("1", [])
    assert "failed: " in requests_on(visitor.get("/what-happened"))[1]


def test_a_fault_of_our_own_is_a_500_in_the_shops_layout(visitor, monkeypatch):
    visitor.sign_in()
    monkeypatch.setattr("coatcheck.demo.basket.total", lambda session: 1 / 0)
    page = visitor.get("/express")
    assert page.status == 500
    assert "Something fell off its hanger" in page.html
    assert visitor.get("/").text("user") == "Ada"
