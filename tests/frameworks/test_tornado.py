"""Tornado: the shared list, on its own server."""

import pytest
from tornado.httpserver import HTTPServer
from tornado.httputil import HTTPConnection
from tornado.log import app_log
from tornado.netutil import bind_sockets
from tornado.web import Application, Finish, RequestHandler
from tornado.websocket import WebSocketHandler

from coatcheck.frameworks.tornado import SessionMixin
from tests.behaviours import AsyncHttpBehaviours, ErrorPages, perform_async
from tests.behaviours.forbidden import forbids
from tests.behaviours.socket_client import TELLS, SocketClient
from tests.behaviours.websockets import Websockets, reply_to


class Telling(HTTPConnection):
    """Tells the test of the head and the end."""

    def __init__(self, connection, note):
        self.connection, self.note = connection, note

    def write_headers(self, *args):
        self.note("head")
        return self.connection.write_headers(*args)

    def write(self, chunk):
        return self.connection.write(chunk)

    def finish(self):
        self.note("end")
        self.connection.finish()

    def __getattr__(self, name):
        return getattr(self.connection, name)


class Play:
    """The handler, without the mixin."""

    def initialize(self, notes):
        note = notes[self.request.headers[TELLS]]
        self.request.connection = Telling(self.request.connection, note)

    async def get(self):
        session = self.session
        answer = await perform_async(self.request.query, session, session.sessions, self.leave)
        self.set_status(answer.status)
        for name, value in answer.headers:
            self.add_header(name, value)
        if isinstance(answer.body, list):
            for chunk in answer.body:
                self.write(chunk)
            return
        async for chunk in answer.body:
            self.write(chunk)
            await self.flush()

    def leave(self, place):
        self.redirect(place, status=303)
        raise Finish

    post = put = delete = options = head = get

    def log_exception(self, *exc_info):
        # Not the address, as Tornado does it: its script holds values, and a test looks for them in the log.
        app_log.error("a handler raised", exc_info=exc_info)

    def write_error(self, status_code, **kwargs):
        if "Deliberate" in str(kwargs.get("exc_info")):
            self.session["page"] = "seen"
        self.finish("sorry")


class Talk(SessionMixin, WebSocketHandler):
    async def prepare(self):
        await perform_async(self.request.query, self.session, self.session.sessions)

    async def on_message(self, message):
        await self.write_message(await reply_to(message, self.session, self.session.sessions))


class OnItsServer(ErrorPages, Websockets, AsyncHttpBehaviours):
    largest_header = 1 << 15  # Tornado's own limit for all of them is 65,536 bytes
    refused_bytes = bytes({*range(0x20), 0x7F} - {ord("\t")})  # 400, by Tornado's parser

    @pytest.fixture(autouse=True)
    def _servers(self, _run_a_loop):
        self.servers = []
        yield
        for server in self.servers:
            self._portal.call(self.stop(server))

    async def stop(self, server):
        server.stop()
        await server.close_all_connections()

    def build_async(self, sessions, portal):
        notes = {}

        async def serve():
            app = Application(
                [("/play", self.handler, {"notes": notes}), ("/ws", Talk)],
                sessions=sessions,
                log_function=lambda _: None,
            )
            server = HTTPServer(app, xheaders=True)
            (sock,) = bind_sockets(0, "127.0.0.1")
            server.add_sockets([sock])
            self.servers.append(server)
            return sock.getsockname()[1]

        port = portal.call(serve())
        return SocketClient({"": port, "/shop": port}, notes)


NO_MOUNTS = "A Tornado application can't be mounted"
no_mounts = forbids(
    test_the_path_that_chooses_the_policy_is_the_one_within_the_application=NO_MOUNTS,
    test_a_mounted_application_shares_the_session_of_the_site=NO_MOUNTS,
)


@no_mounts
class TestMixinFirst(OnItsServer):
    class handler(SessionMixin, Play, RequestHandler):  # noqa: N801
        pass


@no_mounts
class TestMixinLast(OnItsServer):
    class handler(Play, RequestHandler, SessionMixin):  # noqa: N801
        pass
