"""trio, and anyio on it: `AsyncSessions` run on asyncio, and say so."""

import anyio
import httpx
import pytest
import trio
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import JSONResponse
from starlette.routing import Route

from coatcheck import AsyncSessions
from coatcheck.errors import ConfigurationError
from coatcheck.frameworks.starlette import SessionMiddleware

SECRET = "5bqN0vYdF2ZrU8mKxWc7tLhE3pJ9sGaQ"
STORES = ["memory://", "sqlite:///{path}/sessions.db"]
WORDS = r'asyncio \(or uvloop\).* under trio.*anyio.* backend="asyncio"'


async def endpoint(request):
    request.session["visits"] = request.session.get("visits", 0) + 1
    return JSONResponse(request.session["visits"])


@pytest.fixture(params=STORES, ids=["memory", "sqlite"])
def sessions(request, tmp_path):
    return AsyncSessions.from_url(request.param.format(path=tmp_path), secret=SECRET, insecure_http=True)


@pytest.fixture
def app(sessions):
    return Starlette(
        routes=[Route("/", endpoint)], middleware=[Middleware(SessionMiddleware, sessions=sessions)]
    )


async def visits(app):
    transport = httpx.ASGITransport(app)
    async with httpx.AsyncClient(transport=transport, base_url="http://testserver") as client:
        await client.get("/")
        return (await client.get("/")).json()


def test_under_trio_a_request_fails_in_words_that_help(app):
    with pytest.raises(ConfigurationError, match=WORDS):
        trio.run(visits, app)


def test_under_trio_a_server_does_not_start(app):
    async def receive():
        return {"type": "lifespan.startup"}

    with pytest.raises(ConfigurationError, match=WORDS):
        trio.run(app, {"type": "lifespan"}, receive, None)


def test_under_trio_a_script_fails_in_words_that_help(sessions):
    for call in (lambda: sessions.revoke_user("ada"), sessions.ping, sessions.shutdown):
        with pytest.raises(ConfigurationError, match=WORDS):
            trio.run(call)


def test_the_advice_works(app):
    assert anyio.run(visits, app, backend="asyncio") == 2
