"""Several keys and several changes at once, answered one by one and in order."""

from __future__ import annotations

import asyncio

from coatcheck.model.ports import Unreadable
from coatcheck.model.record import APPLIED, Applied, Create, Record, Refused
from coatcheck.testing.contract.harness import Bench, contention, hashed, scenario

__all__ = ["Batches"]


class Batches:
    """A batch answers as its members would alone."""

    @scenario
    async def test_an_empty_batch_has_no_answers(self, bench: Bench) -> None:
        assert list(await bench.store.load([], bench.start)) == []
        assert list(await bench.store.apply([])) == []

    @scenario
    async def test_keys_are_answered_in_order_with_doubles_and_absent_ones(self, bench: Bench) -> None:
        first, second = await bench.create(), await bench.create(bench.rich())
        absent = bench.record()
        keys = [second.key, absent.key, first.key, second.key, first.key, absent.key]
        found = await bench.store.load(keys, bench.start)
        assert list(found) == [second, None, first, second, first, None]

    @scenario
    async def test_an_unreadable_neighbour_spoils_nothing(self, bench: Bench) -> None:
        good, bad = await bench.create(), bench.record()
        await bench.harness.plant(bad.key, b"who knows what")
        before, unreadable, after = await bench.store.load([good.key, bad.key, good.key], bench.start)
        assert before == after == good
        assert isinstance(unreadable, Unreadable)
        change = bench.update(good, set={"theme": b"light"})
        answers = await bench.store.apply([bench.update(bad), change])
        assert list(answers) == [Refused.UNREADABLE, APPLIED]
        assert (await bench.fields(good))["theme"] == b"light"

    @scenario
    async def test_changes_of_several_records_are_answered_in_order(self, bench: Bench) -> None:
        records = [await bench.create(fields={"n": b"%d" % number}) for number in range(4)]
        gone, new = bench.record(), bench.record()
        answers = await bench.store.apply(
            [
                bench.update(records[2], take=("n",)),
                bench.update(gone, set={"n": b"0"}),
                Create(new),
                bench.update(records[0], take=("n",)),
                Create(records[1]),
                bench.update(records[3], secret=hashed("another"), set={"n": b"x"}),
                bench.destroy(records[1]),
            ]
        )
        assert list(answers) == [
            Applied({"n": b"2"}),
            Refused.GONE,
            APPLIED,
            Applied({"n": b"0"}),
            Refused.EXISTS,
            Refused.CHANGED,
            APPLIED,
        ]
        assert await bench.load(new) == new
        assert await bench.load(records[3]) == records[3]
        assert not await bench.is_live(records[1])

    @scenario
    async def test_changes_of_one_record_in_one_batch_are_applied_in_order(self, bench: Bench) -> None:
        record = bench.record(fields={"n": b"0"})
        answers = await bench.store.apply(
            [
                bench.update(record, set={"early": b"yes"}),
                Create(record),
                Create(record),
                bench.update(record, set={"n": b"1", "m": b"1"}),
                bench.update(record, set={"n": b"2"}),
                bench.update(record, take=("n", "m", "early")),
                bench.update(record, take=("n",)),
                bench.update(record, set={"last": b"yes"}),
            ]
        )
        assert list(answers) == [
            Refused.GONE,
            APPLIED,
            Refused.EXISTS,
            APPLIED,
            APPLIED,
            Applied({"n": b"2", "m": b"1"}),
            APPLIED,
            APPLIED,
        ]
        assert await bench.fields(record) == {"last": b"yes"}
        answers = await bench.store.apply(
            [bench.destroy(record), bench.update(record), bench.destroy(record)]
        )
        assert list(answers) == [APPLIED, Refused.GONE, Refused.GONE]

    @scenario
    async def test_a_batch_may_be_large(self, bench: Bench) -> None:
        # More than the thousand parameters that some databases take in one statement.
        records = [bench.record(fields={"n": b"%d" % number}) for number in range(1_100)]
        assert list(await bench.store.apply([Create(record) for record in records])) == [APPLIED] * 1_100
        assert list(await bench.store.load([record.key for record in records], bench.start)) == records

    @scenario
    async def test_batches_that_meet_in_opposite_order_are_all_applied(self, bench: Bench) -> None:
        records = [await bench.create(fields={}) for _ in range(8)]

        async def write(number: int) -> None:
            ordered = records if number % 2 else records[::-1]
            batch = [bench.update(record, set={f"field {number}": b"1"}) for record in ordered]
            assert list(await bench.parallel.apply(batch)) == [APPLIED] * len(batch)

        with contention():
            await asyncio.gather(*(write(number) for number in range(16)))
        everything = {f"field {number}": b"1" for number in range(16)}
        for found in await bench.store.load([record.key for record in records], bench.start):
            assert isinstance(found, Record)
            assert found.fields == everything
