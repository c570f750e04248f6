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
    """The page at a path: `/page` and `/streamed` show who is signed in, `/visit` counts, `/logo` looks at no session."""
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
    assert name in {"page", "streamed"}
    return f"hello {session.user}"


def streams(path):
    return path.strip("/") == "streamed"


def pieces(text):
    """A body of unknown length."""
    yield text[:3].encode()
    yield text[3:].encode()


async def async_pieces(text):
    for piece in pieces(text):
        yield piece


def wsgi():
    from coatcheck.frameworks.wsgi import SessionMiddleware

    def site(environ, start_response):
        text = answer(environ["PATH_INFO"], environ["coatcheck.session"])
        start_response("200 OK", [*PUBLIC.items(), ("Content-Type", "text/plain")])
        return pieces(text) if streams(environ["PATH_INFO"]) else [text.encode()]

    return SessionMiddleware(site, manager(Sessions))


def flask():
    import flask

    from coatcheck.frameworks.flask import SessionInterface

    app = flask.Flask(__name__)
    SessionInterface(manager(Sessions)).init_app(app)

    @app.get("/<path:path>")
    def view(path):
        text = answer(path, flask.session)
        return flask.stream_with_context(pieces(text)) if streams(path) else text, PUBLIC

    return app


def pyramid():
    from tests.frameworks.pyramid_apps import Response, configured

    def view(request):
        text = answer(request.path_info, request.session)
        body = {"app_iter": pieces(text)} if streams(request.path_info) else {"body": text.encode()}
        return Response(**body, cache_control=PUBLIC["Cache-Control"])

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
        text = answer(request.path, request.context["session"])
        if not streams(request.path):
            return text.encode()
        response.stream = pieces(text)
        return None

    for path in ("/page", "/streamed", "/visit", "/logo", "/sign-in/{user}"):
        hug_apps.hug.get(path, api=api, output=hug_apps.raw)(sink)
    return api.http.server()


def django(*, asgi=False):
    import django
    from django.conf import settings
    from django.core.asgi import get_asgi_application
    from django.core.wsgi import get_wsgi_application
    from django.http import HttpResponse, StreamingHttpResponse
    from django.urls import path

    from coatcheck.frameworks.django import get_session

    def view(request, name):
        session = get_session(request)
        text = answer(name, session, request.session)
        if streams(name):
            return StreamingHttpResponse(async_pieces(text) if asgi else pieces(text), headers=PUBLIC)
        return HttpResponse(text, headers=PUBLIC)

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
        text = answer(scope["path"], scope["coatcheck.session"])
        chunks = pieces(text) if streams(scope["path"]) else [text.encode()]
        headers = [(name.lower().encode(), value.encode()) for name, value in PUBLIC.items()]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        for chunk in chunks:
            await send({"type": "http.response.body", "body": chunk, "more_body": True})
        await send({"type": "http.response.body"})

    return SessionMiddleware(site, manager(AsyncSessions))


def starlette():
    from starlette.applications import Starlette
    from starlette.middleware import Middleware
    from starlette.responses import PlainTextResponse, StreamingResponse
    from starlette.routing import Route

    from coatcheck.frameworks.starlette import SessionMiddleware

    async def endpoint(request):
        text = answer(request.url.path, request.session)
        if streams(request.url.path):
            return StreamingResponse(async_pieces(text), headers=PUBLIC)
        return PlainTextResponse(text, headers=PUBLIC)

    middleware = [Middleware(SessionMiddleware, sessions=manager(AsyncSessions))]
    return Starlette(routes=[Route("/{path:path}", endpoint)], middleware=middleware)


def fastapi():
    from fastapi import FastAPI
    from fastapi.responses import PlainTextResponse, StreamingResponse

    from coatcheck.frameworks.fastapi import CurrentSession, SessionMiddleware

    app = FastAPI()
    app.add_middleware(SessionMiddleware, sessions=manager(AsyncSessions), load="on_demand")

    @app.get("/logo")
    async def logo():  # a route that takes `CurrentSession` looks at it
        return PlainTextResponse(answer("/logo", None), headers=PUBLIC)

    @app.get("/{path:path}")
    async def endpoint(path: str, session: CurrentSession):
        text = answer(path, session)
        if streams(path):
            return StreamingResponse(async_pieces(text), headers=PUBLIC)
        return PlainTextResponse(text, headers=PUBLIC)

    return app


def litestar():
    from litestar import Litestar, Response, get
    from litestar.response import Stream

    from coatcheck.frameworks.litestar import CurrentSession, SessionPlugin

    @get("/logo")
    async def logo() -> Response[str]:
        return Response(answer("/logo", None), headers=PUBLIC, media_type="text/plain")

    @get("/{path:path}")
    async def endpoint(path: str, session: CurrentSession) -> Response[str]:
        text = answer(path, session)
        if streams(path):
            return Stream(async_pieces(text), headers=PUBLIC)
        return Response(text, headers=PUBLIC, media_type="text/plain")

    return Litestar([logo, endpoint], plugins=[SessionPlugin(manager(AsyncSessions))])


def quart():
    import quart

    from coatcheck.frameworks.quart import SessionInterface

    app = quart.Quart(__name__)
    SessionInterface(manager(AsyncSessions)).init_app(app)

    @app.get("/<path:path>")
    async def endpoint(path):
        text = answer(path, quart.session)
        return async_pieces(text) if streams(path) else text, PUBLIC

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
        async def get(self, path):
            for name, value in PUBLIC.items():
                self.set_header(name, value)
            text = answer(path, self.session)
            for chunk in pieces(text):
                self.write(chunk)
                if streams(path):
                    await self.flush()

    async def main():
        Application([("/(.*)", Site)], sessions=manager(AsyncSessions)).listen(port, HOST)
        await asyncio.Event().wait()

    asyncio.run(main())


def serve_aiohttp(port):
    from aiohttp import web

    from coatcheck.frameworks.aiohttp import get_session, setup

    async def site(request):
        text = answer(request.path, await get_session(request))
        if not streams(request.path):
            return web.Response(text=text, headers=PUBLIC)
        response = web.StreamResponse(headers=PUBLIC)
        await response.prepare(request)
        for chunk in pieces(text):
            await response.write(chunk)
        return response

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
