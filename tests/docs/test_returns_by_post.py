"""The page on POSTs that another site starts, in a real browser: `localhost` and `127.0.0.1` are different sites."""

from __future__ import annotations

import importlib
import re
from html import escape
from urllib.parse import parse_qs, urlsplit

import pytest
from flask import Flask, redirect, request, session
from starlette.requests import Request

from coatcheck import CookieSettings, Sessions
from coatcheck.frameworks.flask import SessionInterface
from tests.demo.browsing import chromium
from tests.docs.pages import DOCS, SECRET, keep_file, parse
from tests.docs.serving import asgi_port, wsgi_port

pytestmark = [
    pytest.mark.browser,
    pytest.mark.xdist_group("browser"),
    # Chromium sends Secure cookies to localhost over plain http, so these sites have the real cookie.
    pytest.mark.filterwarnings("ignore::coatcheck.InsecureTransportWarning"),
]

__all__ = ["chromium"]  # the fixture that comes from elsewhere

PAGE = DOCS / "how-to" / "returns-by-post.md"
FORM = '<form method="post" action="{}">{}<button>Return</button></form>'
FIELD = '<input type="hidden" name="{}" value="{}">'


@pytest.fixture
def visit(chromium):
    """Opens a browser of its own."""
    contexts = []

    def visit(**options):
        contexts.append(chromium.new_context(**options))
        return contexts[-1].new_page()

    yield visit
    for context in contexts:
        context.close()


@pytest.fixture
def other_site():
    """Another site. Its page sends a form to the address in its query, with the query's other fields."""
    app = Flask("other site")

    @app.get("/")
    def home():
        form = request.args.to_dict()
        action = form.pop("to")
        return FORM.format(escape(action), "".join(FIELD.format(name, escape(form[name])) for name in form))

    with wsgi_port(app) as port:
        yield f"http://127.0.0.1:{port}/?to="


ANSWERS = {
    "redirect": lambda: redirect("/seen", 303),
    "link": lambda: '<a href="/seen">Next</a>',
    "refresh": lambda: '<meta http-equiv="refresh" content="0;url=/seen">',
    "form": lambda: FORM.format("/seen", ""),
    "form and script": lambda: FORM.format("/seen", "") + "<script>document.forms[0].submit()</script>",
}


@pytest.fixture
def site():
    """Serves a small site, with a cookie of the given kind."""
    opened = []

    def serve(samesite):
        app = Flask("site")
        settings = CookieSettings(samesite=samesite)
        SessionInterface(Sessions.from_url("memory://", secret=SECRET, cookie=settings)).init_app(app)

        @app.route("/seen", methods=["GET", "POST"])
        def seen():
            return session.user or "nobody"

        @app.get("/sign-in")
        def sign_in():
            session.sign_in("ada")
            return "signed in"

        @app.post("/write")
        def write():
            session["paid"] = True
            return redirect("/seen", 303)

        @app.post("/token")
        def token():
            return session.csrf_token()

        @app.post("/sign-in-as-bob")
        def sign_in_as_bob():
            session.sign_in("bob")
            return redirect("/seen", 303)

        @app.post("/<answer>")
        def returned(answer):
            return ANSWERS[answer]()

        served = wsgi_port(app)
        opened.append(served)
        return f"http://localhost:{served.__enter__()}"

    yield serve
    for served in opened:
        served.__exit__(None, None, None)


def returned_from(page, other_site, address):
    """Return from the other site by a POST to an address."""
    page.goto(other_site + address)
    press(page.get_by_role("button"))


def press(button):
    """Press a button, until the browser has the page that follows."""
    with button.page.expect_navigation():
        button.click()


def text(page):
    return page.locator("body").inner_text()


def now_seen(page, here):
    page.goto(f"{here}/seen")
    return text(page)


SENT = {
    ("Lax", "redirect"): "ada",
    ("Lax", "link"): "ada",
    ("Lax", "refresh"): "ada",
    ("Lax", "form"): "ada",
    ("Lax", "form and script"): "ada",
    ("Strict", "redirect"): "nobody",
    ("Strict", "link"): "ada",
    ("Strict", "refresh"): "ada",
    ("Strict", "form"): "ada",
    ("Strict", "form and script"): "ada",
}


@pytest.mark.parametrize(("samesite", "answer"), SENT)
def test_the_request_after_the_post_brings_the_cookie_as_the_table_says(
    visit, site, other_site, samesite, answer
):
    here, page = site(samesite), visit()
    page.goto(f"{here}/sign-in")
    returned_from(page, other_site, f"{here}/{answer}")
    if answer == "link":
        page.get_by_role("link").click()
    elif answer == "form":
        page.get_by_role("button").click()
    page.wait_for_url(f"{here}/seen")
    assert text(page) == SENT[samesite, answer]
    assert now_seen(page, here) == "ada"


@pytest.mark.parametrize("samesite", ["Lax", "Strict"])
def test_the_post_itself_brings_no_cookie_and_reading_is_harmless(visit, site, other_site, samesite):
    here, page = site(samesite), visit()
    page.goto(f"{here}/sign-in")
    returned_from(page, other_site, f"{here}/seen")
    assert text(page) == "nobody"
    assert now_seen(page, here) == "ada"


@pytest.mark.parametrize("path", ["write", "token"])
def test_a_handler_that_writes_replaces_the_cookie(visit, site, other_site, path):
    here, page = site("Lax"), visit()
    page.goto(f"{here}/sign-in")
    returned_from(page, other_site, f"{here}/{path}")
    assert now_seen(page, here) == "nobody"


def test_a_cookie_without_samesite_restriction_comes_with_the_post(visit, site, other_site):
    here, page = site("None"), visit()
    page.goto(f"{here}/sign-in")
    returned_from(page, other_site, f"{here}/seen")
    assert text(page) == "ada"


def test_the_post_can_sign_in_and_the_browser_accepts_the_cookie(visit, site, other_site):
    here, page = site("Lax"), visit()
    returned_from(page, other_site, f"{here}/sign-in-as-bob")
    assert text(page) == "bob"


@pytest.fixture
def page_files(empty_folder):
    """The page's programs, as files that can be imported."""
    for example in parse(PAGE).examples():
        if named := re.match(r"# (\w+\.py)\n", example.parsed):
            keep_file(empty_folder / named[1], example.parsed, continues=False)


def test_the_shop_of_the_page_keeps_its_visitor(visit, other_site, page_files, monkeypatch):
    shop, provider = importlib.import_module("shop"), importlib.import_module("provider")
    monkeypatch.setattr(provider, "checkout", lambda return_url: other_site + return_url)

    @shop.app.get("/sign-in")
    def sign_in():
        session.sign_in("ada")
        return FORM.format("/basket/scarf", "") + FORM.format("/pay", "")

    with shop.sessions, wsgi_port(shop.app) as port:
        page = visit()
        page.goto(f"http://localhost:{port}/sign-in")
        press(page.get_by_role("button").first)
        page.goto(f"http://localhost:{port}/sign-in")
        press(page.get_by_role("button").last)
        page.wait_for_url("http://127.0.0.1:*/**")
        page.get_by_role("button").click()
        page.wait_for_url(f"http://localhost:{port}/orders")
        shown = page.evaluate("JSON.parse(document.body.innerText)")
        assert shown == {"user": "ada", "basket": [], "messages": ["Thank you, your order is paid."]}
        assert [order["paid"] for order in shop.orders.values()] == [True]


@pytest.mark.parametrize("script", [True, False], ids=["with JavaScript", "without JavaScript"])
def test_the_sign_in_of_the_page_finds_its_state(visit, other_site, page_files, monkeypatch, script):
    account, provider = importlib.import_module("account"), importlib.import_module("provider")

    def authorize(return_url, state):
        return f"{other_site}{return_url}&code=a%20code&state={state}"

    @account.app.get("/basket")
    async def basket(request: Request):
        await request.session.load()
        request.session["basket"] = ["scarf"]

    monkeypatch.setattr(provider, "authorize", authorize)
    with asgi_port(account.app) as port:
        here = f"http://localhost:{port}"
        page = visit(java_script_enabled=script)
        page.goto(f"{here}/basket")
        page.goto(f"{here}/sign-in")
        state = parse_qs(urlsplit(page.url).query)["state"][0]
        page.get_by_role("button").click()
        if not script:
            page.get_by_role("button", name="Continue").click()
        page.wait_for_url(f"{here}/")
        assert text(page) == '{"user":"ada","basket":["scarf"]}'

        # The same answer in another browser, as an attacker would plant it.
        other = visit(java_script_enabled=script)
        other.goto(f"{here}/basket")
        other.goto(f"{other_site}{here}/auth/return&code=a%20code&state={state}")
        other.get_by_role("button").click()
        if not script:
            other.get_by_role("button", name="Continue").click()
        other.wait_for_url(f"{here}/auth/finish")
        other.goto(f"{here}/")
        assert text(other) == '{"user":null,"basket":["scarf"]}'
