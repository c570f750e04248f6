"""Handlers of async frameworks that run in a thread: the session of the request is used there, by the sync manager too."""

from __future__ import annotations

import httpx
import litestar
import pytest
import quart
from asgiref.sync import sync_to_async
from django.core.asgi import get_asgi_application
from django.http import HttpResponse
from django.test.utils import override_settings
from django.urls import clear_url_caches, path
from litestar.testing import TestClient
from quart.utils import run_sync

from coatcheck import AsyncSessions, Sessions
from coatcheck.frameworks.asgi import SessionMiddleware
from coatcheck.stores.memory import MemoryStore
from coatcheck.testing.shim import awaitable
from tests.behaviours.site import SECRET
from tests.frameworks import django_site  # noqa: F401 - sets Django up

urlpatterns = []


@pytest.fixture(autouse=True)
def _django():
    with override_settings(ROOT_URLCONF=__name__, MIDDLEWARE=[]):
        yield


class House:
    def __init__(self):
        store = MemoryStore()
        self.sync = Sessions(store, secret=SECRET, insecure_http=True)
        self.sessions = AsyncSessions(awaitable(store, threads=True), secret=SECRET, insecure_http=True)

    def count(self, session):
        """Called in a thread."""
        session["visits"] = session.get("visits", 0) + 1
        assert self.sync.save(session)
        session.setdefault("seen", []).append(session["visits"])
        return str(session["visits"])


def quart_app(house):
    app = quart.Quart(__name__)

    @app.get("/coroutine")
    async def coroutine():
        session = quart.request.scope["session"]
        return await run_sync(house.count)(session)

    @app.get("/thread")
    def thread():
        return house.count(quart.request.scope["session"])

    return app


def django_app(house):
    async def coroutine(request):
        return HttpResponse(await sync_to_async(house.count)(request.scope["session"]))

    def thread(request):
        return HttpResponse(house.count(request.scope["session"]))

    urlpatterns[:] = [path("coroutine", coroutine), path("thread", thread)]
    clear_url_caches()
    return get_asgi_application()


@pytest.mark.promise("6")
@pytest.mark.parametrize("build", [quart_app, django_app])
@pytest.mark.parametrize("load", ["eager", "on_demand"])
@pytest.mark.parametrize("view", ["coroutine", "thread"])
@pytest.mark.anyio
async def test_a_view_loads_changes_and_saves_its_session_in_a_thread(build, load, view):
    house = House()
    transport = httpx.ASGITransport(SessionMiddleware(build(house), house.sessions, load=load))
    async with httpx.AsyncClient(transport=transport, base_url="http://testserver") as browser:
        for number in (1, 2, 3):
            assert (await browser.get(f"/{view}")).text == str(number)
    ((name, value),) = browser.cookies.items()
    assert dict(house.sync.open(f"{name}={value}")) == {"visits": 3, "seen": [1, 2, 3]}


@pytest.fixture
def anyio_backend():
    return "asyncio"


@pytest.mark.parametrize("where", ["around", "inside"])
def test_a_websocket_under_litestar_reads_and_writes_its_visitors_session(where):
    house = House()

    @litestar.get("/")
    async def index(request: litestar.Request) -> str:
        request.session["a"] = 1
        return ""

    @litestar.websocket("/socket")
    async def socket(socket: litestar.WebSocket) -> None:
        await socket.accept()
        await socket.send_json(socket.session["a"])
        socket.session["b"] = await socket.receive_json()
        await house.sessions.save(socket.session)
        await socket.send_json(dict(socket.session))
        socket.session["c"] = 3
        await socket.close()

    inside = litestar.middleware.DefineMiddleware(SessionMiddleware, sessions=house.sessions)
    app = litestar.Litestar(
        [index, socket], openapi_config=None, middleware=[inside] if where == "inside" else []
    )
    with TestClient(SessionMiddleware(app, house.sessions) if where == "around" else app) as browser:
        browser.get("/")
        ((name, value),) = browser.cookies.items()
        with browser.websocket_connect("/socket") as connected:
            assert connected.receive_json() == 1
            connected.send_json(2)
            assert connected.receive_json() == {"a": 1, "b": 2}
    assert dict(house.sync.open(f"{name}={value}")) == {"a": 1, "b": 2, "c": 3}
