"""Many at once: each gets its own data, and nobody's write is lost."""

from __future__ import annotations

import asyncio

from coatcheck.model.record import APPLIED, Create, Record, Refused
from coatcheck.testing.contract.harness import Bench, contention, scenario

__all__ = ["Parallel"]


class Parallel:
    """The rest of what happens at once; more stands beside what it is about."""

    @scenario
    async def test_loads_at_once_each_get_their_own_record(self, bench: Bench) -> None:
        records = [await bench.create(fields={"own": b"%d" % number}) for number in range(32)]

        async def load_again_and_again(record: Record) -> None:
            for _ in range(10):
                assert list(await bench.parallel.load([record.key], bench.start)) == [record]

        with contention():
            await asyncio.gather(*(load_again_and_again(record) for record in records))

    @scenario
    async def test_loads_beside_writes_see_whole_records_of_their_own(self, bench: Bench) -> None:
        records = [await bench.create(fields={"a": b"0", "b": b"0"}) for _ in range(8)]

        async def write(record: Record) -> None:
            for number in range(1, 11):
                value = b"%d" % number
                await bench.parallel.apply([bench.update(record, set={"a": value, "b": value})])

        async def read(record: Record) -> None:
            for _ in range(10):
                (found,) = await bench.parallel.load([record.key], bench.start)
                assert isinstance(found, Record)
                assert found.key == record.key
                assert found.fields["a"] == found.fields["b"]

        with contention():
            await asyncio.gather(*(step(record) for record in records for step in (write, read)))

    @scenario
    async def test_a_hundred_changes_of_different_fields_at_once_all_stand(self, bench: Bench) -> None:
        record = await bench.create(fields={})
        changes = [bench.update(record, set={f"field {number}": b"%d" % number}) for number in range(100)]
        with contention():
            answers = await asyncio.gather(*(bench.parallel.apply([change]) for change in changes))
        assert [answer for (answer,) in answers] == [APPLIED] * 100
        assert await bench.fields(record) == {f"field {number}": b"%d" % number for number in range(100)}

    @scenario
    async def test_of_many_who_create_under_one_key_at_once_one_did(self, bench: Bench) -> None:
        with contention():
            for _ in range(5):
                key = bench.record().key
                rivals = [bench.record(key=key, fields={"by": b"%d" % number}) for number in range(12)]
                answers = await asyncio.gather(*(bench.parallel.apply([Create(rival)]) for rival in rivals))
                flat = [answer for (answer,) in answers]
                assert flat.count(APPLIED) == 1
                assert flat.count(Refused.EXISTS) == 11
                assert await bench.load(rivals[0]) == rivals[flat.index(APPLIED)]

    @scenario
    async def test_sweeping_beside_use_removes_no_live_record(self, bench: Bench) -> None:
        # Each is used in the last moment before it would expire, while two sweep as of the moment after.
        records = [await bench.create(expires=bench.start + 60_000) for _ in range(30)]
        uses = [bench.update(record, at=bench.start + 59_999) for record in records]

        async def use(number: int) -> bool:
            (answer,) = await bench.parallel.apply([uses[number]])
            return answer == APPLIED

        async def sweep() -> None:
            for _ in range(10):
                await bench.parallel.sweep(bench.start + 60_000, 3)

        with contention():
            _, _, *used = await asyncio.gather(sweep(), sweep(), *(use(number) for number in range(30)))
        for record, was_used in zip(records, used, strict=True):
            assert await bench.is_live(record, now=bench.start + 60_000) == bool(was_used)
