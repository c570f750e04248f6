"""The sites under test: a framework with a session library on a store, or with none.

`python -m benchmarks.sites NAME PORT` serves one. Where the stores are stands in the environment (`Stores`).
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from benchmarks.frameworks import FRAMEWORKS, SYNCHRONOUS, of_scope
from benchmarks.work import FIELDS, SECRET, Stores
from coatcheck import AsyncSessions, Sessions
from tests.servers.process import HOST

__all__ = ["BARE", "GET", "ON_DEMAND", "OURS", "SITES", "Site", "django_postgres"]

OURS, BARE, GET, ON_DEMAND = "Coatcheck", "no session", "one GET", "Coatcheck, on demand"
_DAY = 86_400


@dataclass(frozen=True)
class Site:
    """A framework with a session library on a store."""

    framework: str
    session: str
    store: str
    package: str
    """The distribution whose version counts; "" where there is no session."""
    attach: Callable[..., Any] | None = None
    """Gives the session to the framework's application, as each builder below says."""

    @property
    def name(self) -> str:
        return "/".join(filter(None, (self.framework, self.session, self.store)))

    @property
    def title(self) -> str:
        return ", ".join(filter(None, (self.session, self.store)))

    def serve(self, port: int, stores: Stores) -> None:
        build, server = FRAMEWORKS[self.framework]
        server(lambda: build(self.attach or (lambda *_: None), stores), port)


SITES: dict[str, Site] = {}


def _add(framework: str, session: str, store: str, package: str) -> Callable[[Any], Any]:
    def decorate(attach: Any) -> Any:
        site = Site(framework, session, store, package, attach)
        SITES[site.name] = site
        return attach

    return decorate


def _coatcheck(framework: str, *stores: str, session: str = OURS) -> Callable[[Any], Any]:
    """Decorates an `attach` that is given a manager in place of the stores."""
    kind = Sessions if framework in SYNCHRONOUS else AsyncSessions

    def decorate(attach: Any) -> Any:
        def on(store: str) -> Callable[..., Any]:
            def attached(thing: Any, at: Stores) -> Any:
                # The limit of a session's size is lifted where the size is what is measured.
                options = {"secret": SECRET, "insecure_http": True, "max_bytes": 4 << 20}
                return attach(thing, kind.from_url(at.url(store), **options))

            return attached

        for store in stores:
            _add(framework, session, store, "coatcheck")(on(store))
        return attach

    return decorate


for _framework in FRAMEWORKS:
    _add(_framework, BARE, "", "")(None)


@_add("WSGI", GET, "Redis", "redis")
def _(make: Any, at: Stores) -> Any:
    client = _redis(at)
    return make(lambda environ: client.get("bare") and dict(FIELDS))


@_coatcheck("WSGI", "Redis", "SQLite", "PostgreSQL")
def _(make: Any, sessions: Any) -> Any:
    from coatcheck.frameworks.wsgi import SessionMiddleware

    return SessionMiddleware(make(lambda environ: environ["coatcheck.session"]), sessions)


@_add("WSGI", "Beaker", "Redis", "beaker")
def _(make: Any, at: Stores) -> Any:
    from beaker.middleware import SessionMiddleware

    options = {"session.type": "ext:redis", "session.url": at.redis_url, "session.key": "beaker"}
    return SessionMiddleware(make(lambda environ: environ["beaker.session"], lambda s: s.save()), options)


@_add("ASGI", GET, "Redis", "redis")
def _(make: Any, at: Stores) -> Any:
    client = _redis_async(at)

    async def get(scope: Any) -> Any:
        return await client.get("bare") and dict(FIELDS)

    return make(get)


@_coatcheck("ASGI", "Redis", "SQLite")
def _(make: Any, sessions: Any) -> Any:
    from coatcheck.frameworks.asgi import SessionMiddleware

    return SessionMiddleware(make(of_scope), sessions)


@_coatcheck("ASGI", "Redis", session=ON_DEMAND)
def _(make: Any, sessions: Any) -> Any:
    from coatcheck.frameworks.asgi import SessionMiddleware

    async def loaded(scope: Any) -> Any:
        await sessions.load(scope["session"])
        return scope["session"]

    return SessionMiddleware(make(loaded), sessions, load="on_demand")


@_add("ASGI", "Starlette's cookie", "", "starlette")
def _(make: Any, at: Stores) -> Any:
    from starlette.middleware.sessions import SessionMiddleware

    return SessionMiddleware(make(of_scope), secret_key=SECRET)


@_add("ASGI", "starsessions", "Redis", "starsessions")
def _(make: Any, at: Stores) -> Any:
    import starsessions

    inner = starsessions.SessionAutoloadMiddleware(make(of_scope))
    return starsessions.SessionMiddleware(inner, **_starsessions(at))


@_coatcheck("Flask", "Redis", "SQLite", "PostgreSQL", "Memcached")
def _(app: Any, sessions: Any) -> None:
    from coatcheck.frameworks.flask import SessionInterface

    SessionInterface(sessions).init_app(app)


@_add("Flask", "Flask's cookie", "", "flask")
def _(app: Any, at: Stores) -> None:
    app.secret_key = SECRET


@_add("Flask", "Flask-Session", "Redis", "flask-session")
def _(app: Any, at: Stores) -> None:
    from flask_session import Session

    app.config.update(SESSION_TYPE="redis", SESSION_REDIS=_redis(at))
    Session(app)


@_add("Flask", "Flask-Session", "PostgreSQL", "flask-session")
def _(app: Any, at: Stores) -> None:
    from flask_session import Session
    from flask_sqlalchemy import SQLAlchemy

    app.config["SQLALCHEMY_DATABASE_URI"] = at.postgres.replace("postgresql:", "postgresql+psycopg:")
    app.config.update(SESSION_TYPE="sqlalchemy", SESSION_SQLALCHEMY=SQLAlchemy(app))
    Session(app)


@_add("Flask", "Flask-Session", "Memcached", "flask-session")
def _(app: Any, at: Stores) -> None:
    import pymemcache
    from flask_session import Session

    # Its threads share one client, so that needs the kind that may be shared.
    client = pymemcache.PooledClient((HOST, at.memcached))
    app.config.update(SESSION_TYPE="memcached", SESSION_MEMCACHED=client)
    Session(app)


def _django_sessions(engine: str, **settings: Any) -> dict[str, Any]:
    return {
        "MIDDLEWARE": ["django.contrib.sessions.middleware.SessionMiddleware"],
        "SESSION_ENGINE": f"django.contrib.sessions.backends.{engine}",
        **settings,
    }


def django_postgres(at: Stores) -> dict[str, Any]:
    """Settings of Django for its sessions in PostgreSQL."""
    url = urlsplit(at.postgres)
    database = {"NAME": url.path[1:], "HOST": url.hostname, "PORT": url.port, "USER": url.username}
    # One connection a thread for all requests, which is its fastest.
    database |= {"ENGINE": "django.db.backends.postgresql", "CONN_MAX_AGE": None}
    return {"INSTALLED_APPS": ["django.contrib.sessions"], "DATABASES": {"default": database}}


def _django_cache(kind: str, location: str) -> dict[str, Any]:
    return {"CACHES": {"default": {"BACKEND": f"django.core.cache.backends.{kind}", "LOCATION": location}}}


@_add("Django", "Django's cache sessions", "Redis", "django")
def _(_: None, at: Stores) -> dict[str, Any]:
    return _django_sessions("cache", **_django_cache("redis.RedisCache", at.redis_url))


@_add("Django", "Django's db sessions", "PostgreSQL", "django")
def _(_: None, at: Stores) -> dict[str, Any]:
    return _django_sessions("db", **django_postgres(at))


@_add("Django", "Django's cached_db sessions", "PostgreSQL and Memcached", "django")
def _(_: None, at: Stores) -> dict[str, Any]:
    cache = _django_cache("memcached.PyMemcacheCache", f"{HOST}:{at.memcached}")
    return _django_sessions("cached_db", **cache, **django_postgres(at))


@_add("Django", "Django's signed cookies", "", "django")
def _(_: None, at: Stores) -> dict[str, Any]:
    return _django_sessions("signed_cookies")


def _django_ours(store: str) -> Callable[[None, Stores], dict[str, Any]]:
    return lambda _, at: {
        "MIDDLEWARE": ["coatcheck.frameworks.django.middleware.SessionMiddleware"],
        "SESSION_ENGINE": "coatcheck.frameworks.django",
        "COATCHECK": {"url": at.url(store), "secret": SECRET, "insecure_http": True},
    }


for _store in ("Redis", "PostgreSQL"):
    _add("Django", OURS, _store, "coatcheck")(_django_ours(_store))


@_coatcheck("Starlette", "Redis", "SQLite")
@_coatcheck("FastAPI", "Redis")
def _(app: Any, sessions: Any) -> None:
    from coatcheck.frameworks.starlette import SessionMiddleware

    app.add_middleware(SessionMiddleware, sessions=sessions)


@_add("Starlette", "Starlette's cookie", "", "starlette")
@_add("FastAPI", "Starlette's cookie", "", "starlette")
def _(app: Any, at: Stores) -> None:
    from starlette.middleware.sessions import SessionMiddleware

    app.add_middleware(SessionMiddleware, secret_key=SECRET)


@_add("Starlette", "starsessions", "Redis", "starsessions")
@_add("FastAPI", "starsessions", "Redis", "starsessions")
def _(app: Any, at: Stores) -> None:
    import starsessions

    app.add_middleware(starsessions.SessionAutoloadMiddleware)
    app.add_middleware(starsessions.SessionMiddleware, **_starsessions(at))


def _starsessions(at: Stores) -> dict[str, Any]:
    from starsessions.stores.redis import RedisStore

    return {"store": RedisStore(connection=_redis_async(at)), "cookie_https_only": False, "lifetime": _DAY}


@_add("FastAPI", "fastapi-redis-sdk", "Redis", "fastapi-redis-sdk")
def _(app: Any, at: Stores) -> None:
    os.environ.update(REDIS_URL=at.redis_url, REDIS_SESSION_COOKIE_HTTPS_ONLY="false")
    from redis_fastapi import FastAPIRedis

    FastAPIRedis(app).lifespan().sessions()


@_coatcheck("Litestar", "Redis")
def _(_: None, sessions: Any) -> dict[str, Any]:
    from coatcheck.frameworks.litestar import SessionPlugin

    return {"plugins": [SessionPlugin(sessions)]}


@_add("Litestar", "Litestar's server-side session", "Redis", "litestar")
def _(_: None, at: Stores) -> dict[str, Any]:
    from litestar.middleware.session.server_side import ServerSideSessionConfig
    from litestar.stores.redis import RedisStore

    store = RedisStore.with_client(at.redis_url)
    return {"middleware": [ServerSideSessionConfig(secure=False).middleware], "stores": {"sessions": store}}


@_add("Litestar", "Litestar's cookie", "", "litestar")
def _(_: None, at: Stores) -> dict[str, Any]:
    from litestar.middleware.session.client_side import CookieBackendConfig

    return {"middleware": [CookieBackendConfig(secret=SECRET.encode(), secure=False).middleware]}


@_coatcheck("aiohttp", "Redis")
def _(app: Any, sessions: Any) -> Any:
    from coatcheck.frameworks.aiohttp import get_session, setup

    setup(app, sessions)
    return get_session


@_add("aiohttp", "aiohttp-session", "Redis", "aiohttp-session")
def _(app: Any, at: Stores) -> Any:
    import aiohttp_session
    from aiohttp_session.redis_storage import RedisStorage

    aiohttp_session.setup(app, RedisStorage(_redis_async(at)))
    return aiohttp_session.get_session


@_coatcheck("Tornado", "Redis")
def _(handler: Any, sessions: Any) -> Any:
    from coatcheck.frameworks.tornado import SessionMixin

    return type("Handler", (SessionMixin, handler), {}), {"sessions": sessions}


@_add("Tornado", "a signed cookie by hand", "", "tornado")
def _(handler: Any, at: Stores) -> Any:
    class Signed(handler):
        """Tornado has no sessions; this is what its users write."""

        def prepare(self) -> None:
            self.session = json.loads(self.get_signed_cookie("s") or b"{}")

        def get(self, name: str) -> None:
            super().get(name)
            if name == "write" or name.startswith("fill"):
                self.set_signed_cookie("s", json.dumps(self.session))

    return Signed, {"cookie_secret": SECRET}


@_coatcheck("Pyramid", "Redis")
def _(config: Any, sessions: Any) -> None:
    config.add_settings({"coatcheck.sessions": sessions})
    config.include("coatcheck.frameworks.pyramid")


@_add("Pyramid", "Pyramid's signed cookie", "", "pyramid")
def _(config: Any, at: Stores) -> None:
    from pyramid.session import SignedCookieSessionFactory

    config.set_session_factory(SignedCookieSessionFactory(SECRET))


@_coatcheck("Quart", "Redis")
def _(app: Any, sessions: Any) -> None:
    from coatcheck.frameworks.quart import SessionInterface

    SessionInterface(sessions).init_app(app)


@_add("Quart", "Quart's cookie", "", "quart")
def _(app: Any, at: Stores) -> None:
    app.secret_key = SECRET


@_coatcheck("hug", "Redis")
def _(api: Any, sessions: Any) -> None:
    from coatcheck.frameworks.hug import SessionMiddleware

    api.http.add_middleware(SessionMiddleware(api, sessions))


@_add("hug", "hug's session", "memory", "hug")
def _(api: Any, at: Stores) -> None:
    import hug
    from hug.store import InMemoryStore

    api.http.add_middleware(hug.middleware.SessionMiddleware(InMemoryStore(), cookie_secure=False))


def _redis(at: Stores) -> Any:
    import redis

    return redis.Redis(HOST, at.redis)


def _redis_async(at: Stores) -> Any:
    import redis.asyncio

    # redis-py's default of 100 connections would refuse requests where more are under way.
    return redis.asyncio.Redis(host=HOST, port=at.redis, max_connections=1_024)


if __name__ == "__main__":
    SITES[sys.argv[1]].serve(int(sys.argv[2]), Stores.of_environment())
