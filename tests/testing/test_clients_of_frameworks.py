"""`SignInAs` with the test client of each framework: it begins with a prepared session, and a test looks into it afterwards."""

from tests.frameworks.django_site import MIDDLEWARE  # first, since it configures Django

# isort: split

import asyncio
import json
from contextlib import contextmanager

import aiohttp.test_utils
import aiohttp.web
import django.test
import litestar
import litestar.testing
import pytest
import quart
import tornado.web
from django.http import JsonResponse
from django.test.utils import override_settings
from django.urls import path
from tornado.testing import AsyncHTTPTestCase

from coatcheck import AsyncSessions, ConfigurationError, CookieSettings, Sessions
from coatcheck.frameworks import aiohttp as for_aiohttp
from coatcheck.frameworks import quart as for_quart
from coatcheck.frameworks.django import SessionMiddleware
from coatcheck.frameworks.django import get_session as get_django_session
from coatcheck.frameworks.litestar import SessionPlugin
from coatcheck.frameworks.tornado import SessionMixin
from coatcheck.stores.memory import MemoryStore
from coatcheck.testing import SignInAs, awaitable
from tests.behaviours.site import SECRET
from tests.frameworks.hug_apps import api_of, hug

LIMITS = {"secret": SECRET, "insecure_http": True}


def visit(session, command):
    """What each application does: put a hat into the basket, or sign the visitor out; and say who it was."""
    seen = {"user": session.user, "basket": list(session.get("basket", []))}
    if command == "out":
        session.sign_out()
    else:
        session.setdefault("basket", []).append("hat")
    return seen


@pytest.fixture
def store():
    return MemoryStore()


@pytest.fixture
def sessions(store):
    return Sessions(store, **LIMITS)


def async_manager(sessions, **more):
    return AsyncSessions(awaitable(sessions.store), **(LIMITS | more))


# Each gives a client, and a function that requests a path with it and returns what the application has said.


@contextmanager
def of_django(sessions, kind=django.test.Client):
    with override_settings(COATCHECK=sessions, MIDDLEWARE=MIDDLEWARE, ROOT_URLCONF=__name__):
        client = kind()
        yield client, lambda command: client.get(f"/{command}").json()


def of_djangos_async_client(sessions):
    return with_runner(sessions, lambda runner: of_django_asynchronously(sessions, runner))


@contextmanager
def of_django_asynchronously(sessions, runner):
    with of_django(sessions, django.test.AsyncClient) as (client, _):
        yield client, lambda command: runner.run(client.get(f"/{command}")).json()


@contextmanager
def of_djangos_request_factory(sessions):
    """It makes requests only: the middleware and the view are called with them."""
    with override_settings(COATCHECK=sessions):
        factory = django.test.RequestFactory()
        yield (
            factory,
            lambda command: json.loads(
                SessionMiddleware(lambda request: django_view(request, command))(factory.get("/")).content
            ),
        )


def django_view(request, command):
    return JsonResponse(visit(get_django_session(request), command))


urlpatterns = [path("<command>", django_view)]


@contextmanager
def with_runner(sessions, of_framework):
    with asyncio.Runner() as runner, of_framework(runner) as opened:
        yield opened


def of_aiohttp(sessions):
    return with_runner(sessions, lambda runner: of_aiohttp_in(runner, async_manager(sessions)))


@contextmanager
def of_aiohttp_in(runner, manager):
    async def view(request):
        return aiohttp.web.json_response(
            visit(await for_aiohttp.get_session(request), request.match_info["command"])
        )

    async def start():
        app = aiohttp.web.Application()
        for_aiohttp.setup(app, manager)
        app.router.add_get("/{command}", view)
        client = aiohttp.test_utils.TestClient(aiohttp.test_utils.TestServer(app))
        await client.start_server()
        return client

    async def ask(command):
        return await (await client.get(f"/{command}")).json()

    client = runner.run(start())
    try:
        yield client, lambda command: runner.run(ask(command))
    finally:
        runner.run(client.close())


def of_quart(sessions):
    return with_runner(sessions, lambda runner: of_quart_in(runner, async_manager(sessions)))


@contextmanager
def of_quart_in(runner, manager):
    app = quart.Quart(__name__)
    for_quart.SessionInterface(manager).init_app(app)

    @app.get("/<command>")
    async def view(command):
        return visit(for_quart.session, command)

    client = app.test_client()

    async def ask(command):
        return await (await client.get(f"/{command}")).get_json()

    yield client, lambda command: runner.run(ask(command))


@litestar.get("/{command:str}")
async def litestar_view(request: litestar.Request) -> dict[str, object]:
    return visit(request.session, request.path_params["command"])


@contextmanager
def of_litestar(sessions):
    app = litestar.Litestar(
        [litestar_view], plugins=[SessionPlugin(async_manager(sessions))], openapi_config=None
    )
    with litestar.testing.TestClient(app) as client:
        yield client, lambda command: client.get(f"/{command}").json()


def of_litestars_async_client(sessions):
    return with_runner(sessions, lambda runner: of_litestar_in(runner, async_manager(sessions)))


@contextmanager
def of_litestar_in(runner, manager):
    app = litestar.Litestar([litestar_view], plugins=[SessionPlugin(manager)], openapi_config=None)
    client = litestar.testing.AsyncTestClient(app)
    runner.run(client.__aenter__())
    try:
        yield client, lambda command: runner.run(client.get(f"/{command}")).json()
    finally:
        runner.run(client.__aexit__(None, None, None))


CLIENTS = [
    of_aiohttp,
    of_django,
    of_djangos_async_client,
    of_litestar,
    of_litestars_async_client,
    of_quart,
]


@pytest.mark.parametrize("open_client", [*CLIENTS, of_djangos_request_factory])
def test_a_request_has_the_prepared_session_and_the_test_sees_what_it_has_put_in(open_client, sessions):
    sign_in_as = SignInAs(sessions)
    with open_client(sessions) as (client, ask):
        handle = sign_in_as(client, "ada", basket=["scarf"])
        assert ask("on") == {"user": "ada", "basket": ["scarf"]}
        assert sessions.find(handle)["basket"] == ["scarf", "hat"]
        sign_in_as(client, "grace")
        assert ask("on") == {"user": "grace", "basket": []}


@pytest.mark.parametrize("open_client", [*CLIENTS, of_djangos_request_factory])
def test_a_visitor_who_is_not_signed_in_has_fields(open_client, sessions):
    with open_client(sessions) as (client, ask):
        handle = SignInAs(sessions)(client, None, basket=["scarf"])
        assert ask("on") == {"user": None, "basket": ["scarf"]}
        assert sessions.find(handle)["basket"] == ["scarf", "hat"]


@pytest.mark.parametrize("open_client", CLIENTS)
def test_signing_out_ends_the_prepared_session_and_the_client_forgets_it(open_client, sessions):
    with open_client(sessions) as (client, ask):
        handle = SignInAs(sessions)(client, "ada")
        assert ask("out")["user"] == "ada"
        assert sessions.find(handle) is None
        assert ask("on") == {"user": None, "basket": []}


@pytest.mark.parametrize("open_client", CLIENTS)
def test_an_asynchronous_manager_prepares_the_session_as_well(open_client, sessions):
    with open_client(sessions) as (client, ask):
        SignInAs(async_manager(sessions))(client, "ada", basket=["scarf"])
        assert ask("on") == {"user": "ada", "basket": ["scarf"]}


# Clients without a jar


class TestTornado(AsyncHTTPTestCase):
    """Its test case, as its users write it."""

    @pytest.fixture(autouse=True)
    def with_sessions(self, sessions):
        self.sessions = sessions

    def get_app(self):
        class Visit(SessionMixin, tornado.web.RequestHandler):
            async def get(self):
                self.write(visit(self.session, "on"))

        settings = {"sessions": async_manager(self.sessions), "log_function": lambda _: None}
        return tornado.web.Application([("/", Visit)], **settings)

    def test_the_header_brings_the_prepared_session(self):
        headers = SignInAs(self.sessions).header("ada", basket=["scarf"])
        assert json.loads(self.fetch("/", headers=headers).body) == {"user": "ada", "basket": ["scarf"]}
        assert self.sessions.open(headers["Cookie"])["basket"] == ["scarf", "hat"]

    def test_its_http_client_is_told_to_send_the_header(self):
        with pytest.raises(TypeError, match=r"sign_in_as\.header\(user"):
            SignInAs(self.sessions)(self.http_client, "ada")


def test_hugs_test_functions_send_the_header(sessions):
    api = api_of(sessions)
    hug.get("/", api=api)(lambda hug_session: visit(hug_session, "on"))
    headers = SignInAs(sessions).header("ada", basket=["scarf"])
    assert hug.test.get(api, "/", headers=headers).data == {"user": "ada", "basket": ["scarf"]}
    assert sessions.open(headers["Cookie"])["basket"] == ["scarf", "hat"]


def test_the_header_of_a_visitor_who_is_not_signed_in_brings_the_fields(sessions):
    session = sessions.open(SignInAs(sessions).header(None, basket=["scarf"])["Cookie"])
    assert (session.user, session["basket"]) == (None, ["scarf"])


def test_a_session_of_nobody_with_nothing_is_refused(sessions):
    sign_in_as = SignInAs(sessions)
    with pytest.raises(ValueError, match="neither a user nor a field"):
        sign_in_as(django.test.Client(), None)
    with pytest.raises(ValueError, match="neither a user nor a field"):
        sign_in_as.header(None)
    assert sessions.count() == 0


# The cookie as it is on the server


@pytest.mark.parametrize(
    "cookie", [{"insecure_http": False}, {"cookie": CookieSettings(domain="shop.example")}]
)
def test_aiohttps_client_that_would_not_send_the_cookie_is_refused_with_the_remedy(cookie, sessions):
    manager = async_manager(sessions, **cookie)
    with (
        asyncio.Runner() as runner,
        of_aiohttp_in(runner, manager) as (client, _),
        pytest.raises(ConfigurationError, match="Set insecure_http=True and no domain"),
    ):
        SignInAs(manager)(client, "ada")


def test_a_path_of_the_cookie_is_kept_by_aiohttps_client(sessions):
    manager = async_manager(sessions, cookie=CookieSettings(path="/on"))
    with asyncio.Runner() as runner, of_aiohttp_in(runner, manager) as (client, ask):
        SignInAs(manager)(client, "ada")
        assert ask("on")["user"] == "ada"
        assert ask("other")["user"] is None


@pytest.mark.parametrize("cookie", [CookieSettings(), CookieSettings(domain="shop.example", path="/shop")])
def test_quarts_client_sends_the_secure_cookie_until_the_application_removes_it(cookie, sessions):
    manager = async_manager(sessions, insecure_http=False, cookie=cookie)
    app = quart.Quart(__name__)
    app.config["SERVER_NAME"] = "www.shop.example:8000"
    for_quart.SessionInterface(manager).init_app(app)

    @app.get("/shop/<command>")
    async def view(command):
        return visit(for_quart.session, command)

    async def ask():
        client = app.test_client()
        SignInAs(manager)(client, "ada")
        answer = await client.get("/shop/out", scheme="https")
        return (await answer.get_json())["user"], len(client.cookie_jar)

    assert asyncio.run(ask()) == ("ada", 0)


def test_a_client_of_quart_that_keeps_no_cookies_is_refused(sessions):
    with pytest.raises(TypeError, match=r"cookie jar of .* is unknown"):
        SignInAs(sessions)(quart.Quart(__name__).test_client(use_cookies=False), "ada")
