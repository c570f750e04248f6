"""Counting, sweeping, pinging and closing."""

from __future__ import annotations

import asyncio
from datetime import timedelta

from coatcheck import AsyncSessions, Sessions
from coatcheck.stores.memory import AsyncMemoryStore, MemoryStore
from tests.sessions.scene import advance
from tests.visitor import SECRET, Visitor


def test_counting_and_sweeping(make):
    sessions = make(idle_timeout=timedelta(hours=1))
    visitors = [Visitor(sessions).signed_in(f"user {number}") for number in range(4)]
    assert sessions.count() == 4
    assert sessions.sweep() == 0
    advance(sessions, minutes=40)
    visitors[0].read()
    advance(sessions, minutes=30)
    assert sessions.count() == 1
    assert sessions.sweep() == 3
    assert sessions.sweep() == 0
    assert sessions.count() == 1
    with visitors[0].request() as session:
        assert session.user == "user 0"


def test_the_store_can_be_pinged_and_closed_twice(make):
    sessions = make()
    assert sessions.ping() is None
    sessions.shutdown()
    sessions.shutdown()


def test_a_manager_closes_its_store_at_the_end():
    closed = []

    class Closing(MemoryStore):
        def close(self):
            closed.append("sync")

    class AsyncClosing(AsyncMemoryStore):
        async def close(self):
            closed.append("async")

    with Sessions(Closing(), secret=SECRET) as sessions:
        assert isinstance(sessions, Sessions)

    async def scenario():
        async with AsyncSessions(AsyncClosing(), secret=SECRET) as sessions:
            assert isinstance(sessions, AsyncSessions)

    asyncio.run(scenario())
    assert closed == ["sync", "async"]
