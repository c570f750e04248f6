"""Who may post a form."""

from __future__ import annotations

import re

import pytest

FORMS = (
    "/",
    "/basket/add",
    "/basket/change",
    "/theme",
    "/sign-in",
    "/sign-out",
    "/devices/end",
    "/devices/end-others",
)


def test_these_are_all_the_forms(app):
    posted = {rule.rule for rule in app.url_map.iter_rules() if "POST" in rule.methods}
    assert posted == set(FORMS)


@pytest.mark.parametrize("csrf", [None, "", "wrong", "é" * 43], ids=["none", "empty", "wrong", "not ASCII"])
@pytest.mark.parametrize("path", FORMS)
def test_every_form_is_refused_without_the_sessions_token(visitor, store, path, csrf):
    visitor.sign_in()
    store.reset()
    fields = {
        "name": "Eve",
        "theme": "dark",
        "good": "mac",
        "choice": "M",
        "handle": "0" * 32,
        "scene": "two-tabs",
    }
    page = visitor.post(path, fields | ({} if csrf is None else {"csrf": csrf}))
    assert page.status == 400
    assert "That form is out of date" in page.html
    assert "write" not in store.sequence
    assert page.text("user") == "Ada"


def test_a_form_from_before_signing_in_is_refused(visitor):
    before = visitor.take().form("/basket/add", good="mac")
    visitor.sign_in()
    page = visitor.post("/basket/add", before | {"choice": "M"})
    assert page.status == 400
    assert visitor.get("/").text("pieces") == "1"


def test_every_form_of_every_page_carries_the_token(visitor, other):
    visitor.sign_in()
    other.sign_in()
    visitor.take()
    seen = []
    for path in ("/", "/basket", "/devices", "/sign-in", "/what-happened", "/nowhere"):
        page = visitor.get(path)
        tokens = [fields["csrf"] for _, fields in page.forms]
        assert tokens
        assert all(re.fullmatch("[A-Za-z0-9_-]{86}", token) for token in tokens)
        seen.append(tokens[0])
    assert len(set(seen)) == len(seen)  # masked for each page


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
    ],
)
def test_another_site_can_not_begin_a_session_for_a_stranger(visitor, store, headers):
    page = visitor.post("/sign-in", {"name": "Eve"}, **headers)
    assert page.status == 400
    assert "That form is not ours" in page.html
    assert store.calls == []
    assert visitor.token is None


@pytest.mark.parametrize(
    "headers",
    [{"Sec_Fetch_Site": "same-origin", "Origin": "https://proxy.example"}, {"Origin": "http://localhost"}],
)
def test_our_own_pages_may(visitor, headers):
    page = visitor.post("/sign-in", {"name": "Ada", "csrf": ""}, **headers)
    assert page.text("user") == "Ada"
