"""`max_sessions_per_user`."""

from __future__ import annotations

import asyncio
import random
import time

import pytest

from coatcheck import AsyncSessions, Sessions
from coatcheck.errors import ConfigurationError
from coatcheck.stores.memory import AsyncMemoryStore, MemoryStore
from coatcheck.testing import AwaitableStore, CountingStore, ManualClock
from coatcheck.testing.wrappers import AsyncStoreWrapper
from tests.interleaving import in_steps, interleavings
from tests.sessions.scene import advance, signed_in
from tests.visitor import SECRET, Visitor, make_sessions


@pytest.mark.promise("17")
def test_a_sign_in_ends_the_oldest_beyond_the_limit_and_tells(make):
    events = []
    sessions = make(max_sessions_per_user=2, on_event=events.append)
    devices = []
    for _ in range(4):
        devices.append(Visitor(sessions).signed_in("ada"))
        advance(sessions, seconds=1)
    assert [device.handle is not None for device in devices] == [False, False, True, True]
    assert len(sessions.of_user("ada")) == 2
    revoked = [
        (event.handle is None, event.user, event.reason) for event in events if event.kind == "revoked"
    ]
    assert revoked == [(False, "ada", "the user has 2 newer ones")] * 2
    assert sessions.counts["revoked"] == 2


@pytest.mark.promise("17")
def test_where_the_limit_was_lowered_the_next_sign_in_ends_all_that_are_too_many(make):
    sessions = make()
    devices = [Visitor(sessions).signed_in("ada") for _ in range(150)]
    advance(sessions, seconds=1)
    strict = sessions.with_settings(max_sessions_per_user=1)
    newest = Visitor(strict).signed_in("ada")
    assert [info.handle for info in sessions.of_user("ada")] == [newest.handle]
    assert {device.handle for device in devices} == {None}


def test_signing_in_again_takes_no_second_place(make):
    sessions = make(max_sessions_per_user=2)
    first, second = Visitor(sessions).signed_in("ada"), Visitor(sessions).signed_in("ada")
    for _ in range(3):
        advance(sessions, seconds=1)
        first.signed_in("ada")
    assert None not in (first.handle, second.handle)


def test_a_sign_in_as_another_user_frees_a_place(make):
    sessions = make(max_sessions_per_user=1)
    visitor = Visitor(sessions).signed_in("ada")
    advance(sessions, seconds=1)
    visitor.signed_in("grace")
    other = Visitor(sessions).signed_in("ada")
    assert visitor.handle != other.handle
    assert None not in (visitor.handle, other.handle)


def test_a_sign_in_by_a_clock_that_is_behind_is_the_older_one(make):
    # All must agree on an order, or two sign-ins could end each other; the clocks are all there is.
    sessions = make(max_sessions_per_user=1)
    ahead = Visitor(sessions).signed_in("ada")
    advance(sessions, seconds=-1)
    behind = Visitor(sessions).signed_in("ada")
    assert (ahead.handle is None, behind.handle is None) == (False, True)


@pytest.mark.promise("25")
def test_the_limit_needs_a_store_that_knows_the_users():
    class WithoutUsers(MemoryStore):
        index = "none"

    assert make_sessions(WithoutUsers())
    for build in (
        lambda: make_sessions(WithoutUsers(), max_sessions_per_user=1),
        lambda: make_sessions(WithoutUsers()).with_settings(max_sessions_per_user=1),
        lambda: AsyncSessions(AwaitableStore(WithoutUsers()), secret=SECRET, max_sessions_per_user=1),
    ):
        with pytest.raises(ConfigurationError, match="max_sessions_per_user needs a store"):
            build()


def test_a_sign_in_under_the_limit_takes_two_round_trips_more_and_no_other_request_any():
    sessions = make_sessions(CountingStore(MemoryStore()), max_sessions_per_user=1)
    Visitor(sessions).signed_in("ada")
    advance(sessions, seconds=1)
    visitor = Visitor(sessions)
    for visit, calls in (
        (lambda session: session.update(a=1), ["write"]),
        (lambda session: session.sign_in("ada"), ["load", "write", "sessions_of", "load", "write"]),
        (lambda session: session.sign_in("ada"), ["load", "write", "sessions_of", "load"]),
        (lambda session: session.update(a=2), ["load", "write"]),
        (lambda session: session.rotate(), ["load", "write"]),
    ):
        sessions.store.reset()
        visitor.serve(visit)
        assert sessions.store.sequence == calls


@pytest.mark.promise("17")
@pytest.mark.parametrize("limit", [1, 2])
@pytest.mark.parametrize("apart", [0, 1], ids=["in one millisecond", "one after the other"])
def test_in_every_order_of_sign_ins_as_many_stand_as_may(limit, apart):
    class World:
        def __init__(self):
            self.clock, self.store, self.signed_in = ManualClock(), MemoryStore(), 0
            Visitor(self.sessions(self.store)).signed_in("ada")
            self.clock.advance(10)

        def sessions(self, store):
            return Sessions(store, secret=SECRET, clock=self.clock, max_sessions_per_user=limit)

        def sign_in(self, store):
            self.clock.advance(apart)
            return Visitor(self.sessions(store)).signed_in("ada").cookie

    def signs_in(world):
        return in_steps(world.sign_in, world.store)

    runs = 0
    for run in interleavings(World, signs_in, signs_in):
        runs += 1
        world = run.world
        lives = world.store.sessions_of("ada", world.clock.now_ms, 100, None, time.monotonic() + 9)
        assert len(lives) == limit, run
        cookies = [Visitor(world.sessions(world.store), cookie) for cookie in run.results.values()]
        standing = [visitor.handle for visitor in cookies if visitor.handle is not None]
        assert len(standing) == limit, run
    assert runs >= 50


@pytest.mark.promise("17")
@pytest.mark.parametrize("seed", range(5))
def test_of_20_async_sign_ins_at_once_as_many_stand_as_may(seed):
    async def scenario():
        shuffled = random.Random(seed)
        store = AsyncMemoryStore()

        class Slow(AsyncStoreWrapper):
            async def around(self, call, send):
                for _ in range(shuffled.randrange(6)):
                    await asyncio.sleep(0)
                answer = await send()
                for _ in range(shuffled.randrange(6)):
                    await asyncio.sleep(0)
                return answer

        sessions = AsyncSessions(Slow(store), secret=SECRET, max_sessions_per_user=4)
        cookies = await asyncio.gather(*(signed_in(sessions) for _ in range(20)))
        held = []
        for cookie in cookies:
            session = sessions.open(cookie)
            await sessions.load(session)
            held += [session.handle] if session.user == "ada" else []
        assert len(held) == len(await sessions.of_user("ada")) == 4

    asyncio.run(scenario())
