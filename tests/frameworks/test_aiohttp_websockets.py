"""aiohttp: websockets, and applications within applications."""

import pytest
from aiohttp import WSCloseCode, WSMsgType, web
from aiohttp.test_utils import TestClient, TestServer

from coatcheck import AsyncSessions, CannotSendCookie, CookieSettings, RequestOver, StoreUnavailable
from coatcheck.frameworks.aiohttp import SESSIONS, get_session, setup
from coatcheck.stores.memory import AsyncMemoryStore
from coatcheck.testing import AsyncFailingStore
from tests.behaviours.site import SECRET
from tests.frameworks.aiohttp_apps import Shop, count
from tests.loops import on_each_loop, quiet

DOWN = StoreUnavailable("the test says so", ambiguous=False)


async def watch(request):
    """Says at each message whether its session is still there, and closes when it has ended."""
    session = await get_session(request)
    socket = web.WebSocketResponse()
    await socket.prepare(request)
    async for _ in socket:
        if not await session.is_live():
            await socket.close(code=4401)
            break
        await socket.send_str(session.user)
    return socket


@on_each_loop
async def test_a_socket_learns_that_its_session_has_ended():
    async with Shop(watch=watch) as shop:
        await shop.visitor(user="ada")
        async with shop.client.ws_connect("/watch") as socket:
            await socket.send_str("?")
            assert await socket.receive_str() == "ada"
            await shop.sessions.revoke_user("ada")
            await socket.send_str("?")
            assert (await socket.receive()).type is WSMsgType.CLOSE
            assert socket.close_code == 4401


@on_each_loop
async def test_the_handshake_brings_the_cookie_and_later_there_is_none():
    async def talk(request):
        session = await get_session(request)
        session["before"] = 1
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        with pytest.raises(CannotSendCookie):
            session.sign_in("ada")
        async for message in socket:
            session["said"] = message.data
            break
        return socket

    async with Shop(talk=talk) as shop:
        async with shop.client.ws_connect("/talk") as socket:
            (line,) = socket._response.headers.getall("Set-Cookie")
            assert line.startswith("coatcheck=")
            assert await shop.fields() == {"before": 1}
            await socket.send_str("hello")
            assert (await socket.receive()).type is WSMsgType.CLOSE
        assert await shop.fields() == {"before": 1, "said": "hello"}


@on_each_loop
async def test_a_store_that_fails_refuses_the_handshake_and_closes_an_open_socket():
    held = []

    async def watched(request):
        held.append(await get_session(request))
        return await watch(request)

    async with Shop(watch=watched) as shop:
        await shop.visitor(user="ada")
        async with shop.client.ws_connect("/watch") as socket:
            shop.failing.fail("load", error=DOWN)
            await socket.send_str("?")
            closed = await socket.receive()
            assert (closed.type, closed.data) == (WSMsgType.CLOSE, 1013)
        await quiet()
        with pytest.raises(RequestOver):
            held[0]["a"] = 1

    async def enter(request):
        (await get_session(request))["a"] = 1
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        return socket

    async with Shop(enter=enter) as shop:
        shop.failing.fail("write", error=DOWN)
        upgrade = {
            "Upgrade": "websocket",
            "Connection": "Upgrade",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
        }
        response = await shop.get("enter", headers=upgrade)
        assert (response.status, response.headers["Retry-After"]) == (503, "1")


@on_each_loop
async def test_a_socket_whose_handler_fails_is_not_told_that_the_store_does():
    async def fails(request):
        await get_session(request)
        socket = web.WebSocketResponse()
        await socket.prepare(request)
        raise RuntimeError

    async with Shop(fails=fails) as shop, shop.client.ws_connect("/fails") as socket:
        await socket.receive()
        assert socket.close_code == WSCloseCode.ABNORMAL_CLOSURE


# One application within another


async def within(request):
    session = await get_session(request)
    session["within"] = True
    return web.json_response(dict(session))


async def leaves(request):
    session = await get_session(request)
    session["within"] = True
    session.sign_out()
    raise RuntimeError


def mounted(shop, signal=None, **options):
    """An application with sessions of its own, mounted in that of `shop`."""
    inner = web.Application()
    setup(inner, AsyncSessions(shop.pausing, **{"secret": SECRET, "insecure_http": True, **options}))
    inner.router.add_get("/within", within)
    inner.router.add_get("/leaves", leaves)
    if signal is not None:
        inner.on_response_prepare.append(signal)
    shop.app.add_subapp("/inner", inner)
    shop.server = TestServer(shop.app)


@on_each_loop
async def test_an_application_within_another_shares_its_session():
    shop = Shop(count=count)
    mounted(shop)
    async with shop:
        await shop.get("count")
        response = await shop.get("inner/within")
        assert await response.json() == {"n": 1, "within": True}
        assert "Set-Cookie" not in response.headers
        assert response.headers.getall("Vary") == ["Cookie"]
        assert await shop.sessions.count() == 1
        response = await shop.get("inner/leaves")
        assert response.status == 500
        assert "Max-Age=0" in response.headers["Set-Cookie"]
        assert await shop.sessions.count() == 0


@on_each_loop
async def test_an_application_within_another_sees_what_the_outer_one_has_changed_in_the_same_request():
    @web.middleware
    async def changes(request, handler):
        (await get_session(request))["outside"] = True
        return await handler(request)

    shop = Shop()
    shop.app.middlewares.append(changes)
    mounted(shop)
    async with shop:
        response = await shop.get("inner/within")
        assert await response.json() == {"outside": True, "within": True}
        assert await shop.sessions.count() == 1


@web.middleware
async def page(request, handler):
    try:
        return await handler(request)
    except RuntimeError:
        return web.Response(status=404)


@on_each_loop
async def test_an_application_within_another_that_failed_stores_nothing_whatever_is_answered():
    async def fails(request):
        (await get_session(request))["a"] = 2
        raise RuntimeError

    async def redirects(request):
        (await get_session(request))["a"] = 3
        raise web.HTTPFound("/count")

    shop = Shop(count=count)
    shop.app.middlewares.append(page)
    inner = web.Application()
    setup(inner, shop.sessions)
    inner.router.add_get("/fails", fails)
    inner.router.add_get("/redirects", redirects)
    shop.app.add_subapp("/inner", inner)
    async with shop:
        await shop.visitor(a=1)
        assert (await shop.get("inner/fails")).status == 404
        assert await shop.fields() == {"a": 1}
        assert (await shop.get("inner/redirects")).text_is == "1"
        assert await shop.fields() == {"a": 3, "n": 1}


@on_each_loop
async def test_an_application_within_another_that_has_another_cookie_has_a_session_of_its_own():
    shop = Shop(count=count)
    mounted(shop, cookie=CookieSettings(name="other"))
    async with shop:
        await shop.get("count")
        response = await shop.get("inner/within")
        assert await response.json() == {"within": True}
        assert response.headers["Set-Cookie"].startswith("other=")
        assert await shop.fields() == {"n": 1}


@on_each_loop
async def test_each_of_two_applications_has_its_own_session_until_the_response_leaves():
    seen = []

    @web.middleware
    async def around(request, handler):
        response = await handler(request)
        seen.append(("middleware", dict(await get_session(request))))
        return response

    def signal(place):
        async def prepare(request, response):
            seen.append((place, dict(await get_session(request))))

        return prepare

    shop = Shop(count=count)
    shop.app.middlewares.append(around)
    mounted(shop, cookie=CookieSettings(name="other"), signal=signal("inner"))
    shop.app.on_response_prepare.append(signal("outer"))
    async with shop:
        await shop.get("count")
        seen.clear()
        await shop.get("inner/within")
        assert seen == [("middleware", {"n": 1}), ("outer", {"n": 1}), ("inner", {"within": True})]


@on_each_loop
async def test_the_policy_of_an_outage_goes_by_the_path_within_the_application():
    async def a(request):
        return web.Response(text=str((await get_session(request)).get("a")))

    store, site = AsyncFailingStore(AsyncMemoryStore()), web.Application()
    for prefix in ("/one", "/two"):
        inner = web.Application()
        setup(inner, AsyncSessions(store, secret=SECRET, insecure_http=True, outage={"/open": "anonymous"}))
        inner.router.add_get("/open", a)
        inner.router.add_get("/closed", a)
        site.add_subapp(prefix, inner)
    async with TestClient(TestServer(site)) as client:
        session = inner[SESSIONS].open(b"")
        await inner[SESSIONS].load(session)
        session["a"] = 1
        await inner[SESSIONS].close(session)
        cookies = inner[SESSIONS].cookie_of(session)
        store.fail("load", error=DOWN)
        for prefix in ("/one", "/two"):
            for path, status in (("/open", 200), ("/closed", 503)):
                async with client.get(prefix + path, cookies=cookies) as response:
                    assert response.status == status, prefix + path
