"""Starlette as people use it: request.session, TestClient, background tasks, middleware, mounts, websockets."""

import asyncio
import warnings

import anyio
import pytest
from starlette.applications import Starlette
from starlette.background import BackgroundTask
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.base import BaseHTTPMiddleware
from starlette.responses import JSONResponse, PlainTextResponse, StreamingResponse
from starlette.routing import Mount, Route, WebSocketRoute
from starlette.testclient import TestClient, WebSocketDenialResponse

from coatcheck import AsyncSessions, InsecureTransportWarning, Sessions
from coatcheck.errors import CannotSendCookie, NotLoaded, StoreUnavailable
from coatcheck.frameworks.starlette import SessionMiddleware, StarletteSession
from coatcheck.stores.memory import AsyncMemoryStore
from coatcheck.testing import AsyncCountingStore, AsyncFailingStore, async_cookies_for, cookies_for
from tests.frameworks.asgi_driver import SECRET
from tests.loops import run

DOWN = StoreUnavailable("the test says so", ambiguous=False)


@pytest.fixture(params=["memory", "sqlite"])
def sessions(request, tmp_path):
    url = "memory://" if request.param == "memory" else f"sqlite:///{tmp_path}/sessions.db"
    store = AsyncSessions.from_url(url, secret=SECRET).store
    sessions = AsyncSessions(AsyncFailingStore(AsyncCountingStore(store)), secret=SECRET, insecure_http=True)
    yield sessions
    run(sessions.shutdown())


@pytest.fixture(params=[False, True], ids=["asyncio", "uvloop"])
def new_client(request, sessions):
    """Makes a browser for an application of these routes."""

    def new_client(*routes, around=(), inside=(), session=None, client=None, **options):
        middleware = Middleware(SessionMiddleware, sessions=sessions, **(session or {}))
        app = Starlette(routes=list(routes), middleware=[*around, middleware, *inside], **options)
        return TestClient(app, backend_options={"use_uvloop": request.param}, **(client or {}))

    return new_client


def handler(function):
    """A route whose handler gets the session, and answers what it returns."""

    async def endpoint(request):
        return JSONResponse(function(request.session))

    return endpoint


show = Route("/show", handler(dict))


# As people know it


def test_the_session_is_used_like_a_dict(new_client):
    def use(session):
        assert isinstance(session, StarletteSession)
        session["a"] = 1
        session.setdefault("list", []).append("x")
        session.update(b=2, c=3)
        session |= {"d": 4}
        del session["c"]
        return [session.pop("b"), session.get("absent"), "a" in session, len(session), sorted(session)]

    client = new_client(Route("/use", handler(use)), show)
    assert client.get("/use").json() == [2, None, True, 3, ["a", "d", "list"]]
    assert client.get("/show").json() == {"a": 1, "list": ["x"], "d": 4}


@pytest.mark.promise("8")
def test_a_change_deep_inside_is_kept(new_client):
    def fill(session):
        session["cart"] = {"lines": [{"good": "scarf", "number": 1}]}

    def more(session):
        session["cart"]["lines"][0]["number"] += 1
        session["cart"]["lines"].append({"good": "mac"})

    client = new_client(Route("/fill", handler(fill)), Route("/more", handler(more)), show)
    client.get("/fill")
    client.get("/more")
    assert client.get("/show").json()["cart"]["lines"] == [{"good": "scarf", "number": 2}, {"good": "mac"}]


def test_each_browser_has_a_session_of_its_own_and_keeps_it_across_requests(new_client):
    def count(session):
        session["n"] = session.get("n", 0) + 1
        return session["n"]

    client = new_client(Route("/", handler(count)))
    other = TestClient(client.app)
    assert [client.get("/").json() for _ in range(3)] == [1, 2, 3]
    assert other.get("/").json() == 1


def test_what_waits_is_awaited_on_the_session_itself(new_client):
    async def endpoint(request):
        session = request.session
        session.flash("hello")
        session["a"] = session["b"] = 1
        assert await session.save(create=True) is True
        seen = [
            await session.is_live() and await session.reload(),
            [flash.message for flash in await session.take_flashes()],
        ]
        return JSONResponse([*seen, await session.take("a", "absent")])

    client = new_client(Route("/", endpoint), show)
    assert client.get("/").json() == [True, ["hello"], {"a": 1}]
    assert client.get("/show").json() == {"b": 1}


def test_signing_in_and_out(new_client):
    def sign_in(session):
        session.sign_in("ada")

    client = new_client(
        Route("/in", handler(sign_in)),
        Route("/out", handler(lambda session: session.sign_out())),
        Route("/who", handler(lambda session: session.user)),
    )
    assert client.get("/who").json() is None
    client.get("/in")
    stolen = dict(client.cookies)
    assert client.get("/who").json() == "ada"
    client.get("/out")
    assert client.cookies == {}
    assert TestClient(client.app, cookies=stolen).get("/who").json() is None


def test_on_demand_the_handler_loads_it(new_client):
    async def endpoint(request):
        await request.session.load()
        return JSONResponse(dict(request.session))

    def fill(session):
        session["a"] = 1

    client = new_client(Route("/", endpoint), Route("/fill", handler(fill)), session={"load": "on_demand"})
    assert client.get("/").json() == {}
    with pytest.raises(NotLoaded):
        client.get("/fill")


# A test client on plain http


def test_without_insecure_http_the_first_cookie_warns_and_names_the_setting(new_client, sessions):
    strict = sessions.with_settings(insecure_http=False)

    async def endpoint(request):
        request.session["n"] = request.session.get("n", 0) + 1
        return JSONResponse(request.session["n"])

    app = Starlette(
        routes=[Route("/", endpoint)], middleware=[Middleware(SessionMiddleware, sessions=strict)]
    )
    client = TestClient(app)
    with pytest.warns(InsecureTransportWarning, match="insecure_http=True"):
        assert client.get("/").json() == 1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert client.get("/").json() == 1  # the client keeps to the rules; once said is enough
    client = TestClient(app, base_url="https://testserver")
    assert [client.get("/").json() for _ in range(2)] == [1, 2]


def test_a_test_can_begin_with_a_prepared_session(new_client, sessions):
    fields = {"basket": ["scarf"], "nested": {"a": [1]}}
    cookies = asyncio.run(async_cookies_for(sessions, fields, user="ada"))
    client = new_client(
        show, Route("/who", handler(lambda session: session.user)), client={"cookies": cookies}
    )
    assert client.get("/show").json() == fields
    assert client.get("/who").json() == "ada"
    (info,) = asyncio.run(sessions.of_user("ada"))
    assert not info.permanent


def test_a_prepared_session_can_be_permanent_or_nothing_at_all(sessions):
    asyncio.run(async_cookies_for(sessions, user="ada", permanent=True))
    (info,) = asyncio.run(sessions.of_user("ada"))
    assert info.permanent
    assert asyncio.run(async_cookies_for(sessions)) == {}


def test_a_prepared_session_for_a_synchronous_manager_is_the_same():
    sessions = Sessions.from_url("memory://", secret=SECRET)
    assert cookies_for(sessions) == {}
    ((name, value),) = cookies_for(sessions, {"a": 1}, user="ada", permanent=True).items()
    session = sessions.open(f"{name}={value}")
    assert (dict(session), session.user, session.permanent) == ({"a": 1}, "ada", True)


def test_with_the_clients_block_the_server_starts_and_stops_and_the_manager_with_it(new_client, sessions):
    client = new_client(Route("/", handler(lambda session: session.setdefault("n", 1))))
    with client:
        assert client.get("/").json() == 1
        assert client.get("/").json() == 1
        assert "close" not in sessions.store.store.sequence
    assert sessions.store.store.sequence[-1] == "close"


# Background tasks, errors, streams


def test_what_a_background_task_changes_is_stored(new_client):
    async def endpoint(request):
        def in_a_thread():
            request.session["thread"] = 1

        async def later():
            await anyio.to_thread.run_sync(in_a_thread)
            request.session["later"] = 1

        request.session["now"] = 1
        return PlainTextResponse("ok", background=BackgroundTask(later))

    client = new_client(Route("/", endpoint), show)
    client.get("/")
    assert client.get("/show").json() == {"now": 1, "thread": 1, "later": 1}


@pytest.mark.promise("23")
def test_a_background_task_that_would_need_a_cookie_is_an_error_and_stores_nothing(new_client, sessions):
    async def endpoint(request):
        async def later():
            request.session["late"] = 1

        return PlainTextResponse("ok", background=BackgroundTask(later))

    client = new_client(Route("/", endpoint), show)
    with pytest.raises(CannotSendCookie):
        client.get("/")
    assert run(sessions.count()) == 0


class Odd(Exception):
    pass


@pytest.mark.promise("23")
def test_an_exception_that_a_handler_maps_is_a_response_like_any_other(new_client):
    async def odd(request):
        request.session["before"] = 1
        raise Odd

    async def missing(request):
        request.session["missing"] = 1
        raise HTTPException(404)

    async def mapped(request, error):
        request.session["mapped"] = request.session["before"] + 1
        return PlainTextResponse("odd", 418)

    client = new_client(
        Route("/odd", odd), Route("/missing", missing), show, exception_handlers={Odd: mapped}
    )
    assert client.get("/odd").status_code == 418
    assert client.get("/missing").status_code == 404
    assert client.get("/show").json() == {"before": 1, "mapped": 2, "missing": 1}


@pytest.mark.promise("23")
def test_an_exception_that_nobody_maps_writes_nothing(new_client):
    async def broken(request):
        request.session["broken"] = 1
        raise Odd

    client = new_client(
        Route("/", broken), Route("/fill", handler(lambda session: session.update(a=1))), show,
        client={"raise_server_exceptions": False},
    )  # fmt: skip
    client.get("/fill")
    response = client.get("/")
    assert (response.status_code, response.headers.get("set-cookie")) == (500, None)
    assert client.get("/show").json() == {"a": 1}


@pytest.mark.promise("20")
def test_an_outage_is_a_503_where_starlette_would_answer_500(new_client, sessions):
    client = new_client(
        Route("/fill", handler(lambda session: session.update(a=1))), show,
        Route("/other", handler(lambda session: "fine")),
        client={"raise_server_exceptions": False},
    )  # fmt: skip
    client.get("/fill")
    sessions.store.fail("load", "write", error=DOWN)
    for path in ("/show", "/fill"):
        response = client.get(path)
        assert (response.status_code, response.headers["retry-after"]) == (503, "1")
    assert client.get("/other").status_code == 200
    sessions.store.recover()
    assert client.get("/show").json() == {"a": 1}


@pytest.mark.promise("20")
@pytest.mark.parametrize("operation", ["load", "write"])
def test_an_outage_is_a_503_also_where_the_middleware_is_put_around_the_whole_application(operation):
    def count(session):
        session["n"] = session.get("n", 0) + 1
        return session["n"]

    failing = AsyncFailingStore(AsyncMemoryStore())
    sessions = AsyncSessions(failing, secret=SECRET, insecure_http=True)
    app = SessionMiddleware(Starlette(routes=[Route("/", handler(count))]), sessions)
    client = TestClient(app, raise_server_exceptions=False)
    assert client.get("/").json() == 1
    failing.fail(operation, error=DOWN, times=1)
    response = client.get("/")
    assert (response.status_code, response.headers["retry-after"]) == (503, "1")
    assert client.get("/").json() == 2


@pytest.mark.promise("F-20")
def test_a_stream_can_save_and_what_it_changes_later_is_stored_at_its_end(new_client):
    async def endpoint(request):
        async def events():
            for number in range(3):
                request.session["n"] = number
                await request.session.save()
                yield f"data: {number}\n\n"
            request.session["end"] = True

        request.session["begin"] = True
        return StreamingResponse(events(), media_type="text/event-stream")

    client = new_client(Route("/", endpoint), show)
    assert client.get("/").text == "data: 0\n\ndata: 1\n\ndata: 2\n\n"
    assert client.get("/show").json() == {"begin": True, "n": 2, "end": True}


# Among other middleware


def counting(name, *, after=False):
    """A middleware of the kind that people write, which notes that it was there."""

    class Counting(BaseHTTPMiddleware):
        async def dispatch(self, request, call_next):
            if not after:
                request.session[name] = request.session.get(name, 0) + 1
            response = await call_next(request)
            if after:
                request.session[name] = request.session.get(name, 0) + 1
            response.headers["X-Seen"] = name
            return response

    return Middleware(Counting)


def test_a_middleware_inside_ours_uses_the_session_before_and_after_the_handler(new_client):
    client = new_client(
        show, Route("/", handler(lambda session: session.setdefault("a", 1))),
        inside=[counting("before"), counting("after", after=True)],
    )  # fmt: skip
    assert client.get("/").headers["x-seen"] == "before"
    assert client.get("/").json() == 1
    assert client.get("/show").json() == {"before": 3, "a": 1, "after": 2}


def test_a_middleware_around_ours_may_change_a_session_that_is_there_after_the_handler(new_client):
    client = new_client(
        show,
        Route("/fill", handler(lambda session: session.update(a=1))),
        around=[counting("around", after=True)],
    )
    with pytest.raises(CannotSendCookie):
        client.get("/show")  # nothing is there yet, and the head has left ours
    client.cookies.update(
        asyncio.run(async_cookies_for(client.app.user_middleware[1].kwargs["sessions"], {"a": 0}))
    )
    assert client.get("/fill").status_code == 200
    assert client.get("/show").json() == {"a": 1, "around": 1}


def test_a_mounted_application_has_the_same_session(new_client):
    inner = Starlette(routes=[Route("/fill", handler(lambda session: session.update(inner=1))), show])
    client = new_client(
        Mount("/sub", inner), Route("/fill", handler(lambda session: session.update(a=1))), show
    )
    client.get("/fill")
    client.get("/sub/fill")
    assert client.get("/show").json() == client.get("/sub/show").json() == {"a": 1, "inner": 1}


# Websockets


def websocket_client(new_client, **options):
    async def echo(websocket):
        session = websocket.session
        session["connected"] = session.get("connected", 0) + 1
        await websocket.accept()
        async for text in websocket.iter_text():
            session.setdefault("said", []).append(text)
            await session.save()
            await websocket.send_text(text)

    return new_client(
        WebSocketRoute("/ws", echo),
        show,
        Route("/fill", handler(lambda session: session.update(said=[]))),
        **options,
    )


def test_a_websocket_shares_the_session_of_the_pages(new_client):
    client = websocket_client(new_client)
    client.get("/fill")
    with client.websocket_connect("/ws") as websocket:
        for text in ("a", "b"):
            websocket.send_text(text)
            assert websocket.receive_text() == text
        assert client.get("/show").json() == {"said": ["a", "b"], "connected": 1}


def test_the_handshake_of_a_first_visit_carries_the_cookie(new_client, sessions):
    client = websocket_client(new_client)
    with client.websocket_connect("/ws") as websocket:
        lines = [value.decode() for name, value in websocket.extra_headers if name == b"set-cookie"]
    assert len(lines) == 1
    name, _, value = lines[0].partition(";")[0].partition("=")
    client.cookies.set(name, value)
    assert client.get("/show").json() == {"connected": 1}


@pytest.mark.promise("20")
def test_a_websocket_that_needs_its_session_is_refused_with_a_503_while_the_store_is_down(
    new_client, sessions
):
    client = websocket_client(new_client)
    client.get("/fill")
    sessions.store.fail("load", error=DOWN)
    with pytest.raises(WebSocketDenialResponse) as refused, client.websocket_connect("/ws"):
        pass
    assert (refused.value.status_code, refused.value.headers["retry-after"]) == (503, "1")
