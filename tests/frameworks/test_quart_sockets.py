"""Quart's websockets, and its test client."""

import asyncio

import pytest
import quart

from coatcheck.frameworks.quart import session
from tests.frameworks.asgi_driver import PATIENCE
from tests.frameworks.quart_apps import DOWN, House, sent
from tests.loops import on_each_loop


@on_each_loop
async def test_a_socket_reads_the_session_and_learns_that_it_has_ended():
    house = House()

    async def view():
        while await session.is_live():
            await quart.websocket.send(session["name"])
            await quart.websocket.receive()
        await quart.websocket.close(1008)

    house.socket(view)
    cookie = await house.visitor(user="ada", name="Ada")
    async with house.connection(cookie) as (exchange, _):
        assert (await sent(exchange, "websocket.send"))["text"] == "Ada"
        await house.sessions.revoke_user("ada")
        exchange.incoming.put_nowait({"type": "websocket.receive", "text": "go on"})
        assert (await sent(exchange, "websocket.close"))["code"] == 1008


@on_each_loop
async def test_the_handshake_brings_the_cookie_of_what_was_put_in_before_it():
    house = House()

    async def view():
        session.sign_in("ada")
        await quart.websocket.accept()
        await quart.websocket.send(session.user)

    house.socket(view)
    async with house.connection() as (exchange, serving):
        await serving
    assert exchange.sent[1]["text"] == "ada"
    assert len(await house.sessions.of_user("ada")) == 1
    assert await house.fields(exchange.cookie) is not None


@on_each_loop
async def test_what_a_socket_changes_later_is_stored_when_its_client_leaves():
    house = House()

    async def view():
        await quart.websocket.accept()
        while True:
            session["said"] = await quart.websocket.receive()
            await quart.websocket.send("heard")

    house.socket(view)
    cookie = await house.visitor(a=1)
    async with house.connection(cookie) as (exchange, _):
        exchange.incoming.put_nowait({"type": "websocket.receive", "text": "hello"})
        await sent(exchange, "websocket.send")
    assert await house.fields(cookie) == {"a": 1, "said": "hello"}


@on_each_loop
async def test_a_socket_that_raises_stores_nothing_but_that_it_ended_its_session():
    house = House()

    async def view():
        await quart.websocket.accept()
        session["a"] = 2
        if "end" in quart.websocket.args:
            session.sign_out()
        raise ZeroDivisionError

    house.socket(view)
    cookie = await house.visitor(a=1)
    for query, fields in ((b"", {"a": 1}), (b"end=1", None)):
        async with house.connection(cookie, query_string=query) as (exchange, serving):
            await serving
        assert exchange.sent[-1]["type"] == "websocket.close"
        assert await house.fields(cookie) == fields


@pytest.mark.parametrize("extended", [True, False])
@on_each_loop
async def test_a_socket_in_an_outage_is_told_to_come_again_later(extended):
    house = House()

    async def view():
        if "accept" in quart.websocket.args:
            await quart.websocket.accept()
        await session.save()
        return str(session["a"])

    house.socket(view)
    cookie = await house.visitor(a=1)
    house.store.fail("load", error=DOWN)
    extensions = {"websocket.http.response": {}} if extended else {}
    spec = {"version": "3.0", "spec_version": "2.4"}
    async with house.connection(cookie, query_string=b"accept=1", extensions=extensions, asgi=spec) as (
        exchange,
        serving,
    ):
        await serving
    assert exchange.sent[-1]["type"] == "websocket.close"
    assert exchange.sent[-1]["code"] == 1013
    async with house.connection(cookie, extensions=extensions, asgi=spec) as (exchange, serving):
        await serving
    if extended:
        assert exchange.sent[0]["status"] == 503
        assert exchange.headers(b"retry-after") != []
    else:
        assert [message["type"] for message in exchange.sent] == ["websocket.close"]


@pytest.mark.parametrize("extended", [True, False])
@on_each_loop
async def test_a_socket_whose_handshake_cant_be_stored_is_told_to_come_again_later(extended):
    house = House()

    async def view():
        session["a"] = 2
        await quart.websocket.accept()

    house.socket(view)
    cookie = await house.visitor(a=1)
    house.store.fail("write", error=DOWN)
    extensions = {"websocket.http.response": {}} if extended else {}
    async with house.connection(cookie, extensions=extensions) as (exchange, serving):
        await serving
    if extended:
        assert exchange.status == 503
        assert exchange.headers(b"retry-after") != []
    else:
        assert [(message["type"], message["code"]) for message in exchange.sent] == [
            ("websocket.close", 1013)
        ]


# The test client


@on_each_loop
async def test_a_test_prepares_the_session_and_looks_into_it_afterwards():
    house = House(insecure_http=True)

    async def view():
        session["basket"].append(session.user)
        return "put"

    house.get(view)
    client = house.app.test_client()
    async with client.session_transaction() as prepared:
        prepared.sign_in("ada")
        prepared["basket"] = ["scarf"]
    async with asyncio.timeout(PATIENCE):
        assert (await client.get("/")).status_code == 200
    async with client.session_transaction() as seen:
        assert (seen["basket"], seen.user) == (["scarf", "ada"], "ada")


@on_each_loop
async def test_a_request_context_of_a_test_has_a_session_that_nothing_stores():
    house = House(insecure_http=True)
    async with house.app.test_request_context("/"):
        session["a"] = 1
        await quart.flash("hello")
        assert quart.get_flashed_messages() == ["hello"]
    assert await house.sessions.count() == 0


@on_each_loop
async def test_within_a_client_the_session_of_the_last_request_can_be_read():
    house = House(insecure_http=True)

    async def view():
        session["a"] = 1
        return "put"

    house.get(view)
    async with house.app.test_client() as client:
        await client.get("/")
        assert quart.session["a"] == 1
