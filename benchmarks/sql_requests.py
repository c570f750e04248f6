"""The cost of a whole synchronous request on a real PostgreSQL and a real Memcached, beside what people use today.

Flask-Session with its SQLAlchemy and its Memcached store, and Django's sessions in the database, without and with a
cache (Memcached) in front. "Over the bare application" is what a request costs with the session, less what it costs
without: the time that client and server take together on one core.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import django
import pymemcache
from django.conf import settings as django_settings
from django.core.handlers.wsgi import WSGIHandler
from django.core.management import call_command
from flask_session.memcached import MemcachedSessionInterface
from flask_session.sqlalchemy import SqlAlchemySessionInterface
from flask_sqlalchemy import SQLAlchemy

from benchmarks.redis_requests import bare_wsgi, urlpatterns  # noqa: F401 - Django looks for `urlpatterns` here
from benchmarks.requests import SECRET, NoSession, flask_app, visitor, wsgi_app
from benchmarks.servers import Clock, medians, pinned_all
from coatcheck import Sessions
from coatcheck.frameworks.flask import SessionInterface
from coatcheck.frameworks.wsgi import SessionMiddleware
from tests.servers.memcached import Memcached
from tests.servers.postgres import PostgreSQL
from tests.servers.process import HOST

if TYPE_CHECKING:
    from wsgiref.types import WSGIApplication

_PATHS = ("untouched", "read", "write")


def main() -> None:
    """Measure, and print the table."""
    with (
        tempfile.TemporaryDirectory() as folder,
        PostgreSQL() as postgres,
        Memcached(Path(folder)) as memcached,
    ):
        options: dict[str, Any] = {"secret": SECRET, "insecure_http": True}
        create_tables(postgres.url())
        with (
            Sessions.from_url(postgres.url(), **options) as in_postgres,
            Sessions.from_url(memcached.url, **options) as in_memcached,
        ):
            groups: dict[str, tuple[WSGIApplication, dict[str, WSGIApplication]]] = {
                "WSGI": (
                    bare_wsgi,
                    {
                        "Coatcheck, PostgreSQL": SessionMiddleware(wsgi_app, in_postgres),
                        "Coatcheck, Memcached": SessionMiddleware(wsgi_app, in_memcached),
                    },
                ),
                "Flask": (
                    flask_app(NoSession()),
                    {
                        "Coatcheck, PostgreSQL": flask_app(SessionInterface(in_postgres)),
                        "Flask-Session, PostgreSQL": flask_session_sql(postgres),
                        "Coatcheck, Memcached": flask_app(SessionInterface(in_memcached)),
                        "Flask-Session, Memcached": flask_session_memcached(memcached),
                    },
                ),
                "Django": django_apps(postgres, memcached),
            }
            with pinned_all([postgres.pid, memcached.pid]) as clock:
                _table(groups, clock)


def create_tables(url: str) -> None:
    """What `coatcheck db create` does."""
    from coatcheck.cli import main as command

    try:
        command(["db", "create", "--store", url])
    except SystemExit as done:
        if done.code:
            raise


def _table(groups: dict[str, tuple[WSGIApplication, dict[str, WSGIApplication]]], clock: Clock) -> None:
    calls: dict[str, Callable[[], object]] = {}
    for group, (bare, apps) in groups.items():
        calls[f"{group} bare"] = visitor(bare, filled=False)("untouched")
        for name, app in apps.items():
            send = visitor(app)
            calls.update({f"{group} {name} {path}": send(path) for path in _PATHS})
    costs = medians(calls, clock, calls=40, rounds=15)
    print("\n### PostgreSQL and Memcached, synchronous: microseconds a request, over the bare application\n")
    print("| framework | session | untouched | read | write |\n|---|---|---:|---:|---:|")
    for group, (_, apps) in groups.items():
        for name in apps:
            cells = [f"{costs[f'{group} {name} {path}'] - costs[f'{group} bare']:+.0f}" for path in _PATHS]
            print(f"| {group} | {name} | " + " | ".join(cells) + " |")


def flask_session_sql(postgres: PostgreSQL) -> Any:
    app = flask_app(None)
    app.config["SQLALCHEMY_DATABASE_URI"] = postgres.url().replace("postgresql:", "postgresql+psycopg:")
    app.session_interface = SqlAlchemySessionInterface(app, SQLAlchemy(app))
    return app


def flask_session_memcached(memcached: Memcached) -> Any:
    app = flask_app(None)
    app.session_interface = MemcachedSessionInterface(app, pymemcache.Client((HOST, memcached.port)))
    return app


def django_apps(
    postgres: PostgreSQL, memcached: Memcached
) -> tuple[WSGIApplication, dict[str, WSGIApplication]]:
    """Django without sessions; with its sessions in the database; with a cache in front of it."""
    database = {
        "ENGINE": "django.db.backends.postgresql",
        "HOST": HOST,
        "PORT": postgres.port,
        "USER": postgres.user,
        "NAME": "postgres",
        "CONN_MAX_AGE": None,  # one connection for all requests, which is its fastest
    }
    cache = {
        "BACKEND": "django.core.cache.backends.memcached.PyMemcacheCache",
        "LOCATION": memcached.address,
    }
    django_settings.configure(
        ALLOWED_HOSTS=["*"],
        SECRET_KEY=SECRET,
        ROOT_URLCONF=__name__,
        INSTALLED_APPS=["django.contrib.sessions"],
        DATABASES={"default": database},
        CACHES={"default": cache},
        LOGGING_CONFIG=None,
        USE_TZ=True,
    )
    django.setup()
    call_command("migrate", verbosity=0)
    apps: dict[str, WSGIApplication] = {}
    django_settings.MIDDLEWARE = []
    bare = WSGIHandler()
    django_settings.MIDDLEWARE = ["django.contrib.sessions.middleware.SessionMiddleware"]
    for engine in ("db", "cached_db"):
        django_settings.SESSION_ENGINE = f"django.contrib.sessions.backends.{engine}"
        apps[f"Django, {engine}"] = WSGIHandler()
    return bare, apps
