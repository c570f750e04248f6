"""Other libraries as they are: each serves one page, on Redis where it can.

What a request does with its session is the function that the page's name stands for.
"""

from __future__ import annotations

import asyncio
import threading
from contextlib import contextmanager

import redis
import redis.asyncio
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.docs.serving import asgi_port, wsgi_port

SECRET = "cqqwBl6sxlDpXPCLcXGyS3CT0aXhyYzNcJIVj2vLAYs"
AT_ONCE = {"retry": Retry(NoBackoff(), 0)}  # what redis-py does by default in an outage takes seconds
ACTIONS = {}


def coatcheck(port):
    from flask import Flask, session

    from coatcheck import Sessions
    from coatcheck.frameworks.flask import SessionInterface

    app = Flask("peer")
    sessions = Sessions.from_url(f"redis://127.0.0.1:{port}", secret=SECRET, insecure_http=True)
    SessionInterface(sessions).init_app(app)
    app.add_url_rule("/<action>", view_func=lambda action: ACTIONS[action](session))
    return wsgi_port(app), lambda session: session.sign_out()


def flask_session(port):
    from flask import Flask, session
    from flask_session import Session

    app = Flask("peer")
    app.config.update(SESSION_TYPE="redis", SESSION_REDIS=redis.Redis(port=port, **AT_ONCE))
    Session(app)
    app.add_url_rule("/<action>", view_func=lambda action: ACTIONS[action](session))
    return wsgi_port(app), lambda session: session.clear()


def starsessions(port):
    from starlette.applications import Starlette
    from starlette.responses import PlainTextResponse
    from starlette.routing import Route
    from starsessions import SessionMiddleware, load_session
    from starsessions.stores.redis import RedisStore

    async def page(request):
        await load_session(request)
        answer = await asyncio.to_thread(ACTIONS[request.path_params["action"]], request.session)
        return PlainTextResponse(answer)

    app = Starlette(routes=[Route("/{action}", page)])
    store = RedisStore(connection=redis.asyncio.Redis(port=port, **AT_ONCE))
    app.add_middleware(SessionMiddleware, store=store, cookie_https_only=False, lifetime=3600, rolling=True)
    return asgi_port(app), lambda session: session.clear()


def litestar(port):
    from litestar import Litestar, Request, get
    from litestar.middleware.session.server_side import ServerSideSessionConfig
    from litestar.stores.redis import RedisStore

    @get("/{action:str}")
    async def page(action: str, request: Request) -> str:
        answer = await asyncio.to_thread(ACTIONS[action], request.session)
        if not request.session:
            request.clear_session()  # its own way to sign out
        return answer

    store = RedisStore(redis=redis.asyncio.Redis(port=port, **AT_ONCE))
    app = Litestar([page], middleware=[ServerSideSessionConfig().middleware], stores={"sessions": store})
    return asgi_port(app), lambda session: session.clear()


def starlette(_):
    from starlette.applications import Starlette
    from starlette.middleware.sessions import SessionMiddleware
    from starlette.responses import PlainTextResponse
    from starlette.routing import Route

    async def page(request):
        answer = await asyncio.to_thread(ACTIONS[request.path_params["action"]], request.session)
        return PlainTextResponse(answer)

    app = Starlette(routes=[Route("/{action}", page)])
    app.add_middleware(SessionMiddleware, secret_key=SECRET)
    return asgi_port(app), lambda session: session.clear()


def aiohttp_session(port):
    from aiohttp import web
    from aiohttp_session import get_session, setup
    from aiohttp_session.redis_storage import RedisStorage

    async def page(request):
        session = await get_session(request)
        return web.Response(text=await asyncio.to_thread(ACTIONS[request.match_info["action"]], session))

    @contextmanager
    def serve():
        ready, end, loop = threading.Event(), asyncio.Event(), asyncio.new_event_loop()

        async def run():
            app = web.Application()
            setup(app, RedisStorage(redis.asyncio.Redis(port=port, **AT_ONCE)))
            app.router.add_get("/{action}", page)
            runner = web.AppRunner(app, access_log=None)
            await runner.setup()
            await web.TCPSite(runner, "127.0.0.1", 0).start()
            serve.port = runner.addresses[0][1]
            ready.set()
            await end.wait()
            await runner.cleanup()

        thread = threading.Thread(target=loop.run_until_complete, args=(run(),))
        thread.start()
        ready.wait()
        yield serve.port
        loop.call_soon_threadsafe(end.set)
        thread.join()

    return serve(), lambda session: session.invalidate()


def beaker(port):
    from beaker.middleware import SessionMiddleware
    from flask import Flask, request

    app = Flask("peer")
    app.add_url_rule("/<action>", view_func=lambda action: ACTIONS[action](request.environ["beaker.session"]))
    options = {"session.type": "ext:redis", "session.url": f"redis://127.0.0.1:{port}/0"}
    app.wsgi_app = SessionMiddleware(
        app.wsgi_app, {**options, "session.secret": SECRET, "session.auto": True}
    )
    return wsgi_port(app), lambda session: session.delete()


def django(port):
    import django
    from django.conf import settings
    from django.core.wsgi import get_wsgi_application
    from django.http import HttpResponse
    from django.urls import path

    def page(request, action):
        return HttpResponse(ACTIONS[action](request.session))

    settings.configure(
        SECRET_KEY=SECRET,
        ROOT_URLCONF=type("urls", (), {"urlpatterns": [path("<action>", page)]}),
        ALLOWED_HOSTS=["*"],
        MIDDLEWARE=["django.contrib.sessions.middleware.SessionMiddleware"],
        SESSION_ENGINE="django.contrib.sessions.backends.cache",
        CACHES={
            "default": {
                "BACKEND": "django.core.cache.backends.redis.RedisCache",
                "LOCATION": f"redis://127.0.0.1:{port}",
            }
        },
    )
    django.setup()
    return wsgi_port(get_wsgi_application()), lambda session: session.flush()


PEERS = {
    "Coatcheck": coatcheck,
    "Flask-Session": flask_session,
    "starsessions": starsessions,
    "Litestar": litestar,
    "aiohttp-session": aiohttp_session,
    "Beaker": beaker,
    "Django": django,
    "Starlette": starlette,
}
