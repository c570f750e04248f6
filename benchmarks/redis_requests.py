"""The cost of a whole synchronous request on a real Redis: WSGI, Flask and Django, beside what people use today.

"Over the bare application" is what a request costs with the session, less what it costs without.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

import django
import redis
from beaker.middleware import SessionMiddleware as BeakerMiddleware
from django.conf import settings as django_settings
from django.core.handlers.wsgi import WSGIHandler
from django.http import HttpResponse
from django.urls import path as django_path
from flask_session.redis import RedisSessionInterface

from benchmarks.requests import FIELDS, SECRET, NoSession, flask_app, visitor, wsgi_app
from benchmarks.servers import PINS, Clock, medians, pinned, redis_server
from coatcheck import Sessions
from coatcheck.frameworks.flask import SessionInterface
from coatcheck.frameworks.wsgi import SessionMiddleware
from tests.servers.process import HOST

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

_number = itertools.count()
_PATHS = ("untouched", "read", "write")


def main() -> None:
    """Measure on one core and on two, and print the tables."""
    with redis_server() as (server, port):
        url = f"redis://{HOST}:{port}/0"
        client = redis.Redis(HOST, port)
        client.set("bare", b"x" * 300)
        with client, Sessions.from_url(url, secret=SECRET, insecure_http=True) as sessions:
            groups = {
                "WSGI": (
                    bare_wsgi,
                    {
                        "Coatcheck": SessionMiddleware(wsgi_app, sessions),
                        "Beaker": BeakerMiddleware(
                            beaker_app,
                            {"session.type": "ext:redis", "session.url": url, "session.key": "beaker"},
                        ),
                    },
                ),
                "Flask": (
                    flask_app(NoSession()),
                    {
                        "Coatcheck": flask_app(SessionInterface(sessions)),
                        "Flask-Session": flask_session(client),
                    },
                ),
                "Django": (
                    django_app(url, middleware=False),
                    {"Django's cache sessions": django_app(url, middleware=True)},
                ),
            }
            for pin, cores in PINS.items():
                with pinned(server.pid, cores) as clock:
                    _table(pin, groups, lambda: client.get("bare"), clock)


def _table(
    pin: str,
    groups: dict[str, tuple[WSGIApplication, dict[str, WSGIApplication]]],
    get: Callable[[], object],
    clock: Clock,
) -> None:
    calls: dict[str, Callable[[], object]] = {"GET": get}
    for group, (bare, apps) in groups.items():
        calls[f"{group} bare"] = visitor(bare, filled=False)("untouched")
        for name, app in apps.items():
            send = visitor(app)
            calls.update({f"{group} {name} {path}": send(path) for path in _PATHS})
    costs = medians(calls, clock)
    print(f"\n### Redis, synchronous, {pin}: microseconds a request, over the bare application\n")
    print(f"One bare redis-py GET takes {costs['GET']:.0f} µs; × is against it.\n")
    print("| framework | session | untouched | read | write |\n|---|---|---:|---:|---:|")
    for group, (_, apps) in groups.items():
        for name in apps:
            over = [costs[f"{group} {name} {path}"] - costs[f"{group} bare"] for path in _PATHS]
            cells = [f"{cost:+.0f} (×{cost / costs['GET']:.2f})" for cost in over]
            print(f"| {group} | {name} | " + " | ".join(cells) + " |")


def bare_wsgi(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"ok"]


def beaker_app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
    path = environ["PATH_INFO"]
    if path != "/untouched":
        session = environ["beaker.session"]
        if path == "/read":
            _ = session["theme"]
        else:
            session.update(FIELDS if path == "/fill" else {"n": next(_number)})
            session.save()
    return bare_wsgi(environ, start_response)


def flask_session(client: redis.Redis) -> Any:
    app = flask_app(None)
    app.session_interface = RedisSessionInterface(app, client)
    return app


def django_app(url: str, *, middleware: bool) -> WSGIApplication:
    """Django with its sessions in the cache, or without any."""
    if not django_settings.configured:
        django_settings.configure(
            ALLOWED_HOSTS=["*"],
            SECRET_KEY=SECRET,
            ROOT_URLCONF=__name__,
            CACHES={"default": {"BACKEND": "django.core.cache.backends.redis.RedisCache", "LOCATION": url}},
            SESSION_ENGINE="django.contrib.sessions.backends.cache",
            LOGGING_CONFIG=None,
        )
        django.setup()
    wanted = "django.contrib.sessions.middleware.SessionMiddleware"
    django_settings.MIDDLEWARE = [wanted] if middleware else []
    return WSGIHandler()


def _untouched(request: Any) -> HttpResponse:
    return HttpResponse("ok")


def _fill(request: Any) -> HttpResponse:
    request.session.update(FIELDS)
    return HttpResponse("ok")


def _read(request: Any) -> HttpResponse:
    _ = request.session["theme"]
    return HttpResponse("ok")


def _write(request: Any) -> HttpResponse:
    request.session["n"] = next(_number)
    return HttpResponse("ok")


urlpatterns = [
    django_path("untouched", _untouched),
    django_path("fill", _fill),
    django_path("read", _read),
    django_path("write", _write),
]
