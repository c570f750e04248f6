"""The first section of the page on troubleshooting: each symptom is provoked, and cured as the page says."""

from __future__ import annotations

from contextlib import ExitStack

import pytest
from fastapi.testclient import TestClient
from flask import Flask, render_template_string, session
from playwright.sync_api import expect, sync_playwright
from starlette.middleware.cors import CORSMiddleware
from werkzeug.middleware.proxy_fix import ProxyFix

from coatcheck import AsyncSessions, CookieSettings, InsecureTransportWarning
from tests.demo.browsing import FLAGS
from tests.docs.pages import SECRET
from tests.docs.serving import asgi_port, wsgi_port
from tests.docs.symptoms import api, site, symptom, who


def browsing(test):
    for mark in (
        pytest.mark.browser,
        pytest.mark.xdist_group("browser"),
        pytest.mark.filterwarnings("ignore::coatcheck.InsecureTransportWarning"),
    ):
        test = mark(test)
    return test


@pytest.fixture(scope="module")
def chromium():
    """A browser that finds `shop.test` on this machine, where plain http is as insecure as anywhere."""
    expect.set_options(timeout=20_000)
    with sync_playwright() as playwright:
        flags = [*FLAGS, "--host-resolver-rules=MAP *.test 127.0.0.1"]
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=flags)
        yield browser
        browser.close()


@pytest.fixture
def visitor(chromium):
    """Opens pages in a browser of its own; what they show."""
    context = chromium.new_context()
    page = context.new_page()

    def visitor(address):
        page.goto(address)
        return page.locator("body").inner_text()

    visitor.page = page
    visitor.cookies = context.cookies
    yield visitor
    context.close()


@pytest.fixture
def serve():
    """Serves an application; its port."""
    with ExitStack() as served:

        def serve(app):
            return served.enter_context(
                (wsgi_port if callable(getattr(app, "wsgi_app", None)) else asgi_port)(app)
            )

        yield serve


@symptom("The session is empty at every request over plain http")
@browsing
@pytest.mark.parametrize(("settings", "seen"), [({}, "nobody"), ({"insecure_http": True}, "ada")])
def test_plain_http(serve, visitor, settings, seen):
    here = f"http://shop.test:{serve(site(**settings))}"
    visitor(f"{here}/sign-in")
    assert visitor(here) == seen


@symptom("An `InsecureTransportWarning` on a site that has https")
def test_a_proxy_that_is_not_trusted():
    https = {"base_url": "http://localhost", "headers": {"X-Forwarded-Proto": "https"}}
    with pytest.warns(InsecureTransportWarning, match="X-Forwarded-Proto"):
        assert "Secure" in site().test_client().get("/sign-in", **https).headers["Set-Cookie"]
    cured = site()
    cured.wsgi_app = ProxyFix(cured.wsgi_app, x_proto=1)
    cured.test_client().get("/sign-in", **https)


@symptom("The session is empty on another name of the host")
@browsing
def test_two_names_of_one_host(serve, visitor):
    port = serve(site())
    visitor(f"http://localhost:{port}/sign-in")
    assert visitor(f"http://127.0.0.1:{port}") == "nobody"
    assert visitor(f"http://localhost:{port}") == "ada"


FETCH = """
async ([url, options]) => {
    try {
        return (await (await fetch(url, options)).json());
    } catch (error) {
        return "blocked";
    }
}
"""


@symptom("The session is empty in a script's `fetch`")
@browsing
@pytest.mark.parametrize(
    ("front", "cookie", "before", "after"),
    [
        ("localhost", {}, "ada", "ada"),
        ("127.0.0.1", {}, None, None),
        ("127.0.0.1", {"samesite": "None"}, None, None),
        ("127.0.0.1", {"samesite": "None", "partitioned": True}, None, "ada"),
    ],
)
def test_fetch_from_another_origin(serve, visitor, front, cookie, before, after):
    front = f"http://{front}:{serve(site())}"
    settings = {"secret": SECRET, "cookie": CookieSettings(**cookie)}
    named, starred = (api(who, sessions=AsyncSessions.from_url("memory://", **settings)) for _ in range(2))
    named.add_middleware(CORSMiddleware, allow_origins=[front], allow_credentials=True)
    starred.add_middleware(CORSMiddleware, allow_origins=["*"])
    named, starred = (f"http://localhost:{serve(app)}" for app in (named, starred))
    visitor(f"{named}/sign-in")
    visitor(front)

    def fetched(back, **options):
        return visitor.page.evaluate(FETCH, [back, options])

    assert fetched(named) is None
    assert fetched(starred, credentials="include") == "blocked"
    assert fetched(named, credentials="include") == before
    fetched(f"{named}/sign-in", credentials="include")
    assert fetched(named, credentials="include") == after


@symptom("The session is empty in a frame of another site")
@browsing
@pytest.mark.parametrize(
    ("cookie", "seen"),
    [({}, "nobody"), ({"samesite": "None", "partitioned": True}, "ada")],
)
def test_a_frame_of_another_site(serve, visitor, cookie, seen):
    framed = f"http://localhost:{serve(site(cookie=CookieSettings(**cookie)))}"
    outer = Flask("outer")

    @outer.get("/")
    @outer.get("/<path>")
    def show(path=""):
        return f'<iframe src="{framed}/{path}"></iframe>'

    embedding = f"http://127.0.0.1:{serve(outer)}"
    for path, said in (("/sign-in", "signed in"), ("/", seen)):
        visitor(embedding + path)
        expect(visitor.page.frame_locator("iframe").locator("body")).to_have_text(said)


@symptom("The session is empty when a payment or identity provider returns")
def test_a_return_by_post_that_writes_replaces_the_cookie():
    # A real browser shows it in test_returns_by_post.py.
    app = site()
    bank = app.test_client(use_cookies=False)
    assert "Set-Cookie" in bank.get("/set?paid=yes").headers
    assert "Set-Cookie" not in bank.get("/").headers


@symptom("The `state` does not match after an OAuth sign-in")
@browsing
@pytest.mark.parametrize(
    ("start", "cookie", "kept"),
    [
        ("localhost", {}, True),
        ("127.0.0.1", {}, False),
        ("localhost", {"samesite": "Strict"}, False),
    ],
)
def test_a_return_from_an_identity_provider(serve, visitor, start, cookie, kept):
    port = serve(site(cookie=CookieSettings(**cookie)))
    provider = Flask("provider")
    provider.get("/")(lambda: f'<a href="http://localhost:{port}/fields">Return</a>')
    visitor(f"http://{start}:{port}/set?state=abc")
    visitor(f"http://another.test:{serve(provider)}")
    visitor.page.get_by_role("link").click()
    visitor.page.wait_for_url("**/fields")
    expect(visitor.page.locator("body")).to_have_text('{"state":"abc"}' if kept else "{}")


@symptom("The browser does not keep the cookie behind a proxy")
@browsing
@pytest.mark.parametrize(
    ("rewrite", "seen"),
    [
        (("Path=/", "Path=/shop"), "nobody"),
        (("Path=/", "Path=/; Domain=localhost"), "nobody"),
        (("", ""), "ada"),
    ],
)
def test_a_proxy_that_rewrites_cookies(serve, visitor, rewrite, seen):
    app = site()

    class Proxied:
        wsgi_app = app.wsgi_app

        def __call__(self, environ, start_response):
            def start(status, headers, *more):
                return start_response(
                    status,
                    [
                        (name, value.replace(*rewrite) if name == "Set-Cookie" else value)
                        for name, value in headers
                    ],
                    *more,
                )

            return app(environ, start)

    here = f"http://localhost:{serve(Proxied())}"
    visitor(f"{here}/sign-in")
    assert visitor(here) == seen


@symptom("A test client has no session")
@pytest.mark.parametrize(
    ("settings", "base_url", "seen"),
    [
        ({}, "http://testserver", None),
        ({"insecure_http": True}, "http://testserver", "ada"),
        ({}, "https://testserver", "ada"),
    ],
)
@pytest.mark.filterwarnings("ignore::coatcheck.InsecureTransportWarning")
def test_a_test_client(settings, base_url, seen):
    sessions = AsyncSessions.from_url("memory://", secret=SECRET, **settings)
    app = api(who, sessions=sessions)
    client = TestClient(app, base_url=base_url)
    client.get("/sign-in")
    assert client.get("/").json() == seen
    assert TestClient(app, base_url=base_url).get("/").json() is None


@symptom("It works in the test client, but not in the browser")
def test_a_test_client_that_sends_every_cookie():
    client = site().test_client()
    with pytest.warns(InsecureTransportWarning):
        assert "Secure" in client.get("/sign-in", base_url="http://localhost").headers["Set-Cookie"]
    assert client.get("/", base_url="http://localhost").text == "ada"


@symptom("`{{ session.user }}` is empty in a template")
def test_the_property_and_the_field_in_a_template():
    app = site()
    shown = "{{ session.user }}, {{ session['user'] }}"

    @app.get("/template")
    def template():
        session["user"] = "ada"
        return render_template_string(shown)

    assert app.test_client().get("/template").text == "None, ada"
