"""`take` removes fields and gives them back, in one step: nobody else gets them."""

from __future__ import annotations

import asyncio

from coatcheck.model.record import APPLIED, Applied, Refused
from coatcheck.testing.contract.harness import Bench, contention, hashed, scenario

__all__ = ["Taking"]


class Taking:
    """Fields that are read once."""

    @scenario
    async def test_taken_fields_are_given_back_and_gone(self, bench: Bench) -> None:
        record = await bench.create(fields={"a": b"1", "b": b"2", "c": b"3"})
        change = bench.update(record, take=("a", "c", "absent"))
        assert await bench.apply(change) == Applied({"a": b"1", "c": b"3"})
        assert await bench.fields(record) == {"b": b"2"}

    @scenario
    async def test_what_was_taken_can_not_be_taken_again(self, bench: Bench) -> None:
        record = await bench.create(fields={"flash": b"saved"})
        change = bench.update(record, take=("flash",))
        assert await bench.apply(change) == Applied({"flash": b"saved"})
        assert await bench.apply(change) == APPLIED

    @scenario
    async def test_take_gives_what_was_set_last_not_what_the_request_saw(self, bench: Bench) -> None:
        record = await bench.create(fields={"flash": b"old"})
        await bench.apply(bench.update(record, set={"flash": b"new"}))
        assert await bench.apply(bench.update(record, take=("flash",))) == Applied({"flash": b"new"})

    @scenario
    async def test_after_clearing_there_is_nothing_to_take(self, bench: Bench) -> None:
        record = await bench.create(fields={"flash": b"saved"})
        change = bench.update(record, clear=True, take=("flash",))
        assert await bench.apply(change) == APPLIED
        assert await bench.fields(record) == {}

    @scenario
    async def test_a_refused_take_takes_nothing(self, bench: Bench) -> None:
        record = await bench.create(fields={"flash": b"saved"})
        change = bench.update(record, take=("flash",), secret=hashed("another"))
        assert await bench.apply(change) is Refused.CHANGED
        assert await bench.fields(record) == {"flash": b"saved"}

    @scenario
    async def test_of_two_takers_in_one_batch_the_first_gets_it(self, bench: Bench) -> None:
        record = await bench.create(fields={"flash": b"saved"})
        change = bench.update(record, take=("flash",))
        answers = await bench.store.apply([change, change])
        assert list(answers) == [Applied({"flash": b"saved"}), APPLIED]

    @scenario
    async def test_of_many_takers_at_once_one_gets_it(self, bench: Bench) -> None:
        with contention():
            for _ in range(10):
                record = await bench.create(fields={"flash": b"saved"})
                change = bench.update(record, take=("flash",))
                answers = await asyncio.gather(*(bench.parallel.apply([change]) for _ in range(12)))
                taken = [answer for (answer,) in answers if answer != APPLIED]
                assert taken == [Applied({"flash": b"saved"})]

    @scenario
    async def test_a_field_that_goes_from_hand_to_hand_counts_to_a_hundred(self, bench: Bench) -> None:
        record = await bench.create(fields={"count": b"0"})
        take = bench.update(record, take=("count",))

        async def try_to_count_on() -> bool:
            (answer,) = await bench.parallel.apply([take])
            assert isinstance(answer, Applied)
            if not answer.taken:
                return False
            counted = int(answer.taken["count"]) + 1
            await bench.parallel.apply([bench.update(record, set={"count": b"%d" % counted})])
            return True

        counted = 0
        with contention():
            while counted < 100:
                tries = await asyncio.gather(*(try_to_count_on() for _ in range(8)))
                assert any(tries), "the field is there, and nobody got it"
                counted += sum(tries)
        assert await bench.fields(record) == {"count": b"%d" % counted}

    @scenario
    async def test_messages_that_come_while_others_are_taken_are_each_taken_once(self, bench: Bench) -> None:
        record = await bench.create(fields={})
        names = tuple(f"flash:{number}" for number in range(60))

        async def put(name: str) -> list[str]:
            assert await bench.apply(bench.update(record, set={name: b"hello"}), bench.parallel) == APPLIED
            return []

        async def take() -> list[str]:
            (answer,) = await bench.parallel.apply([bench.update(record, take=names)])
            assert isinstance(answer, Applied)
            return list(answer.taken)

        with contention():
            shown = await asyncio.gather(*(step for name in names for step in (put(name), take())))
        shown.append(await take())
        assert sorted(name for taken in shown for name in taken) == sorted(names)
