"""Other libraries as they are: ``python -m tests.docs.peers`` prints the answers of each, as JSON.

Each serves one page, on Redis where it can. What a request does with its session is a function that a probe names; a
request that is held makes the request that comes between by itself, so that the order is always the same.
"""

from __future__ import annotations

import asyncio
import json
import logging
import tempfile
import threading
import warnings
from contextlib import contextmanager

import httpx
import redis
import redis.asyncio
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.docs.serving import asgi_port, wsgi_port
from tests.servers.redis import RedisServer

SECRET = "cqqwBl6sxlDpXPCLcXGyS3CT0aXhyYzNcJIVj2vLAYs"
AT_ONCE = {"retry": Retry(NoBackoff(), 0)}  # what redis-py does by default in an outage takes seconds
READS = {
    "get",
    "mget",
    "ttl",
    "exists",
    "hget",
    "hgetall",
    "ping",
    "hello",
    "client",
    "select",
    "info",
    "config",
}
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


class Site:
    """A peer that serves, and its store."""

    def __init__(self, port, store, sign_out):
        self.url, self.store, self._sign_out = f"http://127.0.0.1:{port}", store, sign_out

    def browser(self, cookies=None):
        # Without certificates, whose loading costs more than a probe.
        return httpx.Client(base_url=self.url, trust_env=False, timeout=60, cookies=cookies, verify=False)

    def visitor(self):
        """A browser, whose tabs share their cookies, signed in as ada."""
        browser = self.browser()
        self.visit(browser, lambda session: session.update({"user": "ada", "things": ["hat"], "seen": 1}))
        return browser

    def visit(self, browser, work, *, may_fail=False):
        name = f"a{len(ACTIONS)}"

        def action(session):
            answer = work(session)
            return answer if isinstance(answer, str) else "done"

        ACTIONS[name] = action
        answer = browser.get(f"/{name}")
        return answer if may_fail else answer.raise_for_status()

    def sign_out(self, browser):
        self.visit(browser, self._sign_out)

    def writes(self):
        """How often each command was called that writes."""
        commands = self.store.ask("INFO", "commandstats")
        return {name: figures["calls"] for name, figures in commands.items() if _word(name) not in READS}

    def user(self, browser):
        return self.visit(browser, lambda session: session.get("user") or "nobody").text


def _word(name):
    return name.removeprefix("cmdstat_").split("|")[0]


def keeps_both_changes(site):
    browser = site.visitor()

    def held(session):
        session.get("seen")
        site.visit(browser, lambda session: session.update({"theirs": 1}))
        session["ours"] = 1

    site.visit(browser, held)
    names = site.visit(browser, lambda session: json.dumps([session.get("theirs"), session.get("ours")]))
    return "yes" if names.json() == [1, 1] else "no"


def logout_stays(site):
    browser = site.visitor()
    before = dict(browser.cookies)

    def held(session):
        session.get("seen")
        site.sign_out(browser)
        session["draft"] = 1

    late = site.visit(browser, held, may_fail=True)
    again = site.browser(before)
    if "ada" in (site.user(browser), site.user(again)):
        return "no"
    return "yes" if late.is_success else f"yes, by a {late.status_code}"


def nested_change_is_stored(site):
    browser = site.visitor()
    site.visit(browser, lambda session: session["things"].append("coat"))
    return "yes" if "coat" in site.visit(browser, lambda session: str(session["things"])).text else "no"


def reading_writes_nothing(site):
    browser = site.visitor()
    site.user(browser)
    before = site.writes()
    answer = site.visit(browser, lambda session: session.get("user"))
    return "no" if site.writes() != before or "set-cookie" in answer.headers else "yes"


def while_the_store_is_away(site):
    browser = site.visitor()
    site.store.stop()
    status = site.visit(browser, lambda session: session.get("user"), may_fail=True).status_code
    site.store.start()
    after = site.user(browser)
    if status == 200:
        return "needs none" if after == "ada" else "signed out for good"
    return str(status) if after == "ada" else f"{status}, then signed out"


def stolen_store_opens_no_session(site):
    site.store.ask("FLUSHDB")
    (cookie,) = site.visitor().cookies
    keys = [key.decode() for key in site.store.ask("KEYS", "*")]
    thief = site.browser()
    for guess in (key[start:] for key in keys for start in range(len(key))):
        thief.cookies = {cookie: guess}
        if site.user(thief) == "ada":
            return "no"
    return "yes" if keys else "has none"


PROBES = (
    keeps_both_changes,
    logout_stays,
    nested_change_is_stored,
    reading_writes_nothing,
    while_the_store_is_away,
    stolen_store_opens_no_session,
)


def answers():
    """By the name of each, what each probe finds."""
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    found = {}
    with tempfile.TemporaryDirectory() as folder, RedisServer(folder, save="3600 1") as store:
        for name, peer in PEERS.items():
            server, sign_out = peer(store.port)
            with server as port:
                found[name] = [probe(Site(port, store, sign_out)) for probe in PROBES]
    return found


if __name__ == "__main__":
    print(json.dumps(answers()))
