"""`SignInAs`: every test client sends the cookie of its prepared session, or it is said why it would not."""

import asyncio
import http.cookiejar
import urllib.request
import warnings
from email.message import Message
from types import SimpleNamespace

import flask
import httpx
import pytest
import werkzeug.test
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import PlainTextResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from coatcheck import AsyncSessions, ConfigurationError, CookieSettings, Sessions
from coatcheck.frameworks import starlette as for_starlette
from coatcheck.frameworks import wsgi
from coatcheck.frameworks.flask import SessionInterface
from coatcheck.stores.memory import MemoryStore
from coatcheck.stores.sqlite import AsyncSQLiteStore
from coatcheck.testing import SignInAs, awaitable
from tests.behaviours.site import SECRET


def wsgi_app(sessions):
    def app(environ, start_response):
        session = environ["coatcheck.session"]
        text = f"{session.user} {session.get('basket')}"
        if "/sign-out" in environ["PATH_INFO"]:
            session.sign_out()
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [text.encode()]

    return wsgi.SessionMiddleware(app, sessions)


def asgi_app(sessions):
    async def show(request):
        text = f"{request.session.user} {request.session.get('basket')}"
        if "/sign-out" in request.url.path:
            request.session.sign_out()
        return PlainTextResponse(text)

    return Starlette(
        routes=[Route("/{rest:path}", show)],
        middleware=[Middleware(for_starlette.SessionMiddleware, sessions=sessions)],
    )


def flask_app(sessions, **config):
    app = flask.Flask(__name__)
    app.config.update(config)
    SessionInterface(sessions).init_app(app)

    @app.get("/")
    @app.get("/<path:rest>")
    def show(rest=""):
        text = f"{flask.session.user} {flask.session.get('basket')}"
        if "sign-out" in rest:
            flask.session.sign_out()
        return text

    return app


class WebTestApp:
    """As WebTest's TestApp: a cookie jar of the standard library, and the environment of every request."""

    def __init__(self, app, **extra_environ):
        self.app = app
        self.extra_environ = extra_environ
        self.cookiejar = http.cookiejar.CookieJar()

    def get(self, path):
        environ = {"wsgi.url_scheme": "http", "HTTP_HOST": "localhost:80", **self.extra_environ}
        address = f"{environ['wsgi.url_scheme']}://{environ['HTTP_HOST']}"
        request = urllib.request.Request(address + path)
        self.cookiejar.add_cookie_header(request)
        client = werkzeug.test.Client(self.app, use_cookies=False)
        cookies = {"Cookie": request.get_header("Cookie", "")}
        response = client.get(path, base_url=address, headers=cookies)
        received = Message()
        for line in response.headers.getlist("Set-Cookie"):
            received["Set-Cookie"] = line
        self.cookiejar.extract_cookies(SimpleNamespace(info=lambda: received), request)
        return response


class Loop:
    """An httpx.AsyncClient, called from a test that can't wait."""

    def __init__(self, client):
        self.client = client

    def get(self, path):
        return asyncio.run(self.client.get(path))


def in_httpx(sessions, address):
    return httpx.Client(transport=httpx.WSGITransport(wsgi_app(sessions)), base_url=address)


def in_starlette(sessions, address):
    return TestClient(asgi_app(both(sessions)), base_url=address)


def in_async_httpx(sessions, address):
    transport = httpx.ASGITransport(asgi_app(both(sessions)))
    return httpx.AsyncClient(transport=transport, base_url=address)


def in_webtest(sessions, address):
    scheme, _, host = address.partition("://")
    return WebTestApp(wsgi_app(sessions), **{"wsgi.url_scheme": scheme, "HTTP_HOST": host})


def in_werkzeug(sessions, address):
    return werkzeug.test.Client(wsgi_app(sessions), werkzeug.test.Response)


def in_flask(sessions, address):
    return flask_app(sessions).test_client()


JARS = [in_httpx, in_starlette, in_async_httpx, in_webtest]
CLIENTS = [*JARS, in_werkzeug, in_flask]


def both(sessions):
    """An asynchronous manager with the settings and the store of `sessions`."""
    settings = sessions.settings
    return AsyncSessions(
        awaitable(sessions.store),
        secret=SECRET,
        insecure_http=settings.insecure_http,
        cookie=settings.cookie,
    )


def new(**options):
    return Sessions(MemoryStore(), secret=SECRET, **options)


def get(client, path="/"):
    return (Loop(client) if isinstance(client, httpx.AsyncClient) else client).get(path).text


@pytest.mark.parametrize("make", CLIENTS)
def test_the_client_is_signed_in_with_the_fields(make):
    sessions = new(insecure_http=True)
    client, other = make(sessions, "http://testserver"), make(sessions, "http://testserver")
    SignInAs(sessions)(client, "ada", basket=["scarf"])
    assert get(client) == "ada ['scarf']"
    assert get(other) == "None None"
    SignInAs(sessions)(client, "grace")
    assert get(client) == "grace None"


@pytest.mark.parametrize("make", CLIENTS)
def test_the_applications_own_cookie_takes_the_place_of_the_one_that_was_put_in(make):
    sessions = new(insecure_http=True)
    client = make(sessions, "http://testserver")
    SignInAs(sessions)(client, "ada")
    assert get(client, "/sign-out") == "ada None"
    assert get(client) == "None None"
    if isinstance(client, werkzeug.test.Client):
        assert client.get_cookie("coatcheck") is None
    else:
        assert list(client.cookiejar if isinstance(client, WebTestApp) else client.cookies.jar) == []


@pytest.mark.parametrize("make", CLIENTS)
def test_a_domain_and_a_path_of_the_cookie_are_kept(make):
    cookie = CookieSettings(domain=".shop.example", path="/shop")
    sessions = new(insecure_http=True, cookie=cookie)
    client = make(sessions, "http://www.shop.example")
    SignInAs(sessions)(client, "ada")
    if isinstance(client, werkzeug.test.Client):
        stored = client.get_cookie("coatcheck", "shop.example", "/shop")
        assert (stored.domain, stored.path, stored.origin_only) == ("shop.example", "/shop", False)
    else:
        assert get(client, "/shop/a") == "ada None"
        assert get(client, "/") == "None None"


# Secure cookies


@pytest.mark.parametrize("make", JARS)
def test_a_secure_cookie_that_would_not_be_sent_is_refused_with_both_remedies(make):
    sessions = new()
    with pytest.raises(ConfigurationError) as caught:
        SignInAs(sessions)(make(sessions, "http://testserver"), "ada")
    setting = "an extra_environ of " if make is in_webtest else "base_url="
    assert f"Give the client {setting}'https://testserver', or set insecure_http=True" in str(caught.value)
    assert "__Host-session; Path=/; Secure" in str(caught.value)
    assert "http://testserver" in str(caught.value)
    client = make(sessions, "https://testserver")
    SignInAs(sessions)(client, "ada")
    assert get(client) == "ada None"


@pytest.mark.parametrize("make", [in_werkzeug, in_flask])
def test_werkzeugs_client_sends_a_secure_cookie_anywhere(make):
    sessions = new()
    client = make(sessions, "http://localhost")
    SignInAs(sessions)(client, "ada")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert get(client) == "ada None"


@pytest.mark.parametrize("make", JARS)
def test_a_cookie_of_another_domain_is_refused_with_an_address_that_fits(make):
    for secure, address, remedy in (
        (True, "https://testserver", "'https://shop.example'."),
        (False, "http://testserver", "'http://shop.example'."),
        (True, "http://testserver", "'https://shop.example', or set insecure_http=True"),
    ):
        sessions = new(insecure_http=not secure, cookie=CookieSettings(domain=".shop.example"))
        with pytest.raises(ConfigurationError) as caught:
            SignInAs(sessions)(make(sessions, address), "ada")
        assert remedy in str(caught.value)
        assert "Domain=.shop.example" in str(caught.value)


def test_a_client_without_an_address_is_refused():
    with pytest.raises(ConfigurationError, match="base_url='http://testserver'"):
        SignInAs(new(insecure_http=True))(httpx.Client(), "ada")


# Applications of their own kind


def test_flasks_own_name_of_the_server_counts():
    sessions = new(insecure_http=True)
    client = flask_app(sessions, SERVER_NAME="shop.example:8000").test_client()
    SignInAs(sessions)(client, "ada")
    assert get(client) == "ada None"


def test_webtests_client_requests_localhost_where_its_environment_does_not_say_another():
    sessions = new(insecure_http=True)
    client = WebTestApp(wsgi_app(sessions))
    SignInAs(sessions)(client, "ada")
    assert get(client) == "ada None"


def test_a_client_of_an_unknown_kind_is_refused_and_the_way_named():
    class Client:
        cookies = None

    with pytest.raises(TypeError, match=r"Client object .* coatcheck\.testing\.cookies_for"):
        SignInAs(new())(Client(), "ada")


def test_an_asynchronous_manager_signs_in_without_await_also_while_a_loop_is_running(tmp_path):
    sessions = AsyncSessions(AsyncSQLiteStore(tmp_path / "sessions.db"), secret=SECRET, insecure_http=True)
    client = TestClient(asgi_app(sessions))
    SignInAs(sessions)(client, "ada", basket=[1])
    assert client.get("/").text == "ada [1]"

    async def in_a_loop():
        transport = httpx.ASGITransport(asgi_app(sessions))
        async with sessions, httpx.AsyncClient(transport=transport, base_url="http://test") as client:
            SignInAs(sessions)(client, "grace")
            return (await client.get("/")).text

    assert asyncio.run(in_a_loop()) == "grace None"
