"""The applications that test_told starts under uvicorn and gunicorn, with the logging that these servers set up."""

import os
from contextlib import suppress

from coatcheck import AsyncSessions, Sessions, StoreError
from coatcheck.frameworks.asgi import SessionMiddleware as AsgiMiddleware
from coatcheck.frameworks.wsgi import SessionMiddleware
from tests.behaviours.site import SECRET

SETTINGS = {"secret": SECRET, "insecure_http": True, "prefix": os.environ["REDIS_PREFIX"]}
URL = os.environ["REDIS_URL"]


async def application(scope, receive, send):
    if scope["type"] == "lifespan":
        for event in ("startup", "shutdown"):
            await receive()
            await send({"type": f"lifespan.{event}.complete"})
        return
    if scope["path"] == "/put":
        scope["session"]["a"] = 1
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"x"})


def make_asgi():
    return AsgiMiddleware(application, AsyncSessions.from_url(URL, **SETTINGS))


def make_wsgi():
    sessions = Sessions.from_url(URL, **SETTINGS)
    with suppress(StoreError):
        sessions.ping()

    def application(environ, start_response):
        if environ["PATH_INFO"] == "/put":
            environ["coatcheck.session"]["a"] = 1
        start_response("200 OK", [])
        return [b"x"]

    return SessionMiddleware(application, sessions)
