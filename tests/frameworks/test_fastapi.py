"""FastAPI: the typed dependency, what OpenAPI shows of it, threads, websockets; and the shared list on demand."""

import asyncio
from contextlib import suppress
from typing import Annotated

import anyio.from_thread
import pytest
from fastapi import APIRouter, Depends, FastAPI, Request, WebSocket
from fastapi.testclient import TestClient
from starlette.responses import StreamingResponse

from coatcheck import AsyncSessions, ConfigurationError, CookieSettings, SessionGone
from coatcheck.errors import CannotSendCookie, StoreError, StoreUnavailable
from coatcheck.frameworks import starlette as for_starlette
from coatcheck.frameworks.fastapi import CurrentSession, SessionDependency, SessionMiddleware, get_session
from coatcheck.stores.memory import AsyncMemoryStore
from coatcheck.testing import AsyncCountingStore, AsyncFailingStore, async_cookies_for
from tests.behaviours import AsgiClient, AsyncHttpBehaviours, perform_async
from tests.behaviours.app import looks
from tests.frameworks.asgi_driver import SECRET
from tests.frameworks.test_starlette import response_of

DOWN = StoreUnavailable("the test says so", ambiguous=False)


def count(session: CurrentSession) -> int:
    session["n"] = int(session.get("n", 0)) + 1
    return session["n"]


Count = Annotated[int, Depends(count)]
OtherSession = Annotated[for_starlette.StarletteSession, Depends(SessionDependency())]
ShopSession = Annotated[for_starlette.StarletteSession, Depends(SessionDependency("shop"))]


class TestOnDemand(AsyncHttpBehaviours):
    """The shared list, with the session loaded by the dependency where the request looks at it."""

    untouched = ()
    largest_header = 1 << 13  # FastAPI's own reading of cookies is quadratic in many a Python (CVE-2024-7592)

    def build_async(self, sessions, portal):
        app = FastAPI()
        app.add_middleware(SessionMiddleware, sessions=sessions, load="on_demand")

        @app.api_route("/play", methods=["GET", "HEAD"])
        async def play(request: Request):
            query, session = request.url.query, None
            if looks(query):
                session = request.session
                with suppress(StoreError):  # the first look raises it again
                    session = await SessionDependency()(request)
            return response_of(await perform_async(query, session, sessions))

        return AsgiClient(app, portal)


# The dependency


@pytest.fixture
def store():
    return AsyncCountingStore(AsyncMemoryStore())


@pytest.fixture
def failing(store):
    return AsyncFailingStore(store)


@pytest.fixture
def sessions(failing):
    return AsyncSessions(failing, secret=SECRET, insecure_http=True)


@pytest.fixture
def app(sessions):
    app = FastAPI()
    app.add_middleware(SessionMiddleware, sessions=sessions, load="on_demand")

    @app.get("/show")
    async def show(session: CurrentSession) -> dict[str, object]:
        return dict(session)

    @app.get("/set/{name}/{value}")
    async def assign(session: CurrentSession, name: str, value: str) -> None:
        session[name] = value

    @app.get("/free")
    async def free() -> str:
        return "free"

    return app


@pytest.fixture(params=[False, True], ids=["asyncio", "uvloop"])
def client(app, request):
    return TestClient(app, backend_options={"use_uvloop": request.param}, raise_server_exceptions=False)


@pytest.mark.promise("1")
def test_a_route_that_takes_the_session_has_it_loaded_and_one_that_does_not_costs_nothing(client, store):
    client.get("/set/a/1")
    store.reset()
    response = client.get("/free")
    assert (store.sequence, response.headers.get("vary")) == ([], None)
    response = client.get("/show")
    assert response.json() == {"a": "1"}
    assert (store.sequence, response.headers["vary"]) == (["load"], "Cookie")


def test_several_dependencies_of_one_request_share_one_session_that_is_loaded_once(app, client, store):
    @app.get("/count")
    async def show_count(number: Count, session: CurrentSession, other: OtherSession) -> list[object]:
        return [number, session["n"], session is other]

    client.get("/set/a/1")
    store.reset()
    assert client.get("/count").json() == [1, 1, True]
    assert store.sequence == ["load", "write"]


def test_a_test_can_override_the_session_of_every_route_that_takes_it(app, client, store, sessions):
    @app.get("/count")
    async def show_count(number: Count, session: CurrentSession) -> list[object]:
        return [number, session.user]

    async def in_a_test():
        session = sessions.open(b"", session_type=for_starlette.StarletteSession)
        await session.load()
        session.sign_in("ada")
        session["n"] = 41
        return session

    app.dependency_overrides[get_session] = in_a_test
    assert client.get("/count").json() == [42, "ada"]
    assert client.get("/show").json() == {"n": 41}
    assert store.sequence == []
    app.dependency_overrides.clear()
    assert client.get("/count").json() == [1, None]


def test_openapi_shows_the_cookie_on_the_routes_that_take_the_session(app):
    described = app.openapi()
    assert described["components"]["securitySchemes"] == {
        "Session": {"type": "apiKey", "in": "cookie", "name": "__Host-session"}
    }
    assert described["paths"]["/show"]["get"]["security"] == [{"Session": []}]
    assert "security" not in described["paths"]["/free"]["get"]
    parameters = described["paths"]["/set/{name}/{value}"]["get"]["parameters"]
    assert [each["name"] for each in parameters] == ["name", "value"]  # the session is none


def test_openapi_shows_a_cookie_of_another_name():
    settings = {"cookie": CookieSettings(name="shop"), "insecure_http": True}
    sessions = AsyncSessions(AsyncMemoryStore(), secret=SECRET, **settings)
    app = FastAPI()
    app.add_middleware(SessionMiddleware, sessions=sessions, load="on_demand")

    @app.get("/")
    async def home(session: ShopSession) -> int:
        session["n"] = session.get("n", 0) + 1
        return session["n"]

    assert app.openapi()["components"]["securitySchemes"]["Session"]["name"] == "shop"
    client = TestClient(app)
    assert [client.get("/").json() for _ in range(2)] == [1, 2]
    assert list(client.cookies) == ["shop"]


def test_without_the_middleware_the_error_names_it():
    app = FastAPI()

    @app.get("/")
    async def home(session: CurrentSession) -> None: ...

    with pytest.raises(ConfigurationError, match=r"add_middleware\(SessionMiddleware, sessions=sessions\)"):
        TestClient(app).get("/")


def test_routers_and_mounted_applications_get_the_session_too(app, client):
    router = APIRouter(prefix="/router", dependencies=[Depends(SessionDependency())])

    @router.get("/who")
    async def who(request: Request) -> list[str]:
        return sorted(request.session)  # loaded for the whole router

    app.include_router(router)
    inner = FastAPI()

    @inner.get("/who")
    async def inner_who(session: CurrentSession) -> list[str]:
        return sorted(session)

    app.mount("/inner", inner)
    client.get("/set/a/1")
    assert client.get("/router/who").json() == client.get("/inner/who").json() == ["a"]


@pytest.mark.promise("20")
def test_an_outage_is_a_503_where_the_session_is_taken_and_nowhere_else(client, failing):
    client.get("/set/a/1")
    failing.fail("load", error=DOWN)
    response = client.get("/show")
    assert (response.status_code, response.headers["retry-after"]) == (503, "1")
    assert "set-cookie" not in response.headers
    assert client.get("/free").status_code == 200
    failing.recover()
    assert client.get("/show").json() == {"a": "1"}


def test_a_handler_of_ones_own_for_outages_is_asked_first(app, client, failing):
    @app.exception_handler(StoreUnavailable)
    async def sorry(request, error):
        return response_of(type("Answer", (), {"body": [b"sorry"], "status": 502, "headers": []}))

    client.get("/set/a/1")
    failing.fail("load", error=DOWN)
    assert (client.get("/show").status_code, client.get("/show").text) == (502, "sorry")


# Threads, dependencies with yield, streams


def test_a_route_that_runs_in_a_thread_uses_the_session_and_can_wait_for_it(app, client):
    @app.get("/thread")
    def in_a_thread(session: CurrentSession) -> list[object]:
        session["list"] = [1]
        session["list"].append(2)
        anyio.from_thread.run(session.save)
        session["list"].append(3)
        return [anyio.from_thread.run(session.is_live), sorted(session)]

    assert client.get("/thread").json() == [True, ["list"]]
    assert client.get("/show").json() == {"list": [1, 2, 3]}


def test_a_dependency_with_yield_sees_the_session_before_and_after_the_handler(app, client):
    seen = []

    async def around(session: CurrentSession):
        session["before"] = True
        yield
        seen.append(session.get("handler"))
        session["after"] = True

    @app.get("/around", dependencies=[Depends(around)])
    async def handler(session: CurrentSession) -> None:
        session["handler"] = True

    assert client.get("/around").status_code == 200
    assert seen == [True]
    assert client.get("/show").json() == {"before": True, "handler": True, "after": True}


def test_a_dependency_with_yield_that_needs_a_cookie_after_the_response_is_an_error(app, sessions):
    async def around(session: CurrentSession):
        yield
        session["after"] = True

    @app.get("/around", dependencies=[Depends(around)])
    async def handler() -> None: ...

    with pytest.raises(CannotSendCookie):
        TestClient(app).get("/around")
    assert asyncio.run(sessions.count()) == 0


def test_a_dependency_with_yield_that_catches_the_handlers_error_decides_what_becomes_of_it(app, client):
    async def around(session: CurrentSession):
        try:
            yield
        except ZeroDivisionError:
            session["caught"] = True
            raise

    @app.get("/around", dependencies=[Depends(around)])
    async def handler(session: CurrentSession) -> None:
        session["handler"] = 1 / 0

    client.get("/set/a/1")
    assert client.get("/around").status_code == 500
    assert client.get("/show").json() == {"a": "1"}  # a request that failed writes nothing


def test_events_that_are_sent_save_as_they_go(app, client):
    @app.get("/events")
    async def events(session: CurrentSession) -> StreamingResponse:
        async def stream():
            for number in range(3):
                session["seen"] = number
                await session.save()
                yield f"data: {number}\n\n"

        session["begin"] = True
        return StreamingResponse(stream(), media_type="text/event-stream")

    assert client.get("/events").text.count("data") == 3
    assert client.get("/show").json() == {"begin": True, "seen": 2}


# Websockets, and more of the session's own


def test_a_websocket_takes_the_session_by_the_same_dependency(app, client, sessions):
    @app.websocket("/ws")
    async def chat(websocket: WebSocket, session: CurrentSession) -> None:
        await websocket.accept()
        async for text in websocket.iter_text():
            session["said"] = text
            await session.save()
            await websocket.send_text(f"{session.user}: {text}")

    client.cookies.update(asyncio.run(async_cookies_for(sessions, user="ada")))
    with client.websocket_connect("/ws") as websocket:
        websocket.send_text("hello")
        assert websocket.receive_text() == "ada: hello"
        assert client.get("/show").json() == {"said": "hello"}


def test_signing_in_a_list_of_devices_and_revoking_one(app, client, sessions):
    @app.get("/in/{user}")
    async def sign_in(session: CurrentSession, user: str) -> None:
        session.sign_in(user)

    @app.get("/devices")
    async def devices(session: CurrentSession) -> list[tuple[str, bool]]:
        return [
            (info.handle, info.current)
            for info in await sessions.of_user(session.user or "?", current=session)
        ]

    @app.delete("/devices/{handle}")
    async def revoke(session: CurrentSession, handle: str) -> bool:
        if handle not in {info.handle for info in await sessions.of_user(session.user or "?")}:
            raise SessionGone("not yours", handle=handle)
        return await sessions.revoke(handle)

    other = TestClient(app)
    client.get("/in/ada")
    other.get("/in/ada")
    listed = dict(client.get("/devices").json())
    assert sorted(listed.values()) == [False, True]
    (theirs,) = (handle for handle, current in listed.items() if not current)
    assert client.delete(f"/devices/{theirs}").json() is True
    assert other.get("/devices").json() == []
