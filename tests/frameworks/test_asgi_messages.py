"""ASGI: the raw messages and headers."""

import pytest

from tests.frameworks.asgi_driver import House, answer, body
from tests.loops import on_each_loop


def say(value):
    return repr(value).encode()


# Headers


@pytest.mark.promise("H")
@on_each_loop
async def test_a_cookie_header_in_several_lines_is_one():
    async def handler(scope, receive, send):
        await answer(send, say(scope["session"].get("a")))

    house = House(handler)
    cookie = await house.visitor(a=1)
    for lines in ((cookie,), (b"x=1", cookie), (cookie, b"y=2"), (b"x=1; z=3", cookie, b"y=2")):
        assert (await house.get("/", *lines)).body == b"1", lines
    assert (await house.get("/", b"x=1", b"y=2")).body == b"None"


@on_each_loop
async def test_what_the_application_sent_stays_and_our_header_names_are_bytes_in_lower_case():
    async def handler(scope, receive, send):
        scope["session"]["a"] = 1
        own = (
            (b"content-type", b"text/plain"),
            (b"set-cookie", b"mine=1; Path=/"),
            (b"set-cookie", b"yours=2"),
        )
        await answer(send, b"ok", 201, *own, (b"vary", b"Accept"), (b"cache-control", b"public, max-age=9"))

    house = House(handler)
    exchange = await house.get()
    headers = exchange.sent[0]["headers"]
    assert all(type(name) is type(value) is bytes and name == name.lower() for name, value in headers)
    assert exchange.status == 201
    assert exchange.headers(b"content-type") == [b"text/plain"]
    assert exchange.headers(b"vary") == [b"Accept, Cookie"]
    assert exchange.headers(b"cache-control") == [b"max-age=9, no-store"]
    mine, yours, ours = exchange.headers(b"set-cookie")
    assert (mine, yours) == (b"mine=1; Path=/", b"yours=2")
    assert ours.startswith(b"__Host-session=")


@pytest.mark.promise("H")
@on_each_loop
async def test_a_head_that_is_sent_to_everybody_never_carries_somebodys_cookie():
    start = {"type": "http.response.start", "status": 200, "headers": [(b"x-app", b"1")]}

    async def handler(scope, receive, send):
        if scope["path"] == "/sign-in":
            scope["session"].sign_in("ada")
        await send(start)
        await body(send, b"ok")

    house = House(handler)
    signing_in = await house.get("/sign-in")
    assert len(signing_in.headers(b"set-cookie")) == 1
    assert start == {"type": "http.response.start", "status": 200, "headers": [(b"x-app", b"1")]}
    stranger = await house.get("/")
    assert stranger.sent[0]["headers"] == [(b"x-app", b"1")]


@on_each_loop
async def test_a_head_may_have_no_headers_or_any_iterable_of_them():
    async def handler(scope, receive, send):
        scope["session"]["a"] = 1
        message = {"type": "http.response.start", "status": 204}
        if scope["path"] == "/generator":
            message["headers"] = ((name, b"1") for name in (b"x-a", b"x-b"))
        await send(message)
        await body(send)

    house = House(handler)
    assert len((await house.get("/none")).headers(b"set-cookie")) == 1
    exchange = await house.get("/generator")
    assert (exchange.headers(b"x-a"), exchange.headers(b"x-b")) == ([b"1"], [b"1"])
    assert len(exchange.headers(b"set-cookie")) == 1


@on_each_loop
async def test_headers_that_are_read_only_once_arrive_where_nothing_is_added_to_them():
    async def handler(scope, receive, send):
        own = iter([(b"content-type", b"text/plain")])
        await send({"type": "http.response.start", "status": 200, "headers": own})
        await body(send, b"ok")

    exchange = await House(handler).get()
    assert exchange.headers(b"content-type") == [b"text/plain"]


@on_each_loop
async def test_other_kinds_of_scopes_and_messages_pass_as_they_are():
    async def handler(scope, receive, send):
        if scope["type"] == "http":
            await send({"type": "http.response.early_hint", "links": [b"</a.css>"]})
            await answer(send)
        else:
            assert "session" not in scope
            await send({"type": "elsewhere.done"})

    house = House(handler)
    assert (await house.get()).sent[0] == {"type": "http.response.early_hint", "links": [b"</a.css>"]}
    assert (await house.get(type="elsewhere")).sent == [{"type": "elsewhere.done"}]


# Lifespan


@pytest.mark.promise("24")
@pytest.mark.parametrize("end", ["complete", "failed"])
@on_each_loop
async def test_when_the_server_shuts_down_the_manager_is_shut_down_after_the_application(end):
    async def handler(scope, receive, send):
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await house.sessions.ping()  # still there
        await send({"type": f"lifespan.shutdown.{end}"})

    for shutdown in (True, False):
        house = House(handler, shutdown=shutdown)
        exchange = house.exchange(type="lifespan")
        exchange.incoming.put_nowait({"type": "lifespan.shutdown"})
        await exchange.run()
        closing = ["close"] if shutdown else []
        looking = ["ping", "load", "write"]  # at the store, before requests come
        begun, over = "lifespan.startup.complete", f"lifespan.shutdown.{end}"
        assert house.journal == [*looking, begun, "ping", *closing, over]
