"""What the managers ask of the store: a session that nothing has loaded yet is loaded first."""

from __future__ import annotations

import asyncio

import pytest

from coatcheck import AsyncSessions, Sessions
from coatcheck.config import Settings
from coatcheck.errors import StoreUnavailable
from coatcheck.session import failure_met, state_of
from coatcheck.sessions import _log_failure, _turn_of
from coatcheck.stores.memory import AsyncMemoryStore, MemoryStore
from tests.core.scene import a_token
from tests.loops import on_each_loop
from tests.visitor import SECRET


async def a_visit():
    """A manager, and the cookie of a visitor who has put something in."""
    sessions = AsyncSessions(AsyncMemoryStore(), secret=SECRET)
    session = sessions.open(b"")
    await sessions.load(session)
    session["a"] = 1
    outcome = await sessions.close(session)
    return sessions, outcome.set_cookie.partition(";")[0].encode()


@on_each_loop
async def test_taking_loads_the_session_first():
    sessions, cookie = await a_visit()
    assert await sessions.take(sessions.open(cookie), "a") == {"a": 1}
    assert await sessions.take(sessions.open(cookie), "a") == {}


@on_each_loop
async def test_asking_whether_it_is_live_loads_the_session_first():
    sessions, cookie = await a_visit()
    assert await sessions.is_live(sessions.open(cookie))


@pytest.mark.promise("20")
def test_the_failure_that_a_session_raised_is_remembered():
    error = StoreUnavailable("down")

    class Down(MemoryStore):
        def load(self, *_):
            raise error

    cookie = b"__Host-session=" + Settings(secret=SECRET).ring.sign(a_token()).encode()
    session = Sessions(Down(), secret=SECRET).open(cookie)
    assert failure_met(session) is None
    with pytest.raises(StoreUnavailable):
        session.get("a")
    assert failure_met(session) is error


@pytest.mark.promise("20")
def test_a_ping_asks_the_store():
    class Down(MemoryStore):
        def ping(self, deadline):
            raise StoreUnavailable("down")

    with pytest.raises(StoreUnavailable):
        Sessions(Down(), secret=SECRET).ping()


@pytest.mark.promise("20")
@on_each_loop
async def test_an_async_ping_asks_the_store():
    class Down(AsyncMemoryStore):
        async def ping(self, deadline):
            raise StoreUnavailable("down")

    with pytest.raises(StoreUnavailable):
        await AsyncSessions(Down(), secret=SECRET).ping()


@on_each_loop
async def test_work_that_is_cancelled_with_its_caller_is_no_failure_to_log(caplog):
    task = asyncio.create_task(asyncio.sleep(60))
    await asyncio.sleep(0)
    task.cancel()
    await asyncio.wait([task])
    _log_failure(task)
    assert caplog.records == []


@on_each_loop
async def test_a_request_is_closed_at_the_time_of_its_turn():
    now = [1_000.0]
    sessions = AsyncSessions(AsyncMemoryStore(), secret=SECRET, clock=lambda: now[0])
    session = sessions.open(b"")
    await sessions.load(session)
    session.sign_in("ada")
    async with _turn_of(state_of(session)):
        closing = asyncio.create_task(sessions.close(session))
        await asyncio.sleep(0)
        now[0] = 2_000.0
    await closing
    assert session.signed_in_at.timestamp() == 2_000.0
