"""Changes of sessions on a store: what the compare-and-swap loop and a store promise together, on every store.

::

    class TestMyStoreUnderChanges(Changes):
        @pytest.fixture
        def harness(self):
            return MyHarness()

The harness is that of the store's contract. A sync store's calls run in threads.
"""

import asyncio
import os
import random

import pytest
from msgspec.structs import replace

from coatcheck.core.calls import Done
from coatcheck.errors import StoreTimeout, StoreUnavailable
from coatcheck.model import codec, merges
from coatcheck.model.format import encode
from coatcheck.model.record import (
    TOMBSTONE_LIFE,
    Create,
    Edit,
    Holder,
    Record,
    Refused,
    Rotation,
    SignIn,
    Tombstone,
    Unreadable,
)
from coatcheck.testing import AsyncFailingStore
from coatcheck.testing.contract.harness import contention
from tests.stores.desk import kinds_of, scenario, secret_hash_of
from tests.stores.engine import LIFETIMES, AsyncEngine, stored

GARBAGE = (b"\0", b"{}", b"garbage that is longer than a revision", b"\xff" * 500)


class Changes:
    """Changes that meet."""

    @pytest.mark.promise("6")
    @scenario
    async def test_a_hundred_changes_of_different_fields_at_once_all_stand(self, desk):
        record = await desk.create()
        changes = [desk.update(record, set={f"field {number}": b"%d" % number}) for number in range(100)]
        results = await desk.at_once(changes)
        assert [result for result in results if not isinstance(result, Done)] == []
        assert await desk.fields(record) == {f"field {number}": b"%d" % number for number in range(100)}

    @pytest.mark.promise("6", "7")
    @scenario
    async def test_a_change_is_applied_to_the_record_that_is_there_now(self, desk):
        record = await desk.create(fields={"cart": b"apples", "theme": b"dark", "draft": b"x"})
        seen = await desk.held(record)  # both requests begin with it
        first = desk.update(record, set={"cart": b"pears"}, remove=frozenset({"draft"}))
        assert isinstance(await desk.apply(first, known=seen), Done)
        assert isinstance(await desk.apply(desk.update(record, set={"theme": b"light"}), known=seen), Done)
        assert await desk.fields(record) == {"cart": b"pears", "theme": b"light"}

    @pytest.mark.promise("M", "8")
    @scenario
    async def test_edits_of_one_list_that_meet_are_both_kept(self, desk):
        record = await desk.create(fields={"basket": codec.encode(["hat"])})
        seen = await desk.held(record)  # both requests begin with it
        base = seen.state.fields["basket"]
        for good in ("scarf", "coat"):
            edit = Edit(codec.encode(["hat", good]), base=base, stored=base)
            assert isinstance(await desk.apply(desk.update(record, edits={"basket": edit}), known=seen), Done)
        assert await desk.value(record, "basket") == ["hat", "scarf", "coat"]

    @pytest.mark.promise("M", "6")
    @scenario
    async def test_a_hundred_parallel_edits_of_a_list_a_set_and_a_dict_all_stand(self, desk):
        containers = {"list": [], "set": set(), "dict": {}}
        record = await desk.create(fields={name: codec.encode(value) for name, value in containers.items()})
        engines = [desk.engine, await desk.another()]
        # Half of them have loaded the same version: also where nothing runs at the same time, they have to be merged.
        together = [await desk.held(record), None]

        def request(number):
            return desk.edit(
                record,
                engines[number % 2],
                held=together[number // 2 % 2],
                list=lambda seen: [*seen, number],
                set=lambda seen: {*seen, number},
                dict=lambda seen: {**seen, f"{number}": number},
            )

        with contention():
            results = await asyncio.gather(*map(request, range(100)))
        assert [result for result in results if not isinstance(result, Done)] == []
        assert sorted(await desk.value(record, "list")) == list(range(100))
        assert await desk.value(record, "set") == set(range(100))
        assert await desk.value(record, "dict") == {f"{number}": number for number in range(100)}

    @pytest.mark.promise("M")
    @scenario
    async def test_assigned_values_are_never_mixed(self, desk):
        record = await desk.create()
        values = [codec.encode([f"state {number}", f"nonce {number}"]) for number in range(12)]
        await desk.at_once([desk.update(record, set={"oauth": value}) for value in values])
        assert (await desk.fields(record))["oauth"] in values

    @pytest.mark.promise("11")
    @scenario
    async def test_of_many_takers_at_once_one_gets_it(self, desk):
        for _ in range(5):
            record = await desk.create(fields={"flash": b"saved"})
            results = await desk.at_once([desk.update(record, take=("flash",))] * 12)
            assert [stored(result) for result in results]
            taken = [result.answer.taken for result in results if result.answer.taken]
            assert taken == [{"flash": b"saved"}]

    @pytest.mark.promise("11")
    @scenario
    async def test_messages_that_come_while_others_are_taken_are_each_taken_once(self, desk):
        record = await desk.create()
        names = tuple(f"flash:{number}" for number in range(40))
        steps = [
            step
            for name in names
            for step in (desk.update(record, set={name: b"hello"}), desk.update(record, take=names))
        ]
        results = [*await desk.at_once(steps), await desk.apply(desk.update(record, take=names))]
        assert sorted(name for result in results for name in result.answer.taken) == sorted(names)

    @pytest.mark.promise("12")
    @scenario
    async def test_no_change_under_way_brings_a_destroyed_record_back(self, desk):
        for _ in range(5):
            record = await desk.create()
            writes = [desk.update(record, set={f"field {number}": b"1"}) for number in range(12)]
            results = await desk.at_once([*writes[:6], desk.destroy(record), *writes[6:]])
            assert stored(results[6]) == Tombstone(record.key, desk.start + TOMBSTONE_LIFE)
            assert await desk.state(record) == stored(results[6])
            assert await desk.apply(writes[0]) is Refused.GONE
            assert await desk.apply(Create(record)) is Refused.EXISTS

    @pytest.mark.promise("12")
    @scenario
    async def test_of_many_endings_at_once_one_did_it(self, desk):
        for _ in range(5):
            record = await desk.create()
            results = await desk.at_once([desk.destroy(record)] * 12)
            assert sorted(map(str, kinds_of(results))) == sorted(["done", *[str(Refused.GONE)] * 11])

    @pytest.mark.promise("12", "17")
    @scenario
    async def test_an_ending_for_its_user_works_beside_rotations_and_sign_ins_of_that_user(self, desk):
        for _ in range(5):
            record = await desk.create(desk.signed_in())
            rotations = [
                desk.update(record, rotate=Rotation(secret_hash_of(f"new {number}"))) for number in range(6)
            ]
            again = [
                desk.update(record, sign_in=SignIn("ada"), rotate=Rotation(secret_hash_of(f"again {number}")))
                for number in range(6)
            ]
            results = await desk.at_once([*rotations, desk.destroy(record, Holder("ada")), *again])
            assert isinstance(results[6], Done)
            assert isinstance(await desk.state(record), Tombstone)

    @pytest.mark.promise("12", "17")
    @scenario
    async def test_an_ending_for_another_user_or_sign_in_ends_nothing(self, desk):
        login, visitor = await desk.create(desk.signed_in()), await desk.create()
        for record, holder in (
            (login, Holder("grace")),
            (login, Holder("ada", login.signed_in - 1)),
            (login, Holder(None)),
            (visitor, Holder("ada")),
        ):
            assert await desk.apply(desk.destroy(record, holder)) is Refused.CHANGED
            assert await desk.state(record) == record
        assert isinstance(await desk.apply(desk.destroy(login, Holder("ada", login.signed_in))), Done)

    @pytest.mark.promise("12")
    @scenario
    async def test_nothing_of_a_destroyed_record_is_left_in_the_store(self, desk):
        record = await desk.create(fields={"name": b"a value that would be found"})
        await desk.apply(desk.destroy(record))
        left = await desk.bench.harness.raw(record.key)
        assert b"a value that would be found" not in left
        assert record.secret_hash not in left

    @pytest.mark.promise("13")
    @scenario
    async def test_of_many_that_expect_one_secret_and_replace_it_one_wins(self, desk):
        for _ in range(5):
            record = await desk.create()
            changes = [
                desk.update(
                    record,
                    secret_hash=secret_hash_of("secret"),
                    rotate=Rotation(secret_hash_of(f"new {number}")),
                )
                for number in range(12)
            ]
            results = await desk.at_once(changes)
            won = [number for number, result in enumerate(results) if isinstance(result, Done)]
            assert len(won) == 1
            assert (await desk.state(record)).secret_hash == secret_hash_of(f"new {won[0]}")
            assert await desk.apply(changes[0]) is Refused.CHANGED

    @pytest.mark.promise("14", "6")
    @scenario
    async def test_a_derived_rotation_is_the_same_for_all_that_make_it_at_once(self, desk):
        record = await desk.create()
        changes = [
            desk.update(
                record,
                at=desk.start + number,
                secret_hash=secret_hash_of("secret"),
                rotate=Rotation(secret_hash_of("next"), derived=True),
                set={f"field {number}": b"kept"},
            )
            for number in range(12)
        ]
        results = await desk.at_once(changes)
        assert all(isinstance(result, Done) for result in results)
        state = await desk.state(record)
        assert (state.secret_hash, state.previous, state.seen) == (
            secret_hash_of("next"),
            secret_hash_of("secret"),
            0,
        )
        assert state.fields.keys() == {f"field {number}" for number in range(12)}

    @pytest.mark.promise("15")
    @scenario
    async def test_of_many_that_create_under_one_key_at_once_one_did(self, desk):
        for _ in range(5):
            first = desk.record()
            records = [replace(first, fields={"by": b"%d" % number}) for number in range(12)]
            results = await desk.at_once([Create(record) for record in records])
            won = [
                record for record, result in zip(records, results, strict=True) if isinstance(result, Done)
            ]
            assert len(won) == 1
            assert results.count(Refused.EXISTS) == 11
            assert await desk.state(first) == won[0]

    @pytest.mark.promise("16")
    @scenario
    async def test_a_record_is_changed_until_it_expires_and_not_a_millisecond_longer(self, desk):
        for parts in ({"set": {"late": b"yes"}}, {"sign_in": SignIn("ada")}, {"take": ("theme",)}):
            record = await desk.create()
            assert await desk.apply(desk.update(record, at=record.expires, **parts)) is Refused.GONE
            assert await desk.apply(desk.destroy(record, at=record.expires)) is Refused.GONE
            assert await desk.state(record) == record
            assert isinstance(await desk.apply(desk.update(record, at=record.expires - 1, **parts)), Done)

    @pytest.mark.promise("10", "F-22")
    @scenario
    async def test_bytes_that_can_not_be_read_are_left_alone_but_can_be_ended(self, desk):
        for garbage in GARBAGE:
            record = desk.record()
            await desk.bench.harness.plant(record.key, garbage)
            assert isinstance(await desk.state(record), Unreadable)
            for change in (
                desk.update(record, set={"theme": b"dark"}),
                desk.update(record, sign_in=SignIn("ada"), secret_hash=secret_hash_of("secret")),
                desk.destroy(record, Holder("ada")),
            ):
                assert await desk.apply(change) is Refused.UNREADABLE
            assert await desk.apply(Create(record)) is Refused.EXISTS
            assert await desk.bench.harness.raw(record.key) == garbage
            assert isinstance(await desk.apply(desk.destroy(record)), Done)
            assert isinstance(await desk.state(record), Tombstone)

    @pytest.mark.promise("10", "F-22", "B")
    @scenario
    async def test_the_record_of_another_key_is_never_read_and_never_changed(self, desk):
        theirs, mine = await desk.create(), await desk.create()
        moved = encode(theirs, os.urandom(8))
        await desk.bench.harness.plant(mine.key, moved)
        assert isinstance(await desk.state(mine), Unreadable)
        assert await desk.apply(desk.update(mine, secret_hash=theirs.secret_hash)) is Refused.UNREADABLE
        assert await desk.state(theirs) == theirs
        assert await desk.bench.harness.raw(mine.key) == moved

    @pytest.mark.promise("B")
    @scenario
    async def test_changes_of_several_records_in_one_batch_are_answered_in_order(self, desk):
        first, second, third = [await desk.create(fields={"n": b"%d" % number}) for number in range(3)]
        absent, new = desk.record(), desk.record()
        seen = await desk.held(first)
        await desk.apply(desk.update(first, set={"meanwhile": b"yes"}))
        changes = [
            desk.update(first, take=("n",)),
            desk.update(absent, set={"n": b"0"}),
            Create(new),
            Create(second),
            desk.update(third, secret_hash=secret_hash_of("another"), set={"n": b"x"}),
            desk.update(first, set={"n": b"again"}),
            desk.destroy(second),
            desk.update(second, set={"late": b"yes"}),
        ]
        results = await desk.engine.apply(changes, desk.start, [seen, *[None] * 7])
        assert kinds_of(results) == [
            *("done", Refused.GONE, "done", Refused.EXISTS, Refused.CHANGED, "done", "done", Refused.GONE)
        ]
        assert results[0].answer.taken == {"n": b"0"}
        assert await desk.fields(first) == {"n": b"again", "meanwhile": b"yes"}
        assert await desk.state(third) == third
        assert isinstance(await desk.state(second), Tombstone)

    @pytest.mark.promise("F-19")
    @scenario
    async def test_sweeping_beside_use_loses_no_record_that_was_used(self, desk):
        end = desk.start + 60_000
        records = [await desk.create(expires=end) for _ in range(30)]

        async def sweep():
            for _ in range(10):
                await desk.bench.parallel.sweep(end, 3, desk.bench.deadline)

        with contention():
            _, _, *used = await asyncio.gather(
                sweep(), sweep(), *(desk.apply(desk.update(record, at=end - 1)) for record in records)
            )
        for record, result in zip(records, used, strict=True):
            state = await desk.state(record)
            assert isinstance(state, Record) is isinstance(result, Done)
            assert state is None or state.expires == end - 1 + LIFETIMES.idle

    @pytest.mark.promise("L", "F-03")
    @scenario
    async def test_a_lost_answer_is_never_applied_twice_whoever_writes_in_between(self, desk):
        record = await desk.create(fields={"list": codec.encode([]), "count": codec.encode(0)})
        losing = AsyncFailingStore(desk.bench.parallel)
        engine, chance = AsyncEngine(losing), random.Random(0)
        lost = StoreTimeout("the answer was lost")
        done = unknown = others = 0

        async def another_writer():
            nonlocal others
            others += 1
            await desk.edit(record, rule=merges.add, count=lambda seen: seen + 1)

        for number in range(60):
            losing.fail(
                "write",
                error=lost,
                times=chance.choice([1, 1, 2]),
                done=chance.choice([False, True, "late"]),
                then=chance.choice([None, another_writer]) or nothing,
            )
            held = await desk.held(record)
            fields = held.state.fields
            count = codec.encode(codec.decode(fields["count"]) + 1)
            items = codec.encode([*codec.decode(fields["list"]), number])
            change = desk.update(
                record,
                edits={
                    "count": Edit(count, base=fields["count"], stored=fields["count"], rule=merges.add),
                    "list": Edit(items, base=fields["list"], stored=fields["list"]),
                },
            )
            result = await desk.apply(change, engine, held)
            if isinstance(result, StoreUnavailable):
                assert result.ambiguous
                unknown += 1
            else:
                assert isinstance(result, Done), result
                done += 1
            losing.recover()
            await losing.land()
        count, items = await desk.value(record, "count"), await desk.value(record, "list")
        assert done + others <= count <= done + unknown + others
        assert len(items) == len(set(items)) == count - others
        assert done > 20
        assert others > 10

    @pytest.mark.promise("L", "12")
    @scenario
    async def test_an_ending_whose_answer_was_lost_is_certain_all_the_same(self, desk):
        losing = AsyncFailingStore(desk.bench.parallel)
        engine = AsyncEngine(losing)
        for done in (False, True, "late"):
            record = await desk.create(desk.signed_in())

            async def another_writer(record=record):
                await desk.apply(desk.update(record, rotate=Rotation(secret_hash_of("meanwhile"))))

            losing.fail(
                "write", error=StoreTimeout("the answer was lost"), times=1, done=done, then=another_writer
            )
            result = await desk.apply(desk.destroy(record, Holder("ada")), engine)
            assert isinstance(result, Done) or result is Refused.GONE
            assert isinstance(await desk.state(record), Tombstone)


async def nothing():
    """Let no other writer in between."""
