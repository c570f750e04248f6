"""What is special to ASGI over http: the raw messages, loading ahead, streams, and clients that leave."""

import asyncio
from contextlib import suppress

import anyio
import pytest

from coatcheck.errors import CannotSendCookie, ConfigurationError, NotLoaded, StoreUnavailable
from coatcheck.frameworks.asgi import SessionMiddleware
from coatcheck.stores.memory import MemoryStore
from coatcheck.testing import AwaitableStore
from tests.frameworks.asgi_driver import House, answer, body, head
from tests.loops import on_each_loop, quiet, until

DOWN = StoreUnavailable("the test says so", ambiguous=False)


def say(value):
    return repr(value).encode()


# Headers


@pytest.mark.promise("H")
@on_each_loop
async def test_a_cookie_header_in_several_lines_is_one():
    async def handler(scope, receive, send):
        await answer(send, say(scope["session"].get("a")))

    house = House(handler)
    cookie = await house.visitor(a=1)
    for lines in ((cookie,), (b"x=1", cookie), (cookie, b"y=2"), (b"x=1; z=3", cookie, b"y=2")):
        assert (await house.get("/", *lines)).body == b"1", lines
    assert (await house.get("/", b"x=1", b"y=2")).body == b"None"


@on_each_loop
async def test_what_the_application_sent_stays_and_our_header_names_are_bytes_in_lower_case():
    async def handler(scope, receive, send):
        scope["session"]["a"] = 1
        own = (
            (b"content-type", b"text/plain"),
            (b"set-cookie", b"mine=1; Path=/"),
            (b"set-cookie", b"yours=2"),
        )
        await answer(send, b"ok", 201, *own, (b"vary", b"Accept"), (b"cache-control", b"public, max-age=9"))

    house = House(handler)
    exchange = await house.get()
    headers = exchange.sent[0]["headers"]
    assert all(type(name) is type(value) is bytes and name == name.lower() for name, value in headers)
    assert exchange.status == 201
    assert exchange.headers(b"content-type") == [b"text/plain"]
    assert exchange.headers(b"vary") == [b"Accept, Cookie"]
    assert exchange.headers(b"cache-control") == [b"max-age=9, no-store"]
    mine, yours, ours = exchange.headers(b"set-cookie")
    assert (mine, yours) == (b"mine=1; Path=/", b"yours=2")
    assert ours.startswith(b"__Host-session=")


@pytest.mark.promise("H")
@on_each_loop
async def test_a_head_that_is_sent_to_everybody_never_carries_somebodys_cookie():
    start = {"type": "http.response.start", "status": 200, "headers": [(b"x-app", b"1")]}

    async def handler(scope, receive, send):
        if scope["path"] == "/sign-in":
            scope["session"].sign_in("ada")
        await send(start)
        await body(send, b"ok")

    house = House(handler)
    signing_in = await house.get("/sign-in")
    assert len(signing_in.headers(b"set-cookie")) == 1
    assert start == {"type": "http.response.start", "status": 200, "headers": [(b"x-app", b"1")]}
    stranger = await house.get("/")
    assert stranger.sent[0]["headers"] == [(b"x-app", b"1")]


@on_each_loop
async def test_a_head_may_have_no_headers_or_any_iterable_of_them():
    async def handler(scope, receive, send):
        scope["session"]["a"] = 1
        message = {"type": "http.response.start", "status": 204}
        if scope["path"] == "/generator":
            message["headers"] = ((name, b"1") for name in (b"x-a", b"x-b"))
        await send(message)
        await body(send)

    house = House(handler)
    assert len((await house.get("/none")).headers(b"set-cookie")) == 1
    exchange = await house.get("/generator")
    assert (exchange.headers(b"x-a"), exchange.headers(b"x-b")) == ([b"1"], [b"1"])
    assert len(exchange.headers(b"set-cookie")) == 1


@on_each_loop
async def test_other_kinds_of_scopes_and_messages_pass_as_they_are():
    async def handler(scope, receive, send):
        if scope["type"] == "http":
            await send({"type": "http.response.early_hint", "links": [b"</a.css>"]})
            await answer(send)
        else:
            assert "session" not in scope
            await send({"type": "elsewhere.done"})

    house = House(handler)
    assert (await house.get()).sent[0] == {"type": "http.response.early_hint", "links": [b"</a.css>"]}
    assert (await house.get(type="elsewhere")).sent == [{"type": "elsewhere.done"}]


# Loading


async def by_path(scope, receive, send):
    """Looks at its session unless the path says not to."""
    session = scope["session"]
    if scope["path"].startswith("/look"):
        await answer(send, say(session.get("a")))
    elif scope["path"].startswith("/load"):
        await scope["app"].sessions.load(session)
        await answer(send, say(session.get("a")))
    else:
        await answer(send, b"untouched")


def house_by_path(**options):
    async def handler(scope, receive, send):
        scope["app"] = house
        await by_path(scope, receive, send)

    house = House(handler, **options)
    return house


@on_each_loop
async def test_by_default_it_is_loaded_before_the_handler_and_that_is_no_look_at_it():
    house = house_by_path()
    cookie = await house.visitor(a=1)
    house.clock.advance(7_200)  # a slide would be due
    untouched = await house.get("/", cookie)
    assert untouched.journal == ["load", "http.response.start", "http.response.body"]
    assert untouched.sent[0]["headers"] == []
    looked = await house.get("/look", cookie)
    assert looked.journal == ["load", "write", "http.response.start", "http.response.body"]
    assert looked.headers(b"vary") == [b"Cookie"]
    assert (await house.get("/look")).journal == ["http.response.start", "http.response.body"]


@on_each_loop
async def test_what_is_excluded_is_loaded_when_its_handler_says_so():
    house = house_by_path(exclude=("/look/static", "/health", "/load"))
    cookie = await house.visitor(a=1)
    assert "load" not in (await house.get("/health/x", cookie)).journal
    assert (await house.get("/look/other", cookie)).body == b"1"
    for header in (cookie, b""):
        with pytest.raises(NotLoaded):
            await house.get("/look/static/x", header)
    assert (await house.get("/load", cookie)).body == b"1"


@on_each_loop
async def test_on_demand_it_is_loaded_when_the_handler_says_so():
    house = house_by_path(load="on_demand")
    cookie = await house.visitor(a=1)
    untouched = await house.get("/", cookie)
    assert untouched.journal == ["http.response.start", "http.response.body"]
    assert untouched.sent[0]["headers"] == []
    loaded = await house.get("/load", cookie)
    assert loaded.body == b"1"
    assert loaded.headers(b"vary") == [b"Cookie"]
    for header in (cookie, b""):  # also where there is nothing to load, so that it shows before production
        with pytest.raises(NotLoaded):
            await house.get("/look", header)


@pytest.mark.parametrize(
    ("exclude", "root", "path", "excluded"),
    [
        (["/load"], "", "/load", True),
        (["/load"], "", "/load/more", True),
        (["/load"], "", "/loaded", False),
        (["/load/"], "", "/load", False),
        (["/load/"], "", "/load/more", True),
        (["/"], "", "/load", True),
        (["/load"], "/shop", "/shop/load", True),
        (["/load"], "/shop/", "/shop/load", True),
        (["/load"], "/shop", "/load", True),  # a server that leaves the root out
        (["/shop"], "/shop", "/shop/load", False),
        (["/pping"], "/sho", "/shopping", False),
        (["/"], "/shop", "/shop", True),
    ],
)
@on_each_loop
async def test_what_is_excluded_is_named_by_its_path_within_the_application(exclude, root, path, excluded):
    house = House(lambda scope, receive, send: answer(send), exclude=exclude)
    cookie = await house.visitor(a=1)
    exchange = await house.get(path, cookie, root_path=root)
    assert ("load" not in exchange.journal) is excluded


@pytest.mark.promise("25")
@pytest.mark.parametrize(
    "options",
    [{"load": "lazy"}, {"exclude": "/static"}, {"exclude": ["static"]}, {"exclude": ["/static/*"]}],
    ids=str,
)
def test_options_that_make_no_sense_are_refused_when_the_application_is_built(options):
    with pytest.raises(ConfigurationError, match=f"^{next(iter(options))} "):
        House(by_path, **options)


@pytest.mark.promise("20")
@on_each_loop
async def test_an_outage_while_loading_ahead_is_raised_only_where_the_session_is_looked_at():
    house = house_by_path()
    cookie = await house.visitor(a=1)
    error = StoreUnavailable("the test says so", ambiguous=False)
    error.retry_after = 17
    house.failing.fail("load", error=error)
    untouched = await house.get("/", cookie)
    assert (untouched.status, untouched.body, untouched.sent[0]["headers"]) == (200, b"untouched", [])
    refused = await house.get("/look", cookie)
    assert refused.status == 503
    assert refused.headers(b"retry-after") == [b"17"]
    assert refused.headers(b"cache-control") == [b"no-store"]
    assert refused.headers(b"set-cookie") == []
    assert all(name == name.lower() for name, _ in refused.sent[0]["headers"])
    house.failing.recover()
    assert (await house.get("/look", cookie)).body == b"1"


@pytest.mark.promise("20")
@pytest.mark.parametrize("operation", ["load", "write"])
@pytest.mark.parametrize("raises", [True, False])
@on_each_loop
async def test_where_a_framework_makes_a_500_of_an_outage_the_answer_is_a_503(operation, raises):
    async def handler(scope, receive, send):
        scope["session"]["a"] = 2
        await answer(send)

    def framework(app):
        async def with_error_page(scope, receive, send):
            try:
                await app(scope, receive, send)
            except Exception:
                await answer(send, b"something broke", 500)
                if raises:
                    raise

        return with_error_page

    house = House(framework(handler))
    cookie = await house.visitor(a=1)
    house.failing.fail(operation, error=DOWN, times=1)
    exchange = await house.get("/", cookie)
    assert (exchange.status, len(exchange.sent)) == (503, 2)
    assert exchange.headers(b"retry-after") == [b"1"]
    assert await house.fields(cookie) == {"a": 1}
    assert (await house.get("/", cookie)).status == 200


@pytest.mark.promise("20")
@pytest.mark.parametrize("other", [None, ZeroDivisionError()])
@on_each_loop
async def test_what_several_tasks_of_a_handler_raise_is_a_503_if_all_of_it_is_an_outage(other):
    async def handler(scope, receive, send):
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(house.sessions.is_live(scope["session"]))
        except* StoreUnavailable as group:
            outage = group
        raise ExceptionGroup("both", [outage] if other is None else [outage, other])

    house = House(handler, load="on_demand")
    cookie = await house.visitor(a=1)
    house.failing.fail("load", error=DOWN)
    if other is None:
        assert (await house.get("/", cookie)).status == 503
    else:
        with pytest.raises(ExceptionGroup, match="both"):
            await house.get("/", cookie)


@on_each_loop
async def test_an_error_that_comes_of_another_one_than_the_outage_is_raised_to_the_server():
    async def handler(scope, receive, send):
        try:
            scope["session"]["a"] = 2
            await answer(send)
        except StoreUnavailable:
            raise RuntimeError("another") from ZeroDivisionError()

    house = House(handler)
    cookie = await house.visitor(a=1)
    house.failing.fail("write", error=DOWN)
    with pytest.raises(RuntimeError, match="another"):
        await house.get("/", cookie)


@on_each_loop
async def test_a_500_of_the_applications_own_stays_one():
    async def handler(scope, receive, send):
        if scope["path"] == "/look":
            scope["session"].get("a")
        await answer(send, b"mine", 500)

    for path, down, options in (
        ("/look", False, {}),
        ("/", True, {}),
        ("/look", True, {"outage": "anonymous"}),
    ):
        house = House(handler, options=options)
        cookie = await house.visitor(a=1)
        if down:
            house.failing.fail("load", error=DOWN)
        exchange = await house.get(path, cookie)
        assert (exchange.status, exchange.body) == (500, b"mine")


@pytest.mark.promise("20")
@on_each_loop
async def test_an_outage_after_the_head_has_left_is_raised_to_the_server():
    async def handler(scope, receive, send):
        await head(send)
        await body(send, b"x", more=True)
        await house.sessions.is_live(scope["session"])

    house = House(handler)
    cookie = await house.visitor(a=1)
    exchange = house.exchange("/", cookie)
    house.failing.fail("load", error=DOWN)
    with pytest.raises(StoreUnavailable):
        await exchange.run()
    assert exchange.status == 200
    assert len(exchange.sent) == 2


# What is stored when


@pytest.mark.promise("9")
@on_each_loop
async def test_the_change_is_stored_before_the_head_of_the_response_leaves():
    async def handler(scope, receive, send):
        scope["session"]["a"] = 2
        await answer(send)

    house = House(handler)
    cookie = await house.visitor(a=1)
    for cookies in ((), (cookie,)):
        exchange = await house.get("/", *cookies)
        assert exchange.journal[-3:] == ["write", "http.response.start", "http.response.body"]


@pytest.mark.promise("H", "F-20")
@on_each_loop
async def test_what_changes_during_a_stream_is_stored_before_its_last_byte():
    async def handler(scope, receive, send):
        await head(send)
        for number in range(3):
            scope["session"]["n"] = number
            await body(send, b"x", more=True)
        await body(send)

    house = House(handler)
    cookie = await house.visitor(n=9)
    chunks = ["http.response.body more"] * 3
    exchange = await house.get("/", cookie)
    assert exchange.journal == ["load", "http.response.start", *chunks, "write", "http.response.body"]
    assert await house.fields(cookie) == {"n": 2}


@pytest.mark.promise("H", "F-20")
@on_each_loop
async def test_what_changes_after_the_response_is_stored_when_the_application_returns():
    async def handler(scope, receive, send):
        await answer(send)
        scope["session"]["n"] = 1  # as a background task does

    house = House(handler)
    cookie = await house.visitor(n=0)
    exchange = await house.get("/", cookie)
    assert exchange.journal == ["load", "http.response.start", "http.response.body", "write"]
    assert await house.fields(cookie) == {"n": 1}


@pytest.mark.promise("H", "F-20")
@pytest.mark.parametrize("where", ["stream", "after"])
@pytest.mark.parametrize("verb", ["put", "sign_in", "rotate", "permanent"])
@on_each_loop
async def test_what_needs_a_cookie_after_the_head_has_left_is_an_error_and_nothing_is_stored(verb, where):
    async def handler(scope, receive, send):
        session = scope["session"]
        await head(send)
        await body(send, b"x", more=where == "stream")
        match verb:
            case "put":
                session["a"] = 1
            case "sign_in":
                session.sign_in("ada")
            case "rotate":
                session.rotate()
            case _:
                session.permanent = True
        if where == "stream":
            await body(send)

    house = House(handler)
    cookie = b"" if verb == "put" else await house.visitor(a=0)
    exchange = house.exchange("/", cookie)
    with pytest.raises(CannotSendCookie):
        await exchange.run()
    assert exchange.headers(b"set-cookie") == []
    assert "write" not in exchange.journal
    if cookie:
        assert await house.fields(cookie) == {"a": 0}
    else:
        assert await house.sessions.count() == 0


@pytest.mark.promise("H", "F-20")
@on_each_loop
async def test_what_server_sent_events_save_midway_another_request_sees_at_once():
    go_on = asyncio.Event()

    async def handler(scope, receive, send):
        session = scope["session"]
        if scope["path"] == "/look":
            await answer(send, say(session["seen"]))
            return
        await head(send, 200, (b"content-type", b"text/event-stream"))
        session["seen"] = 1
        await house.sessions.save(session)
        await body(send, b"data: 1\n\n", more=True)
        await go_on.wait()
        session["seen"] = 2
        await body(send)

    house = House(handler)
    cookie = await house.visitor(seen=0)
    events = house.exchange("/events", cookie)
    serving = events.start()
    await until(lambda: len(events.sent) == 2)
    assert (await house.get("/look", cookie)).body == b"1"
    go_on.set()
    await serving
    assert (await house.get("/look", cookie)).body == b"2"


@pytest.mark.promise("F-20")
@pytest.mark.parametrize("end", ["revoke", "revoke_user", "sign_out", "sign_in"])
@on_each_loop
async def test_a_long_connection_learns_that_its_session_was_ended(end):
    tick, lives = asyncio.Queue(), []

    async def handler(scope, receive, send):
        session = scope["session"]
        await head(send)
        while await tick.get():
            lives.append(await house.sessions.is_live(session))
            await body(send, b"x", more=True)
        await body(send)

    house = House(handler)
    cookie = await house.visitor(user="ada")
    serving = house.exchange("/", cookie).start()
    tick.put_nowait(True)
    await until(lambda: lives == [True])
    session = house.sessions.open(cookie)
    await house.sessions.load(session)
    match end:
        case "revoke":
            assert await house.sessions.revoke(session.handle)
        case "revoke_user":
            assert await house.sessions.revoke_user("ada") == 1
        case _:
            getattr(session, end)(*(["ada"] if end == "sign_in" else []))
            await house.sessions.close(session)
    tick.put_nowait(True)
    await until(lambda: len(lives) == 2)
    tick.put_nowait(False)
    await serving
    assert lives == [True, False]


# Clients that leave


@pytest.mark.promise("F-05")
@pytest.mark.parametrize("leaves_after", range(5))
@on_each_loop
async def test_a_client_that_leaves_during_the_response_leaves_a_whole_session(leaves_after):
    async def handler(scope, receive, send):
        session = scope["session"]
        session.update(a=1, b=1)
        await head(send)
        for number in (2, 3):
            session.update(a=number, b=number)
            await body(send, b"x", more=True)
        await house.sessions.save(session)
        session.update(a=4, b=4)
        await body(send)

    house = House(handler)
    cookie = await house.visitor(a=0, b=0)
    exchange = house.exchange("/", cookie, leaves_after=leaves_after)
    with suppress(OSError):
        await exchange.run()
    # What was stored before the head and what was saved stays; a handler that raised writes nothing more.
    expected = {0: 1, 1: 1, 2: 1, 3: 4, 4: 4}[leaves_after]
    assert await house.fields(cookie) == {"a": expected, "b": expected}


@on_each_loop
async def test_a_handler_that_learns_from_receive_that_the_client_has_gone_ends_well():
    async def handler(scope, receive, send):
        await receive()
        await head(send)
        await body(send, b"x", more=True)
        assert (await receive())["type"] == "http.disconnect"
        scope["session"]["gone"] = True

    house = House(handler)
    cookie = await house.visitor(a=1)
    await house.get("/", cookie, leaves_after=2)
    assert await house.fields(cookie) == {"a": 1, "gone": True}


class InBatches(AwaitableStore):
    """A store whose loads are sent in batches, too."""

    loads_in_place = False


@pytest.mark.promise("F-05")
@pytest.mark.parametrize("how", ["task", "scope"])
@pytest.mark.parametrize("verb", ["set", "rotate", "sign_in", "sign_out"])
@on_each_loop
async def test_a_handler_that_is_cancelled_at_any_await_leaves_a_whole_session_and_no_task(verb, how):
    async def handler(scope, receive, send):
        session = scope["session"]
        await asyncio.sleep(0)
        match verb:
            case "set":
                session.update(a=1, b=1)
            case "sign_in":
                session.sign_in("ada")
            case _:
                getattr(session, verb)()
        acted.append(True)
        await asyncio.sleep(0)
        await head(send)
        await body(send, b"x", more=True)
        await body(send)

    house = House(handler, store=InBatches(MemoryStore()))
    finished = False
    for turns in range(60):
        acted = []
        cookie = await house.visitor(a=0, b=0)
        exchange = house.exchange("/", cookie)

        async def serve(exchange=exchange, turns=turns):
            """As a server does that cancels a task, or one on anyio, in whose cancelled scopes all waiting raises."""
            with anyio.CancelScope() as scope:
                serving = asyncio.current_task()
                for_later = scope.cancel if how == "scope" else serving.cancel
                asyncio.create_task(after(turns, for_later))  # noqa: RUF006 - `quiet` waits for it
                await exchange.run()
                return True

        async def after(turns, act):
            for _ in range(turns):
                await asyncio.sleep(0)
            act()

        task = asyncio.create_task(serve())
        with suppress(asyncio.CancelledError):
            finished = bool(await task)
        await quiet()
        fields = await house.fields(cookie)
        if verb == "set":
            assert fields in ({"a": 0, "b": 0}, {"a": 1, "b": 1})
        if verb == "sign_out":
            assert (fields is None) == bool(acted)  # once said, it is done
        if exchange.sent and verb in ("rotate", "sign_in"):
            assert fields is None
            assert await house.fields(exchange.cookie) == {"a": 0, "b": 0}
        if finished:
            break
    assert finished


# Lifespan


@pytest.mark.promise("24")
@pytest.mark.parametrize("end", ["complete", "failed"])
@on_each_loop
async def test_when_the_server_shuts_down_the_manager_is_shut_down_after_the_application(end):
    async def handler(scope, receive, send):
        await receive()
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await house.sessions.ping()  # still there
        await send({"type": f"lifespan.shutdown.{end}"})

    for shutdown in (True, False):
        house = House(handler, shutdown=shutdown)
        exchange = house.exchange(type="lifespan")
        exchange.incoming.put_nowait({"type": "lifespan.shutdown"})
        await exchange.run()
        closing = ["close"] if shutdown else []
        assert house.journal == ["lifespan.startup.complete", "ping", *closing, f"lifespan.shutdown.{end}"]


def test_the_middleware_is_an_application_that_others_can_look_into():
    house = House(by_path)
    assert isinstance(house.app, SessionMiddleware)
    assert house.app.app is by_path
    assert house.app.sessions is house.sessions
