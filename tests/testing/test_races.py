"""Holding a call at a chosen point, and saying who stands where when nothing moves any more."""

import asyncio
import threading

import pytest

from coatcheck.model.record import APPLIED, Create, Destroy, Lifetimes, Record, Refused, Update
from coatcheck.stores.memory import MemoryStore
from coatcheck.testing import AsyncPausingStore, AsyncRace, PausingStore, Race, Stuck, awaitable

KEY, NOW = bytes(16), 1_000
LIMITS = Lifetimes(idle=10_000, absolute=10_000, remember_idle=10_000, remember_absolute=10_000)
CREATE = Create(Record(key=KEY, secret=bytes(32), secret_at=1, created=1, last_used=1, expires=9_000))
WRITE = Update(key=KEY, at=NOW, lifetimes=LIMITS, set={"late": b"yes"})
DESTROY = Destroy(key=KEY, at=NOW)


def held(timeout=5.0):
    store = PausingStore(MemoryStore(), timeout=timeout)
    store.apply([CREATE])
    return store


def fields(store):
    (found,) = store.store.load([KEY], NOW)
    return found.fields


class TestHolding:
    def test_a_call_held_before_has_not_reached_the_store(self):
        store = held()
        with Race() as race, store.hold("apply", "before") as gate:
            late = race.start("late write", lambda: store.apply([WRITE]))
            gate.wait()
            assert fields(store) == {}
            assert store.store.apply([DESTROY]) == [APPLIED]
            gate.open()
            assert late.result() == [Refused.GONE]

    def test_a_call_held_after_was_done_and_not_answered(self):
        store = held()
        with Race() as race, store.hold("apply", "after") as gate:
            late = race.start("late write", lambda: store.apply([WRITE]))
            gate.wait()
            assert fields(store) == {"late": b"yes"}
            assert late.stands == "parked after apply"
            gate.open()
            assert late.result() == [APPLIED]
            assert late.stands == "finished"

    def test_only_the_call_that_was_chosen_is_held_and_only_once(self):
        store = held()
        with store.hold("apply", where=lambda call: call.args[0] == [DESTROY]) as gate, Race() as race:
            assert store.load([KEY], NOW)
            assert store.apply([WRITE]) == [APPLIED]
            logout = race.start("log out", lambda: store.apply([DESTROY]))
            gate.wait()
            assert store.apply([DESTROY]) == [APPLIED]
            gate.open()
            assert logout.result() == [Refused.GONE]

    def test_a_gate_that_was_opened_early_stops_nobody(self):
        store = held()
        with store.hold("apply") as gate:
            gate.open()
            assert store.apply([WRITE]) == [APPLIED]

    def test_a_gate_opens_when_its_block_ends(self):
        store = held()
        with Race() as race:
            with store.hold("apply") as gate:
                party = race.start("write", lambda: store.apply([WRITE]))
                gate.wait()
            assert party.result() == [APPLIED]


class TestWhoStandsWhere:
    def test_a_gate_to_which_nobody_comes_is_told(self):
        with (
            held(timeout=0.01).hold("count") as gate,
            pytest.raises(Stuck, match=r"before count within 0\.01 s"),
        ):
            gate.wait()

    def test_a_gate_that_nobody_opens_is_told(self):
        store = held(timeout=0.01)
        store.hold("apply", "after")
        with pytest.raises(Stuck, match=r"MainThread stood at the gate after apply for 0\.01 s"):
            store.apply([WRITE])

    def test_a_race_that_does_not_end_tells_where_each_party_stands(self):
        store = held()
        lock = threading.Lock()

        def waits_for_the_lock():
            with lock:
                pass

        race = Race(timeout=0.2)
        with lock, store.hold("apply") as gate:
            race.start("late write", lambda: store.apply([WRITE]))
            race.start("other", waits_for_the_lock)
            race.start("quick", lambda: None).result()
            gate.wait()
            with pytest.raises(Stuck) as caught:
                race.start("third", gate._opened.wait).result()
        report = str(caught.value)
        assert "  late write: parked before apply" in report
        assert "  other: at " in report
        assert "in waits_for_the_lock" in report
        assert "  quick: finished" in report

    def test_what_a_party_raised_is_raised_to_who_asks_for_its_result(self):
        def fails():
            raise ValueError("this")

        race = Race()
        party = race.start("fails", fails)
        with pytest.raises(ValueError, match="this"):
            party.result()

    def test_leaving_a_race_raises_what_a_party_raised(self):
        with pytest.raises(ZeroDivisionError), Race() as race:
            race.start("divides", lambda: 1 // 0)

    def test_what_went_wrong_in_the_test_itself_is_told_first(self):
        def goes_wrong():
            with Race() as race:
                race.start("divides", lambda: 1 // 0)
                raise KeyError("the test's own")

        with pytest.raises(KeyError):
            goes_wrong()


class TestInAnEventLoop:
    def test_a_call_held_before_has_not_reached_the_store(self):
        async def test():
            store = AsyncPausingStore(awaitable(MemoryStore()))
            await store.apply([CREATE])
            async with AsyncRace() as race:
                with store.hold("apply", "before") as gate:
                    late = race.start("late write", store.apply([WRITE]))
                    await gate.wait()
                    assert late.stands == "parked before apply"
                    assert await store.store.apply([DESTROY]) == [APPLIED]
                    gate.open()
                    assert await late.result() == [Refused.GONE]
                    assert late.stands == "finished"

        asyncio.run(test())

    def test_a_call_held_after_was_done_and_not_answered(self):
        async def test():
            store = AsyncPausingStore(awaitable(MemoryStore()))
            await store.apply([CREATE])
            async with AsyncRace() as race:
                with store.hold("apply", "after", where=lambda call: call.args[0] == [WRITE]) as gate:
                    late = race.start("late write", store.apply([WRITE]))
                    await gate.wait()
                    (found,) = await store.load([KEY], NOW)
                    assert found.fields == {"late": b"yes"}
                assert await late.result() == [APPLIED]

        asyncio.run(test())

    def test_a_held_call_can_be_cancelled(self):
        async def test():
            store = AsyncPausingStore(awaitable(MemoryStore()))
            with store.hold("apply") as gate:
                task = asyncio.create_task(store.apply([CREATE]))
                await gate.wait()
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
            assert await store.load([KEY], NOW) == [None]

        asyncio.run(test())

    def test_a_gate_to_which_nobody_comes_or_that_nobody_opens_is_told(self):
        async def test():
            store = AsyncPausingStore(awaitable(MemoryStore()), timeout=0.01)
            with store.hold("count") as gate, pytest.raises(Stuck, match=r"before count within 0\.01 s"):
                await gate.wait()
            store.hold("apply", "after")
            with pytest.raises(Stuck, match=r"stood at the gate after apply for 0\.01 s"):
                await store.apply([CREATE])

        asyncio.run(test())

    def test_a_race_that_does_not_end_tells_where_each_party_stands(self):
        async def waits(event):
            await event.wait()

        async def quick():
            pass

        async def test():
            store = AsyncPausingStore(awaitable(MemoryStore()))
            race = AsyncRace(timeout=0.05)
            with store.hold("apply") as gate:
                race.start("late write", store.apply([CREATE]))
                race.start("other", waits(asyncio.Event()))
                await race.start("quick", quick()).result()
                await gate.wait()
                with pytest.raises(Stuck) as caught:
                    await race.__aexit__(None, None, None)
            report = str(caught.value)
            assert "  late write: parked before apply" in report
            assert "  other: at " in report
            assert "in wait" in report
            assert "  quick: finished" in report

        asyncio.run(test())

    def test_what_went_wrong_in_the_test_itself_is_told_first_and_nobody_is_left_behind(self):
        tasks = []

        async def test():
            async with AsyncRace() as race:
                tasks.append(race.start("waits", asyncio.Event().wait()).task)
                raise KeyError("the test's own")

        with pytest.raises(KeyError):
            asyncio.run(test())
        assert tasks[0].cancelled()
