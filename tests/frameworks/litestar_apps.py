"""A Litestar application on a store that can fail, and what is seen of it."""

import asyncio
from contextlib import asynccontextmanager

import litestar

from coatcheck import AsyncSessions, StoreUnavailable
from coatcheck.frameworks.litestar import CurrentSession, SessionPlugin
from coatcheck.stores.memory import AsyncMemoryStore
from coatcheck.testing import AsyncCountingStore, AsyncFailingStore, ManualClock
from tests.behaviours.site import SECRET
from tests.frameworks.asgi_driver import PATIENCE, Exchange
from tests.loops import until

DOWN = StoreUnavailable("the test says so", ambiguous=False)


class Visit(Exchange):
    """A client that has gone when it has the whole response: Litestar's streams wait for that."""

    async def send(self, message):
        await super().send(message)
        if message["type"] == "http.response.body" and not message.get("more_body", False):
            self.incoming.put_nowait({"type": "http.disconnect"})


class House:
    """One application, its store, and what a visitor sends to it."""

    def __init__(self, *handlers, plugin=None, app=None, **options):
        self.counting = AsyncCountingStore(AsyncMemoryStore())
        self.store = AsyncFailingStore(self.counting)
        self.sessions = AsyncSessions(self.store, **{"secret": SECRET, "clock": ManualClock(), **options})
        self.plugin = SessionPlugin(self.sessions, **(plugin or {}))
        self.app = litestar.Litestar(
            [*handlers], plugins=[self.plugin], logging_config=None, **(app(self) if app else {})
        )

    async def ask(self, path="/", *cookies, **scope):
        """A request that was served."""
        async with asyncio.timeout(PATIENCE):
            return await Visit(self.app, path, cookies=cookies, **scope).run()

    @asynccontextmanager
    async def connection(self, *cookies, **scope):
        """A websocket that is being served; its client leaves at the end."""
        scope = {"type": "websocket", "scheme": "wss", "subprotocols": [], **scope}
        exchange = Exchange(self.app, "/ws", cookies=cookies, **scope)
        del exchange.scope["method"]
        serving = exchange.start()
        try:
            yield exchange, serving
        finally:
            exchange.incoming.put_nowait({"type": "websocket.disconnect", "code": 1001})
            async with asyncio.timeout(PATIENCE):
                await asyncio.gather(serving, return_exceptions=True)

    async def visitor(self, *, user=None, **fields):
        """The Cookie header of one whose session holds these fields."""
        session = self.sessions.open(b"")
        await self.sessions.load(session)
        session.update(fields)
        if user is not None:
            session.sign_in(user)
        return (await self.sessions.close(session)).set_cookie.split(";")[0].encode()

    async def seen(self, cookie):
        """The session of a cookie, to look at."""
        session = self.sessions.open(cookie)
        await self.sessions.load(session)
        return session


async def sent(exchange, kind):
    await until(lambda: any(message["type"] == kind for message in exchange.sent))
    return [message for message in exchange.sent if message["type"] == kind][-1]


@litestar.get("/")
async def visits(session: CurrentSession) -> int:
    session["visits"] = session.get("visits", 0) + 1
    return session["visits"]
