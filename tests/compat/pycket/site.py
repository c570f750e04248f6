"""Tornado applications over real HTTP, and browsers for them; and what stands in for a handler without either."""

import asyncio
import threading
import time
from http.cookies import SimpleCookie
from uuid import uuid4

import httpx
from tornado.httpserver import HTTPServer
from tornado.netutil import bind_sockets
from tornado.web import Application, RequestHandler, create_signed_value, decode_signed_value

from coatcheck.compat.pycket.notification import NotificationMixin
from coatcheck.compat.pycket.session import SessionMixin
from coatcheck.compat.pycket01.notification import NotificationMixin as NotificationMixin01
from coatcheck.compat.pycket01.session import SessionMixin as SessionMixin01

SECRET = "Python rocks!"
DAY = 86400


class Site:
    """An application, served in a thread with a loop of its own."""

    def __init__(self, handlers, application=None, **settings):
        self.application = application or Application(handlers, **{"cookie_secret": SECRET, **settings})
        self._ready = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._serve()), daemon=True)
        self._clients = []

    def __enter__(self):
        self._thread.start()
        assert self._ready.wait(60)
        return self

    def __exit__(self, *_):
        for client in self._clients:
            client.close()
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(60)

    async def _serve(self):
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        server = HTTPServer(self.application)
        sockets = bind_sockets(0, "127.0.0.1")
        server.add_sockets(sockets)
        self.port = sockets[0].getsockname()[1]
        self._ready.set()
        await self._stop.wait()
        server.stop()
        await server.close_all_connections()

    def visitor(self, **options):
        """A browser with a jar of cookies of its own."""
        client = httpx.Client(base_url=f"http://127.0.0.1:{self.port}", timeout=60, **options)
        self._clients.append(client)
        return client


def handler(act, generation="0.3"):
    """A handler that answers with what `act` returns, as text."""
    mixins = (
        (SessionMixin, NotificationMixin) if generation == "0.3" else (SessionMixin01, NotificationMixin01)
    )

    class Handler(RequestHandler, *mixins):
        def get(self):
            self.write(repr(act(self)))

        def log_exception(self, *_):
            pass

    return Handler


def async_handler(act):
    class Handler(RequestHandler, SessionMixin, NotificationMixin):
        async def get(self):
            self.write(repr(await act(self)))

        def log_exception(self, *_):
            pass

    return Handler


def site(settings, generation="0.3", **acts):
    """A site with a path for each function; its handler answers with what that returns."""
    settings = settings if "pycket_redis" in settings else {"pycket": settings}
    handlers = [
        (f"/{name}", async_handler(act) if asyncio.iscoroutinefunction(act) else handler(act, generation))
        for name, act in acts.items()
    ]
    return Site(handlers, **settings)


class StubHandler(SessionMixin, NotificationMixin):
    """What the old tests use for a handler: it has nothing but settings and one cookie."""

    def __init__(self, settings, session_id=None):
        self.settings = settings if "pycket_redis" in settings else {"pycket": settings}
        self.session_id = session_id or str(uuid4())

    def get_secure_cookie(self, name):
        assert name == "PYCKET_ID"
        return self.session_id


class StubVisitor(StubHandler):
    """One without a cookie, who still has none after he got one, as in Tornado."""

    def __init__(self, settings):
        super().__init__(settings)
        self.session_id = None
        self.cookies = []

    def set_secure_cookie(self, name, value, expires_days, expires):
        self.cookies.append((name, value, expires_days, expires))


def with_cookies(settings, **cookies):
    return (
        {**settings, "pycket_cookies": cookies}
        if "pycket_redis" in settings
        else {**settings, "cookies": cookies}
    )


def site_of(settings, **acts):
    return site(settings, "0.1" if "pycket_redis" in settings else "0.3", **acts)


def cookies_of(answer):
    return [SimpleCookie(line)["PYCKET_ID"] for line in answer.headers.get_list("set-cookie")]


def cookie_of(answer):
    (cookie,) = cookies_of(answer)
    return cookie


def id_of(cookie):
    return decode_signed_value(SECRET, "PYCKET_ID", cookie.value).decode()


def signed(session_id, *, days_ago=0, secret=SECRET):
    then = time.time() - days_ago * DAY
    return create_signed_value(secret, "PYCKET_ID", session_id, clock=lambda: then).decode()


def put(self):
    self.session["foo"] = 1


def look(self):
    return dict(self.session.items())


def raw(manager):
    """What really lies in the store."""
    return manager._driver().load(manager.handler.session_id).raw
