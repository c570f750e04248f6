"""What is special to ASGI over websockets."""

import asyncio
from contextlib import suppress

import pytest

from coatcheck import Session
from coatcheck.errors import CannotSendCookie, StoreUnavailable
from tests.frameworks.asgi_driver import House, answer
from tests.loops import on_each_loop, until

pytestmark = pytest.mark.promise("H", "F-20")

DOWN = StoreUnavailable("the test says so", ambiguous=False)
ACCEPT = {"type": "websocket.accept"}


def connect(house, *cookies, **scope):
    return house.exchange("/ws", *cookies, type="websocket", scheme="wss", **scope)


def say(text):
    return {"type": "websocket.send", "text": text}


def hear(text):
    return {"type": "websocket.receive", "text": text}


LEAVE = {"type": "websocket.disconnect", "code": 1001}


@on_each_loop
async def test_what_is_put_in_before_the_handshake_is_stored_first_and_its_cookie_goes_with_it():
    async def handler(scope, receive, send):
        scope["session"]["a"] = 1
        await send(
            {**ACCEPT, "subprotocol": "chat", "headers": [(b"x-app", b"1"), (b"set-cookie", b"mine=1")]}
        )

    house = House(handler)
    exchange = await connect(house).run()
    assert exchange.journal == ["write", "websocket.accept"]
    accept = exchange.sent[0]
    assert accept["subprotocol"] == "chat"
    assert all(
        type(name) is type(value) is bytes and name == name.lower() for name, value in accept["headers"]
    )
    assert exchange.headers(b"x-app") == [b"1"]
    mine, ours = exchange.headers(b"set-cookie")
    assert mine == b"mine=1"
    assert await house.fields(ours.split(b";")[0]) == {"a": 1}


@on_each_loop
async def test_a_websocket_that_does_not_touch_its_session_is_accepted_as_it_is():
    async def handler(scope, receive, send):
        await send(ACCEPT)

    house = House(handler)
    cookie = await house.visitor(a=1)
    house.clock.advance(7_200)
    exchange = await connect(house, cookie).run()
    assert (exchange.journal, exchange.sent) == (["load", "websocket.accept"], [ACCEPT])


@on_each_loop
async def test_what_changes_during_a_websocket_is_stored_at_its_end_and_what_is_saved_at_once():
    async def handler(scope, receive, send):
        session = scope["session"]
        await receive()
        await send(ACCEPT)
        while (message := await receive())["type"] != "websocket.disconnect":
            session["said"] = [*session.get("said", []), message["text"]]
            if message["text"] == "save":
                await house.sessions.save(session)
            await send(say("ok"))

    house = House(handler)
    cookie = await house.visitor(said=[])
    exchange = connect(house, cookie)
    serving = exchange.start()
    for text, stored in (("a", []), ("save", ["a", "save"]), ("b", ["a", "save"])):
        before = len(exchange.sent)
        exchange.incoming.put_nowait(hear(text))
        await until(lambda before=before: len(exchange.sent) > before and exchange.sent[-1] == say("ok"))
        assert (await house.fields(cookie))["said"] == stored
    exchange.incoming.put_nowait(LEAVE)
    await serving
    assert (await house.fields(cookie))["said"] == ["a", "save", "b"]


def sign_in_as_ada(session):
    session.sign_in("ada")


def set_the_identity(session):
    session["user_id"] = 7


SIGN_INS = [sign_in_as_ada, set_the_identity]
CLOSE = {"type": "websocket.close", "code": 1008}


@pytest.mark.parametrize("sign_in", SIGN_INS)
@pytest.mark.parametrize("saved", [True, False])
@on_each_loop
async def test_a_sign_in_before_the_handshake_is_stored_and_its_cookie_goes_with_it(sign_in, saved):
    async def handler(scope, receive, send):
        sign_in(scope["session"])
        if saved:
            await house.sessions.save(scope["session"])
        await send(ACCEPT)

    house = House(handler, options={"identity": "user_id"})
    for cookie in (b"", await house.visitor(a=1)):
        exchange = await connect(house, cookie).run()
        session = house.sessions.open(exchange.cookie)
        await house.sessions.load(session)
        assert session.user in ("ada", "7")
        assert cookie == b"" or await house.fields(cookie) is None


@pytest.mark.parametrize("act", [*SIGN_INS, Session.rotate])
@on_each_loop
async def test_a_sign_in_after_the_handshake_is_refused_at_once_and_the_websocket_goes_on(act):
    async def handler(scope, receive, send):
        await send(ACCEPT)
        with pytest.raises(CannotSendCookie, match=r"before it is accepted.*fetch"):
            act(scope["session"])
        await send(say("go on"))

    house = House(handler, options={"identity": "user_id"})
    cookie = await house.visitor(a=0)
    for header in (cookie, b""):
        exchange = await connect(house, header).run()
        assert exchange.sent == [ACCEPT, say("go on")] or exchange.headers(b"set-cookie") == []
        assert "write" not in exchange.journal
    assert await house.fields(cookie) == {"a": 0}


@on_each_loop
async def test_a_new_session_after_the_handshake_is_an_error_when_it_is_saved_and_nothing_is_stored():
    async def handler(scope, receive, send):
        session = scope["session"]
        await send(ACCEPT)
        session["a"] = 1
        with pytest.raises(CannotSendCookie):
            await house.sessions.save(session)

    house = House(handler)
    exchange = connect(house)
    with pytest.raises(CannotSendCookie):
        await exchange.run()
    assert exchange.sent == [ACCEPT] or exchange.headers(b"set-cookie") == []
    assert await house.sessions.count() == 0


@on_each_loop
async def test_a_sign_in_that_a_websocket_brought_before_says_nothing_new():
    async def handler(scope, receive, send):
        await send(ACCEPT)
        scope["session"]["user_id"] = 7
        scope["session"]["b"] = 1

    house = House(handler, options={"identity": "user_id"})
    cookie = await house.visitor(user_id=7)
    await connect(house, cookie).run()
    assert await house.fields(cookie) == {"user_id": 7, "b": 1}


@pytest.mark.parametrize("end", [CLOSE, None], ids=["refused", "left unanswered"])
@pytest.mark.parametrize("act", [*SIGN_INS, lambda session: session.update(b=1)])
@on_each_loop
async def test_a_websocket_that_is_not_accepted_makes_no_record_that_no_cookie_reaches(end, act):
    async def handler(scope, receive, send):
        act(scope["session"])
        if end is not None:
            await send(end)

    house = House(handler, options={"identity": "user_id"})
    exchange = connect(house)
    with pytest.raises(CannotSendCookie):
        await exchange.run()
    assert exchange.sent == []  # the server refuses it in the handler's place
    assert await house.sessions.count() == 0


@on_each_loop
async def test_a_websocket_that_is_not_accepted_stores_what_needs_no_cookie_before_it_is_told():
    async def handler(scope, receive, send):
        scope["session"]["tried"] = 1
        await send(CLOSE)

    house = House(handler)
    cookie = await house.visitor(a=1)
    exchange = await connect(house, cookie).run()
    assert exchange.journal == ["load", "write", "websocket.close"]
    assert await house.fields(cookie) == {"a": 1, "tried": 1}
    cookie = await house.visitor(a=1)
    house.failing.fail("write", error=DOWN)
    exchange = await connect(house, cookie).run()
    assert [message["code"] for message in exchange.sent] == [1013]


@pytest.mark.parametrize("end", ["raise", "cancel"])
@on_each_loop
async def test_a_websocket_that_fails_writes_nothing_but_that_it_ended_its_session(end):
    async def handler(scope, receive, send):
        session = scope["session"]
        await send(ACCEPT)
        session["a"] = 1
        if scope["path"] == "/sign-out":
            session.sign_out()
        if end == "raise":
            raise ZeroDivisionError
        asyncio.current_task().cancel()
        await asyncio.sleep(0)

    house = House(handler)
    for path in ("/", "/sign-out"):
        cookie = await house.visitor(a=0)
        exchange = house.exchange(path, cookie, type="websocket")
        with suppress(ZeroDivisionError, asyncio.CancelledError):
            await exchange.start()
        assert await house.fields(cookie) == (None if path == "/sign-out" else {"a": 0})


@pytest.mark.promise("20")
@on_each_loop
async def test_a_websocket_that_needs_its_session_is_refused_while_the_store_is_down_and_others_are_not():
    async def handler(scope, receive, send):
        if scope["query_string"]:
            scope["session"].get("a")
        await send(ACCEPT)

    house = House(handler)
    cookie = await house.visitor(a=1)
    house.failing.fail("load", error=DOWN)
    assert (await connect(house, cookie).run()).sent == [ACCEPT]
    refused = await connect(house, cookie, query_string=b"look").run()
    assert refused.sent == [{"type": "websocket.close", "code": 1013, "reason": "session store unavailable"}]
    # Where the server can refuse with an answer, it is the same 503 as for http.
    extensions = {"websocket.http.response": {}}
    refused = await connect(house, cookie, query_string=b"look", extensions=extensions).run()
    assert [message["type"] for message in refused.sent] == [
        "websocket.http.response.start",
        "websocket.http.response.body",
    ]
    assert refused.status == 503
    assert refused.headers(b"retry-after") == [b"1"]
    assert refused.headers(b"set-cookie") == []


@on_each_loop
async def test_a_change_before_the_handshake_that_cant_be_stored_refuses_it():
    async def handler(scope, receive, send):
        scope["session"]["a"] = 2
        await send(ACCEPT)

    house = House(handler)
    cookie = await house.visitor(a=1)
    house.failing.fail("write", error=DOWN)
    for header in (cookie, b""):
        assert [message["type"] for message in (await connect(house, header).run()).sent] == [
            "websocket.close"
        ]
    assert await house.fields(cookie) == {"a": 1}


@pytest.mark.promise("20")
@on_each_loop
async def test_an_outage_after_the_handshake_closes_the_websocket_with_try_again_later():
    async def handler(scope, receive, send):
        await send(ACCEPT)
        scope["session"].get("a")

    async def cleaning_up(scope, receive, send):
        await send(ACCEPT)
        try:
            scope["session"].get("a")
        finally:
            await send({"type": "websocket.close", "code": 1011})

    house = House(handler)
    cookie = await house.visitor(a=1)
    house.failing.fail("load", error=DOWN)
    exchange = await connect(house, cookie).run()
    assert [message["type"] for message in exchange.sent] == ["websocket.accept", "websocket.close"]
    assert exchange.sent[-1]["code"] == 1013
    with pytest.raises(StoreUnavailable):  # the client has gone
        await connect(house, cookie, leaves_after=1).run()

    house = House(cleaning_up)
    cookie = await house.visitor(a=1)
    house.failing.fail("load", error=DOWN)
    exchange = connect(house, cookie)
    with pytest.raises(StoreUnavailable):
        await exchange.run()
    assert [message.get("code") for message in exchange.sent] == [None, 1011]


@pytest.mark.promise("20")
@on_each_loop
async def test_the_outage_policy_of_a_websocket_may_differ_by_path():
    async def handler(scope, receive, send):
        await send({**ACCEPT, "subprotocol": str(scope["session"].get("a"))})

    house = House(handler, options={"outage": {"/goods": "anonymous"}})
    cookie = await house.visitor(a=1)
    house.failing.fail("load", error=DOWN)
    tolerant = await house.exchange("/goods/live", cookie, type="websocket", scheme="wss").run()
    assert [message.get("subprotocol") for message in tolerant.sent] == ["None"]
    strict = await house.exchange("/pay", cookie, type="websocket", scheme="wss").run()
    assert [message["type"] for message in strict.sent] == ["websocket.close"]


@on_each_loop
async def test_a_refusal_of_the_applications_own_carries_the_cookie():
    async def handler(scope, receive, send):
        scope["session"]["tried"] = 1
        await send({"type": "websocket.http.response.start", "status": 401, "headers": []})
        await send({"type": "websocket.http.response.body", "body": b"no"})

    house = House(handler)
    exchange = await connect(house, extensions={"websocket.http.response": {}}).run()
    assert (exchange.status, exchange.body) == (401, b"no")
    assert await house.fields(exchange.cookie) == {"tried": 1}


@on_each_loop
async def test_a_long_websocket_learns_that_its_session_was_revoked():
    async def handler(scope, receive, send):
        session = scope["session"]
        await receive()
        await send(ACCEPT)
        while await house.sessions.is_live(session):
            await receive()
            await send(say("still here"))
        await send({"type": "websocket.close", "code": 1008})

    house = House(handler)
    cookie = await house.visitor(user="ada")
    exchange = connect(house, cookie)
    serving = exchange.start()
    exchange.incoming.put_nowait(hear("x"))
    await until(lambda: len(exchange.sent) == 2)
    assert await house.sessions.revoke_user("ada") == 1
    exchange.incoming.put_nowait(hear("x"))
    await serving
    assert [message["type"] for message in exchange.sent[-2:]] == ["websocket.send", "websocket.close"]


@on_each_loop
async def test_the_head_of_an_http_response_is_not_taken_for_a_websockets():
    async def handler(scope, receive, send):
        scope["session"]["a"] = 1
        await answer(send)

    house = House(handler)
    exchange = await house.get()
    assert exchange.journal == ["write", "http.response.start", "http.response.body"]
