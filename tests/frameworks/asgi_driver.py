"""An ASGI server in place: raw headers, and a client that can leave at any moment."""

import asyncio
from contextlib import suppress

from coatcheck import AsyncSessions
from coatcheck.frameworks.asgi import SessionMiddleware
from coatcheck.stores.memory import AsyncMemoryStore
from coatcheck.testing import AsyncCountingStore, AsyncFailingStore, AsyncPausingStore, ManualClock

SECRET = "t3Kq9VnWcX0bRz7uYh2LdPfJ8sMgA5eQoTiN1rBxGvE"
PATIENCE = 60


class Exchange:
    """One connection. `sent` holds what the application sent, `journal` also what the store did, in order.

    After `leaves_after` messages the client is gone: sending raises OSError, and there is nothing more to receive.
    """

    def __init__(self, app, path="/", *, journal=None, leaves_after=None, **scope):
        cookies = scope.pop("cookies", ())
        self.app = app
        self.sent = []
        self.journal = [] if journal is None else journal
        self.incoming = asyncio.Queue()
        self.leaves_after = leaves_after
        self.done = asyncio.Event()
        self.scope = {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "http_version": "1.1",
            "method": "GET",
            "scheme": "https",
            "path": path,
            "raw_path": path.encode(),
            "query_string": b"",
            "root_path": "",
            "headers": [(b"host", b"shop.example"), *((b"cookie", cookie) for cookie in cookies if cookie)],
            "client": ("192.0.2.1", 50_000),
            "server": ("shop.example", 443),
            **scope,
        }
        first = {"type": "http.request", "body": b"", "more_body": False}
        self.incoming.put_nowait(
            first if self.scope["type"] == "http" else {"type": f"{self.scope['type']}.connect"}
        )

    async def run(self):
        """Serve it; what the application raises is raised."""
        try:
            await self.app(self.scope, self.receive, self.send)
        finally:
            self.done.set()
        return self

    def start(self):
        """Serve it in a task."""
        return asyncio.create_task(self.run())

    @property
    def gone(self):
        return self.leaves_after is not None and len(self.sent) >= self.leaves_after

    async def receive(self):
        if self.incoming.empty():
            if self.gone:
                return {"type": f"{self.scope['type']}.disconnect"}
            getting = asyncio.ensure_future(self.incoming.get())
            over = asyncio.ensure_future(self.done.wait())
            try:
                await asyncio.wait({getting, over}, return_when=asyncio.FIRST_COMPLETED)
            finally:
                over.cancel()
                getting.cancel()
            with suppress(asyncio.CancelledError):
                return await getting
            return {"type": f"{self.scope['type']}.disconnect"}
        return await self.incoming.get()

    async def send(self, message):
        if self.gone:
            raise OSError("the client has gone")
        await asyncio.sleep(0)  # as a server whose socket is full for a moment
        self.sent.append(message)
        self.journal.append(message["type"] + (" more" if message.get("more_body") else ""))

    # What came

    @property
    def status(self):
        (head,) = [message for message in self.sent if message["type"].endswith("response.start")]
        return head["status"]

    def headers(self, name):
        """The values of each line of that name, of the head that was sent."""
        heads = ("http.response.start", "websocket.accept", "websocket.http.response.start")
        (head,) = [message for message in self.sent if message["type"] in heads]
        return [value for other, value in head.get("headers", ()) if other.lower() == name]

    @property
    def body(self):
        return b"".join(message.get("body", b"") for message in self.sent)

    @property
    def cookie(self):
        """The Cookie header of the next request."""
        (line,) = self.headers(b"set-cookie")
        return line.split(b";")[0]


class Journal(AsyncCountingStore):
    """Notes in a journal when a call is done."""

    def __init__(self, store, journal):
        super().__init__(store)
        self.journal = journal

    async def around(self, call, send):
        answer = await super().around(call, send)
        self.journal.append(call.method)
        return answer


class House:
    """An application in its middleware, and all that a test wants to see of it."""

    def __init__(self, handler, *, wrap=SessionMiddleware, store=None, options=None, **middleware):
        self.journal = []
        self.clock = ManualClock()
        self.counting = Journal(AsyncMemoryStore() if store is None else store, self.journal)
        self.failing = AsyncFailingStore(self.counting)
        self.pausing = AsyncPausingStore(self.failing)
        self.sessions = AsyncSessions(
            self.pausing, **({"secret": SECRET, "clock": self.clock} | (options or {}))
        )
        self.app = wrap(handler, self.sessions, **middleware)

    def exchange(self, path="/", *cookies, **scope):
        """A connection that is not served yet."""
        self.journal.clear()
        return Exchange(self.app, path, cookies=cookies, journal=self.journal, **scope)

    async def get(self, path="/", *cookies, **scope):
        """A connection that was served."""
        async with asyncio.timeout(PATIENCE):
            return await self.exchange(path, *cookies, **scope).run()

    async def visitor(self, *, user=None, **fields):
        """The Cookie header of one whose session holds these fields."""
        session = self.sessions.open(b"")
        await self.sessions.load(session)
        session.update(fields)
        if user is not None:
            session.sign_in(user)
        outcome = await self.sessions.close(session)
        self.journal.clear()
        return outcome.set_cookie.split(";")[0].encode()

    async def fields(self, cookie):
        """What the session of a cookie holds; None: it opens none."""
        session = self.sessions.open(cookie)
        await self.sessions.load(session)
        return None if session.is_new else dict(session)


async def head(send, status=200, *headers):
    await send({"type": "http.response.start", "status": status, "headers": list(headers)})


async def body(send, chunk=b"", *, more=False):
    await send({"type": "http.response.body", "body": chunk, "more_body": more})


async def answer(send, chunk=b"ok", status=200, *headers):
    """A whole response."""
    await head(send, status, *headers)
    await body(send, chunk)
