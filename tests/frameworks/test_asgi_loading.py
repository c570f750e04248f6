"""ASGI over HTTP: loading before the handler, on demand, and in an outage."""

import asyncio

import pytest

from coatcheck.errors import ConfigurationError, NotLoaded, StoreUnavailable
from coatcheck.frameworks.asgi import SessionMiddleware
from tests.frameworks.asgi_driver import House, answer, body, head
from tests.loops import on_each_loop

DOWN = StoreUnavailable("the test says so", ambiguous=False)


def say(value):
    return repr(value).encode()


async def by_path(scope, receive, send):
    """Looks at its session unless the path says not to."""
    session = scope["session"]
    if scope["path"].startswith("/look"):
        await answer(send, say(session.get("a")))
    elif scope["path"].startswith("/load"):
        await scope["app"].sessions.load(session)
        await answer(send, say(session.get("a")))
    else:
        await answer(send, b"untouched")


def house_by_path(**options):
    async def handler(scope, receive, send):
        scope["app"] = house
        await by_path(scope, receive, send)

    house = House(handler, **options)
    return house


@on_each_loop
async def test_by_default_it_is_loaded_before_the_handler_and_that_is_no_look_at_it():
    house = house_by_path()
    cookie = await house.visitor(a=1)
    house.clock.advance(7_200)  # a slide would be due
    untouched = await house.get("/", cookie)
    assert untouched.journal == ["load", "http.response.start", "http.response.body"]
    assert untouched.sent[0]["headers"] == []
    looked = await house.get("/look", cookie)
    assert looked.journal == ["load", "write", "http.response.start", "http.response.body"]
    assert looked.headers(b"vary") == [b"Cookie"]
    assert (await house.get("/look")).journal == ["http.response.start", "http.response.body"]


@on_each_loop
async def test_what_is_excluded_is_loaded_when_its_handler_says_so():
    house = house_by_path(exclude=("/look/static", "/health", "/load"))
    cookie = await house.visitor(a=1)
    assert "load" not in (await house.get("/health/x", cookie)).journal
    assert (await house.get("/look/other", cookie)).body == b"1"
    for header in (cookie, b""):
        with pytest.raises(NotLoaded):
            await house.get("/look/static/x", header)
    assert (await house.get("/load", cookie)).body == b"1"


@on_each_loop
async def test_on_demand_it_is_loaded_when_the_handler_says_so():
    house = house_by_path(load="on_demand")
    cookie = await house.visitor(a=1)
    untouched = await house.get("/", cookie)
    assert untouched.journal == ["http.response.start", "http.response.body"]
    assert untouched.sent[0]["headers"] == []
    loaded = await house.get("/load", cookie)
    assert loaded.body == b"1"
    assert loaded.headers(b"vary") == [b"Cookie"]
    for header in (cookie, b""):  # also where there is nothing to load, so that it shows before production
        with pytest.raises(NotLoaded):
            await house.get("/look", header)


@pytest.mark.parametrize(
    ("exclude", "root", "path", "excluded"),
    [
        (["/load"], "", "/load", True),
        (["/load"], "", "/load/more", True),
        (["/load"], "", "/loaded", False),
        (["/load/"], "", "/load", False),
        (["/load/"], "", "/load/more", True),
        (["/"], "", "/load", True),
        (["/load"], "/shop", "/shop/load", True),
        (["/load"], "/shop/", "/shop/load", True),
        (["/load"], "/shop", "/load", True),  # a server that leaves the root out
        (["/shop"], "/shop", "/shop/load", False),
        (["/pping"], "/sho", "/shopping", False),
        (["/"], "/shop", "/shop", True),
    ],
)
@on_each_loop
async def test_what_is_excluded_is_named_by_its_path_within_the_application(exclude, root, path, excluded):
    house = House(lambda scope, receive, send: answer(send), exclude=exclude)
    cookie = await house.visitor(a=1)
    exchange = await house.get(path, cookie, root_path=root)
    assert ("load" not in exchange.journal) is excluded


@pytest.mark.promise("25")
@pytest.mark.parametrize(
    "options",
    [{"load": "lazy"}, {"exclude": "/static"}, {"exclude": ["static"]}, {"exclude": ["/static/*"]}],
    ids=str,
)
def test_options_that_make_no_sense_are_refused_when_the_application_is_built(options):
    with pytest.raises(ConfigurationError, match=f"^{next(iter(options))} "):
        House(by_path, **options)


@pytest.mark.promise("20")
@on_each_loop
async def test_an_outage_while_loading_ahead_is_raised_only_where_the_session_is_looked_at():
    house = house_by_path()
    cookie = await house.visitor(a=1)
    error = StoreUnavailable("the test says so", ambiguous=False)
    error.retry_after = 17
    house.failing.fail("load", error=error)
    untouched = await house.get("/", cookie)
    assert (untouched.status, untouched.body, untouched.sent[0]["headers"]) == (200, b"untouched", [])
    refused = await house.get("/look", cookie)
    assert refused.status == 503
    assert refused.headers(b"retry-after") == [b"17"]
    assert refused.headers(b"cache-control") == [b"no-store"]
    assert refused.headers(b"set-cookie") == []
    assert all(name == name.lower() for name, _ in refused.sent[0]["headers"])
    house.failing.recover()
    assert (await house.get("/look", cookie)).body == b"1"


@pytest.mark.promise("20")
@pytest.mark.parametrize("operation", ["load", "write"])
@pytest.mark.parametrize("raises", [True, False])
@on_each_loop
async def test_where_a_framework_makes_a_500_of_an_outage_the_answer_is_a_503(operation, raises):
    async def handler(scope, receive, send):
        scope["session"]["a"] = 2
        await answer(send)

    def framework(app):
        async def with_error_page(scope, receive, send):
            try:
                await app(scope, receive, send)
            except Exception:
                await answer(send, b"something broke", 500)
                if raises:
                    raise

        return with_error_page

    house = House(framework(handler))
    cookie = await house.visitor(a=1)
    house.failing.fail(operation, error=DOWN, times=1)
    exchange = await house.get("/", cookie)
    assert (exchange.status, len(exchange.sent)) == (503, 2)
    assert exchange.headers(b"retry-after") == [b"1"]
    assert await house.fields(cookie) == {"a": 1}
    assert (await house.get("/", cookie)).status == 200


@pytest.mark.promise("20")
@pytest.mark.parametrize("other", [None, ZeroDivisionError()])
@on_each_loop
async def test_what_several_tasks_of_a_handler_raise_is_a_503_if_all_of_it_is_an_outage(other):
    async def handler(scope, receive, send):
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(house.sessions.is_live(scope["session"]))
        except* StoreUnavailable as group:
            outage = group
        raise ExceptionGroup("both", [outage] if other is None else [outage, other])

    house = House(handler, load="on_demand")
    cookie = await house.visitor(a=1)
    house.failing.fail("load", error=DOWN)
    if other is None:
        assert (await house.get("/", cookie)).status == 503
    else:
        with pytest.raises(ExceptionGroup, match="both"):
            await house.get("/", cookie)


@on_each_loop
async def test_an_error_that_comes_of_another_one_than_the_outage_is_raised_to_the_server():
    async def handler(scope, receive, send):
        try:
            scope["session"]["a"] = 2
            await answer(send)
        except StoreUnavailable:
            raise RuntimeError("another") from ZeroDivisionError()

    house = House(handler)
    cookie = await house.visitor(a=1)
    house.failing.fail("write", error=DOWN)
    with pytest.raises(RuntimeError, match="another"):
        await house.get("/", cookie)


@on_each_loop
async def test_a_500_of_the_applications_own_stays_one():
    async def handler(scope, receive, send):
        if scope["path"] == "/look":
            scope["session"].get("a")
        await answer(send, b"mine", 500)

    for path, down, options in (
        ("/look", False, {}),
        ("/", True, {}),
        ("/look", True, {"outage": "anonymous"}),
    ):
        house = House(handler, options=options)
        cookie = await house.visitor(a=1)
        if down:
            house.failing.fail("load", error=DOWN)
        exchange = await house.get(path, cookie)
        assert (exchange.status, exchange.body) == (500, b"mine")


@pytest.mark.promise("20")
@on_each_loop
async def test_an_outage_after_the_head_has_left_is_raised_to_the_server():
    async def handler(scope, receive, send):
        await head(send)
        await body(send, b"x", more=True)
        await house.sessions.is_live(scope["session"])

    house = House(handler)
    cookie = await house.visitor(a=1)
    exchange = house.exchange("/", cookie)
    house.failing.fail("load", error=DOWN)
    with pytest.raises(StoreUnavailable):
        await exchange.run()
    assert exchange.status == 200
    assert len(exchange.sent) == 2


def test_the_middleware_is_an_application_that_others_can_look_into():
    house = House(by_path)
    assert isinstance(house.app, SessionMiddleware)
    assert house.app.app is by_path
    assert house.app.sessions is house.sessions
