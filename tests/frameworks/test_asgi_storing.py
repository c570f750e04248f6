"""ASGI over HTTP: changes and endings before, during and after the response."""

import asyncio

import pytest

from coatcheck.errors import CannotSendCookie
from tests.frameworks.asgi_driver import House, answer, body, head
from tests.loops import on_each_loop, until


def say(value):
    return repr(value).encode()


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


@pytest.mark.promise("23")
@on_each_loop
async def test_behind_the_page_of_a_handler_that_raised_nothing_is_stored_but_an_ending():
    async def handler(scope, receive, send):
        try:
            scope["session"]["n"] = 1 / 0
        except ZeroDivisionError:
            await send({"type": "http.response.start", "status": 500, "headers": []})
        await send({"type": "http.response.body", "body": b"oops"})
        scope["session"]["n"] = 1
        if scope["path"] == "/out":
            scope["session"].sign_out()

    house = House(handler)
    cookie = await house.visitor(n=0)
    assert (await house.get("/", cookie)).journal[-1] == "http.response.body"
    assert await house.fields(cookie) == {"n": 0}
    assert (await house.get("/out", cookie)).journal[-1] == "write"
    assert await house.sessions.count() == 0


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
