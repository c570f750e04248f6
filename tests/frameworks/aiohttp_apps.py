"""aiohttp's own server and client in place, and all that a test wants to see of the store behind them."""

from aiohttp import CookieJar, web
from aiohttp.test_utils import TestClient, TestServer

from coatcheck import AsyncSessions
from coatcheck.frameworks.aiohttp import get_session, setup
from coatcheck.stores.memory import AsyncMemoryStore
from coatcheck.testing import AsyncCountingStore, AsyncFailingStore, AsyncPausingStore
from tests.behaviours.site import SECRET


class Shop:
    """An application with sessions: one handler for each path, by name, and a client that keeps its cookie."""

    def __init__(self, *, store=None, options=None, before=(), **handlers):
        self.counting = AsyncCountingStore(store or AsyncMemoryStore())
        self.failing = AsyncFailingStore(self.counting)
        self.pausing = AsyncPausingStore(self.failing)
        self.sessions = AsyncSessions(self.pausing, secret=SECRET, insecure_http=True, **(options or {}))
        self.app = web.Application(middlewares=before)
        setup(self.app, self.sessions)
        for name, handler in handlers.items():
            self.app.router.add_route("*", f"/{name}", handler)
        self.server = TestServer(self.app)

    async def __aenter__(self):
        await self.server.start_server(access_log=None)
        self.client = TestClient(self.server, cookie_jar=CookieJar(unsafe=True))
        await self.client.__aenter__()
        return self

    async def __aexit__(self, *error):
        await self.client.__aexit__(*error)

    async def get(self, name, **options):
        """The response, read as far as it goes."""
        async with self.client.get(f"/{name}", **options) as response:
            response.text_is = (await response.read()).decode()
            return response

    async def visitor(self, user=None, **fields):
        """Let the client have a session with these fields. Its handle is returned."""
        session = self.sessions.open(b"")
        await self.sessions.load(session)
        session.update(fields)
        if user is not None:
            session.sign_in(user)
        await self.sessions.close(session)
        self.client.session.cookie_jar.update_cookies(
            self.sessions.cookie_of(session), self.server.make_url("/")
        )
        return session.handle

    @property
    def cookie(self):
        """The Cookie header that the client sends."""
        jar = self.client.session.cookie_jar.filter_cookies(self.server.make_url("/"))
        return "; ".join(f"{name}={each.value}" for name, each in jar.items())

    async def fields(self):
        """What the session of the client's cookie holds; None: it opens none."""
        session = self.sessions.open(self.cookie)
        await self.sessions.load(session)
        return None if session.is_new else dict(session)


async def count(request):
    session = await get_session(request)
    session["n"] = session.get("n", 0) + 1
    return web.Response(text=str(session["n"]))
