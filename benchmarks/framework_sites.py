"""One small site in each framework, with a session of three kinds: none, its usual library's, ours.

``python -m benchmarks.framework_sites flask ours PORT REDIS_PORT`` serves one by the framework's usual server.
"""

from __future__ import annotations

import itertools
import sys
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import Any

from benchmarks.requests import FIELDS, SECRET
from coatcheck import AsyncSessions, Sessions
from tests.servers.process import HOST

__all__ = ["SITES", "USUAL"]

_number = itertools.count()
_PATHS = ("untouched", "fill", "read", "write")
Kind = str
Look = Callable[[Any], None]
DAY = timedelta(days=1)


def fill(session: Any) -> None:
    for name, value in FIELDS.items():
        session[name] = value


def read(session: Any) -> None:
    _ = session["theme"]


def write(session: Any) -> None:
    session["n"] = next(_number)


LOOKS: dict[str, Look] = {"fill": fill, "read": read, "write": write}


def _url(redis_port: int) -> str:
    return f"redis://{HOST}:{redis_port}/0"


def _sessions(redis_port: int) -> Sessions:
    return Sessions.from_url(_url(redis_port), secret=SECRET, insecure_http=True)


def _async_sessions(redis_port: int) -> AsyncSessions:
    return AsyncSessions.from_url(_url(redis_port), secret=SECRET, insecure_http=True)


def _wsgi(app: Any, port: int) -> None:
    import waitress

    waitress.serve(app, host=HOST, port=port, threads=4)


def _asgi(app: Any, port: int) -> None:
    import uvicorn

    uvicorn.run(app, host=HOST, port=port, log_level="error", access_log=False, loop="asyncio")


def flask(kind: Kind, port: int, redis_port: int) -> None:
    import flask

    app = flask.Flask("benchmark")
    app.secret_key = SECRET
    if kind == "ours":
        from coatcheck.frameworks.flask import SessionInterface

        SessionInterface(_sessions(redis_port)).init_app(app)
    elif kind == "usual":
        import redis
        from flask_session import Session

        app.config.update(SESSION_TYPE="redis", SESSION_REDIS=redis.Redis(HOST, redis_port))
        Session(app)

    def view(name: str) -> Callable[[], str]:
        def answer() -> str:
            if name in LOOKS:
                LOOKS[name](flask.session)
            return "ok"

        return answer

    for name in _PATHS:
        app.add_url_rule(f"/{name}", name, view(name))
    _wsgi(app, port)


def starlette(kind: Kind, port: int, redis_port: int) -> None:
    from starlette.applications import Starlette
    from starlette.responses import PlainTextResponse
    from starlette.routing import Route

    app = Starlette(
        routes=[Route(f"/{name}", _view(name, lambda r: r.session, PlainTextResponse)) for name in _PATHS]
    )
    _starlette_session(app, kind, redis_port)
    _asgi(app, port)


def fastapi(kind: Kind, port: int, redis_port: int) -> None:
    from fastapi import FastAPI, Request
    from starlette.responses import PlainTextResponse

    app = FastAPI()

    def view(name: str) -> Callable[[Any], Awaitable[Any]]:
        async def answer(request: Request) -> PlainTextResponse:
            if name in LOOKS:
                LOOKS[name](request.session)
            return PlainTextResponse("ok")

        answer.__annotations__["request"] = Request
        return answer

    for name in _PATHS:
        app.get(f"/{name}")(view(name))
    _starlette_session(app, kind, redis_port)
    _asgi(app, port)


def _starlette_session(app: Any, kind: Kind, redis_port: int) -> None:
    if kind == "ours":
        from coatcheck.frameworks.starlette import SessionMiddleware

        app.add_middleware(SessionMiddleware, sessions=_async_sessions(redis_port))
    elif kind == "usual":
        import starsessions
        from starsessions.stores.redis import RedisStore

        app.add_middleware(starsessions.SessionAutoloadMiddleware)
        app.add_middleware(
            starsessions.SessionMiddleware,
            store=RedisStore(_url(redis_port)),
            cookie_https_only=False,
            lifetime=int(DAY.total_seconds()),
        )


def _view(name: str, session_of: Callable[[Any], Any], response: Callable[[str], Any]) -> Any:
    """A view of an asynchronous framework."""

    async def view(request: Any) -> Any:
        if name in LOOKS:
            LOOKS[name](session_of(request))
        return response("ok")

    return view


def django(kind: Kind, port: int, redis_port: int) -> None:
    import django
    from django.conf import settings
    from django.core.wsgi import get_wsgi_application
    from django.http import HttpResponse
    from django.urls import path

    engine = "coatcheck.frameworks.django" if kind == "ours" else "django.contrib.sessions.backends.cache"
    middleware = {
        "bare": [],
        "usual": ["django.contrib.sessions.middleware.SessionMiddleware"],
        "ours": ["coatcheck.frameworks.django.middleware.SessionMiddleware"],
    }
    settings.configure(
        SECRET_KEY=SECRET,
        ALLOWED_HOSTS=["*"],
        ROOT_URLCONF=__name__,
        SESSION_ENGINE=engine,
        MIDDLEWARE=middleware[kind],
        CACHES={
            "default": {
                "BACKEND": "django.core.cache.backends.redis.RedisCache",
                "LOCATION": _url(redis_port),
            }
        },
        COATCHECK={"url": _url(redis_port), "secret": SECRET, "insecure_http": True},
    )
    django.setup()

    def view(name: str) -> Callable[[Any], HttpResponse]:
        def answer(request: Any) -> HttpResponse:
            if name in LOOKS:
                LOOKS[name](request.session)
            return HttpResponse("ok")

        return answer

    globals()["urlpatterns"] = [path(name, view(name)) for name in _PATHS]
    _wsgi(get_wsgi_application(), port)


def pyramid(kind: Kind, port: int, redis_port: int) -> None:
    from pyramid.config import Configurator
    from pyramid.response import Response

    config = Configurator()
    if kind == "ours":
        config.add_settings({"coatcheck.sessions": _sessions(redis_port)})
        config.include("coatcheck.frameworks.pyramid")
    elif kind == "usual":
        from pyramid.session import SignedCookieSessionFactory

        config.set_session_factory(SignedCookieSessionFactory(SECRET))

    def view(name: str) -> Callable[[Any], Response]:
        def answer(request: Any) -> Response:
            if name in LOOKS:
                LOOKS[name](request.session)
            return Response("ok")

        return answer

    for name in _PATHS:
        config.add_route(name, f"/{name}")
        config.add_view(view(name), route_name=name)
    _wsgi(config.make_wsgi_app(), port)


def tornado(kind: Kind, port: int, redis_port: int) -> None:
    import asyncio

    from tornado.web import Application, RequestHandler

    from coatcheck.frameworks.tornado import SessionMixin

    class Bare(RequestHandler):
        session: Any = None

        def get(self, name: str) -> None:
            if name in LOOKS:
                LOOKS[name](self.session)
            self.write("ok")

    class Signed(Bare):
        def prepare(self) -> None:
            import json

            self.session = json.loads(self.get_signed_cookie("s") or b"{}")  # Tornado has no sessions

        def get(self, name: str) -> None:
            import json

            super().get(name)
            if name in {"fill", "write"}:
                self.set_signed_cookie("s", json.dumps(self.session))

        def set_default_headers(self) -> None:
            self.set_header("Content-Type", "text/plain")

    class Ours(SessionMixin, Bare):
        session: Any

    async def main() -> None:
        handler = {"bare": Bare, "usual": Signed, "ours": Ours}[kind]
        options = {"sessions": _async_sessions(redis_port)} if kind == "ours" else {}
        Application([("/(.*)", handler)], cookie_secret=SECRET, **options).listen(port, HOST)
        await asyncio.Event().wait()

    asyncio.run(main())


def aiohttp(kind: Kind, port: int, redis_port: int) -> None:
    from aiohttp import web

    get_session: Any = None
    app = web.Application()
    if kind == "ours":
        from coatcheck.frameworks.aiohttp import get_session, setup

        setup(app, _async_sessions(redis_port))
    elif kind == "usual":
        import aiohttp_session
        import redis.asyncio
        from aiohttp_session import get_session
        from aiohttp_session.redis_storage import RedisStorage

        aiohttp_session.setup(app, RedisStorage(redis.asyncio.Redis(host=HOST, port=redis_port)))

    def view(name: str) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def answer(request: web.Request) -> web.Response:
            if name in LOOKS:
                LOOKS[name](await get_session(request))
            return web.Response(text="ok")

        return answer

    for name in _PATHS:
        app.router.add_get(f"/{name}", view(name))
    web.run_app(app, host=HOST, port=port, print=None, access_log=None)


def litestar(kind: Kind, port: int, redis_port: int) -> None:
    from litestar import Litestar, Request, get

    middleware, plugins, stores = [], [], {}
    if kind == "ours":
        from coatcheck.frameworks.litestar import SessionPlugin

        plugins = [SessionPlugin(_async_sessions(redis_port))]
    elif kind == "usual":
        from litestar.middleware.session.server_side import ServerSideSessionConfig
        from litestar.stores.redis import RedisStore

        middleware = [ServerSideSessionConfig(secure=False).middleware]
        stores = {"sessions": RedisStore.with_client(_url(redis_port))}

    def view(name: str) -> Any:
        async def answer(request: Request) -> str:
            if name in LOOKS:
                LOOKS[name](request.session)
            return "ok"

        answer.__annotations__ = {"request": Request, "return": str}
        return get(f"/{name}", media_type="text/plain", name=name)(answer)

    handlers = [view(name) for name in _PATHS]
    _asgi(Litestar(handlers, middleware=middleware, plugins=plugins, stores=stores), port)


def quart(kind: Kind, port: int, redis_port: int) -> None:
    import quart

    app = quart.Quart("benchmark")
    app.secret_key = SECRET
    if kind == "ours":
        from coatcheck.frameworks.quart import SessionInterface

        SessionInterface(_async_sessions(redis_port)).init_app(app)
    # `usual` is the signed cookie, which needs no set-up.

    def view(name: str) -> Callable[[], Awaitable[str]]:
        async def answer() -> str:
            if name in LOOKS:
                LOOKS[name](quart.session)
            return "ok"

        return answer

    for name in _PATHS:
        app.add_url_rule(f"/{name}", name, view(name))
    _asgi(app, port)


def hug(kind: Kind, port: int, redis_port: int) -> None:
    import hug
    from hug.store import InMemoryStore

    api = hug.API("benchmark")
    if kind == "ours":
        from coatcheck.frameworks.hug import SessionMiddleware

        api.http.add_middleware(SessionMiddleware(api, _sessions(redis_port)))
    elif kind == "usual":
        api.http.add_middleware(hug.middleware.SessionMiddleware(InMemoryStore(), cookie_secure=False))

    def view(name: str) -> Callable[[Any], str]:
        def answer(request: Any) -> str:
            if name in LOOKS:
                LOOKS[name](request.context["session"])
            return "ok"

        return answer

    for name in _PATHS:
        hug.get(f"/{name}", output=hug.output_format.text, api=api)(view(name))
    _wsgi(api.http.server(), port)


SITES: dict[str, Callable[[Kind, int, int], None]] = {
    "Flask": flask,
    "Starlette": starlette,
    "FastAPI": fastapi,
    "Django": django,
    "Pyramid": pyramid,
    "Tornado": tornado,
    "aiohttp": aiohttp,
    "Litestar": litestar,
    "Quart": quart,
    "hug": hug,
}

USUAL = {
    "Flask": "Flask-Session, Redis",
    "Starlette": "starsessions, Redis",
    "FastAPI": "starsessions, Redis",
    "Django": "its `cache` engine, Redis",
    "Pyramid": "its signed cookie",
    "Tornado": "a signed cookie (it has no sessions)",
    "aiohttp": "aiohttp-session, Redis",
    "Litestar": "its server-side session, Redis",
    "Quart": "its signed cookie",
    "hug": "its session middleware, memory",
}

if __name__ == "__main__":
    framework, which, at, redis_at = sys.argv[1:]
    SITES[framework](which, int(at), int(redis_at))
