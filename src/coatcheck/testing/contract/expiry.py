"""Every record ends by itself, to the millisecond for whoever asks, and is let go some time later."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from coatcheck.model.record import APPLIED, TOMBSTONE_LIFE, Applied, Change, Record, Refused, Rotation, SignIn
from coatcheck.testing.contract.harness import LIFETIMES, SHORT, Bench, expiry, hashed, scenario

__all__ = ["Expiry"]


class Expiry:
    """Idle and absolute limits; counting; sweeping."""

    @scenario
    async def test_a_record_lives_until_it_expires_and_not_a_millisecond_longer(self, bench: Bench) -> None:
        for parts in ({"set": {"late": b"yes"}}, {"sign_in": SignIn("ada")}, {"take": ("theme",)}, {}):
            record = await bench.create()
            assert await bench.is_live(record, now=record.expires - 1)
            assert not await bench.is_live(record, now=record.expires)
            before = await bench.raw(record)
            dead = bench.update(record, at=record.expires, **parts)
            assert await bench.apply(dead) is Refused.GONE
            assert await bench.raw(record) in {before, None}
            assert await bench.apply(bench.update(record, at=record.expires - 1, **parts)) != Refused.GONE

    @scenario
    async def test_an_expired_record_is_not_destroyed_but_gone(self, bench: Bench) -> None:
        record = await bench.create()
        assert await bench.apply(bench.destroy(record, at=record.expires)) is Refused.GONE
        assert await bench.apply(bench.destroy(record, at=record.expires - 1)) == APPLIED

    @scenario
    async def test_use_moves_the_idle_limit_forward(self, bench: Bench) -> None:
        record = await bench.create()
        later = bench.start + 3_600_000
        await bench.apply(bench.update(record, at=later))
        found = await bench.load(record)
        assert isinstance(found, Record)
        assert (found.last_used, found.expires) == (later, later + LIFETIMES.idle)

    @scenario
    async def test_a_late_or_lagging_request_never_moves_a_limit_back(self, bench: Bench) -> None:
        record = await bench.create(created=bench.start - 60_000, secret_at=bench.start - 60_000)
        await bench.apply(bench.update(record, at=bench.start - 30_000, set={"theme": b"light"}))
        found = await bench.load(record)
        assert isinstance(found, Record)
        assert (found.last_used, found.expires) == (record.last_used, record.expires)
        assert found.fields["theme"] == b"light"

    @scenario
    async def test_use_never_moves_the_absolute_limit(self, bench: Bench) -> None:
        end = bench.start + LIFETIMES.absolute
        for parts in ({}, {"set": {"theme": b"light"}}, {"rotate": Rotation(hashed("new"))}, {"clear": True}):
            record = await bench.create(last_used=end - 2, expires=end)
            assert await bench.apply(bench.update(record, at=end - 1, **parts)) == APPLIED
            assert not await bench.is_live(record, now=end)
            assert await bench.apply(bench.update(record, at=end)) is Refused.GONE

    @scenario
    async def test_signing_in_starts_a_new_life(self, bench: Bench) -> None:
        end = bench.start + LIFETIMES.absolute
        record = await bench.create(last_used=end - 2, expires=end)
        change = bench.update(record, at=end - 1, sign_in=SignIn("ada"), rotate=Rotation(hashed("new")))
        assert await bench.apply(change) == APPLIED
        assert await bench.is_live(record, now=end - 1 + LIFETIMES.idle - 1)
        assert not await bench.is_live(record, now=end - 1 + LIFETIMES.idle)

    @scenario
    async def test_permanence_picks_the_longer_limits_and_can_be_given_up(self, bench: Bench) -> None:
        record = await bench.create()
        await bench.apply(bench.update(record, permanent=True))
        assert await bench.is_live(record, now=bench.start + LIFETIMES.remember_idle - 1)
        await bench.apply(bench.update(record, permanent=False))
        assert not await bench.is_live(record, now=record.expires)

    @scenario
    async def test_what_is_dead_is_not_counted(self, bench: Bench) -> None:
        if not bench.store.capabilities.count:
            pytest.skip("this store does not count its records (capabilities.count)")
        assert await bench.store.count(bench.start) == 0
        kept, ended, expiring = (
            await bench.create(),
            await bench.create(bench.signed_in("ada")),
            await bench.create(expires=bench.start + 3_600_000),
        )
        assert await bench.store.count(bench.start) == 3
        assert await bench.store.count(expiring.expires - 1) == 3
        assert await bench.store.count(expiring.expires) == 2
        await bench.apply(bench.destroy(ended))
        assert await bench.store.count(bench.start) == 2
        assert await bench.store.count(kept.expires) == 0

    @scenario
    async def test_nothing_stays_in_the_store_for_ever(self, bench: Bench) -> None:
        def short(record: Record) -> Record:
            return replace(record, expires=expiry(record, SHORT))

        records = [await bench.create(short(bench.record())) for _ in range(7)]
        changes: list[Change] = [
            bench.update(records[1], set={"theme": b"light"}, lifetimes=SHORT),
            bench.update(records[2], rotate=Rotation(hashed("new")), lifetimes=SHORT),
            bench.update(records[3], sign_in=SignIn("ada"), lifetimes=SHORT),
            bench.update(records[4], take=("theme",), lifetimes=SHORT),
            bench.update(records[5], clear=True, lifetimes=SHORT),
            # So that its tombstone ends with the others.
            bench.destroy(records[6], at=bench.start - TOMBSTONE_LIFE + SHORT.idle),
        ]
        for change in changes:
            assert isinstance(await bench.apply(change), Applied)
        await bench.harness.advance(1)
        for record in records[:6]:
            assert await bench.is_live(record, now=bench.start + 1_000)
        await bench.harness.advance(3)
        await let_go_of_everything(bench)
        assert [await bench.raw(record) for record in records] == [None] * len(records)
        assert [await bench.load(record, now=bench.harness.now) for record in records] == [None] * len(
            records
        )
        if bench.store.capabilities.users:
            assert await bench.keys_of("ada", now=bench.harness.now) == []

    @scenario
    async def test_a_record_whose_end_came_nearer_is_let_go_then(self, bench: Bench) -> None:
        record = await bench.create(permanent=True)
        await bench.apply(bench.update(record, permanent=False, lifetimes=SHORT))
        await bench.harness.advance(4)
        await let_go_of_everything(bench)
        assert await bench.raw(record) is None

    @scenario
    async def test_a_sweep_removes_no_more_than_it_was_told(self, bench: Bench) -> None:
        records = [await bench.create(expires=bench.start + 1_000) for _ in range(5)]
        await bench.harness.advance(3)

        async def left() -> int:
            return sum([await bench.raw(record) is not None for record in records])

        before = await left()  # none, where the server lets go of them by itself
        swept = await bench.store.sweep(bench.harness.now, 2)
        assert swept == min(2, before)
        assert await left() == before - swept
        await let_go_of_everything(bench)
        assert await left() == 0

    @scenario
    async def test_a_sweep_never_removes_a_live_record(self, bench: Bench) -> None:
        now = bench.start + 60_000
        last = await bench.create(expires=now + 1)
        slid = await bench.create(expires=now)
        await bench.apply(bench.update(slid))
        permanent = await bench.create(expires=now)
        await bench.apply(bench.update(permanent, permanent=True))
        signed_in = await bench.create(bench.signed_in("ada", expires=now))
        await bench.apply(bench.update(signed_in, sign_in=SignIn("ada")))
        assert await bench.store.sweep(now, 100) == 0
        for record in (last, slid, permanent, signed_in):
            assert await bench.is_live(record, now=now)
            assert await bench.raw(record) is not None

    @scenario
    async def test_a_sweep_leaves_a_tombstone_its_thirty_seconds(self, bench: Bench) -> None:
        record = await bench.create(expires=bench.start + 1_000)
        await bench.apply(bench.destroy(record))
        end = bench.start + TOMBSTONE_LIFE
        before = await bench.raw(record)
        assert (before is not None) == bench.store.capabilities.tombstones
        assert await bench.store.sweep(end - 1, 100) == 0
        assert await bench.raw(record) == before


async def let_go_of_everything(bench: Bench) -> None:
    """Sweep until there is nothing left to sweep."""
    for _ in range(100):
        if not await bench.store.sweep(bench.harness.now, 10):
            return
    raise AssertionError("the store goes on sweeping, for ever")
