"""Litestar's ways with the plugin: the dependency, `SessionAuth`, websockets, test clients, failing, starting and stopping."""

import asyncio
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

import litestar
import pytest
from litestar.di import NamedDependency, Provide
from litestar.exceptions import WebSocketException
from litestar.security.session_auth import SessionAuth
from litestar.testing import TestClient

from coatcheck import AsyncSessions, StoreError, StoreUnavailable
from coatcheck.frameworks.litestar import CurrentSession, SessionPlugin
from coatcheck.stores.memory import AsyncMemoryStore
from coatcheck.testing import AsyncCountingStore, AsyncFailingStore, ManualClock
from tests.behaviours.site import SECRET
from tests.frameworks.asgi_driver import PATIENCE, Exchange
from tests.loops import on_each_loop, until

DOWN = StoreUnavailable("the test says so", ambiguous=False)


class Visit(Exchange):
    """A client that has gone when it has the whole response: Litestar's streams wait for that."""

    async def send(self, message):
        await super().send(message)
        if message["type"] == "http.response.body" and not message.get("more_body", False):
            self.incoming.put_nowait({"type": "http.disconnect"})


class House:
    """One application, its store, and what a visitor sends to it."""

    def __init__(self, *handlers, plugin=None, app=None, **options):
        self.counting = AsyncCountingStore(AsyncMemoryStore())
        self.store = AsyncFailingStore(self.counting)
        self.sessions = AsyncSessions(self.store, **{"secret": SECRET, "clock": ManualClock(), **options})
        self.plugin = SessionPlugin(self.sessions, **(plugin or {}))
        self.app = litestar.Litestar(
            [*handlers], plugins=[self.plugin], logging_config=None, **(app(self) if app else {})
        )

    async def ask(self, path="/", *cookies, **scope):
        """A request that was served."""
        async with asyncio.timeout(PATIENCE):
            return await Visit(self.app, path, cookies=cookies, **scope).run()

    @asynccontextmanager
    async def connection(self, *cookies, **scope):
        """A websocket that is being served; its client leaves at the end."""
        scope = {"type": "websocket", "scheme": "wss", "subprotocols": [], **scope}
        exchange = Exchange(self.app, "/ws", cookies=cookies, **scope)
        del exchange.scope["method"]
        serving = exchange.start()
        try:
            yield exchange, serving
        finally:
            exchange.incoming.put_nowait({"type": "websocket.disconnect", "code": 1001})
            async with asyncio.timeout(PATIENCE):
                await asyncio.gather(serving, return_exceptions=True)

    async def visitor(self, *, user=None, **fields):
        """The Cookie header of one whose session holds these fields."""
        session = self.sessions.open(b"")
        await self.sessions.load(session)
        session.update(fields)
        if user is not None:
            session.sign_in(user)
        return (await self.sessions.close(session)).set_cookie.split(";")[0].encode()

    async def seen(self, cookie):
        """The session of a cookie, to look at."""
        session = self.sessions.open(cookie)
        await self.sessions.load(session)
        return session


async def sent(exchange, kind):
    await until(lambda: any(message["type"] == kind for message in exchange.sent))
    return [message for message in exchange.sent if message["type"] == kind][-1]


# The dependency


@litestar.get("/")
async def visits(session: CurrentSession) -> int:
    session["visits"] = session.get("visits", 0) + 1
    return session["visits"]


@litestar.get("/", sync_to_thread=True)
def visits_in_a_thread(session: CurrentSession) -> int:
    session["visits"] = session.get("visits", 0) + 1
    return session["visits"]


@pytest.mark.parametrize("load", ["eager", "on_demand"])
@pytest.mark.parametrize("handler", [visits, visits_in_a_thread], ids=["coroutine", "thread"])
@on_each_loop
async def test_a_handler_takes_its_loaded_session_as_a_parameter(handler, load):
    house = House(handler, plugin={"load": load})
    cookie = (await house.ask()).cookie
    assert (await house.ask("/", cookie)).body == b"2"


@pytest.mark.parametrize(("load", "asked"), [("eager", ["load"]), ("on_demand", [])])
@on_each_loop
async def test_a_handler_that_takes_no_session_costs_nothing_where_it_is_loaded_on_demand(load, asked):
    @litestar.get("/")
    async def plain() -> str:
        return "plain"

    house = House(plain, plugin={"load": load})
    cookie = await house.visitor(a=1)
    house.counting.reset()
    assert (await house.ask("/", cookie)).headers(b"vary") == []
    assert house.counting.sequence == asked


@on_each_loop
async def test_the_parameter_has_the_name_that_the_application_chose():
    @litestar.get("/")
    async def handler(visitor: CurrentSession, session: NamedDependency[str]) -> str:
        visitor["a"] = 1
        return session

    def session() -> str:
        return "the application's own"

    house = House(
        handler,
        plugin={"dependency_key": "visitor"},
        app=lambda _: {"dependencies": {"session": Provide(session, sync_to_thread=False)}},
    )
    answer = await house.ask()
    assert answer.body == b"the application's own"
    assert dict(await house.seen(answer.cookie)) == {"a": 1}


@on_each_loop
async def test_the_applications_own_dependency_of_that_name_stands():
    @litestar.get("/")
    async def handler(session: NamedDependency[str]) -> str:
        return session

    def session() -> str:
        return "the application's own"

    house = House(
        handler, app=lambda _: {"dependencies": {"session": Provide(session, sync_to_thread=False)}}
    )
    assert (await house.ask()).body == b"the application's own"


@on_each_loop
async def test_openapi_describes_no_session_parameter():
    house = House(visits)
    (operation,) = [item.get for item in house.app.openapi_schema.paths.values()]
    assert operation.parameters is None


# The identity field, and what stands in scope["session"]


@litestar.post("/set")
async def set_session(request: litestar.Request) -> None:
    request.set_session(await request.json())


@litestar.post("/scope")
async def set_scope(request: litestar.Request) -> None:
    request.scope["session"] = await request.json()


async def post(house, path, data, *cookies):
    body = litestar.serialization.encode_json(data)
    exchange = Exchange(house.app, path, cookies=cookies, method="POST")
    exchange.incoming.get_nowait()
    exchange.incoming.put_nowait({"type": "http.request", "body": body, "more_body": False})
    async with asyncio.timeout(PATIENCE):
        return await exchange.run()


@pytest.mark.parametrize("path", ["/set", "/scope"])
@on_each_loop
async def test_set_session_judges_the_identity_field(path):
    house = House(set_session, set_scope, identity="user_id")
    planted = await house.visitor(basket=["scarf"])
    ada = (await post(house, path, {"user_id": "ada", "a": 1}, planted)).cookie
    assert (await house.seen(ada)).user == "ada"
    assert (await house.seen(planted)).is_new
    # Another user: nothing of the first one's stays, and all that was set does, in whichever order it came.
    bob = (await post(house, path, {"a": 1, "b": 2, "user_id": "bob"}, ada)).cookie
    session = await house.seen(bob)
    assert (session.user, dict(session)) == ("bob", {"a": 1, "b": 2, "user_id": "bob"})
    assert (await house.seen(ada)).is_new
    out = (await post(house, path, {"c": 3}, bob)).cookie
    session = await house.seen(out)
    assert (session.user, dict(session)) == (None, {"c": 3})
    assert (await house.seen(bob)).is_new


@dataclass
class User:
    id: str


def house_of_users():
    async def retrieve(session: dict[str, Any], connection: Any) -> User | None:
        return User(session["user_id"]) if "user_id" in session else None

    @litestar.get("/login")
    async def login(request: litestar.Request) -> None:
        request.set_session({"user_id": "ada"})

    @litestar.get("/logout")
    async def logout(request: litestar.Request) -> None:
        request.clear_session()

    @litestar.get("/me")
    async def me(request: litestar.Request[User, Any, Any]) -> str:
        return request.user.id

    def auth(house):
        guard = SessionAuth[User, Any](
            retrieve_user_handler=retrieve, session_backend_config=house.plugin, exclude=["/login", "/schema"]
        )
        return {"on_app_init": [guard.on_app_init]}

    return House(login, logout, me, app=auth, identity="user_id")


@on_each_loop
async def test_litestars_session_auth_stands_on_the_session_and_a_copied_cookie_is_dead_after_the_logout():
    house = house_of_users()
    assert (await house.ask("/me")).status == 401
    copied = (await house.ask("/login")).cookie
    assert (await house.ask("/me", copied)).body == b"ada"
    assert len(await house.sessions.of_user("ada")) == 1
    assert (await house.ask("/logout", copied)).status == 200
    assert (await house.ask("/me", copied)).status == 401


# Failing


class OutOfStock(Exception):
    pass


@litestar.get("/broken")
async def broken(session: CurrentSession) -> None:
    session["a"] = 2
    raise OutOfStock


@on_each_loop
async def test_an_exception_that_a_handler_of_the_applications_answers_stores_nothing():
    def sold_out(request: litestar.Request, error: OutOfStock) -> litestar.Response[str]:
        return litestar.Response(f"{request.session['a']}", status_code=409)

    house = House(broken, app=lambda _: {"exception_handlers": {OutOfStock: sold_out}})
    cookie = await house.visitor(a=1)
    assert (await house.ask("/broken", cookie)).status == 409
    assert dict(await house.seen(cookie)) == {"a": 1}


@on_each_loop
async def test_an_outage_is_a_503_and_not_the_page_for_500_unless_the_application_has_its_own():
    ran = []

    def sorry(request: litestar.Request, error: Exception) -> litestar.Response[str]:
        ran.append(error)
        return litestar.Response("sorry", status_code=500)

    def back_soon(request: litestar.Request, error: StoreError) -> litestar.Response[str]:
        return litestar.Response("back soon", status_code=503, media_type="text/plain")

    for handlers, body in (({500: sorry}, b"try again"), ({StoreError: back_soon}, b"back soon")):
        house = House(visits, app=lambda _, handlers=handlers: {"exception_handlers": handlers})
        cookie = await house.visitor(a=1)
        house.store.fail("load", error=DOWN)
        answer = await house.ask("/", cookie)
        assert answer.status == 503
        assert body in answer.body
        assert bool(answer.headers(b"retry-after")) is (500 in handlers)
    assert ran == []


@on_each_loop
async def test_what_a_stream_changes_later_is_stored():
    @litestar.get("/")
    async def handler(request: litestar.Request) -> litestar.response.Stream:
        session = request.session
        session["a"] = 2

        async def body():
            yield b"first"
            session["a"] = 3
            yield b"second"

        return litestar.response.Stream(body())

    house = House(handler)
    cookie = await house.visitor(a=1)
    assert (await house.ask("/", cookie)).body == b"firstsecond"
    assert dict(await house.seen(cookie)) == {"a": 3}


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


@on_each_loop
async def test_routes_can_have_no_session():
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
        plugin={"exclude": ["^/health"]},
    )
    paths = ("/health", "/skipped", "/other")
    assert [(await house.ask(path)).body for path in paths] == [b"false", b"false", b"true"]
    house.app.debug = True
    assert b"This route has no session" in (await house.ask("/health/needs")).body
