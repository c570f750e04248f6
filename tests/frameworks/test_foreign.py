"""Another session middleware beside ours; and Litestar, whose own methods put something else in our session's place."""

from enum import Enum
from types import SimpleNamespace

import pytest
from starlette.middleware.sessions import SessionMiddleware as StarlettesOwn

from coatcheck import ForeignSessionWarning, StoreUnavailable
from coatcheck.frameworks.asgi import SessionMiddleware
from tests.frameworks.asgi_driver import House, answer
from tests.loops import on_each_loop

OURS = b"__Host-session="
THEIRS = b"session="


def cookies_of(exchange, name):
    return [line for line in exchange.headers(b"set-cookie") if line.startswith(name)]


def touching(app, name):
    """A layer around `app` that puts a field into the session that it finds."""

    async def layer(scope, receive, send):
        scope["session"][name] = 1
        await app(scope, receive, send)

    return layer


async def inner(scope, receive, send):
    """Counts the visits in the session that it finds."""
    session = scope["session"]
    session["visits"] = session.get("visits", 0) + 1
    await answer(send, str(session["visits"]).encode())


async def visit(house, jar):
    """One request of a browser that keeps its cookies in `jar`; what was sent."""
    exchange = await house.get("/", b"; ".join(jar.values()))
    for line in exchange.headers(b"set-cookie"):
        pair = line.split(b";")[0]
        jar[pair.split(b"=")[0]] = pair
    return exchange


@pytest.mark.promise("H")
@on_each_loop
async def test_a_foreign_session_inside_ours_is_named_once_and_each_keeps_its_own_cookie():
    house = House(touching(StarlettesOwn(inner, "secret", https_only=True), "mine"))
    jar = {}
    with pytest.warns(ForeignSessionWarning, match=r"inside of Coatcheck's.*starlette\.middleware") as warned:
        first, second = await visit(house, jar), await visit(house, jar)
    assert len(warned) == 1
    assert (first.body, second.body) == (b"1", b"2")
    assert len(cookies_of(first, OURS)) == len(cookies_of(first, THEIRS)) == 1
    assert cookies_of(second, OURS) == []
    assert await house.fields(jar[OURS[:-1]]) == {"mine": 1}


@pytest.mark.promise("H", "1")
@on_each_loop
async def test_a_foreign_session_inside_ours_adds_no_cookie_of_ours():
    house = House(StarlettesOwn(inner, "secret"))
    with pytest.warns(ForeignSessionWarning):
        exchange = await visit(house, {})
    assert cookies_of(exchange, OURS) == []
    assert house.journal[0] == "http.response.start"


@pytest.mark.promise("H")
@on_each_loop
async def test_a_foreign_session_outside_ours_is_named_once_and_sees_nothing_of_ours():
    def wrap(handler, sessions):
        return StarlettesOwn(touching(SessionMiddleware(handler, sessions), "theirs"), "secret")

    house, jar = House(inner, wrap=wrap), {}
    with pytest.warns(
        ForeignSessionWarning, match=r"outside of Coatcheck's.*starlette\.middleware"
    ) as warned:
        first, second = await visit(house, jar), await visit(house, jar)
    assert len(warned) == 1
    assert (first.body, second.body) == (b"1", b"2")
    assert len(cookies_of(first, OURS)) == len(cookies_of(first, THEIRS)) == 1
    assert cookies_of(second, OURS) == []
    assert await house.fields(jar[OURS[:-1]]) == {"visits": 2}


# Litestar


class Empty(Enum):
    """Litestar's stand-in for a session that was cleared."""

    EMPTY = 0


def litestar_like(value, *, layers=(), status=200):
    """An application that leaves in the scope what Litestar does after its handler has put `value` there."""

    async def app(scope, receive, send):
        scope["litestar_app"] = object()
        scope["route_handler"] = SimpleNamespace(resolve_middleware=lambda: layers)
        scope["session"] = value
        await answer(send, b"ok", status)

    return app


async def served(handler, cookie=None, **house):
    house = House(handler, **house)
    cookie = await house.visitor(a=1, b=1) if cookie is None else cookie
    return house, cookie, await house.get("/", cookie)


@pytest.mark.parametrize("load", ["eager", "on_demand"])
@on_each_loop
async def test_a_dict_in_place_of_the_session_replaces_its_fields(load):
    house, cookie, exchange = await served(litestar_like({"b": 2, "c": 3}), load=load)
    assert exchange.headers(b"set-cookie") == []
    assert await house.fields(cookie) == {"b": 2, "c": 3}


@pytest.mark.parametrize("value", [Empty.EMPTY, {}, None])
@pytest.mark.parametrize("load", ["eager", "on_demand"])
@on_each_loop
async def test_a_session_that_was_cleared_is_destroyed(load, value):
    house, cookie, exchange = await served(litestar_like(value), load=load)
    (line,) = cookies_of(exchange, OURS)
    assert b"Max-Age=0" in line
    assert await house.fields(cookie) is None
    assert await house.sessions.count() == 0


@on_each_loop
async def test_it_is_destroyed_also_where_it_is_cleared_after_the_head():
    async def app(scope, receive, send):
        await answer(send)
        await litestar_like(Empty.EMPTY)(scope, receive, ignore)

    async def ignore(message):
        pass

    house, cookie, _ = await served(app)
    assert await house.fields(cookie) is None


@on_each_loop
async def test_anything_else_in_its_place_is_refused_and_nothing_is_stored():
    house = House(litestar_like(SimpleNamespace(a=2)))
    cookie = await house.visitor(a=1)
    with pytest.raises(TypeError, match=r"request\.set_session takes a dict, not a SimpleNamespace"):
        await house.get("/", cookie)
    assert await house.fields(cookie) == {"a": 1}


@pytest.mark.promise("20")
@on_each_loop
async def test_an_outage_that_is_met_while_replacing_it_is_a_503():
    async def wrapped(scope, receive, send):
        try:
            await litestar_like({"a": 2})(scope, receive, send)
        except StoreUnavailable as error:
            raise RuntimeError("an exception after the response started") from error

    house = House(wrapped, load="on_demand")
    cookie = await house.visitor(a=1)
    house.failing.fail("load", error=StoreUnavailable("the test says so"))
    exchange = await house.get("/", cookie)
    assert (exchange.status, exchange.headers(b"set-cookie")) == (503, [])


def layer(module):
    return type("SessionMiddleware", (), {"__module__": module})


@pytest.mark.parametrize("wrapped", [True, False])
@on_each_loop
async def test_a_session_middleware_of_litestars_is_foreign(wrapped):
    theirs = layer("litestar.middleware.session.base")
    layers = [layer("mine"), SimpleNamespace(middleware=theirs) if wrapped else theirs]
    with pytest.warns(ForeignSessionWarning, match="inside of Coatcheck's"):
        house, cookie, exchange = await served(litestar_like({}, layers=layers))
    assert exchange.headers(b"set-cookie") == []
    assert await house.fields(cookie) == {"a": 1, "b": 1}


@on_each_loop
async def test_other_layers_of_litestars_are_not():
    house, cookie, _ = await served(litestar_like({"c": 1}, layers=[layer("litestar.middleware.cors")]))
    assert await house.fields(cookie) == {"c": 1}


@on_each_loop
async def test_what_replaces_a_session_that_two_layers_share_reaches_it():
    def wrap(handler, sessions):
        shared = SessionMiddleware(handler, sessions)

        async def between(scope, receive, send):
            await shared(dict(scope), receive, send)

        return SessionMiddleware(between, sessions)

    house, cookie, exchange = await served(litestar_like({"c": 3}), wrap=wrap)
    assert await house.fields(cookie) == {"c": 3}
    house, cookie, exchange = await served(litestar_like(Empty.EMPTY), wrap=wrap)
    assert len(cookies_of(exchange, OURS)) == 1
    assert await house.fields(cookie) is None


@pytest.mark.promise("12", "23")
@pytest.mark.parametrize(("value", "left"), [({"a": 3}, {"a": 1, "b": 1}), (Empty.EMPTY, None)])
@on_each_loop
async def test_where_the_handler_then_raised_only_the_ending_is_stored(value, left):
    async def app(scope, receive, send):
        scope["session"]["a"] = 2
        scope["session"] = value
        await house.sessions.fail(scope["coatcheck.session"], ZeroDivisionError())
        await litestar_like(value, status=500)(scope, receive, send)

    house = House(app)
    cookie = await house.visitor(a=1, b=1)
    assert (await house.get("/", cookie)).status == 500
    assert await house.fields(cookie) == left
