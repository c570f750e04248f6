"""Destroying: what was ended stays ended, and for a while its key says so."""

from __future__ import annotations

import asyncio

from coatcheck.model.record import (
    APPLIED,
    TOMBSTONE_LIFE,
    Change,
    Create,
    Record,
    Refused,
    Rotation,
    SignIn,
    Tombstone,
)
from coatcheck.testing.contract.harness import Bench, contention, hashed, scenario

__all__ = ["Ending"]


class Ending:
    """Records are destroyed."""

    @scenario
    async def test_a_destroyed_record_is_never_changed_again(self, bench: Bench) -> None:
        record = await bench.create()
        assert await bench.apply(bench.destroy(record)) == APPLIED
        before = await bench.raw(record)
        for parts in (
            {"set": {"late": b"yes"}},
            {"secret": hashed("secret"), "set": {"late": b"yes"}},
            {"sign_in": SignIn("ada"), "rotate": Rotation(hashed("new"))},
            {"take": ("theme",)},
            # A clock that lags behind the one that destroyed it.
            {"at": bench.start - 60_000},
        ):
            assert await bench.apply(bench.update(record, **parts)) is Refused.GONE
            assert not await bench.is_live(record)
        assert await bench.raw(record) == before

    @scenario
    async def test_nothing_of_a_destroyed_record_is_left_in_the_store(self, bench: Bench) -> None:
        record = await bench.create(fields={"name": b"a value that would be found"})
        await bench.apply(bench.destroy(record))
        left = await bench.raw(record) or b""
        assert b"a value that would be found" not in left
        assert record.secret not in left

    @scenario
    async def test_a_destroyed_record_is_never_created_again(self, bench: Bench) -> None:
        if bench.store.capabilities.tombstones:
            record = await bench.create()
            await bench.apply(bench.destroy(record))
            before = await bench.raw(record)
            assert await bench.apply(Create(record)) is Refused.EXISTS
            assert await bench.raw(record) == before
            assert not await bench.is_live(record)

    @scenario
    async def test_for_thirty_seconds_a_tombstone_tells_that_a_record_was_destroyed(
        self, bench: Bench
    ) -> None:
        record = await bench.create()
        await bench.apply(bench.destroy(record))
        end = bench.start + TOMBSTONE_LIFE
        assert TOMBSTONE_LIFE == 30_000
        expected = Tombstone(record.key, end) if bench.store.capabilities.tombstones else None
        assert await bench.load(record, now=bench.start) == expected
        assert await bench.load(record, now=end - 1) == expected
        # From then on it may be gone; if it is not, the caller sees that its time is over.
        assert await bench.load(record, now=end) in {expected, None}

    @scenario
    async def test_what_is_absent_or_ended_can_not_be_destroyed(self, bench: Bench) -> None:
        absent = bench.record()
        assert await bench.apply(bench.destroy(absent)) is Refused.GONE
        assert await bench.raw(absent) is None
        ended = await bench.create()
        await bench.apply(bench.destroy(ended))
        assert await bench.apply(bench.destroy(ended, at=bench.start + 1_000)) is Refused.GONE
        assert await bench.load(ended) in {Tombstone(ended.key, bench.start + TOMBSTONE_LIFE), None}

    @scenario
    async def test_a_record_is_destroyed_only_for_the_user_it_belongs_to(self, bench: Bench) -> None:
        record = await bench.create(bench.signed_in("ada"))
        before = await bench.raw(record)
        assert await bench.apply(bench.destroy(record, user="grace")) is Refused.CHANGED
        assert await bench.raw(record) == before
        assert await bench.apply(bench.destroy(record, user="ada")) == APPLIED
        assert not await bench.is_live(record)

    @scenario
    async def test_a_record_is_destroyed_only_in_the_life_that_was_seen(self, bench: Bench) -> None:
        record = await bench.create(bench.signed_in("ada"))
        seen = {"user": "ada", "signed_in": record.signed_in}
        # He signed in again meanwhile: this is not the session that was to be revoked.
        await bench.apply(bench.update(record, at=bench.start + 1, sign_in=SignIn("ada")))
        before = await bench.raw(record)
        assert await bench.apply(bench.destroy(record, **seen)) is Refused.CHANGED
        assert await bench.raw(record) == before
        seen["signed_in"] = bench.start + 1
        assert await bench.apply(bench.destroy(record, **seen)) == APPLIED
        assert not await bench.is_live(record)

    @scenario
    async def test_an_anonymous_record_is_not_destroyed_for_a_user(self, bench: Bench) -> None:
        record = await bench.create()
        assert await bench.apply(bench.destroy(record, user="ada")) is Refused.CHANGED
        assert await bench.apply(bench.destroy(record, signed_in=bench.start)) is Refused.CHANGED
        assert await bench.is_live(record)

    @scenario
    async def test_destroying_one_record_leaves_the_others(self, bench: Bench) -> None:
        first, second = await bench.create(), await bench.create()
        await bench.apply(bench.destroy(first))
        assert await bench.load(second) == second

    @scenario
    async def test_of_many_who_destroy_a_record_at_once_one_did(self, bench: Bench) -> None:
        with contention():
            for _ in range(5):
                record = await bench.create()
                change = bench.destroy(record)
                answers = await asyncio.gather(*(bench.parallel.apply([change]) for _ in range(12)))
                flat = [answer for (answer,) in answers]
                assert flat.count(APPLIED) == 1
                assert flat.count(Refused.GONE) == 11

    @scenario
    async def test_no_change_under_way_brings_a_destroyed_record_back(self, bench: Bench) -> None:
        with contention():
            for _ in range(5):
                record = await bench.create()
                writes = [bench.update(record, set={f"field {number}": b"1"}) for number in range(12)]
                everything: list[Change] = [*writes[:6], bench.destroy(record), *writes[6:]]
                answers = await asyncio.gather(*(bench.parallel.apply([change]) for change in everything))
                assert answers[6][0] == APPLIED
                found = await bench.load(record)
                assert not isinstance(found, Record)
