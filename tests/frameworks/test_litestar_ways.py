"""Litestar's ways with the plugin: the dependency, `set_session`, `SessionAuth`, and handlers that fail."""

import asyncio
from dataclasses import dataclass
from typing import Any

import litestar
import pytest
from litestar.di import NamedDependency, Provide
from litestar.security.session_auth import SessionAuth

from coatcheck import StoreError
from coatcheck.frameworks.litestar import CurrentSession
from tests.frameworks.asgi_driver import PATIENCE, Exchange
from tests.frameworks.litestar_apps import DOWN, House, visits
from tests.loops import on_each_loop

# The dependency


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


@on_each_loop
async def test_set_session_alone_leaves_the_user_signed_in():
    house = House(set_session)
    cookie = await house.visitor(user="ada", a=1)
    await post(house, "/set", {"b": 2}, cookie)
    seen = await house.seen(cookie)
    assert (seen.user, dict(seen)) == ("ada", {"b": 2})


@pytest.mark.parametrize("query", [b"", b"raise=1"])
@on_each_loop
async def test_what_is_set_after_clear_session_begins_another_session(query):
    @litestar.get("/")
    async def goodbye(request: litestar.Request) -> None:
        request.clear_session()
        request.set_session({"notice": "Goodbye."})
        if request.query_params:
            raise OutOfStock

    house = House(goodbye)
    cookie = await house.visitor(user="ada", a=1)
    answer = await house.ask("/", cookie, query_string=query)
    assert await house.sessions.of_user("ada") == []
    assert (await house.seen(cookie)).is_new
    if not query:
        assert dict(await house.seen(answer.cookie)) == {"notice": "Goodbye."}


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
async def test_in_an_outage_a_hook_of_the_applications_finds_an_empty_session():
    found = []

    async def report(error: Exception, scope: Any) -> None:
        found.append(scope["coatcheck.session"].user)

    house = House(visits, app=lambda _: {"after_exception": [report]})
    cookie = await house.visitor(user="ada")
    house.store.fail("load", error=DOWN)
    answer = await house.ask("/", cookie)
    assert (answer.status, found) == (503, [None])


@on_each_loop
async def test_middleware_of_the_applications_has_the_session():
    def counting(app):
        async def count(scope, receive, send):
            scope["session"]["visits"] = 41
            await app(scope, receive, send)

        return count

    house = House(visits, app=lambda _: {"middleware": [counting]})
    assert (await house.ask()).body == b"42"


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
