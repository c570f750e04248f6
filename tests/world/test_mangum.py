"""Mangum, the adapter of AWS Lambda: a lifespan, or an event loop, for each invocation."""

import asyncio
import uuid

import pytest
import redis
from fastapi import FastAPI
from mangum import Mangum

from coatcheck import AsyncSessions
from coatcheck.frameworks.fastapi import CurrentSession, SessionMiddleware
from tests.servers.process import HOST, Server, free_port

SECRET = "t3Kq9VnWcX0bRz7uYh2LdPfJ8sMgA5eQoTiN1rBxGvE"
pytestmark = [pytest.mark.servers, pytest.mark.promise("24")]


@pytest.fixture(scope="module")
def redis_url(tmp_path_factory):
    port = free_port()
    command = ["redis-server", "--port", port, "--bind", HOST, "--save", ""]
    ready = redis.Redis(HOST, port).ping
    with Server(command, directory=tmp_path_factory.mktemp("redis"), ready=ready, name="redis"):
        yield f"redis://{HOST}:{port}"


@pytest.fixture(params=["memory", "sqlite", "redis"])
def sessions(request, tmp_path):
    url = {"memory": "memory://", "sqlite": f"sqlite:///{tmp_path}/sessions.db"}.get(request.param)
    url = url or request.getfixturevalue("redis_url")
    return AsyncSessions.from_url(url, secret=SECRET, prefix=f"mangum{uuid.uuid4().hex[:20]}:")


def site(sessions, **middleware):
    app = FastAPI()
    app.add_middleware(SessionMiddleware, sessions=sessions, **middleware)

    @app.get("/visits")
    async def visits(session: CurrentSession) -> list[object]:
        session["visits"] = session.get("visits", 0) + 1
        if session.user is None:
            session.sign_in("ada")
        return [session["visits"], session.user]

    return app


class Gateway:
    """An API Gateway of the second payload format, and a browser that keeps its cookies."""

    def __init__(self, handler):
        self.handler = handler
        self.cookies = []

    def get(self, path):
        event = {
            "version": "2.0",
            "routeKey": "$default",
            "rawPath": path,
            "rawQueryString": "",
            "cookies": self.cookies,
            "headers": {"host": "shop.example", "x-forwarded-proto": "https", "x-forwarded-port": "443"},
            "requestContext": {
                "http": {"method": "GET", "path": path, "protocol": "HTTP/1.1", "sourceIp": "192.0.2.1"},
                "stage": "$default",
            },
            "isBase64Encoded": False,
        }
        answer = self.handler(event, {})
        self.cookies = [line.split(";")[0] for line in answer.get("cookies", ())] or self.cookies
        return answer["statusCode"], answer["body"]


@pytest.fixture
def new_loop():
    """Makes the event loop that Mangum finds, after ending the one before as `asyncio.run` does."""
    made = []

    def new():
        end()
        made.append(asyncio.new_event_loop())
        asyncio.set_event_loop(made[0])

    def end():
        for loop in made:
            loop.run_until_complete(loop.shutdown_asyncgens())
            loop.close()
        made.clear()

    new()
    yield new
    end()
    asyncio.set_event_loop(None)


@pytest.mark.parametrize("lifespan", ["auto", "on", "off"])
def test_each_invocation_finds_the_session_of_the_one_before(sessions, lifespan, new_loop):
    gateway = Gateway(Mangum(site(sessions), lifespan=lifespan))
    for number in range(1, 5):
        assert gateway.get("/visits") == (200, f'[{number},"ada"]')
    asyncio.get_event_loop().run_until_complete(sessions.shutdown())


@pytest.mark.parametrize("lifespan", ["auto", "off"])
@pytest.mark.parametrize("load", ["eager", "on_demand"])
def test_each_invocation_may_have_an_event_loop_of_its_own(sessions, lifespan, load, new_loop):
    gateway = Gateway(Mangum(site(sessions, load=load), lifespan=lifespan))
    for number in range(1, 5):
        assert gateway.get("/visits") == (200, f'[{number},"ada"]')
        new_loop()
    asyncio.get_event_loop().run_until_complete(sessions.shutdown())
