"""A manager after its first lifespan, and in one event loop after the other: on every store."""

import asyncio
import uuid

import pytest
from fastapi import FastAPI
from fastapi.testclient import TestClient

from coatcheck import AsyncSessions, Sessions
from coatcheck.frameworks.fastapi import CurrentSession, SessionMiddleware
from tests.frameworks.asgi_driver import SECRET
from tests.servers.memcached import memcached  # noqa: F401 - a fixture
from tests.stores.sql.servers import SERVERS, databases_that_end  # noqa: F401 - a fixture

pytestmark = [pytest.mark.servers, pytest.mark.promise("24")]
FIXTURES = {"redis": "redis_server", "memcached": "memcached"}


@pytest.fixture(params=["memory", "sqlite", "redis", "memcached", *SERVERS])
def options(request, tmp_path):
    """The URL and the settings of managers that share one store; of memory, each has its own."""
    kind = request.param
    settings = {"prefix": f"life{uuid.uuid4().hex[:20]}:", "secret": SECRET, "insecure_http": True}
    if kind in SERVERS:
        url = SERVERS[kind]().url()
        with Sessions.from_url(url, **settings) as sessions:
            sessions.store.create_tables()
    elif kind in FIXTURES:
        url = request.getfixturevalue(FIXTURES[kind]).url
    else:
        url = "memory://" if kind == "memory" else f"sqlite:///{tmp_path}/sessions.db"
    return url, settings


def site(sessions, **middleware):
    app = FastAPI()
    app.add_middleware(SessionMiddleware, sessions=sessions, **middleware)

    @app.post("/visit")
    async def visit(session: CurrentSession) -> int:
        session["visits"] = session.get("visits", 0) + 1
        if session["visits"] == 1:
            session.sign_in("ada")
        return session["visits"]

    @app.get("/who")
    async def who(session: CurrentSession) -> str | None:
        return session.user

    return app


@pytest.mark.parametrize("load", ["eager", "on_demand"])
def test_an_application_is_started_again_and_again_with_its_manager(options, load):
    url, settings = options
    app, cookies = site(AsyncSessions.from_url(url, **settings), load=load), {}
    for number in range(1, 4):
        with TestClient(app, cookies=cookies) as browser:
            assert browser.post("/visit").json() == number
            assert browser.get("/who").json() == "ada"
            cookies = dict(browser.cookies)


def test_every_request_may_have_an_event_loop_of_its_own_and_no_lifespan(options):
    url, settings = options
    sessions = AsyncSessions.from_url(url, **settings)
    browser = TestClient(site(sessions))  # not entered: it runs each request in a new loop
    assert [browser.post("/visit").json() for _ in range(3)] == [1, 2, 3]
    with browser:
        assert browser.post("/visit").json() == 4
    assert browser.post("/visit").json() == 5
    asyncio.run(sessions.shutdown())


def test_a_manager_is_used_again_after_it_was_shut_down(options):
    url, settings = options

    def visit(sessions, cookie):
        session = sessions.open(cookie)
        session["visits"] = session.get("visits", 0) + 1
        outcome = sessions.close(session)
        return session["visits"], cookie if outcome.set_cookie is None else outcome.set_cookie.split(";")[0]

    sessions, cookie = Sessions.from_url(url, **settings), ""
    for number in range(1, 4):
        with sessions:
            visits, cookie = visit(sessions, cookie)
            assert visits == number
