"""Parking a call at a chosen point, and saying where each party stands when nothing moves any more."""

import asyncio
import threading

import pytest

from coatcheck.stores.memory import MemoryStore
from coatcheck.testing import AsyncPausingStore, AsyncRace, PausingStore, Race, Stuck, awaitable
from tests.testing.items import DEADLINE, KEY, NOW, OTHER, data, item, lost_to, write

CREATE = item(text=b"new")
LATE = item(text=b"late", over=CREATE)
ENDED = item(text=b"ended", over=CREATE)


def held(timeout=5.0):
    store = PausingStore(MemoryStore(), timeout=timeout)
    write(store, CREATE)
    return store


class TestHolding:
    def test_a_call_held_before_has_not_reached_the_store(self):
        store = held()
        with Race() as race, store.hold("write", "before") as gate:
            late = race.start("late write", lambda: store.write([LATE], NOW, DEADLINE))
            gate.wait()
            assert data(store.store) == CREATE.data
            assert store.store.write([ENDED], NOW, DEADLINE) == [None]
            gate.open()
            assert lost_to(late.result(), ENDED)

    def test_a_call_held_after_was_carried_out_and_not_answered(self):
        store = held()
        with Race() as race, store.hold("write", "after") as gate:
            late = race.start("late write", lambda: store.write([LATE], NOW, DEADLINE))
            gate.wait()
            assert data(store.store) == LATE.data
            assert late.stands == "parked after write"
            gate.open()
            assert late.result() == [None]
            assert late.stands == "finished"

    def test_only_the_call_that_was_chosen_is_held_and_only_once(self):
        store = held()
        with store.hold("write", where=lambda call: call.args[0] == [ENDED]) as gate, Race() as race:
            assert store.load([KEY], NOW, DEADLINE)
            assert store.write([item(OTHER)], NOW, DEADLINE) == [None]
            logout = race.start("log out", lambda: store.write([ENDED], NOW, DEADLINE))
            gate.wait()
            assert store.write([ENDED], NOW, DEADLINE) == [None]
            gate.open()
            assert lost_to(logout.result(), ENDED)

    def test_a_gate_that_was_opened_early_parks_no_call(self):
        store = held()
        with store.hold("write") as gate:
            gate.open()
            assert store.write([LATE], NOW, DEADLINE) == [None]

    def test_a_gate_opens_when_its_block_ends(self):
        store = held()
        with Race() as race:
            with store.hold("write") as gate:
                party = race.start("write", lambda: store.write([LATE], NOW, DEADLINE))
                gate.wait()
            assert party.result() == [None]


class TestWhereEachPartyStands:
    def test_a_gate_that_no_call_reaches_is_told(self):
        with (
            held(timeout=0.01).hold("count") as gate,
            pytest.raises(Stuck, match=r"before count within 0\.01 s"),
        ):
            gate.wait()

    def test_a_gate_that_is_never_opened_is_told(self):
        store = held(timeout=0.01)
        store.hold("write", "after")
        with pytest.raises(Stuck, match=r"MainThread was parked after write for 0\.01 s"):
            store.write([LATE], NOW, DEADLINE)

    def test_a_race_that_does_not_end_tells_where_each_party_stands(self):
        store = held()
        lock = threading.Lock()

        def waits_for_the_lock():
            with lock:
                pass

        race = Race(timeout=0.2)
        with lock, store.hold("write") as gate:
            race.start("late write", lambda: store.write([LATE], NOW, DEADLINE))
            race.start("other", waits_for_the_lock)
            race.start("quick", lambda: None).result()
            gate.wait()
            with pytest.raises(Stuck) as caught:
                race.start("third", gate._opened.wait).result()
        report = str(caught.value)
        assert "  late write: parked before write" in report
        assert "  other: at " in report
        assert "in waits_for_the_lock" in report
        assert "  quick: finished" in report

    def test_the_result_of_a_party_raises_its_error(self):
        def fails():
            raise ValueError("this")

        race = Race()
        party = race.start("fails", fails)
        with pytest.raises(ValueError, match="this"):
            party.result()

    def test_leaving_a_race_raises_the_error_of_a_party(self):
        with pytest.raises(ZeroDivisionError), Race() as race:
            race.start("divides", lambda: 1 // 0)

    def test_an_error_of_the_test_itself_comes_first(self):
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
            await store.write([CREATE], NOW, DEADLINE)
            async with AsyncRace() as race:
                with store.hold("write", "before") as gate:
                    late = race.start("late write", store.write([LATE], NOW, DEADLINE))
                    await gate.wait()
                    assert late.stands == "parked before write"
                    assert await store.store.write([ENDED], NOW, DEADLINE) == [None]
                    gate.open()
                    assert lost_to(await late.result(), ENDED)
                    assert late.stands == "finished"

        asyncio.run(test())

    def test_a_call_held_after_was_carried_out_and_not_answered(self):
        async def test():
            store = AsyncPausingStore(awaitable(MemoryStore()))
            await store.write([CREATE], NOW, DEADLINE)
            async with AsyncRace() as race:
                with store.hold("write", "after", where=lambda call: call.args[0] == [LATE]) as gate:
                    late = race.start("late write", store.write([LATE], NOW, DEADLINE))
                    await gate.wait()
                    (found,) = await store.load([KEY], NOW, DEADLINE)
                    assert found.data == LATE.data
                assert await late.result() == [None]

        asyncio.run(test())

    def test_a_held_call_can_be_cancelled(self):
        async def test():
            store = AsyncPausingStore(awaitable(MemoryStore()))
            with store.hold("write") as gate:
                task = asyncio.create_task(store.write([CREATE], NOW, DEADLINE))
                await gate.wait()
                task.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await task
            assert await store.load([KEY], NOW, DEADLINE) == [None]

        asyncio.run(test())

    def test_a_gate_that_no_call_reaches_or_that_is_never_opened_is_told(self):
        async def test():
            store = AsyncPausingStore(awaitable(MemoryStore()), timeout=0.01)
            with store.hold("count") as gate, pytest.raises(Stuck, match=r"before count within 0\.01 s"):
                await gate.wait()
            store.hold("write", "after")
            with pytest.raises(Stuck, match=r"was parked after write for 0\.01 s"):
                await store.write([CREATE], NOW, DEADLINE)

        asyncio.run(test())

    def test_a_race_that_does_not_end_tells_where_each_party_stands(self):
        async def waits(event):
            await event.wait()

        async def quick():
            pass

        async def test():
            store = AsyncPausingStore(awaitable(MemoryStore()))
            race = AsyncRace(timeout=0.05)
            with store.hold("write") as gate:
                race.start("late write", store.write([CREATE], NOW, DEADLINE))
                race.start("other", waits(asyncio.Event()))
                await race.start("quick", quick()).result()
                await gate.wait()
                with pytest.raises(Stuck) as caught:
                    await race.__aexit__(None, None, None)
            report = str(caught.value)
            assert "  late write: parked before write" in report
            assert "  other: at " in report
            assert "in wait" in report
            assert "  quick: finished" in report

        asyncio.run(test())

    def test_an_error_of_the_test_itself_comes_first_and_no_task_is_left(self):
        tasks = []

        async def test():
            async with AsyncRace() as race:
                tasks.append(race.start("waits", asyncio.Event().wait()).task)
                raise KeyError("the test's own")

        with pytest.raises(KeyError):
            asyncio.run(test())
        assert tasks[0].cancelled()
