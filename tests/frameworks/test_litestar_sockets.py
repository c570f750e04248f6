"""Litestar's websockets, its test clients, and what starts and stops with the application."""

import asyncio
from datetime import timedelta

import litestar
import pytest
from litestar.exceptions import WebSocketException
from litestar.testing import TestClient

from coatcheck import AsyncSessions
from coatcheck.frameworks import asgi
from coatcheck.frameworks.litestar import CurrentSession, LitestarSession, SessionMiddleware, SessionPlugin
from coatcheck.stores.memory import AsyncMemoryStore
from tests.behaviours.site import SECRET
from tests.frameworks.asgi_driver import Exchange
from tests.frameworks.litestar_apps import DOWN, House, sent, visits
from tests.loops import on_each_loop

# Websockets


@on_each_loop
async def test_a_socket_takes_the_session_and_learns_that_it_has_ended():
    @litestar.websocket("/ws")
    async def news(socket: litestar.WebSocket, session: CurrentSession) -> None:
        await socket.accept()
        while await session.is_live():
            await socket.send_text(session["name"])
            await socket.receive_text()
        await socket.close(1008)

    house = House(news)
    cookie = await house.visitor(user="ada", name="Ada")
    async with house.connection(cookie) as (exchange, _):
        assert (await sent(exchange, "websocket.send"))["text"] == "Ada"
        await house.sessions.revoke_user("ada")
        exchange.incoming.put_nowait({"type": "websocket.receive", "text": "go on"})
        assert (await sent(exchange, "websocket.close"))["code"] == 1008


@on_each_loop
async def test_the_handshake_brings_the_cookie_and_later_changes_are_stored_at_the_end():
    @litestar.websocket("/ws")
    async def news(socket: litestar.WebSocket, session: CurrentSession) -> None:
        session.sign_in("ada")
        await socket.accept()
        session["said"] = await socket.receive_text()
        await socket.close()

    house = House(news)
    async with house.connection() as (exchange, serving):
        exchange.incoming.put_nowait({"type": "websocket.receive", "text": "hello"})
        await serving
    session = await house.seen(exchange.cookie)
    assert (session.user, session["said"]) == ("ada", "hello")


@on_each_loop
async def test_a_socket_that_raises_stores_nothing_but_its_ending():
    @litestar.websocket("/ws")
    async def news(socket: litestar.WebSocket, session: CurrentSession) -> None:
        await socket.accept()
        session["a"] = 2
        if socket.query_params:
            session.sign_out()
        raise ZeroDivisionError

    house = House(news)
    cookie = await house.visitor(a=1)
    async with house.connection(cookie) as (_, serving):
        await serving
    assert dict(await house.seen(cookie)) == {"a": 1}
    async with house.connection(cookie, query_string=b"end=1") as (_, serving):
        await serving
    assert (await house.seen(cookie)).is_new


@on_each_loop
async def test_a_socket_that_clears_the_session_and_sets_another_too_late_ends_it():
    @litestar.websocket("/ws")
    async def goodbye(socket: litestar.WebSocket) -> None:
        await socket.accept()
        socket.clear_session()
        socket.set_session({"notice": "Goodbye."})

    house = House(goodbye)
    cookie = await house.visitor(user="ada")
    async with house.connection(cookie) as (exchange, serving):
        await serving
    assert exchange.sent[-1]["code"] == 4500
    assert (await house.seen(cookie)).is_new


@on_each_loop
async def test_what_cant_be_set_at_the_end_of_a_socket_loses_no_sign_out():
    @litestar.websocket("/ws")
    async def goodbye(socket: litestar.WebSocket) -> None:
        await socket.accept()
        socket.session.sign_out()
        socket.set_session(["no dict"])

    house = House()
    app = litestar.Litestar([goodbye], logging_config=None)
    house.app = SessionMiddleware(app, house.sessions)
    cookie = await house.visitor(user="ada")
    async with house.connection(cookie) as (_, serving):
        with pytest.raises(TypeError):
            await serving
    assert (await house.seen(cookie)).is_new


@pytest.mark.parametrize("leaves", [True, False])
@on_each_loop
async def test_a_socket_whose_client_leaves_or_that_is_closed_by_an_exception_has_stored_its_changes(leaves):
    @litestar.websocket("/ws")
    async def news(socket: litestar.WebSocket, session: CurrentSession) -> None:
        await socket.accept()
        session["a"] = 2
        await socket.send_text("set")
        if leaves:
            await socket.receive_text()
        raise WebSocketException(detail="conflict", code=4409)

    house = House(news)
    cookie = await house.visitor(a=1)
    async with house.connection(cookie) as (exchange, _):
        await sent(exchange, "websocket.send")
    assert dict(await house.seen(cookie)) == {"a": 2}


@pytest.mark.parametrize("accepts", [True, False])
@on_each_loop
async def test_a_socket_in_an_outage_is_told_to_come_again_later(accepts):
    @litestar.websocket("/ws")
    async def news(socket: litestar.WebSocket) -> None:
        if accepts:
            await socket.accept()
        await socket.send_text(str(socket.session["a"]))

    house = House(news)
    cookie = await house.visitor(a=1)
    house.store.fail("load", error=DOWN)
    async with house.connection(cookie, extensions={"websocket.http.response": {}}) as (exchange, serving):
        await serving
    if accepts:
        assert exchange.sent[-1]["code"] == 1013
    else:
        assert exchange.sent[0]["status"] == 503


# Testing, starting and stopping


def test_a_test_client_prepares_the_session_and_looks_into_it_afterwards():
    house = House(visits, insecure_http=True, identity="user_id")
    with TestClient(house.app, session_config=house.plugin) as client:
        client.set_session_data({"visits": 6, "user_id": "ada"})
        assert client.get("/").json() == 7
        assert client.get_session_data() == {"visits": 7, "user_id": "ada"}
        client.set_session_data({})
        assert client.get_session_data() == {}


class Noted(AsyncSessions):
    """Sessions that note when they are swept and shut down."""

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.noted, self.swept = [], asyncio.Event()

    async def ping(self):
        self.noted.append("ping")

    async def shutdown(self):
        self.noted.append("shutdown")
        await super().shutdown()


@pytest.mark.parametrize("shutdown", [True, False])
def test_the_manager_starts_and_stops_with_the_application(shutdown):
    sessions = Noted(AsyncMemoryStore(), secret=SECRET)
    plugin = SessionPlugin(sessions, shutdown=shutdown, sweep_every=timedelta(hours=1))
    with TestClient(litestar.Litestar([visits], plugins=[plugin])):
        assert sessions.noted == ["ping"]
    assert sessions.noted == ["ping", "shutdown"][: 1 + shutdown]


@on_each_loop
async def test_a_part_of_an_application_can_have_sessions_alone():
    sessions = AsyncSessions(AsyncMemoryStore(), secret=SECRET)
    plugin = SessionPlugin(sessions)

    @litestar.get("/in", middleware=[plugin.middleware])
    async def inside(request: litestar.Request) -> None:
        request.session["a"] = 1

    @litestar.get("/out")
    async def outside(request: litestar.Request) -> bool:
        return "session" in request.scope

    app = litestar.Litestar([inside, outside], logging_config=None)
    assert (await Exchange(app, "/in").run()).cookie
    assert (await Exchange(app, "/out").run()).body == b"false"


@pytest.mark.parametrize("exclude", ["^/health", ["^/health", "^/no"]])
@on_each_loop
async def test_routes_can_have_no_session(exclude):
    async def has_session(request: litestar.Request) -> bool:
        return "session" in request.scope

    @litestar.get("/health/needs")
    async def needs(session: CurrentSession) -> None:
        pass

    house = House(
        litestar.get("/health")(has_session),
        litestar.get("/skipped", skip_session=True)(has_session),
        litestar.get("/other")(has_session),
        needs,
        plugin={"exclude": exclude},
    )
    paths = ("/health", "/skipped", "/other")
    assert [(await house.ask(path)).body for path in paths] == [b"false", b"false", b"true"]
    house.app.debug = True
    assert b"This route has no session" in (await house.ask("/health/needs")).body


@on_each_loop
async def test_a_route_without_a_session_of_the_plugins_fails_that_of_another_layer():
    @litestar.get("/needs", skip_session=True)
    async def needs(session: CurrentSession) -> None:
        pass

    @litestar.get("/broken", skip_session=True)
    async def broken(request: litestar.Request) -> None:
        request.session["a"] = 1
        raise ZeroDivisionError

    def answer(request: litestar.Request, error: ZeroDivisionError) -> litestar.Response[None]:
        return litestar.Response(None, status_code=409)

    house = House(needs, broken, app=lambda _: {"exception_handlers": {ZeroDivisionError: answer}})
    house.app.debug = True
    house.app = asgi.SessionMiddleware(house.app, house.sessions)
    assert b"This route has no session" in (await house.ask("/needs")).body
    assert (await house.ask("/broken")).status == 409
    assert await house.sessions.count() == 0


@on_each_loop
async def test_the_middleware_may_stand_around_the_application():
    @litestar.get("/")
    async def page(request: litestar.Request) -> bool:
        return isinstance(request.session, LitestarSession)

    app = litestar.Litestar([page], logging_config=None)
    sessions = AsyncSessions(AsyncMemoryStore(), secret=SECRET)
    assert (await Exchange(SessionMiddleware(app, sessions), "/").run()).body == b"true"
