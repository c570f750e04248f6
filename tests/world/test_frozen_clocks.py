"""freezegun, as its users know it: sessions expire, slide and rotate by the clock that it sets."""

import asyncio
import datetime as dt

import flask
import httpx
import pytest
from freezegun import freeze_time
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import JSONResponse
from starlette.routing import Route

from coatcheck import AsyncSessions, Sessions
from coatcheck.frameworks.flask import SessionInterface
from coatcheck.frameworks.starlette import SessionMiddleware

SECRET = "5bqN0vYdF2ZrU8mKxWc7tLhE3pJ9sGaQ"
HOUR = dt.timedelta(hours=1)
LIMITS = {"secret": SECRET, "insecure_http": True, "idle_timeout": HOUR, "absolute_timeout": 3 * HOUR}
URLS = {"memory": "memory://", "sqlite": "sqlite:///{path}/sessions.db"}


@pytest.fixture(params=URLS)
def url(request, tmp_path):
    return URLS[request.param].format(path=tmp_path)


@pytest.fixture
def visit(url):
    """Gives what a visit to a Flask application answers, whose visitor has signed in."""
    app = flask.Flask(__name__)
    sessions = Sessions.from_url(url, **LIMITS)
    SessionInterface(sessions).init_app(app)

    @app.route("/in")
    def sign_in():
        flask.session.sign_in("ada")
        flask.session["at"] = dt.datetime.now(dt.UTC)
        return flask.session.user

    @app.route("/")
    def who():
        return {"user": flask.session.user, "at": flask.session.get("at")}

    client = app.test_client()
    client.get("/in")
    yield lambda: client.get("/").json
    sessions.shutdown()


@pytest.fixture
def frozen():
    with freeze_time("2026-03-01 12:00") as clock:
        yield clock


def test_a_session_of_flask_expires_without_use(frozen, visit):
    assert visit()["user"] == "ada"
    frozen.tick(59 * 60)
    assert visit()["user"] == "ada"
    frozen.tick(59 * 60)
    assert visit()["user"] == "ada"
    frozen.tick(61 * 60)
    assert visit() == {"user": None, "at": None}


def test_a_session_of_flask_expires_in_spite_of_use(frozen, visit):
    for _ in range(5):
        frozen.tick(35 * 60)
        assert visit()["user"] == "ada"
    frozen.tick(6 * 60)
    assert visit()["user"] is None


def test_a_clock_that_is_moved_to_another_day_ends_the_session(frozen, visit):
    frozen.move_to("2026-03-02")
    assert visit()["user"] is None


def test_a_clock_that_is_frozen_in_a_block_of_the_test(visit):
    assert visit()["user"] == "ada"
    with freeze_time(dt.datetime.now(dt.UTC) + dt.timedelta(days=1), tick=True):
        assert visit()["user"] is None


def test_a_frozen_time_is_stored_and_shown(url, frozen):
    with Sessions.from_url(url, **LIMITS) as sessions:
        session = sessions.open(b"")
        session["at"] = now = dt.datetime.now(dt.UTC)
        sessions.close(session)
        ((name, value),) = sessions.cookie_of(session).items()
        frozen.tick(60)
        again = sessions.open(f"{name}={value}")
        assert again["at"] == now
        assert (again.created_at, again.expires_at) == (now, now + HOUR)
        assert sessions.sweep() == 0


def test_a_session_of_starlette_expires(url, frozen):
    async def endpoint(request):
        if request.url.path == "/in":
            request.session.sign_in("ada")
        return JSONResponse(request.session.user)

    sessions = AsyncSessions.from_url(url, **LIMITS)
    routes = [Route("/", endpoint), Route("/in", endpoint)]
    app = Starlette(routes=routes, middleware=[Middleware(SessionMiddleware, sessions=sessions)])

    async def scene():
        transport = httpx.ASGITransport(app)
        seen = []
        async with httpx.AsyncClient(transport=transport, base_url="http://testserver") as client:
            await client.get("/in")
            for minutes in (0, 59, 59, 61):
                frozen.tick(minutes * 60)
                seen.append((await client.get("/")).json())
        await sessions.shutdown()
        return seen

    assert asyncio.run(scene()) == ["ada", "ada", "ada", None]
