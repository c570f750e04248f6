"""aiohttp: the shared list, on its own server."""

import pytest
from aiohttp import web

from coatcheck.frameworks.aiohttp import get_session, setup
from tests.behaviours import AsyncHttpBehaviours, ErrorPages, perform_async
from tests.behaviours.app import Deliberate
from tests.behaviours.socket_client import TELLS, SocketClient
from tests.behaviours.websockets import Websockets, talk


def leave(place):
    raise web.HTTPSeeOther(place)


async def play(request):
    session = await get_session(request)
    answer = await perform_async(request.rel_url.raw_query_string, session, session.sessions, leave)
    if isinstance(answer.body, list):
        return web.Response(status=answer.status, headers=answer.headers, body=b"".join(answer.body))
    response = web.StreamResponse(status=answer.status, headers=answer.headers)
    await response.prepare(request)
    async for chunk in answer.body:
        await response.write(chunk)
    return response


async def converse(request):
    session, socket = await get_session(request), web.WebSocketResponse()
    await talk(
        request.rel_url.raw_query_string,
        session,
        session.sessions,
        accept=lambda: socket.prepare(request),
        messages=(message.data async for message in socket),
        send=socket.send_str,
    )
    return socket


@web.middleware
async def behind_a_proxy(request, handler):
    """As aiohttp-remotes does it."""
    return await handler(request.clone(scheme=request.headers["X-Forwarded-Proto"]))


def telling(notes):
    @web.middleware
    async def tell(request, handler):
        note, writer = notes[request.headers[TELLS]], request.writer
        write_headers, write_eof = writer.write_headers, writer.write_eof

        async def head(*args):
            note("head")
            await write_headers(*args)

        async def end(*args):
            note("end")
            await write_eof(*args)

        writer.write_headers, writer.write_eof = head, end
        return await handler(request)

    return tell


class OnItsServer(AsyncHttpBehaviours):
    no_looks = frozenset({"changed"})
    largest_header = 1 << 12  # aiohttp's own limit for one is 8,190 bytes
    refused_bytes = bytes({*range(0x20), 0x7F} - {ord("\t")})  # 400, by aiohttp's parser

    @pytest.fixture(autouse=True)
    def _servers(self, _run_a_loop):
        self.runners = []
        yield
        for runner in self.runners:
            self._portal.call(runner.cleanup())

    async def serve(self, app):
        """Its port."""
        runner = web.AppRunner(app, access_log=None)
        self.runners.append(runner)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        return runner.addresses[0][1]

    def build_async(self, sessions, portal):
        notes, ports = {}, {}
        around = [telling(notes), behind_a_proxy]
        app, site = web.Application(middlewares=around), web.Application(middlewares=around)
        self.fill(app, sessions)
        mounted = web.Application()
        self.fill(mounted, sessions)
        site.add_subapp("/shop", mounted)
        ports[""], ports["/shop"] = portal.call(self.serve(app)), portal.call(self.serve(site))
        return SocketClient(ports, notes)

    def fill(self, app, sessions):
        setup(app, sessions)
        app.cleanup_ctx.clear()  # the list counts every call of the store, and closes it itself
        app.router.add_route("*", "/play", play)
        app.router.add_get("/ws", converse)


@web.middleware
async def sorry(request, handler):
    """A page of an application's own; one that stands within the session's layer tells it that the handler failed."""
    try:
        return await handler(request)
    except web.HTTPException:
        raise
    except Deliberate as error:
        session = await get_session(request)
        await session.sessions.fail(session, error)
        session["page"] = "seen"
        return web.Response(status=500, text="sorry")


class TestAiohttp(ErrorPages, Websockets, OnItsServer):
    def fill(self, app, sessions):
        super().fill(app, sessions)
        app.middlewares.append(sorry)
