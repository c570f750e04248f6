"""The forms of the express counter."""

from __future__ import annotations

import pytest

HALVES = ("/", "/express")
FORMS = ("/express/basket/add", "/express/basket/change", "/express/sign-in", "/express/sign-out")


@pytest.mark.parametrize("csrf", [None, "", "wrong", "é" * 43], ids=["none", "empty", "wrong", "not ASCII"])
@pytest.mark.parametrize("path", FORMS)
def test_every_form_is_refused_without_the_sessions_token(visitor, store, path, csrf):
    visitor.sign_in()
    store.reset()
    fields = {"name": "Eve", "good": "mac", "choice": "M"}
    page = visitor.post(path, fields | ({} if csrf is None else {"csrf": csrf}))
    assert page.status == 400
    assert "That form is out of date" in page.html
    assert "write" not in store.sequence
    assert page.text("user") == "Ada"


def test_a_form_from_before_signing_in_at_the_rail_is_refused_at_the_counter(visitor):
    before = visitor.add().form("/express/basket/add", good="mac")
    visitor.sign_in()
    assert visitor.post("/express/basket/add", before | {"choice": "M"}).status == 400
    assert visitor.basket["pieces"] == 1


def test_the_token_of_one_half_is_good_in_the_other(visitor):
    visitor.take()
    tokens = [visitor.get(path).form("/theme")["csrf"] for path in HALVES]
    for path, token in zip(reversed(HALVES), tokens, strict=True):
        assert visitor.post("/theme", {"theme": "dark", "next": path, "csrf": token}).status == 200


@pytest.mark.parametrize(
    "headers",
    [{"Sec_Fetch_Site": "cross-site"}, {"Origin": "https://evil.example"}, {"Origin": "null"}],
)
def test_another_site_can_not_begin_a_session_for_a_stranger(visitor, store, headers):
    page = visitor.post("/express/sign-in", {"name": "Eve"}, **headers)
    assert page.status == 400
    assert "That form is not ours" in page.html
    assert store.calls == []


def test_our_own_pages_may(visitor):
    page = visitor.post("/express/sign-in", {"name": "Ada"}, Origin="http://shop.test")
    assert page.text("user") == "Ada"


def test_a_form_of_a_session_that_has_ended_says_so(visitor):
    page = visitor.post("/express/basket/add", {"good": "mac", "choice": "M", "csrf": "old"})
    assert "Your session has ended" in page.html


def test_what_is_not_to_be_had_is_refused_on_a_page(visitor):
    fields = visitor.add().form("/express/basket/add", good="mac")
    for wrong in ({"good": "crown"}, {"choice": "XXL"}):
        assert visitor.post("/express/basket/add", fields | {"choice": "M"} | wrong).status == 400
    for quantity in ("-1", "10", "many", ""):
        sent = fields | {"choice": "M", "quantity": quantity}
        page = visitor.post("/express/basket/change", sent)
        assert (page.status, "A quantity is a number" in page.html) == (400, True)
    assert visitor.basket["pieces"] == 1


def test_a_file_where_a_text_belongs_is_refused_on_a_page(visitor):
    response = visitor.client.raw.post("/express/basket/add", files={"good": ("mac.txt", b"mac")})
    assert response.status_code == 400
    assert "can’t be read" in response.text


def test_a_form_that_is_too_large_is_refused(visitor):
    assert visitor.post("/express/sign-in", {"name": "x" * 20_000}).status == 413
    assert visitor.post("/sign-in", {"name": "x" * 20_000}).status == 413
