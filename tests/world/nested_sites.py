"""Applications in one another, each with a layer of ours; the file of their sessions is named by ``SESSIONS_DB``.

The inner one signs in at ``…/sign-in``, and every one says at ``…/who`` whom it sees. `ASGI` and `WSGI` are for uvicorn
and gunicorn: each path in `INNER` leads to an application inside.
"""

import os
import warnings

import flask
from a2wsgi import ASGIMiddleware
from a2wsgi import WSGIMiddleware as A2WSGIMiddleware
from fastapi import FastAPI
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import JSONResponse
from starlette.routing import Mount, Route
from werkzeug.middleware.dispatcher import DispatcherMiddleware

from coatcheck import AsyncSessions, Sessions
from coatcheck.frameworks import starlette as for_starlette
from coatcheck.frameworks import wsgi
from coatcheck.frameworks.fastapi import CurrentSession, SessionMiddleware
from coatcheck.frameworks.flask import SessionInterface

SETTINGS = {"secret": "t3Kq9VnWcX0bRz7uYh2LdPfJ8sMgA5eQoTiN1rBxGvE", "insecure_http": True}


def _url():
    return f"sqlite:///{os.environ['SESSIONS_DB']}"


def sync_sessions():
    return Sessions.from_url(_url(), **SETTINGS)


def async_sessions():
    return AsyncSessions.from_url(_url(), **SETTINGS)


def flask_site():
    app = flask.Flask(__name__)
    SessionInterface(sync_sessions()).init_app(app)

    @app.get("/sign-in")
    def sign_in():
        flask.session.sign_in("ada")
        return flask.jsonify(None)

    @app.get("/who")
    def who():
        return flask.jsonify(flask.session.user)

    return app


def fastapi_site(*, layer=True):
    app = FastAPI()
    if layer:
        app.add_middleware(SessionMiddleware, sessions=async_sessions())

    @app.get("/sign-in")
    async def sign_in(session: CurrentSession) -> None:
        session.sign_in("ada")

    @app.get("/who")
    async def who(session: CurrentSession) -> str | None:
        return session.user

    return app


def starlette_site():
    async def sign_in(request):
        request.session.sign_in("ada")
        return JSONResponse(None)

    async def who(request):
        return JSONResponse(request.session.user)

    layer = Middleware(for_starlette.SessionMiddleware, sessions=async_sessions())
    return Starlette(routes=[Route("/sign-in", sign_in), Route("/who", who)], middleware=[layer])


def starlettes_wsgi(app):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it says that a2wsgi should be used
        from starlette.middleware.wsgi import WSGIMiddleware
    return WSGIMiddleware(app)


def asgi():
    """A FastAPI site that contains the others."""
    site = fastapi_site()
    site.mount("/a2wsgi", A2WSGIMiddleware(flask_site()))
    site.mount("/starlette-wsgi", starlettes_wsgi(flask_site()))
    site.mount("/starlette", starlette_site())
    site.mount("/mounts", Starlette(routes=[Mount("/deep", fastapi_site())]))
    # An ASGI site in a WSGI layer in an ASGI site, and a WSGI one in that.
    innermost = fastapi_site()
    innermost.mount("/flask", A2WSGIMiddleware(flask_site()))
    site.mount("/twice", A2WSGIMiddleware(wsgi.SessionMiddleware(ASGIMiddleware(innermost), sync_sessions())))
    return site


def in_wsgi():
    """A Flask site beside which Werkzeug's dispatcher has others, all in a layer around it."""
    old = flask_site()
    dispatched = DispatcherMiddleware(
        old.wsgi_app,
        {
            "/flask": flask_site(),
            "/fastapi": ASGIMiddleware(fastapi_site()),
            "/twice": wsgi.SessionMiddleware(ASGIMiddleware(starlette_site()), sync_sessions()),
        },
    )
    return wsgi.SessionMiddleware(dispatched, sync_sessions())


def without_outer_layer():
    """The same dispatcher with no layer around it: the applications stand side by side."""
    old = flask_site()
    old.wsgi_app = DispatcherMiddleware(
        old.wsgi_app, {"/flask": flask_site(), "/fastapi": ASGIMiddleware(fastapi_site())}
    )
    return old
