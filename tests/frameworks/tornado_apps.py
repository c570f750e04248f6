"""Tornado's own server and client in place, and all that a test wants to see of the store behind them."""

from tornado.httpclient import AsyncHTTPClient, HTTPRequest
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application, RequestHandler
from tornado.websocket import websocket_connect

from coatcheck import AsyncSessions
from coatcheck.frameworks.tornado import SessionMixin
from coatcheck.stores.memory import AsyncMemoryStore
from coatcheck.testing import AsyncCountingStore, AsyncFailingStore, AsyncPausingStore
from tests.behaviours.site import SECRET


class Shop:
    """An application with sessions: one handler for each path, by name, and a visitor that keeps its cookie."""

    def __init__(self, *, options=None, settings=None, **handlers):
        self.counting = AsyncCountingStore(AsyncMemoryStore())
        self.failing = AsyncFailingStore(self.counting)
        self.pausing = AsyncPausingStore(self.failing)
        self.sessions = AsyncSessions(self.pausing, secret=SECRET, insecure_http=True, **(options or {}))
        routes = [
            (f"/{name}", *(handler if isinstance(handler, tuple) else (handler,)))
            for name, handler in handlers.items()
        ]
        settings = {"sessions": self.sessions, "log_function": lambda _: None} | (settings or {})
        self.server = HTTPServer(Application(routes, **settings))
        self.cookie = ""

    async def __aenter__(self):
        (sock,) = bind_sockets(0, "127.0.0.1")
        self.server.add_sockets([sock])
        self.address = f"127.0.0.1:{sock.getsockname()[1]}"
        self.client = AsyncHTTPClient(force_instance=True)
        return self

    async def __aexit__(self, *_):
        self.client.close()
        self.server.stop()
        await self.server.close_all_connections()

    async def get(self, name, **options):
        """The response, whatever its status; its cookie is kept."""
        headers = {"Cookie": self.cookie, **options.pop("headers", {})}
        request = HTTPRequest(
            f"http://{self.address}/{name}", headers=headers, follow_redirects=False, **options
        )
        response = await self.client.fetch(request, raise_error=False)
        for line in response.headers.get_list("Set-Cookie"):
            if line.startswith("coatcheck="):
                self.cookie = line.split(";")[0]
        return response

    async def connect(self, name, **options):
        """A websocket."""
        return await websocket_connect(
            HTTPRequest(f"ws://{self.address}/{name}", headers={"Cookie": self.cookie}), **options
        )

    async def visitor(self, user=None, **fields):
        """Let the visitor have a session with these fields."""
        session = self.sessions.open(b"")
        await self.sessions.load(session)
        session.update(fields)
        if user is not None:
            session.sign_in(user)
        await self.sessions.close(session)
        ((name, value),) = self.sessions.cookie_of(session).items()
        self.cookie = f"{name}={value}"

    async def fields(self):
        """What the session of the visitor's cookie holds; None: it opens none."""
        session = self.sessions.open(self.cookie)
        await self.sessions.load(session)
        return None if session.is_new else dict(session)


class Count(RequestHandler, SessionMixin):
    def get(self):
        self.session["n"] = self.session.get("n", 0) + 1
        self.write(str(self.session["n"]))
