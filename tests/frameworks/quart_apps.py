"""Small Quart applications on a store that can fail, and what is seen of them."""

import asyncio
from contextlib import asynccontextmanager

import quart

from coatcheck import AsyncSessions, StoreUnavailable
from coatcheck.frameworks.quart import SessionInterface
from coatcheck.stores.memory import AsyncMemoryStore
from coatcheck.testing import AsyncFailingStore, ManualClock
from tests.behaviours.site import SECRET
from tests.frameworks.asgi_driver import PATIENCE, Exchange
from tests.loops import until

DOWN = StoreUnavailable("the test says so", ambiguous=False)


class House:
    """One application, its store, and what a visitor sends to it."""

    def __init__(self, config=None, *, interface=None, first=lambda app: None, **options):
        self.store = AsyncFailingStore(AsyncMemoryStore())
        self.clock = ManualClock()
        self.sessions = AsyncSessions(self.store, secret=SECRET, clock=self.clock, **options)
        self.app = quart.Quart("house")
        self.app.config.update(config or {})
        first(self.app)
        SessionInterface(self.sessions, **(interface or {})).init_app(self.app)

    def get(self, view, rule="/"):
        """Serve `view` under `rule`."""
        self.app.add_url_rule(rule, rule, view)

    def socket(self, view, rule="/ws"):
        """Serve the websocket `view` under `rule`."""
        self.app.add_websocket(rule, rule, view)

    def exchange(self, path="/", *cookies, **scope):
        """A connection that is not served yet; it never leaves by itself."""
        return Exchange(self.app, path, cookies=cookies, **scope)

    async def ask(self, path="/", *cookies, **scope):
        """A request that was served."""
        async with asyncio.timeout(PATIENCE):
            return await self.exchange(path, *cookies, **scope).run()

    @asynccontextmanager
    async def connection(self, *cookies, **scope):
        """A websocket that is being served; its client has not left."""
        scope = {"type": "websocket", "scheme": "wss", "subprotocols": [], **scope}
        exchange = self.exchange("/ws", *cookies, **scope)
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
        outcome = await self.sessions.close(session)
        return outcome.set_cookie.split(";")[0].encode()

    async def fields(self, cookie):
        """What the session of a cookie holds; None: it opens none."""
        session = self.sessions.open(cookie)
        await self.sessions.load(session)
        return None if session.is_new else dict(session)


async def sent(exchange, kind):
    """The next message of this kind that the application sends."""
    await until(lambda: any(message["type"] == kind for message in exchange.sent))
    return [message for message in exchange.sent if message["type"] == kind][-1]
