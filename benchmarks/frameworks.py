"""A small site in each framework, and the server that its users have: gunicorn, uvicorn, or the framework's own.

Each site answers the paths of `WORK`. Its builder gives the application to `attach`, which adds a session.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from benchmarks.work import SECRET, WORK, Stores
from tests.servers.process import HOST

__all__ = ["FRAMEWORKS", "SYNCHRONOUS", "of_scope"]

# ---- Servers. Each is given what makes the application, for the process that serves it.


def _gunicorn(make: Callable[[], Any], port: int) -> None:
    from gunicorn.app.base import BaseApplication

    class Server(BaseApplication):
        def load_config(self) -> None:
            options = {"bind": f"{HOST}:{port}", "worker_class": "gthread", "threads": 4, "keepalive": 60}
            # Its socket would lie at one path for all sites.
            options |= {"loglevel": "error", "control_socket_disable": True}
            for name, value in options.items():
                self.cfg.set(name, value)

        def load(self) -> Any:
            return make()

    Server().run()


def _uvicorn(make: Callable[[], Any], port: int) -> None:
    import uvicorn

    uvicorn.run(
        make(), host=HOST, port=port, log_level="error", access_log=False, loop="uvloop", http="httptools"
    )


def _itself(make: Callable[[], Callable[[int], None]], port: int) -> None:
    make()(port)


# ---- Frameworks. Each builder says what `attach` is given, with the stores as its second argument.


def _wsgi(attach: Callable[..., Any], stores: Stores) -> Any:
    """`attach` is given a maker of applications: it takes what gets a session, and what keeps a changed one."""

    def make(get: Callable[[Any], Any], keep: Callable[[Any], object] = id) -> Any:
        def app(environ: Any, start_response: Any) -> list[bytes]:
            name = environ["PATH_INFO"][1:]
            if look := WORK[name]:
                session = get(environ)
                look(session)
                if name == "write" or name.startswith("fill"):
                    keep(session)
            start_response("200 OK", [("Content-Type", "text/plain"), ("Content-Length", "2")])
            return [b"ok"]

        return app

    return attach(make, stores) or make(lambda environ: {})


def _asgi(attach: Callable[..., Any], stores: Stores) -> Any:
    """`attach` is given a maker of applications, which takes a coroutine function that gets a session."""

    def make(get: Callable[[Any], Any]) -> Any:
        async def app(scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] != "http":
                return
            if look := WORK[scope["path"][1:]]:
                look(await get(scope))
            headers = [(b"content-type", b"text/plain"), (b"content-length", b"2")]
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            await send({"type": "http.response.body", "body": b"ok"})

        return app

    return attach(make, stores) or make(of_scope)


async def of_scope(scope: Any) -> Any:
    return scope["session"]


def _flask(attach: Callable[..., Any], stores: Stores) -> Any:
    """`attach` is given the application."""
    import flask

    app = flask.Flask("benchmark")
    attach(app, stores)

    def view(look: Any) -> Callable[[], str]:
        return lambda: (look and look(flask.session)) or "ok"

    for name, look in WORK.items():
        app.add_url_rule(f"/{name}", name, view(look))
    return app


def _quart(attach: Callable[..., Any], stores: Stores) -> Any:
    """`attach` is given the application."""
    import quart

    app = quart.Quart("benchmark")
    attach(app, stores)

    def view(look: Any) -> Callable[[], Any]:
        async def answer() -> str:
            return (look and look(quart.session)) or "ok"

        return answer

    for name, look in WORK.items():
        app.add_url_rule(f"/{name}", name, view(look))
    return app


def _starlette(attach: Callable[..., Any], stores: Stores) -> Any:
    """`attach` is given the application."""
    from starlette.applications import Starlette
    from starlette.responses import PlainTextResponse
    from starlette.routing import Route

    def view(look: Any) -> Callable[[Any], Any]:
        async def answer(request: Any) -> PlainTextResponse:
            return PlainTextResponse((look and look(request.session)) or "ok")

        return answer

    app = Starlette(routes=[Route(f"/{name}", view(look)) for name, look in WORK.items()])
    attach(app, stores)
    return app


def _fastapi(attach: Callable[..., Any], stores: Stores) -> Any:
    """`attach` is given the application."""
    from fastapi import FastAPI, Request
    from starlette.responses import PlainTextResponse

    app = FastAPI()

    def view(look: Any) -> Callable[[Any], Any]:
        async def answer(request: Any) -> PlainTextResponse:
            return PlainTextResponse((look and look(request.session)) or "ok")

        answer.__annotations__ = {"request": Request}
        return answer

    for name, look in WORK.items():
        app.get(f"/{name}")(view(look))
    attach(app, stores)
    return app


def _django(attach: Callable[..., Any], stores: Stores) -> Any:
    """`attach` is given nothing, and returns settings."""
    import django
    from django.conf import settings
    from django.core.management import call_command
    from django.core.wsgi import get_wsgi_application
    from django.http import HttpResponse
    from django.urls import path

    own: dict[str, Any] = attach(None, stores) or {"MIDDLEWARE": []}
    settings.configure(
        **{
            "SECRET_KEY": SECRET,
            "ALLOWED_HOSTS": ["*"],
            "ROOT_URLCONF": __name__,
            "LOGGING_CONFIG": None,
            **own,
        }
    )
    django.setup()
    if "DATABASES" in own:
        call_command("migrate", verbosity=0)

    def view(look: Any) -> Callable[[Any], Any]:
        return lambda request: HttpResponse(
            (look and look(request.session)) or "ok", content_type="text/plain"
        )

    globals()["urlpatterns"] = [path(name, view(look)) for name, look in WORK.items()]
    return get_wsgi_application()


def _pyramid(attach: Callable[..., Any], stores: Stores) -> Any:
    """`attach` is given the configurator."""
    from pyramid.config import Configurator
    from pyramid.response import Response

    config = Configurator()
    attach(config, stores)

    def view(look: Any) -> Callable[[Any], Any]:
        return lambda request: Response((look and look(request.session)) or "ok", content_type="text/plain")

    for name, look in WORK.items():
        config.add_route(name, f"/{name}")
        config.add_view(view(look), route_name=name)
    return config.make_wsgi_app()


def _hug(attach: Callable[..., Any], stores: Stores) -> Any:
    """`attach` is given the API."""
    import hug

    api = hug.API("benchmark")
    attach(api, stores)

    def view(look: Any) -> Callable[[Any], str]:
        def answer(request: Any) -> str:
            return (look and look(request.context["session"])) or "ok"

        return answer

    for name, look in WORK.items():
        hug.get(f"/{name}", output=hug.output_format.text, api=api)(view(look))
    return api.http.server()


def _tornado(attach: Callable[..., Any], stores: Stores) -> Callable[[int], None]:
    """`attach` is given the handler, and returns the one to serve, with options of the application."""
    import asyncio

    from tornado.web import Application, RequestHandler

    class Handler(RequestHandler):
        session: Any = None

        def get(self, name: str) -> None:
            self.write((WORK[name] and WORK[name](self.session)) or "ok")

    async def main(port: int) -> None:
        # In the loop, to which a manager belongs.
        handler, options = attach(Handler, stores) or (Handler, {})
        Application([("/(.*)", handler)], **options).listen(port, HOST)
        await asyncio.Event().wait()

    return lambda port: asyncio.run(main(port))


def _aiohttp(attach: Callable[..., Any], stores: Stores) -> Callable[[int], None]:
    """`attach` is given the application, and returns what gets the session of a request."""
    from aiohttp import web

    app = web.Application()
    get_session = attach(app, stores)

    def view(look: Any) -> Callable[[Any], Any]:
        async def answer(request: Any) -> web.Response:
            if look:
                look(await get_session(request))
            return web.Response(text="ok")

        return answer

    for name, look in WORK.items():
        app.router.add_get(f"/{name}", view(look))
    return lambda port: web.run_app(app, host=HOST, port=port, print=None, access_log=None)


def _litestar(attach: Callable[..., Any], stores: Stores) -> Any:
    """`attach` is given nothing, and returns options of the application."""
    from litestar import Litestar, Request, get

    def view(name: str, look: Any) -> Any:
        async def answer(request: Any) -> str:
            return (look and look(request.session)) or "ok"

        answer.__annotations__ = {"request": Request, "return": str}
        return get(f"/{name}", media_type="text/plain", name=name)(answer)

    return Litestar([view(name, look) for name, look in WORK.items()], **(attach(None, stores) or {}))


FRAMEWORKS: Mapping[str, tuple[Callable[..., Any], Callable[[Callable[[], Any], int], None]]] = {
    "WSGI": (_wsgi, _gunicorn),
    "ASGI": (_asgi, _uvicorn),
    "Flask": (_flask, _gunicorn),
    "Django": (_django, _gunicorn),
    "Starlette": (_starlette, _uvicorn),
    "FastAPI": (_fastapi, _uvicorn),
    "Litestar": (_litestar, _uvicorn),
    "aiohttp": (_aiohttp, _itself),
    "Tornado": (_tornado, _itself),
    "Pyramid": (_pyramid, _gunicorn),
    "Quart": (_quart, _uvicorn),
    "hug": (_hug, _gunicorn),
}

SYNCHRONOUS = frozenset(name for name, (_, server) in FRAMEWORKS.items() if server is _gunicorn)
