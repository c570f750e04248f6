"""Several items in one call, answered one by one and in order."""

from __future__ import annotations

import asyncio
import os

from coatcheck.model.ports import Conflict, Found, Write
from coatcheck.testing.contract.harness import Bench, contention, scenario

__all__ = ["Batches"]

MANY = 1_100
"""More than the thousand parameters that some databases take in one statement."""


class Batches:
    """Each item of a batch is answered as it would be alone."""

    @scenario
    async def test_an_empty_batch_has_no_answers(self, bench: Bench) -> None:
        assert list(await bench.store.load([], bench.start, bench.deadline)) == []
        assert list(await bench.write()) == []
        assert await bench.remove() == []

    @scenario
    async def test_keys_are_answered_in_order_with_doubles_and_absent_ones(self, bench: Bench) -> None:
        first, second = await bench.put(b"the first"), await bench.put(b"the second")
        absent, garbage = os.urandom(16), os.urandom(16)
        await bench.harness.plant(garbage, b"garbage")
        keys = [second.key, absent, first.key, second.key, garbage, first.key, absent]
        loaded = await bench.store.load(keys, bench.start, bench.deadline)
        data = [found.data if isinstance(found, Found) else found for found in loaded]
        assert data == [second.data, None, first.data, second.data, b"garbage", first.data, None]

    @scenario
    async def test_each_write_of_a_batch_is_done_or_refused_by_itself(self, bench: Bench) -> None:
        lying = [await bench.put(b"%d" % number) for number in range(4)]
        await bench.harness.plant(garbage := os.urandom(16), b"garbage")
        writes = [
            bench.item(b"replaces", over=lying[2]),
            bench.item(b"expects nothing", key=lying[0].key),
            bench.item(b"creates"),
            bench.item(b"expects a version", expected=os.urandom(8)),
            bench.item(b"expects another", key=lying[1].key, over=lying[0], urgent=True),
            bench.item(b"expects nothing", key=garbage),
            bench.item(b"ends", over=lying[3], live=False, urgent=True),
        ]
        answers = await bench.write(*writes)
        lies_there = [
            answer.found and answer.found.data if isinstance(answer, Conflict) else answer
            for answer in answers
        ]
        assert lies_there == [None, lying[0].data, None, None, lying[1].data, b"garbage", None]
        assert [isinstance(answer, Conflict) for answer in answers] == [
            *(False, True, False, True, True, True, False)
        ]
        after = [await bench.harness.raw(write.key) for write in writes]
        assert after == [
            *(writes[0].data, lying[0].data, writes[2].data, None, lying[1].data, b"garbage", writes[6].data)
        ]

    @scenario
    async def test_a_batch_may_be_large(self, bench: Bench) -> None:
        writes = [bench.item(b"%d" % number) for number in range(MANY)]
        keys = [write.key for write in writes]
        assert list(await bench.write(*writes)) == [None] * MANY
        loaded = await bench.store.load(keys, bench.start, bench.deadline)
        assert [found.data for found in loaded if isinstance(found, Found)] == [
            write.data for write in writes
        ]
        again = [bench.item(b"again", over=write) for write in writes[::2]]
        late = [bench.item(b"late", key=write.key) for write in writes[1::2]]
        answers = list(
            await bench.write(*(write for pair in zip(again, late, strict=True) for write in pair))
        )
        assert answers[::2] == [None] * (MANY // 2)
        found_instead = [
            answer.found.data for answer in answers[1::2] if isinstance(answer, Conflict) and answer.found
        ]
        assert found_instead == [write.data for write in writes[1::2]]
        assert await bench.remove(*keys) == [True] * MANY
        assert await bench.remove(*keys) == [False] * MANY

    @scenario
    async def test_batches_that_meet_in_opposite_order_are_all_carried_out(self, bench: Bench) -> None:
        keys = [(await bench.put(b"0")).key for _ in range(6)]

        async def add_one_to_each(number: int) -> None:
            ordered = keys if number % 2 else keys[::-1]
            loaded = await bench.parallel.load(ordered, bench.start, bench.deadline)
            lying = dict(zip(ordered, loaded, strict=True))
            while lying:
                writes: list[Write] = []
                for key, found in lying.items():
                    assert isinstance(found, Found), found
                    writes.append(bench.item(b"%d" % (int(found.data[8:]) + 1), key=key, over=found))
                for write, answer in zip(
                    writes, await bench.write(*writes, store=bench.parallel), strict=True
                ):
                    assert answer is None or isinstance(answer, Conflict), answer
                    if answer is None:
                        del lying[write.key]
                    else:
                        lying[write.key] = answer.found

        with contention():
            await asyncio.gather(*(add_one_to_each(number) for number in range(10)))
        assert [(await bench.found(key)).data[8:] for key in keys] == [b"10"] * len(keys)
