"""aiohttp: its kinds of handlers, responses and applications, each with a session."""

import asyncio
import gc
import weakref
from contextlib import suppress

import pytest
from aiohttp import ClientPayloadError, web

from coatcheck import StoreUnavailable
from coatcheck.frameworks.aiohttp import get_session
from tests.frameworks.aiohttp_apps import Shop, count
from tests.loops import on_each_loop

DOWN = StoreUnavailable("the test says so", ambiguous=False)


@on_each_loop
async def test_a_view_of_a_class_and_a_table_of_routes_have_sessions():
    routes = web.RouteTableDef()

    @routes.view("/view")
    class View(web.View):
        async def get(self):
            return await count(self.request)

        async def post(self):
            (await get_session(self.request)).sign_out()
            raise web.HTTPSeeOther("/view")

    shop = Shop()
    shop.app.add_routes(routes)
    async with shop:
        assert [(await shop.get("view")).text_is for _ in range(2)] == ["1", "2"]
        async with shop.client.post("/view") as response:
            assert await response.text() == "1"


@on_each_loop
async def test_an_application_within_another_without_sessions_of_its_own_has_the_outer_ones():
    inner = web.Application()
    inner.router.add_get("/count", count)
    shop = Shop(count=count)
    shop.app.add_subapp("/inner", inner)
    async with shop:
        assert (await shop.get("count")).text_is == "1"
        assert (await shop.get("inner/count")).text_is == "2"


@on_each_loop
async def test_head_and_a_page_that_is_not_there_have_the_cookie():
    @web.middleware
    async def counts(request, handler):
        session = await get_session(request)
        session["n"] = session.get("n", 0) + 1
        return await handler(request)

    async def page(request):
        return web.Response(text="page")

    shop = Shop(page=page)
    shop.app.middlewares.append(counts)
    async with shop:
        async with shop.client.head("/page") as response:
            assert (response.headers["Content-Length"], await response.read()) == ("4", b"")
            assert len(response.headers.getall("Set-Cookie")) == 1
        assert (await shop.get("absent")).status == 404
        assert await shop.fields() == {"n": 2}


@pytest.mark.parametrize("leaves", [True, False])
@on_each_loop
async def test_a_handler_that_is_cancelled_with_its_client_stores_endings_only(leaves):
    begun, over = asyncio.Event(), asyncio.Event()

    async def wait(request):
        session = await get_session(request)
        session["a"] = 2
        if leaves:
            session.sign_out()
        begun.set()
        await asyncio.Event().wait()

    @web.middleware
    async def around(request, handler):
        try:
            return await handler(request)
        finally:
            over.set()

    async with Shop(before=[around], wait=wait) as shop:
        shop.server.handler_cancellation = True
        await shop.visitor(user="ada", a=1)
        asking = asyncio.create_task(shop.client.get("/wait"))
        await begun.wait()
        asking.cancel()
        await over.wait()
        assert await shop.fields() == (None if leaves else {"a": 1})


@on_each_loop
async def test_a_middleware_within_that_answers_an_error_stores_and_a_failing_store_is_still_a_503():
    @web.middleware
    async def page(request, handler):
        try:
            return await handler(request)
        except RuntimeError:
            return web.Response(status=400, text="sorry")

    async def fails(request):
        (await get_session(request))["a"] = 2
        raise RuntimeError

    shop = Shop(fails=fails)
    shop.app.middlewares.append(page)
    async with shop:
        assert (await shop.get("fails")).status == 400
        assert await shop.fields() == {"a": 2}
        shop.failing.fail("load", error=DOWN)
        response = await shop.get("fails")
        assert (response.status, response.headers["Retry-After"]) == (503, "1")


@on_each_loop
async def test_a_middleware_around_that_replaces_a_503_with_its_own_page_is_answered():
    @web.middleware
    async def page(request, handler):
        response = await handler(request)
        return web.Response(status=500, text="sorry") if response.status >= 500 else response

    async with Shop(before=[page], count=count) as shop:
        shop.failing.fail("write", error=DOWN)
        response = await shop.get("count")
        assert (response.status, response.text_is) == (500, "sorry")
        assert "Set-Cookie" not in response.headers


@on_each_loop
async def test_the_manager_is_open_while_the_application_cleans_up():
    seen = []

    async def at_cleanup(app):
        seen.append(await shop.sessions.count())

    shop = Shop(count=count)
    shop.app.on_cleanup.append(at_cleanup)
    shop.app.on_shutdown.append(at_cleanup)
    async with shop:
        await shop.get("count")
    assert seen[0] == 1


@on_each_loop
async def test_a_page_that_does_not_ask_for_its_session_costs_no_call_and_no_header():
    async def page(request):
        return web.Response()

    async def stream(request):
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"x")
        return response

    async def socket(request):
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.close()
        return socket

    async with Shop(page=page, stream=stream, socket=socket) as shop:
        await shop.visitor(a=1)
        shop.counting.reset()
        for name in ("page", "stream"):
            assert not {"Set-Cookie", "Vary", "Cache-Control"} & {*(await shop.get(name)).headers}
        async with shop.client.ws_connect("/socket") as asked:
            await asked.receive()
        assert shop.counting.sequence == []


@on_each_loop
async def test_a_stream_and_a_websocket_cost_one_load_and_one_write_for_what_comes_late():
    async def stream(request):
        session = await get_session(request)
        response = web.StreamResponse()
        await response.prepare(request)
        for n in range(3):
            await response.write(b"x")
            session["n"] = n
        return response

    async def socket(request):
        session = await get_session(request)
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        for n in range(3):
            session["n"] = f"socket {n}"
        await socket.close()
        return socket

    async with Shop(stream=stream, socket=socket) as shop:
        await shop.visitor(a=1)
        shop.counting.reset()
        await shop.get("stream")
        assert shop.counting.sequence == ["load", "write"]
        shop.counting.reset()
        gate = shop.pausing.hold("write", "after")
        async with shop.client.ws_connect("/socket") as asked:
            await asked.receive()
            await gate.wait()
            gate.open()
        assert shop.counting.sequence == ["load", "write"]


@on_each_loop
async def test_nothing_of_a_request_stays_in_memory_however_it_ended(caplog):
    caplog.set_level("CRITICAL")  # a record of the log keeps the frames of what it tells
    held = []

    @web.middleware
    async def holds(request, handler):
        held.append(weakref.ref(await get_session(request)))
        return await handler(request)

    async def redirects(request):
        raise web.HTTPFound("/")

    async def breaks(request):
        response = web.StreamResponse()
        await response.prepare(request)
        raise RuntimeError

    async def socket(request):
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        await socket.close()
        return socket

    shop = Shop(count=count, redirects=redirects, breaks=breaks, socket=socket)
    shop.app.middlewares.append(holds)
    async with shop:
        for name in ("count", "redirects", "absent", "breaks"):
            with suppress(ClientPayloadError):
                await shop.get(name, allow_redirects=False)
        async with shop.client.ws_connect("/socket") as asked:
            await asked.receive()
    gc.collect()
    assert [each() for each in held] == [None] * 5
