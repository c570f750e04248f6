"""ASGI over HTTP: clients that leave, and handlers that are cancelled."""

import asyncio
from contextlib import suppress

import anyio
import pytest

from coatcheck.stores.memory import MemoryStore
from coatcheck.testing import AwaitableStore
from tests.frameworks.asgi_driver import House, body, head
from tests.loops import on_each_loop, quiet


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
