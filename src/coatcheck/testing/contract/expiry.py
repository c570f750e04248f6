"""Everything ends by itself: it is kept until its expiry, and removed some time later."""

from __future__ import annotations

import asyncio

from coatcheck.testing.contract.harness import DAY, SHORT, Bench, contention, scenario

__all__ = ["Counting", "Expiry"]


class Expiry:
    """Expiry and sweeping. A server that keeps time removes by itself what others sweep."""

    @scenario
    async def test_data_is_kept_until_it_expires_and_not_for_ever(self, bench: Bench) -> None:
        expires = bench.start + SHORT
        writes = [
            await bench.put(b"anonymous", expires=expires),
            await bench.put(b"a tombstone", expires=expires, live=False),
            await bench.put(b"urgent", expires=expires, urgent=True),
            await bench.put(b"the second", over=await bench.put(expires=expires), expires=expires),
        ]
        await bench.harness.advance(1)
        assert await bench.sweep() == 0
        assert [await bench.data(write.key) for write in writes] == [write.data for write in writes]
        await bench.harness.advance(3)
        await bench.sweep_everything()
        assert [await bench.harness.raw(write.key) for write in writes] == [None] * len(writes)
        assert [await bench.load(write.key, now=bench.harness.now) for write in writes] == [None] * len(
            writes
        )

    @scenario
    async def test_the_expiry_of_the_last_write_counts(self, bench: Bench) -> None:
        soon, late = bench.start + SHORT, bench.start + DAY
        longer = await bench.put(b"slid", over=await bench.put(expires=soon), expires=late)
        shorter = await bench.put(b"ended", over=await bench.put(expires=late), expires=soon)
        refused = await bench.put(b"as it was", expires=late)
        await bench.conflict(bench.item(key=refused.key, expires=soon))
        await bench.harness.advance(4)
        await bench.sweep_everything()
        assert await bench.harness.raw(longer.key) == longer.data
        assert await bench.harness.raw(shorter.key) is None
        assert await bench.harness.raw(refused.key) == refused.data

    @scenario
    async def test_a_key_whose_data_was_swept_begins_anew(self, bench: Bench) -> None:
        first = await bench.put(b"the first", expires=bench.start + SHORT)
        await bench.harness.advance(4)
        await bench.sweep_everything()
        assert await bench.conflict(bench.item(b"too late", over=first)) is None
        second = await bench.put(b"the second", key=first.key)
        await bench.sweep_everything()
        assert await bench.data(first.key) == second.data

    @scenario
    async def test_a_sweep_removes_no_more_than_it_was_told_and_tells_how_many(self, bench: Bench) -> None:
        writes = [await bench.put(expires=bench.start + SHORT, live=number > 2) for number in range(5)]
        await bench.harness.advance(4)

        async def left() -> int:
            return sum([await bench.harness.raw(write.key) is not None for write in writes])

        before = await left()  # none, where the server removes them by itself
        for limit in (2, 1, 5):
            expected = min(limit, before)
            assert await bench.sweep(limit) == expected
            before -= expected
            assert await left() == before

    @scenario
    async def test_a_sweep_never_removes_live_data(self, bench: Bench) -> None:
        now = bench.start + 60_000
        writes = [await bench.put(expires=now + 1, live=live) for live in (True, False)]
        writes.append(await bench.put(over=await bench.put(expires=now - 1), expires=now + 1))
        assert await bench.store.sweep(now, 100, bench.deadline) == 0
        for write in writes:
            assert await bench.harness.raw(write.key) == write.data

    @scenario
    async def test_a_sweep_leaves_what_another_request_prolongs_at_the_same_time(self, bench: Bench) -> None:
        now = bench.start + 60_000
        first = [await bench.put(expires=now) for _ in range(30)]
        longer = [bench.item(b"slid", over=write, expires=now + DAY) for write in first]

        async def prolong(number: int) -> bool:
            (answer,) = await bench.write(longer[number], store=bench.parallel)
            return answer is None

        async def sweep() -> None:
            for _ in range(10):
                await bench.parallel.sweep(now, 3, bench.deadline)

        with contention():
            _, _, *done = await asyncio.gather(sweep(), sweep(), *(prolong(number) for number in range(30)))
        for write, prolonged in zip(longer, done, strict=True):
            expected = write.data if prolonged else None
            assert await bench.harness.raw(write.key) == expected


class Counting:
    """Counting, of every store with an index."""

    @scenario
    async def test_live_data_is_counted_and_nothing_else(self, bench: Bench) -> None:
        async def count() -> int:
            return await bench.store.count(bench.harness.now, bench.deadline)

        assert await count() == 0
        first, second, third = [await bench.put() for _ in range(3)]
        await bench.put(live=False)
        assert await count() == 3
        second = await bench.put(over=second)
        await bench.conflict(bench.item(key=first.key))
        assert await count() == 3
        tombstone = await bench.put(over=second, live=False)
        assert await count() == 2
        await bench.put(over=tombstone)
        await bench.remove(third.key)
        assert await count() == 2
        await bench.put(expires=bench.start + SHORT)
        assert await count() == 3
        await bench.harness.advance(4)
        assert await count() == 2
