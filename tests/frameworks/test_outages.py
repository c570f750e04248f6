"""What each framework would make of an outage, were it not for us: always a 503, whoever would answer first."""

from contextlib import suppress
from typing import Annotated

import flask
import pytest
from fastapi import BackgroundTasks, Depends, FastAPI, HTTPException
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.responses import JSONResponse, PlainTextResponse
from starlette.routing import Mount, Route
from starlette.testclient import TestClient

from coatcheck import AsyncSessions, StoreError, StoreUnavailable
from coatcheck.frameworks.fastapi import CurrentSession
from coatcheck.frameworks.starlette import SessionMiddleware
from coatcheck.frameworks.wsgi import SessionMiddleware as WsgiMiddleware
from coatcheck.stores.memory import AsyncMemoryStore
from coatcheck.testing import AsyncFailingStore
from tests.behaviours import Browser, WsgiClient
from tests.frameworks.asgi_driver import SECRET
from tests.frameworks.flask_apps import DOWN, new_app, ours, put, route

pytestmark = pytest.mark.promise("20")

# Flask


def looking():
    return str(flask.session.get("a"))


@pytest.mark.parametrize(
    "config",
    [{"DEBUG": True}, {"PROPAGATE_EXCEPTIONS": True}, {"TESTING": True}, {"TRAP_HTTP_EXCEPTIONS": True}],
)
def test_flask_in_any_mode(sessions, store, config):
    app = new_app(sessions, **config)
    route(app, put(), rule="/put")
    route(app, looking)
    client = app.test_client()
    client.get("/put")
    store.fail("load", error=DOWN)
    response = client.get("/")
    assert (response.status_code, response.headers["Retry-After"]) == (503, "1")
    store.recover()
    store.fail("write", error=DOWN)
    assert app.test_client().get("/put").status_code == 503


@pytest.mark.parametrize("handled", [Exception, StoreError, StoreUnavailable])
@pytest.mark.parametrize("looks", [False, True])
@pytest.mark.parametrize("propagate", [False, True])
def test_a_blueprint_of_flasks_that_answers_every_exception_with_a_500(
    sessions, store, handled, propagate, looks
):
    app = new_app(sessions, PROPAGATE_EXCEPTIONS=propagate)
    blueprint = flask.Blueprint("part", __name__)
    answered = []

    @blueprint.errorhandler(handled)
    @blueprint.errorhandler(500)
    def handle(error):
        answered.append(type(error))
        if looks:
            with suppress(StoreError):
                flask.session["from the error page"] = 1
        return "sorry", 500

    route(blueprint, looking, rule="/look")
    route(blueprint, lambda: flask.session.update(a=2) or flask.session.save() or "saved", rule="/write")
    app.register_blueprint(blueprint)
    route(app, put(), rule="/put")
    client = app.test_client()
    client.get("/put")
    for method, paths in (("load", ("/look", "/write")), ("write", ("/write",))):
        for path in paths:
            store.fail(method, error=DOWN)
            response = client.get(path)
            assert (response.status_code, response.headers.get("Retry-After"), ours(response)) == (
                503,
                "1",
                [],
            )
            store.recover()
    assert client.get("/look").text == "1"
    assert answered == [StoreUnavailable] * 3


def test_a_500_of_flasks_that_has_nothing_to_do_with_an_outage(sessions, store):
    app = new_app(sessions, outage="anonymous")
    route(app, put(), rule="/put")

    @app.get("/")
    def view():
        with suppress(StoreError):
            flask.session.get("a")
        return "mine", 500

    @app.get("/raise")
    def raising():
        with suppress(StoreError):
            flask.session.get("a")
        raise ZeroDivisionError

    client = app.test_client()
    client.get("/put")
    assert client.get("/").text == "mine"
    store.fail("load", error=DOWN)
    assert client.get("/").status_code == 503
    assert client.get("/raise").status_code == 500


def test_a_framework_inside_the_wsgi_middleware_that_answers_500(sessions, store):
    def handler(environ, start_response):
        try:
            session = environ["coatcheck.session"]
            if environ["QUERY_STRING"]:
                session["a"] = session.get("a", 0) + 1
                sessions.save(session)
            body = str(session.get("a")).encode()
            start_response("200 OK", [])
            return [body]
        except StoreError:
            start_response("500 Internal Server Error", [("X-Mine", "1")])
            return iter([b"sorry"])

    client = WsgiClient(WsgiMiddleware(handler, sessions))
    browser = Browser(lambda request: client.send(request, lambda note: None))
    browser.play("save")
    for method, steps in (("load", ()), ("load", ("save",)), ("write", ("save",))):
        store.fail(method, error=DOWN)
        reply = browser.play(*steps)
        assert (reply.status, reply.all("retry-after"), reply.all("x-mine")) == (503, ["1"], [])
        store.recover()
    assert browser.play().body == b"1"


def test_the_path_of_a_wsgi_request_is_compared_decoded(sessions, store):
    def handler(environ, start_response):
        environ["coatcheck.session"].setdefault("a", 1)
        start_response("200 OK", [])
        return [b"x"]

    tolerant = sessions.with_settings(outage={"/größe": "anonymous"})
    app = WsgiMiddleware(handler, tolerant)
    client = WsgiClient(lambda environ, start: app({**environ, "PATH_INFO": path}, start))
    browser = Browser(lambda request: client.send(request, lambda note: None))
    path = "/"
    browser.play()
    store.fail("load", error=DOWN)
    statuses = {}
    for path in ("/größe/1".encode().decode("latin-1"), "/größer".encode().decode("latin-1"), "/\xff", ""):
        statuses[path] = browser.play().status
    assert list(statuses.values()) == [200, 503, 503, 503]


# Starlette


@pytest.fixture
def failing():
    return AsyncFailingStore(AsyncMemoryStore())


@pytest.fixture
def async_sessions(failing):
    return AsyncSessions(failing, secret=SECRET, insecure_http=True)


async def show(request):
    return JSONResponse(dict(request.session))


async def count(request):
    request.session["n"] = request.session.get("n", 0) + 1
    return JSONResponse(request.session["n"])


async def save(request):
    request.session["n"] = request.session.get("n", 0) + 1
    await request.session.save()
    return JSONResponse(request.session["n"])


ROUTES = [Route("/show", show), Route("/count", count), Route("/save", save)]


class PassesOn(BaseHTTPMiddleware):
    async def dispatch(self, request, call_next):
        return await call_next(request)


class AnswersEverything(BaseHTTPMiddleware):
    async def dispatch(self, request, call_next):
        try:
            return await call_next(request)
        except Exception:  # noqa: BLE001 - what people write
            return PlainTextResponse("sorry", 500)


async def sorry(request, error):
    return PlainTextResponse("sorry", 500)


def all_fail(client, failing):
    """Each route answers 503, whatever fails, and nothing of it is stored."""
    assert client.get("/count").json() == 1
    for method, paths in (("load", ("/show", "/count", "/save")), ("write", ("/count", "/save"))):
        for path in paths:
            failing.fail(method, error=DOWN)
            response = client.get(path)
            told = (
                response.status_code,
                response.headers.get("retry-after"),
                response.headers.get("set-cookie"),
            )
            assert told == (503, "1", None), (method, path, response.text)
            failing.recover()
    assert client.get("/show").json() == {"n": 1}


def around(sessions, *, before=(), inside=(), **options):
    middleware = [*before, Middleware(SessionMiddleware, sessions=sessions), *inside]
    return Starlette(routes=ROUTES, middleware=middleware, **options)


APPS = {
    "plain": around,
    "debug": lambda sessions: around(sessions, debug=True),
    "a handler of every exception": lambda sessions: around(sessions, exception_handlers={Exception: sorry, 500: sorry}),
    "a handler of ours": lambda sessions: around(sessions, exception_handlers={StoreError: sorry}),
    "middleware around it": lambda sessions: around(sessions, before=[Middleware(PassesOn)]),
    "middleware inside it": lambda sessions: around(sessions, inside=[Middleware(PassesOn)] * 2),
    "middleware that answers everything": lambda sessions: around(sessions, inside=[Middleware(AnswersEverything)]),
    "around the application": lambda sessions: SessionMiddleware(Starlette(routes=ROUTES), sessions),
    "around an application that answers everything": lambda sessions: SessionMiddleware(
        Starlette(routes=ROUTES, exception_handlers={Exception: sorry, StoreError: sorry}), sessions
    ),
    "around a debugged application": lambda sessions: SessionMiddleware(Starlette(routes=ROUTES, debug=True), sessions),
    "around an application in an application": lambda sessions: Starlette(
        routes=[Mount("/", around(sessions))], exception_handlers={Exception: sorry}
    ),
}  # fmt: skip


@pytest.mark.parametrize("build", APPS.values(), ids=APPS)
def test_starlette(async_sessions, failing, build):
    all_fail(TestClient(build(async_sessions), raise_server_exceptions=False), failing)


def test_the_policy_of_a_mounted_application_goes_by_its_own_paths(failing):
    sessions = AsyncSessions(failing, secret=SECRET, insecure_http=True, outage={"/show": "anonymous"})
    outer = Starlette(routes=[Mount("/shop", around(sessions)), Mount("/show", around(sessions))])
    client = TestClient(outer, raise_server_exceptions=False)
    client.get("/shop/count")
    failing.fail("load", error=DOWN)
    paths = ("/shop/show", "/show/show", "/shop/count", "/show/count")
    assert [client.get(path).status_code for path in paths] == [200, 200, 503, 503]


# FastAPI


async def translating(session: CurrentSession):
    try:
        yield session
    except StoreError as error:
        raise HTTPException(500, "sorry") from error


def fastapi_app(sessions, *, load, handlers=None, dependency=None):
    app = FastAPI(exception_handlers=handlers, dependencies=[Depends(dependency)] if dependency else None)
    app.add_middleware(SessionMiddleware, sessions=sessions, load=load)

    @app.get("/show")
    async def show(session: CurrentSession) -> dict[str, int]:
        return dict(session)

    @app.get("/count")
    async def count(session: CurrentSession, tasks: BackgroundTasks) -> int:
        tasks.add_task(session.is_live)  # after the response
        session["n"] = session.get("n", 0) + 1
        return session["n"]

    @app.get("/save")
    def save(n: Annotated[int, Depends(saved)]) -> int:
        return n

    return app


async def saved(session: CurrentSession) -> int:
    session["n"] = session.get("n", 0) + 1
    await session.save()
    return session["n"]


@pytest.mark.parametrize("load", ["eager", "on_demand"])
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"handlers": {Exception: sorry, 500: sorry}},
        {"handlers": {StoreError: sorry}},
        {"dependency": translating},
    ],
    ids=["plain", "every exception", "ours", "a dependency that translates"],
)
def test_fastapi(async_sessions, failing, load, options):
    app = fastapi_app(async_sessions, load=load, **options)
    all_fail(TestClient(app, raise_server_exceptions=False), failing)


def test_a_background_task_that_meets_an_outage_comes_too_late_to_change_the_response(
    async_sessions, failing
):
    app = fastapi_app(async_sessions, load="on_demand")

    @app.get("/late")
    async def late(session: CurrentSession, tasks: BackgroundTasks) -> int:
        session["n"] = session["n"] + 1

        async def background():
            failing.fail("load", error=DOWN)
            await session.is_live()

        tasks.add_task(background)
        return session["n"]

    client = TestClient(app, raise_server_exceptions=False)
    client.get("/count")
    for n in (2, 3):
        response = client.get("/late")
        assert (response.status_code, response.json()) == (200, n)
        failing.recover()
