"""The pages on an API of another origin and on a visitor's first requests, in a real browser."""

from __future__ import annotations

import importlib
import re
import sqlite3
import threading
from contextlib import ExitStack, closing
from pathlib import Path

import pytest
from flask import Flask, session
from playwright.sync_api import expect

from coatcheck import Sessions
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

SPA, FIRST = (DOCS / "how-to" / f"{name}.md" for name in ("spa", "first-requests"))
CROSS_SITE = 'secret=os.environ["SESSION_SECRET"], cookie=CookieSettings(samesite="None", partitioned=True)'


def markup(page):
    return re.findall(r"```html\+jinja\n(.*?)```", page.read_text(), re.DOTALL)


@pytest.fixture
def page(chromium):
    context = chromium.new_context()
    yield context.new_page()
    context.close()


@pytest.fixture
def static():
    """Serves a page, whose text the test sets when it knows the address of the API."""
    app = Flask("static")
    app.text = ""
    app.get("/")(lambda: app.text)
    with wsgi_port(app) as port:
        app.port = port
        yield app


@pytest.fixture
def served(empty_folder, monkeypatch):
    """The API of the page as it stands there, or for pages of another site; its address."""
    opened = ExitStack()

    def served(module, origin, *, cross_site=False):
        monkeypatch.setenv("PAGES", origin)
        for example in parse(SPA).examples():
            if named := re.match(r"# (\w+\.py)\n", example.parsed):
                text = example.parsed
                if cross_site:
                    text = text.replace('secret=os.environ["SESSION_SECRET"]', CROSS_SITE)
                    text = text.replace("Sessions\n", "CookieSettings, Sessions\n", 1)
                    text = text.replace("AsyncCookieSettings, Sessions", "AsyncSessions, CookieSettings")
                keep_file(Path(named[1]), text, continues=False)
        app = importlib.import_module(module).app
        port = opened.enter_context((wsgi_port if module == "flask_api" else asgi_port)(app))
        return f"http://localhost:{port}"

    with opened:
        yield served


def shows(page, text):
    expect(page.locator("output")).to_have_text(text)


@pytest.mark.parametrize("module", ["api", "flask_api"])
@pytest.mark.parametrize("cross_site", [False, True])
def test_the_page_uses_its_session_on_another_origin(page, static, served, module, cross_site):
    origin = f"http://{'127.0.0.1' if cross_site else 'localhost'}:{static.port}"
    (text,) = markup(SPA)
    static.text = text.replace("http://localhost:8000", served(module, origin, cross_site=cross_site))
    page.goto(origin)
    shows(page, "nobody:")
    page.locator("#scarf").click()
    shows(page, "nobody: scarf")
    page.locator("#ada").click()
    shows(page, "ada: scarf")
    page.locator("#scarf").click()  # by the token that came with the sign-in
    shows(page, "ada: scarf, scarf")
    page.reload()
    shows(page, "ada: scarf, scarf")
    page.locator("#bye").click()
    shows(page, "nobody:")
    page.locator("#scarf").click()
    shows(page, "nobody: scarf")


@pytest.mark.parametrize("module", ["api", "flask_api"])
def test_after_a_sign_in_in_another_tab_the_second_click_of_the_first_one_counts(
    page, static, served, module
):
    origin = f"http://localhost:{static.port}"
    (text,) = markup(SPA)
    static.text = text.replace("http://localhost:8000", served(module, origin))
    page.goto(origin)
    shows(page, "nobody:")
    other = page.context.new_page()
    other.goto(origin)
    shows(other, "nobody:")
    other.locator("#ada").click()
    shows(other, "ada:")
    page.locator("#scarf").click()
    shows(page, "Please try again.")
    page.locator("#scarf").click()
    shows(page, "ada: scarf")


def test_on_another_site_the_default_cookie_does_not_come_back(page, static, served):
    origin = f"http://127.0.0.1:{static.port}"
    (text,) = markup(SPA)
    static.text = text.replace("http://localhost:8000", served("api", origin))
    page.goto(origin)
    shows(page, "nobody:")
    page.locator("#scarf").click()
    shows(page, "Please try again.")
    page.locator("output").evaluate("output => { output.textContent = '' }")
    page.locator("#scarf").click()
    shows(page, "Please try again.")


@pytest.mark.parametrize("module", ["api", "flask_api"])
def test_a_page_of_an_origin_that_is_not_listed_can_neither_read_nor_write(page, static, served, module):
    (text,) = markup(SPA)
    static.text = text.replace("http://localhost:8000", served(module, "https://app.example.org"))
    page.goto(f"http://localhost:{static.port}")
    shows(page, "Failed to fetch")
    page.locator("output").evaluate("output => { output.textContent = '' }")
    page.locator("#scarf").click()
    shows(page, "Failed to fetch")
    with closing(sqlite3.connect("sessions.db")) as stored:
        # Reading makes a token for the forms, so there is a session; but the write did not arrive.
        records = [data for (data,) in stored.execute('SELECT data FROM "coatcheck:sessions"')]
    assert [data for data in records if b"basket" in data] == []


@pytest.fixture
def shop():
    """A site whose pages are the scripts of the page on first requests, and one that does not wait."""
    app = Flask("shop")
    app.sessions = Sessions.from_url("memory://", secret=SECRET)
    SessionInterface(app.sessions).init_app(app)
    waits, locks = markup(FIRST)
    hasty = re.sub(r" *await fetch.*\n", "", waits)
    assert hasty != waits
    for path, text in (("waits", waits), ("hasty", hasty), ("locks", locks)):
        # A module that awaits ends when all is answered; what follows it sets the title.
        text = text.replace("</script>", "  document.title = 'done';\n</script>")  # noqa: PLW2901
        app.get(f"/{path}", endpoint=path)(lambda text=text: "<!doctype html><title>-</title>" + text)

    @app.post("/start")
    def start():
        session.save(create=True)
        return "", 204

    all_are_there = threading.Barrier(
        5, timeout=60
    )  # as on a slow line: none is answered before all have left

    @app.post("/basket/<item>")
    def put_in(item):
        all_are_there.wait()
        session.setdefault("basket", []).append(item)
        return ""

    @app.get("/basket")
    def basket():
        return " ".join(sorted(session.get("basket", [])))

    with wsgi_port(app) as port:
        app.url = f"http://localhost:{port}"
        yield app


@pytest.mark.parametrize(("path", "records"), [("hasty", 5), ("waits", 1)])
def test_five_first_requests_at_once_begin_five_sessions_unless_one_goes_before(page, shop, path, records):
    page.goto(f"{shop.url}/{path}")
    expect(page).to_have_title("done")
    assert shop.sessions.count() == records
    page.goto(f"{shop.url}/basket")
    basket = page.locator("body").inner_text().split()
    assert len(basket) == (5 if records == 1 else 1)


def test_the_tabs_that_start_under_one_lock_begin_one_session(page, shop):
    tabs = [page, page.context.new_page(), page.context.new_page()]
    for tab in tabs:
        tab.goto(f"{shop.url}/locks", wait_until="commit")
    for tab in tabs:
        expect(tab).to_have_title("done")
    assert shop.sessions.count() == 1
