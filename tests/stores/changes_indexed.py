"""Changes of sessions, and the index of users, on every store that has one."""

import asyncio

import pytest

from coatcheck.core.calls import Done
from coatcheck.model.record import Holder, Record, Rotation, SignIn, Tombstone
from coatcheck.testing.contract.harness import contention
from tests.stores.changes import Changes
from tests.stores.desk import scenario, secret_hash_of
from tests.stores.engine import stored


class IndexedChanges(Changes):
    """All of `Changes`, and the index."""

    @pytest.mark.promise("17")
    @scenario
    async def test_a_sign_in_is_listed_until_its_session_ends_or_another_user_signs_in(self, desk):
        record, other = await desk.create(), await desk.create()
        for each in (record, other):
            assert await desk.listed("ada") == ([] if each is record else [record.key])
            await desk.note(await desk.apply(desk.update(each, sign_in=SignIn("ada"))))
        assert set(await desk.listed("ada")) == {record.key, other.key}
        await desk.note(await desk.apply(desk.update(other, sign_in=SignIn("grace"))))
        assert (await desk.listed("ada"), await desk.listed("grace")) == ([record.key], [other.key])
        await desk.apply(desk.destroy(record, Holder("ada")))
        assert await desk.listed("ada") == []

    @pytest.mark.promise("17")
    @scenario
    async def test_rotating_and_changing_fields_leave_the_index_alone(self, desk):
        record = await desk.create()
        await desk.note(await desk.apply(desk.update(record, sign_in=SignIn("ada"))))
        before = await desk.bench.sessions_of("ada")
        for parts in (
            {"rotate": Rotation(secret_hash_of("new"))},
            {"secret_hash": secret_hash_of("new"), "rotate": Rotation(secret_hash_of("next"), derived=True)},
            {"set": {"theme": b"light"}},
            {"clear": True},
        ):
            assert isinstance(await desk.apply(desk.update(record, at=desk.start + 60_000, **parts)), Done)
            assert await desk.bench.sessions_of("ada") == before

    @pytest.mark.promise("17")
    @scenario
    async def test_every_sign_in_that_was_answered_is_listed(self, desk):
        records = [await desk.create() for _ in range(30)]

        async def sign_in(record):
            await desk.note(await desk.apply(desk.update(record, sign_in=SignIn("ada"))))
            entries = await desk.bench.sessions_of("ada", store=desk.bench.parallel)
            assert record.key in [entry.key for entry in entries]

        with contention():
            await asyncio.gather(*(sign_in(record) for record in records))
        assert set(await desk.listed("ada")) == {record.key for record in records}

    @pytest.mark.promise("17")
    @scenario
    async def test_a_session_that_many_users_sign_in_at_once_is_listed_for_one(self, desk):
        names = [f"user {number}" for number in range(12)]
        record = await desk.create()
        for result in await desk.at_once([desk.update(record, sign_in=SignIn(name)) for name in names]):
            await desk.note(result)
        listed = [name for name in names if await desk.listed(name) == [record.key]]
        assert listed == [(await desk.state(record)).user]

    @pytest.mark.promise("17", "F-23")
    @scenario
    async def test_sign_ins_and_logouts_at_once_leave_a_true_index(self, desk):
        records = [await desk.create() for _ in range(15)]
        for record in records:
            await desk.note(await desk.apply(desk.update(record, sign_in=SignIn("ada"))))
        changes = [
            change
            for record in records
            for change in (desk.destroy(record), desk.update(record, sign_in=SignIn("grace")))
        ]
        for result in await desk.at_once(changes):
            if isinstance(result, Done) and isinstance(stored(result), Record):
                await desk.note(result)
        assert [type(await desk.state(record)) for record in records] == [Tombstone] * len(records)
        assert await desk.listed("ada") == await desk.listed("grace") == []
