"""The plugin for pytest, as people use it: small applications, each with a file of tests that pytest runs."""

import pytest

from tests.behaviours.site import SECRET

pytest_plugins = ["pytester"]

CONFTEST = """
pytest_plugins = ["coatcheck.testing.pytest"]
"""

FLASK_SHOP = """
import flask
from coatcheck.frameworks.flask import SessionInterface

def create_app(sessions):
    app = flask.Flask(__name__)
    SessionInterface(sessions).init_app(app)

    @app.get("/")
    def home():
        session = flask.session
        return {"user": session.user, "basket": session.get("basket", [])}

    @app.post("/basket/<good>")
    def put(good):
        flask.session.setdefault("basket", []).append(good)
        return {}

    return app
"""

FASTAPI_SHOP = """
from fastapi import FastAPI, Request
from coatcheck.frameworks.fastapi import SessionMiddleware

def create_app(sessions):
    app = FastAPI()
    app.add_middleware(SessionMiddleware, sessions=sessions)

    @app.get("/")
    async def home(request: Request):
        return {"user": request.session.user, "basket": request.session.get("basket", [])}

    @app.post("/basket/{good}")
    async def put(good: str, request: Request):
        request.session.setdefault("basket", []).append(good)

    return app
"""


@pytest.fixture
def run(pytester):
    """Runs the tests of a file beside these modules, in a process of its own, and counts those that passed."""

    def run(tests, *, conftest=CONFTEST, **modules):
        pytester.makeconftest(conftest)
        pytester.makepyfile(**modules, test_shop=tests)
        result = pytester.runpytest_subprocess("-W", "error", "-p", "no:cacheprovider")
        return result.parseoutcomes()

    return run


def test_an_application_of_flask_is_tested(run):
    tests = """
        from datetime import timedelta
        import pytest
        from shop import create_app

        @pytest.fixture
        def client(sessions):
            return create_app(sessions).test_client()

        def test_a_stranger_has_an_empty_basket(client, sessions):
            assert client.get("/").json == {"user": None, "basket": []}
            assert sessions.count() == 0

        @pytest.mark.parametrize("again", range(2))
        def test_each_test_has_a_store_of_its_own(client, sessions, again):
            client.post("/basket/scarf")
            assert sessions.count() == 1

        def test_the_basket_is_that_of_who_is_signed_in(client, sign_in_as, sessions):
            sign_in_as(client, "ada", basket=["scarf"])
            client.post("/basket/mac")
            assert client.get("/").json == {"user": "ada", "basket": ["scarf", "mac"]}
            assert [info.user for info in sessions.of_user("ada")] == ["ada"]

        def test_an_idle_visitor_is_signed_out(client, sign_in_as, coatcheck_clock):
            sign_in_as(client, "ada")
            coatcheck_clock.advance(timedelta(hours=23))
            assert client.get("/").json["user"] == "ada"
            coatcheck_clock.advance(timedelta(hours=24))
            assert client.get("/").json["user"] is None
    """
    assert run(tests, shop=FLASK_SHOP) == {"passed": 5}


def test_an_application_of_fastapi_is_tested_by_sync_and_async_clients(run):
    tests = """
        import httpx
        import pytest
        from fastapi.testclient import TestClient
        from shop import create_app

        @pytest.fixture
        def app(async_sessions):
            return create_app(async_sessions)

        def test_the_basket_is_that_of_who_is_signed_in(app, sign_in_as):
            client = TestClient(app)
            sign_in_as(client, "ada", basket=["scarf"])
            client.post("/basket/mac")
            assert client.get("/").json() == {"user": "ada", "basket": ["scarf", "mac"]}
            assert TestClient(app).get("/").json()["user"] is None

        def test_the_server_may_start_and_stop_twice(app, sign_in_as, sessions):
            client = TestClient(app)
            sign_in_as(client, "ada")
            with client:
                client.post("/basket/mac")
            with client:
                assert client.get("/").json() == {"user": "ada", "basket": ["mac"]}
            with TestClient(app) as other:
                sign_in_as(other, "grace")
                assert other.get("/").json()["user"] == "grace"
            assert sessions.count() == 2

        @pytest.mark.anyio
        async def test_an_async_client_is_signed_in_without_await(app, sign_in_as, async_sessions):
            transport = httpx.ASGITransport(app)
            async with httpx.AsyncClient(transport=transport, base_url="http://test") as client:
                sign_in_as(client, "ada", basket=["scarf"])
                assert (await client.get("/")).json() == {"user": "ada", "basket": ["scarf"]}
            assert await async_sessions.count() == 1

        @pytest.fixture
        def anyio_backend():
            return "asyncio"
    """
    assert run(tests, shop=FASTAPI_SHOP) == {"passed": 3}


def test_both_halves_of_a_site_share_the_store(run):
    tests = """
        from fastapi.testclient import TestClient
        from flask_shop import create_app as create_flask
        from fastapi_shop import create_app as create_fastapi

        def test_who_signed_in_to_one_half_is_signed_in_to_the_other(sessions, async_sessions, sign_in_as):
            for client in (create_flask(sessions).test_client(), TestClient(create_fastapi(async_sessions))):
                sign_in_as(client, "ada")
                assert client.get("/").status_code == 200
            assert len(sessions.of_user("ada")) == 2
    """
    assert run(tests, flask_shop=FLASK_SHOP, fastapi_shop=FASTAPI_SHOP) == {"passed": 1}


def test_settings_and_store_are_the_users_to_change(run):
    conftest = (
        CONFTEST
        + f"""
import pytest
from datetime import timedelta
from coatcheck.testing import CountingStore

@pytest.fixture
def coatcheck_options(coatcheck_options):
    return {{**coatcheck_options, "secret": "{SECRET}", "idle_timeout": timedelta(minutes=5)}}

@pytest.fixture
def coatcheck_store(coatcheck_store):
    return CountingStore(coatcheck_store)
"""
    )
    tests = """
        from shop import create_app

        def test_they_are(sessions, async_sessions, coatcheck_store, coatcheck_clock, sign_in_as):
            client = create_app(sessions).test_client()
            sign_in_as(client, "ada")
            coatcheck_store.reset()
            coatcheck_clock.advance(299)
            assert client.get("/").json["user"] == "ada"
            assert coatcheck_store.sequence[0] == "load"
            coatcheck_clock.advance(300)
            assert client.get("/").json["user"] is None
            assert {sessions.settings.secret, async_sessions.settings.secret} == {"SECRET"}
    """.replace("SECRET", SECRET)
    assert run(tests, conftest=conftest, shop=FLASK_SHOP) == {"passed": 1}


@pytest.mark.parametrize("kind", ["Sessions", "AsyncSessions"])
def test_an_application_that_has_its_own_manager_is_tested_with_it(run, kind):
    shop = FLASK_SHOP if kind == "Sessions" else FASTAPI_SHOP
    site = f"""
        from coatcheck import {kind}
        from shop import create_app

        sessions = {kind}.from_url("memory://", secret="{SECRET}", insecure_http=True)
        app = create_app(sessions)
    """
    tests = """
        import pytest
        import site_of_mine
        from fastapi.testclient import TestClient

        @pytest.fixture
        def sessions():
            return site_of_mine.sessions

        def test_who_is_signed_in(sign_in_as):
            app = site_of_mine.app
            client = app.test_client() if hasattr(app, "test_client") else TestClient(app)
            sign_in_as(client, "ada", basket=["scarf"])
            answer = client.get("/")
            assert "ada" in answer.text
            assert "scarf" in answer.text
    """
    assert run(tests, shop=shop, site_of_mine=site) == {"passed": 1}


def test_a_secure_cookie_on_plain_http_says_what_to_change(run):
    conftest = (
        CONFTEST
        + """
import pytest

@pytest.fixture
def coatcheck_options(coatcheck_options):
    return {**coatcheck_options, "insecure_http": False}
"""
    )
    tests = """
        import pytest
        from coatcheck import ConfigurationError
        from fastapi.testclient import TestClient
        from shop import create_app

        def test_it_is_refused(async_sessions, sign_in_as):
            app = create_app(async_sessions)
            with pytest.raises(ConfigurationError, match="base_url='https://testserver', or set insecure_http=True"):
                sign_in_as(TestClient(app), "ada")
            client = TestClient(app, base_url="https://testserver")
            sign_in_as(client, "ada")
            assert client.get("/").json()["user"] == "ada"
    """
    assert run(tests, conftest=conftest, shop=FASTAPI_SHOP) == {"passed": 1}


def test_a_run_that_does_not_name_the_plugin_does_not_load_it(run):
    tests = """
        import sys

        def test_it_is_not_loaded():
            assert "coatcheck" not in sys.modules
    """
    assert run(tests, conftest="") == {"passed": 1}
