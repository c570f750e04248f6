"""A small site in each framework, as an application behind a shared cache: `python -m … FRAMEWORK PORT`."""

import asyncio
import sys

from coatcheck import AsyncSessions, Sessions
from tests.behaviours.site import SECRET

HOST = "127.0.0.1"
# What people write who mean the page for everybody.
PUBLIC = {"Cache-Control": "public, max-age=600"}


def manager(kind):
    return kind.from_url("memory://", secret=SECRET, insecure_http=True)


def answer(path, session, fields=None):
    """The page at a path: `/page` shows who is signed in, `/visit` counts, `/logo` looks at no session."""
    name, _, user = path.strip("/").partition("/")
    if name == "logo":
        return "logo"
    if name == "sign-in":
        session.sign_in(user)
        return f"welcome {user}"
    if name == "visit":
        fields = session if fields is None else fields
        fields["visits"] = fields.get("visits", 0) + 1
        return f"visit {fields['visits']} of {session.user}"
    assert name == "page"
    return f"hello {session.user}"


def wsgi():
    from coatcheck.frameworks.wsgi import SessionMiddleware

    def site(environ, start_response):
        body = answer(environ["PATH_INFO"], environ["coatcheck.session"]).encode()
        start_response(
            "200 OK", [*PUBLIC.items(), ("Content-Length", str(len(body))), ("Content-Type", "text/plain")]
        )
        return [body]

    return SessionMiddleware(site, manager(Sessions))


def flask():
    import flask

    from coatcheck.frameworks.flask import SessionInterface

    app = flask.Flask(__name__)
    SessionInterface(manager(Sessions)).init_app(app)
    app.get("/<path:path>")(lambda path: (answer(path, flask.session), PUBLIC))
    return app


def pyramid():
    from tests.frameworks.pyramid_apps import Response, configured

    def view(request):
        return Response(answer(request.path_info, request.session), cache_control=PUBLIC["Cache-Control"])

    config = configured(manager(Sessions))
    config.add_route("site", "/*path")
    config.add_view(view, route_name="site")
    return config.make_wsgi_app()


def hug():
    from tests.frameworks import hug_apps

    api = hug_apps.api_of(manager(Sessions))

    def sink(request, response):
        for name, value in PUBLIC.items():
            response.set_header(name, value)
        return answer(request.path, request.context["session"])

    for path in ("/page", "/visit", "/logo", "/sign-in/{user}"):
        hug_apps.hug.get(path, api=api, output=hug_apps.hug.output_format.text)(sink)
    return api.http.server()


def django(*, asgi=False):
    import django
    from django.conf import settings
    from django.core.asgi import get_asgi_application
    from django.core.wsgi import get_wsgi_application
    from django.http import HttpResponse
    from django.urls import path

    from coatcheck.frameworks.django import get_session

    def view(request, name):
        session = get_session(request)
        return HttpResponse(answer(name, session, request.session), headers=PUBLIC)

    class urls:  # noqa: N801 - stands for a module
        urlpatterns = (path("<path:name>", view),)

    settings.configure(
        ALLOWED_HOSTS=["*"],
        COATCHECK=manager(Sessions),
        MIDDLEWARE=["coatcheck.frameworks.django.SessionMiddleware"],
        ROOT_URLCONF=urls,
        SESSION_ENGINE="coatcheck.frameworks.django",
    )
    django.setup()
    return get_asgi_application() if asgi else get_wsgi_application()


def asgi():
    from coatcheck.frameworks.asgi import SessionMiddleware

    async def site(scope, receive, send):
        body = answer(scope["path"], scope["coatcheck.session"]).encode()
        headers = [(name.lower().encode(), value.encode()) for name, value in PUBLIC.items()]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return SessionMiddleware(site, manager(AsyncSessions))


def starlette():
    from starlette.applications import Starlette
    from starlette.middleware import Middleware
    from starlette.responses import PlainTextResponse
    from starlette.routing import Route

    from coatcheck.frameworks.starlette import SessionMiddleware

    async def endpoint(request):
        return PlainTextResponse(answer(request.url.path, request.session), headers=PUBLIC)

    middleware = [Middleware(SessionMiddleware, sessions=manager(AsyncSessions))]
    return Starlette(routes=[Route("/{path:path}", endpoint)], middleware=middleware)


def fastapi():
    from fastapi import FastAPI
    from fastapi.responses import PlainTextResponse

    from coatcheck.frameworks.fastapi import CurrentSession, SessionMiddleware

    app = FastAPI()
    app.add_middleware(SessionMiddleware, sessions=manager(AsyncSessions), load="on_demand")

    @app.get("/logo")
    async def logo():  # a route that takes `CurrentSession` looks at it
        return PlainTextResponse(answer("/logo", None), headers=PUBLIC)

    @app.get("/{path:path}")
    async def endpoint(path: str, session: CurrentSession):
        return PlainTextResponse(answer(path, session), headers=PUBLIC)

    return app


def litestar():
    from litestar import Litestar, Response, get

    from coatcheck.frameworks.litestar import CurrentSession, SessionPlugin

    @get("/logo")
    async def logo() -> Response[str]:
        return Response(answer("/logo", None), headers=PUBLIC, media_type="text/plain")

    @get("/{path:path}")
    async def endpoint(path: str, session: CurrentSession) -> Response[str]:
        return Response(answer(path, session), headers=PUBLIC, media_type="text/plain")

    return Litestar([logo, endpoint], plugins=[SessionPlugin(manager(AsyncSessions))])


def quart():
    import quart

    from coatcheck.frameworks.quart import SessionInterface

    app = quart.Quart(__name__)
    SessionInterface(manager(AsyncSessions)).init_app(app)

    @app.get("/<path:path>")
    async def endpoint(path):
        return answer(path, quart.session), PUBLIC

    return app


def serve_wsgi(application, port):
    import waitress

    waitress.serve(application, host=HOST, port=port, threads=4)


def serve_asgi(application, port):
    import uvicorn

    uvicorn.run(application, host=HOST, port=port, log_level="warning")


def serve_tornado(port):
    from tornado.web import Application, RequestHandler

    from coatcheck.frameworks.tornado import SessionMixin

    class Site(SessionMixin, RequestHandler):
        def get(self, path):
            for name, value in PUBLIC.items():
                self.set_header(name, value)
            self.write(answer(path, self.session))

    async def main():
        Application([("/(.*)", Site)], sessions=manager(AsyncSessions)).listen(port, HOST)
        await asyncio.Event().wait()

    asyncio.run(main())


def serve_aiohttp(port):
    from aiohttp import web

    from coatcheck.frameworks.aiohttp import get_session, setup

    async def site(request):
        return web.Response(text=answer(request.path, await get_session(request)), headers=PUBLIC)

    app = web.Application()
    setup(app, manager(AsyncSessions))
    app.router.add_get("/{path:.*}", site)
    web.run_app(app, host=HOST, port=port, print=None)


SERVERS = {
    "wsgi": lambda port: serve_wsgi(wsgi(), port),
    "flask": lambda port: serve_wsgi(flask(), port),
    "pyramid": lambda port: serve_wsgi(pyramid(), port),
    "hug": lambda port: serve_wsgi(hug(), port),
    "django": lambda port: serve_wsgi(django(), port),
    "django under asgi": lambda port: serve_asgi(django(asgi=True), port),
    "asgi": lambda port: serve_asgi(asgi(), port),
    "starlette": lambda port: serve_asgi(starlette(), port),
    "fastapi": lambda port: serve_asgi(fastapi(), port),
    "litestar": lambda port: serve_asgi(litestar(), port),
    "quart": lambda port: serve_asgi(quart(), port),
    "tornado": serve_tornado,
    "aiohttp": serve_aiohttp,
}

if __name__ == "__main__":
    SERVERS[sys.argv[1]](int(sys.argv[2]))
