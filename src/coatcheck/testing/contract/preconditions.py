"""The secret, and the user, that a change expects; rotation and its grace; signing in."""

from __future__ import annotations

import asyncio

from coatcheck.model.record import APPLIED, Record, Refused, Rotation, SignIn
from coatcheck.testing.contract.harness import Bench, contention, hashed, scenario

__all__ = ["Preconditions"]

GRACE = 20_000


class Preconditions:
    """Who may change a record, and when no longer."""

    @scenario
    async def test_a_change_with_the_current_secret_is_applied(self, bench: Bench) -> None:
        record = await bench.create()
        change = bench.update(record, secret=hashed("secret"), set={"theme": b"light"})
        assert await bench.apply(change) == APPLIED
        assert (await bench.fields(record))["theme"] == b"light"

    @scenario
    async def test_a_change_with_another_secret_is_refused_and_writes_nothing(self, bench: Bench) -> None:
        record = await bench.create(bench.rich())
        before = await bench.raw(record)
        for parts in (
            {"set": {"theme": b"light"}},
            {"clear": True},
            {"sign_in": SignIn("mallory")},
            {"rotate": Rotation(hashed("new"))},
            {"rotate": Rotation(hashed("new"), derived=True)},
        ):
            change = bench.update(record, secret=hashed("another"), **parts)
            assert await bench.apply(change) is Refused.CHANGED
            assert await bench.raw(record) == before

    @scenario
    async def test_a_change_for_another_user_is_refused_and_writes_nothing(self, bench: Bench) -> None:
        for record in (bench.signed_in("ada"), bench.record()):
            await bench.create(record)
            before = await bench.raw(record)
            change = bench.update(record, user="grace", set={"role": b"admin"})
            assert await bench.apply(change) is Refused.CHANGED
            assert await bench.raw(record) == before

    @scenario
    async def test_a_change_for_the_user_who_is_signed_in_is_applied(self, bench: Bench) -> None:
        record = await bench.create(bench.signed_in("ada"))
        assert await bench.apply(bench.update(record, user="ada", set={"role": b"admin"})) == APPLIED
        assert (await bench.fields(record))["role"] == b"admin"

    @scenario
    async def test_a_random_rotation_ends_the_old_secret_at_once(self, bench: Bench) -> None:
        record = await bench.create(bench.record(previous=hashed("previous")))
        late = bench.update(record, secret=hashed("secret"), grace=GRACE, set={"late": b"yes"})
        later_still = bench.update(record, secret=hashed("previous"), grace=GRACE, set={"late": b"yes"})
        rotation = bench.update(record, secret=hashed("secret"), rotate=Rotation(hashed("new")), grace=GRACE)
        assert await bench.apply(rotation) == APPLIED
        assert await bench.apply(late) is Refused.CHANGED
        assert await bench.apply(later_still) is Refused.CHANGED
        assert "late" not in await bench.fields(record)
        assert await bench.apply(bench.update(record, secret=hashed("new"))) == APPLIED

    @scenario
    async def test_of_many_who_expect_the_same_secret_and_replace_it_one_wins(self, bench: Bench) -> None:
        with contention():
            for _ in range(5):
                record = await bench.create()
                changes = [
                    bench.update(record, secret=hashed("secret"), rotate=Rotation(hashed(f"new {number}")))
                    for number in range(12)
                ]
                answers = await asyncio.gather(*(bench.parallel.apply([change]) for change in changes))
                won = [number for number, (answer,) in enumerate(answers) if answer == APPLIED]
                assert len(won) == 1
                found = await bench.load(record)
                assert isinstance(found, Record)
                assert found.secret == hashed(f"new {won[0]}")

    @scenario
    async def test_a_derived_rotation_keeps_the_old_secret_until_the_new_one_was_seen(
        self, bench: Bench
    ) -> None:
        record = await bench.create()
        rotation = Rotation(hashed("next"), derived=True)
        await bench.apply(bench.update(record, secret=hashed("secret"), rotate=rotation, grace=GRACE))
        much_later = bench.start + 100 * GRACE
        late = bench.update(record, secret=hashed("secret"), grace=GRACE, at=much_later, set={"late": b"yes"})
        assert await bench.apply(late) == APPLIED
        assert (await bench.fields(record))["late"] == b"yes"

    @scenario
    async def test_the_old_secret_is_good_for_the_grace_after_the_new_one_was_seen(
        self, bench: Bench
    ) -> None:
        record = await bench.create(bench.record(previous=hashed("previous")))
        seen = bench.start + 1_000
        await bench.apply(bench.update(record, at=seen, secret=hashed("secret"), seen=True, grace=GRACE))
        # The new one is presented again and again; the grace counts from the first time.
        await bench.apply(
            bench.update(record, at=seen + 5_000, secret=hashed("secret"), seen=True, grace=GRACE)
        )
        old = {"secret": hashed("previous"), "grace": GRACE}
        assert await bench.apply(bench.update(record, at=seen + GRACE - 1, **old)) == APPLIED
        assert await bench.apply(bench.update(record, at=seen + GRACE, **old)) is Refused.CHANGED

    @scenario
    async def test_a_derived_rotation_is_the_same_for_all_who_ask_at_once(self, bench: Bench) -> None:
        record = await bench.create()
        rotation = Rotation(hashed("next"), derived=True)
        changes = [
            bench.update(
                record,
                at=bench.start + number,
                secret=hashed("secret"),
                rotate=rotation,
                grace=GRACE,
                set={f"field {number}": b"kept"},
            )
            for number in range(12)
        ]
        with contention():
            answers = await asyncio.gather(*(bench.parallel.apply([change]) for change in changes))
        assert [answer for (answer,) in answers] == [APPLIED] * 12
        found = await bench.load(record)
        assert isinstance(found, Record)
        assert (found.secret, found.previous, found.seen) == (hashed("next"), hashed("secret"), 0)
        assert {f"field {number}" for number in range(12)} <= set(found.fields)

    @scenario
    async def test_a_second_derived_rotation_does_not_start_anew(self, bench: Bench) -> None:
        record = await bench.create()
        change = bench.update(record, secret=hashed("secret"), rotate=Rotation(hashed("next"), derived=True))
        await bench.apply(change)
        before = await bench.raw(record)
        assert await bench.apply(change) == APPLIED
        assert await bench.raw(record) == before

    @scenario
    async def test_signing_in_moves_the_user_and_the_time_of_the_sign_in(self, bench: Bench) -> None:
        record = await bench.create()
        at = bench.start + 7_000
        change = bench.update(
            record,
            at=at,
            secret=hashed("secret"),
            sign_in=SignIn("ada", "Browser/1.0"),
            rotate=Rotation(hashed("new")),
        )
        assert await bench.apply(change) == APPLIED
        found = await bench.load(record)
        assert isinstance(found, Record)
        assert (found.user, found.client, found.signed_in) == ("ada", "Browser/1.0", at)
        assert (found.secret, found.secret_at, found.created) == (hashed("new"), at, record.created)
        # The anonymous visitor's fields stay.
        assert found.fields == record.fields

    @scenario
    async def test_two_sign_ins_never_look_the_same(self, bench: Bench) -> None:
        record = await bench.create(bench.signed_in("ada"))
        await bench.apply(bench.update(record, sign_in=SignIn("ada")))
        found = await bench.load(record)
        assert isinstance(found, Record)
        assert found.signed_in > record.signed_in

    @scenario
    async def test_a_hundred_parallel_increments_that_each_replace_the_secret_all_count(
        self, bench: Bench
    ) -> None:
        record = await bench.create(fields={"count": b"0"})

        async def try_to_increment(mark: str) -> bool:
            (found,) = await bench.parallel.load([record.key], bench.start)
            assert isinstance(found, Record)
            change = bench.update(
                record,
                secret=found.secret,
                rotate=Rotation(hashed(mark)),
                set={"count": b"%d" % (int(found.fields["count"]) + 1)},
            )
            (answer,) = await bench.parallel.apply([change])
            return answer == APPLIED

        done = 0
        rounds = 0
        with contention():
            while done < 100:
                tries = await asyncio.gather(*(try_to_increment(f"{rounds} {mark}") for mark in range(8)))
                assert any(tries), "all were refused, and nobody else had changed the secret"
                done += sum(tries)
                rounds += 1
        assert await bench.fields(record) == {"count": b"%d" % done}
