"""Our middleware around a whole application of Starlette or FastAPI, whose own error page comes through it."""

from __future__ import annotations

import pytest
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.responses import PlainTextResponse
from starlette.testclient import TestClient

from coatcheck import AsyncSessions, StoreUnavailable
from coatcheck.frameworks.starlette import SessionMiddleware
from coatcheck.stores.memory import AsyncMemoryStore
from coatcheck.testing import AsyncFailingStore
from tests.visits import SECRET


async def play(request):
    """Does what the query says, and raises, or answers a 500 of its own, at the end."""
    session, query = request.session, request.url.query
    if "set" in query:
        session["a"] = 1
    if "save" in query:
        await session.save()
    if "out" in query:
        session.sign_out()
    if "in" in query.split("&"):
        session.sign_in("ada")
    if "raise" in query:
        raise ZeroDivisionError
    if "http" in query:
        raise HTTPException(503)
    return PlainTextResponse(f"{dict(session)} {session.user}", 500 if "own" in query else 200)


def starlette():
    app = Starlette()
    app.add_route("/", play)
    return app


def fastapi():
    app = FastAPI()
    app.add_route("/", play)
    return app


def starlette_in_debug():
    app = Starlette(debug=True)
    app.add_route("/", play)
    return app


@pytest.fixture(params=[starlette, fastapi, starlette_in_debug])
def client(request):
    store = AsyncFailingStore(AsyncMemoryStore())
    sessions = AsyncSessions(store, secret=SECRET, insecure_http=True)
    client = TestClient(SessionMiddleware(request.param(), sessions), raise_server_exceptions=False)
    client.store = store
    return client


@pytest.mark.promise("23")
def test_a_handler_that_raised_stores_nothing_though_the_page_comes_first(client):
    response = client.get("/?set&raise")
    assert (response.status_code, "set-cookie" in response.headers) == (500, False)
    assert client.get("/").text == "{} None"


@pytest.mark.promise("23")
def test_its_endings_and_explicit_saves_stand_and_the_page_carries_their_cookie(client):
    assert "set-cookie" in client.get("/?set&save&raise").headers
    assert client.get("/").text == "{'a': 1} None"
    client.get("/?in")
    assert client.get("/").text == "{'a': 1} ada"
    assert "Max-Age=0" in client.get("/?out&raise").headers["set-cookie"]
    assert client.get("/").text == "{} None"


@pytest.mark.promise("23")
@pytest.mark.parametrize(("way", "status"), [("own", 500), ("http", 503)])
def test_a_500_that_the_handler_returned_is_a_response_like_any_other(client, way, status):
    assert client.get(f"/?set&{way}").status_code == status
    assert client.get("/").text == "{'a': 1} None"


@pytest.mark.promise("20")
def test_an_outage_behind_the_page_is_a_503(client):
    client.get("/?set")
    client.store.fail("load", error=StoreUnavailable("the test says so"))
    response = client.get("/")
    assert (response.status_code, response.headers["retry-after"]) == (503, "1")
    client.store.recover()
    assert client.get("/").text == "{'a': 1} None"


@pytest.mark.promise("23")
def test_an_error_page_that_streams_stores_nothing_at_its_end_either():
    async def app(scope, _receive, send):
        session = scope["session"]
        if scope["path"] == "/":
            session["a"] = 1
            try:
                1 / 0  # noqa: B018 - it raises
            except ZeroDivisionError:
                await send({"type": "http.response.start", "status": 500, "headers": []})
                session["a"] = 2
                await send({"type": "http.response.body", "body": b"sorry", "more_body": True})
                await send({"type": "http.response.body"})
            return
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": repr(dict(session)).encode()})

    sessions = AsyncSessions(AsyncMemoryStore(), secret=SECRET, insecure_http=True)
    client = TestClient(SessionMiddleware(app, sessions))
    assert client.get("/").text == "sorry"
    assert client.get("/look").text == "{}"


@pytest.mark.promise("23")
def test_behind_a_middleware_that_answers_from_another_task_fail_drops_the_changes():
    """`BaseHTTPMiddleware` hides the exception: a handler of it calls `fail`, or what was changed is stored."""
    sessions = AsyncSessions(AsyncMemoryStore(), secret=SECRET, insecure_http=True)

    async def sorry(request, error):
        if "fail" in request.url.query:
            await sessions.fail(request.session, error)
        return PlainTextResponse("sorry", 500)

    async def around(request, call_next):
        return await call_next(request)

    app = Starlette(exception_handlers={ZeroDivisionError: sorry})
    app.add_route("/", play)
    app.add_middleware(BaseHTTPMiddleware, dispatch=around)
    app.add_middleware(SessionMiddleware, sessions=sessions)
    client = TestClient(app)
    assert client.get("/?set&raise&fail").status_code == 500
    assert client.get("/").text == "{} None"
    assert client.get("/?set&raise").status_code == 500
    assert client.get("/").text == "{'a': 1} None"
