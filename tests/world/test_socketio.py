"""python-socketio on uvicorn, with its own client: a socket can't bring a cookie, so it can't sign anybody in."""

import asyncio

import aiohttp
import pytest
import socketio
from starlette.applications import Starlette
from starlette.responses import JSONResponse
from starlette.routing import Route

from coatcheck import AsyncSessions, CoatcheckError
from coatcheck.frameworks.starlette import SessionMiddleware
from coatcheck.stores.memory import AsyncMemoryStore
from tests.world.serving import uvicorn_with

SECRET = "t3Kq9VnWcX0bRz7uYh2LdPfJ8sMgA5eQoTiN1rBxGvE"
PATIENCE = 60


def site(sessions):
    """A Starlette site with a Socket.IO server in front, as the documentation of python-socketio puts them together."""

    async def me(request):
        return JSONResponse([request.session.user, request.session.get("basket")])

    async def fill(request):
        request.session["basket"] = 1
        return JSONResponse(None)

    async def login(request):
        request.session.sign_in("ada")
        return JSONResponse(None)

    server = socketio.AsyncServer(async_mode="asgi", ping_interval=1, ping_timeout=1)

    def session_of(sid):
        return server.get_environ(sid)["asgi.scope"]["session"]

    async def refused(act, sid):
        try:
            act(session_of(sid))
            await session_of(sid).save()
        except CoatcheckError as error:
            return [type(error).__name__, str(error)]
        return "stored"

    @server.on("sign_in")
    async def sign_in(sid, user):
        return await refused(lambda session: session.sign_in(user), sid)

    @server.on("name")
    async def name(sid, user):
        return await refused(lambda session: session.update(user_id=user), sid)

    @server.on("who")
    async def who(sid, _):
        return session_of(sid).user

    pages = Starlette(routes=[Route("/me", me), Route("/fill", fill), Route("/login", login)])
    return SessionMiddleware(socketio.ASGIApp(server, pages), sessions)


async def talk(url, transport, path, *events):
    """What a page that was opened with `path` hears from the events, and what the site says of its visitor afterwards."""
    jar = aiohttp.CookieJar(unsafe=True)
    async with asyncio.timeout(PATIENCE), aiohttp.ClientSession(cookie_jar=jar) as browser:

        async def get(path):
            async with browser.get(url + path) as answer:
                return await answer.json()

        await get(path)
        socket = socketio.AsyncClient(http_session=browser)
        await socket.connect(url, transports=[transport])
        heard = [await socket.call(event, "grace", timeout=PATIENCE) for event in events]
        await socket.disconnect()
        return heard, await get("/me")


@pytest.fixture
def sessions():
    return AsyncSessions(AsyncMemoryStore(), secret=SECRET, insecure_http=True, identity="user_id")


@pytest.mark.promise("H", "23")
@pytest.mark.parametrize("transport", ["websocket", "polling"])
def test_a_sign_in_within_an_event_is_refused_and_leaves_no_record_that_no_cookie_reaches(
    transport, sessions
):
    with uvicorn_with(site(sessions)) as url:
        heard, me = asyncio.run(talk(url, transport, "/me", "sign_in", "name"))
        assert asyncio.run(sessions.count()) == 0
        assert me == [None, None]
        again, me = asyncio.run(talk(url, transport, "/fill", "sign_in", "name"))
        assert asyncio.run(sessions.count()) == 1
        assert me == [None, 1]
    # Over polling, the request that has opened the socket is over as well.
    kinds = {"websocket": {"CannotSendCookie"}, "polling": {"CannotSendCookie", "RequestOver"}}[transport]
    assert {kind for kind, _ in heard + again} <= kinds
    assert all("before" in told for _, told in heard + again)


@pytest.mark.promise("H")
@pytest.mark.parametrize("transport", ["websocket", "polling"])
def test_an_event_knows_who_signed_in_by_a_page_before_the_socket_was_opened(transport, sessions):
    with uvicorn_with(site(sessions)) as url:
        heard, me = asyncio.run(talk(url, transport, "/login", "who"))
    assert (heard, me) == (["ada"], ["ada", None])
