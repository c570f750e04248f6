"""Many callers at once: each gets its own data, and of those that expect one version exactly one wins."""

from __future__ import annotations

import asyncio
from typing import Any

from coatcheck.model.ports import AsyncStore, Conflict, Write
from coatcheck.testing.contract.harness import Bench, contention, scenario

__all__ = ["Parallel"]

CALLERS = 12


class Parallel:
    """Threads, tasks and two stores over the same data."""

    @scenario
    async def test_of_many_writes_that_expect_one_version_exactly_one_is_done(self, bench: Bench) -> None:
        with contention():
            for _ in range(10):
                lying = await bench.put(b"0")
                writes = [bench.item(b"%d" % number, over=lying) for number in range(CALLERS)]
                assert await winner(bench, writes) in writes

    @scenario
    async def test_of_many_writes_that_expect_nothing_exactly_one_is_done(self, bench: Bench) -> None:
        with contention():
            for _ in range(10):
                key = bench.item().key
                writes = [bench.item(b"%d" % number, key=key) for number in range(CALLERS)]
                assert await winner(bench, writes) in writes

    @scenario
    async def test_of_many_removals_exactly_one_removes(self, bench: Bench) -> None:
        with contention():
            for _ in range(10):
                lying = await bench.put()
                answers = await asyncio.gather(
                    *(bench.remove(lying.key, store=bench.parallel) for _ in range(CALLERS))
                )
                assert sorted(answers) == [[False]] * (CALLERS - 1) + [[True]]

    @scenario
    async def test_a_counter_that_many_callers_raise_ends_exact(self, bench: Bench) -> None:
        lying = await bench.put(b"0")
        with contention():
            await asyncio.gather(*(raise_by_ten(bench, bench.parallel, lying.key) for _ in range(10)))
        assert (await bench.found(lying.key)).data[8:] == b"100"

    @scenario
    async def test_a_counter_that_two_processes_raise_ends_exact(self, bench: Bench) -> None:
        lying = await bench.put(b"0")
        stores = [bench.parallel, await bench.another()]
        with contention():
            await asyncio.gather(*(raise_by_ten(bench, stores[n % 2], lying.key) for n in range(8)))
        assert (await bench.found(lying.key)).data[8:] == b"80"

    @scenario
    async def test_loads_at_once_each_get_their_own_data(self, bench: Bench) -> None:
        writes = [await bench.put(b"%d" % number) for number in range(32)]

        async def load_again_and_again(key: bytes, data: bytes) -> None:
            for _ in range(10):
                assert await bench.data(key, store=bench.parallel) == data

        with contention():
            await asyncio.gather(*(load_again_and_again(write.key, write.data) for write in writes))

    @scenario
    async def test_loads_beside_writes_see_whole_data(self, bench: Bench) -> None:
        writes = [await bench.put(b"0" * 9_000) for _ in range(6)]

        async def replace(number: int) -> None:
            lying = writes[number]
            for digit in b"123456789":
                lying = await bench.send(bench.item(bytes([digit]) * 9_000, over=lying), bench.parallel)

        async def load(number: int) -> None:
            for _ in range(10):
                found = await bench.load(writes[number].key, store=bench.parallel)
                assert found is not None
                assert len(set(found.data[8:])) == 1
                assert len(found.data) == 9_008

        with contention():
            await asyncio.gather(*(step(number) for number in range(6) for step in (replace, load)))

    @scenario
    async def test_after_cancelled_loads_each_caller_gets_its_own_data(self, bench: Bench) -> None:
        writes = [await bench.put(b"%d" % number * 1_000) for number in range(8)]
        for turns in range(24):
            tasks = [asyncio.create_task(bench.data(write.key, store=bench.parallel)) for write in writes[:4]]
            await cancelled_after(turns, *tasks)
            answers = await asyncio.gather(
                *(bench.data(write.key, store=bench.parallel) for write in writes[4:])
            )
            assert answers == [write.data for write in writes[4:]]

    @scenario
    async def test_a_cancelled_write_is_done_as_a_whole_or_not_at_all(self, bench: Bench) -> None:
        for turns in range(24):
            before = await bench.put(b"before")
            other = await bench.put(b"other")
            after = bench.item(b"after", over=before)
            await cancelled_after(turns, asyncio.create_task(bench.send(after, bench.parallel)))
            assert await bench.data(other.key, store=bench.parallel) == other.data
            # It may still be on its way; a write over either version settles it.
            last = bench.item(b"last", over=before)
            (answer,) = await bench.write(last, store=bench.parallel)
            if answer is not None:
                assert isinstance(answer, Conflict), answer
                assert answer.found is not None
                assert answer.found.data == after.data
                last = await bench.put(b"last", key=before.key, over=answer.found)
            assert await bench.data(before.key) == last.data


async def winner(bench: Bench, writes: list[Write]) -> Write:
    """Send rival writes of one key at once, and see that one is done and the others meet it."""
    answers = await asyncio.gather(*(bench.write(write, store=bench.parallel) for write in writes))
    done = [write for write, (answer,) in zip(writes, answers, strict=True) if answer is None]
    assert len(done) == 1, f"{len(done)} of {len(writes)} were done"
    conflicts = [answer for (answer,) in answers if answer is not None]
    for answer in conflicts:
        assert isinstance(answer, Conflict), answer
        assert answer.found is not None
        assert answer.found.data == done[0].data
    assert await bench.data(done[0].key) == done[0].data
    return done[0]


async def raise_by_ten(bench: Bench, store: AsyncStore, key: bytes) -> None:
    """Add 1 to a number ten times, each time to what lies there then."""
    for _ in range(10):
        found = await bench.load(key, store=store)
        while True:
            assert found is not None
            number = int(found.data[8:]) + 1
            (answer,) = await bench.write(bench.item(b"%d" % number, key=key, over=found), store=store)
            if answer is None:
                break
            assert isinstance(answer, Conflict), answer
            assert answer.found is not None
            assert answer.found.data != found.data, "a conflict with the version that it expected"
            found = answer.found


async def cancelled_after(turns: int, *tasks: asyncio.Task[Any]) -> None:
    """Cancel the tasks after some turns of the loop, and wait until they ended, in whatever way."""
    for _ in range(turns):
        await asyncio.sleep(0)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
