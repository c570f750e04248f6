"""Creating inserts only, updating never creates, and what a change means is what `Record.apply` says."""

from __future__ import annotations

from coatcheck.model.record import (
    APPLIED,
    Applied,
    Create,
    Record,
    Refused,
    Rotation,
    SignIn,
    Update,
    encode,
)
from coatcheck.testing.contract.harness import SHORT, Bench, hashed, scenario

__all__ = ["Writing"]


class Writing:
    """Records are created, changed and read."""

    @scenario
    async def test_a_created_record_is_loaded_as_it_was(self, bench: Bench) -> None:
        for record in (
            bench.record(),
            bench.record(fields={}),
            bench.signed_in("ada"),
            bench.signed_in("ada", client="Browser/1.0", permanent=True),
            bench.record(previous=hashed("previous")),
            bench.rich(),
        ):
            await bench.create(record)
            assert await bench.load(record) == record

    @scenario
    async def test_a_key_under_which_nothing_was_put_loads_as_nothing(self, bench: Bench) -> None:
        await bench.create()
        assert await bench.load(bench.record()) is None

    @scenario
    async def test_what_lies_in_the_store_is_the_documented_format(self, bench: Bench) -> None:
        record = await bench.create(bench.rich())
        assert await bench.raw(record) == encode(record)
        change = bench.update(record, set={"theme": b"light", "flash": b"hello"})
        await bench.apply(change)
        after = record.apply(change)
        assert isinstance(after, Record)
        assert await bench.raw(record) == encode(after)

    @scenario
    async def test_what_was_answered_is_seen_by_another_process(self, bench: Bench) -> None:
        other = await bench.another()
        record = await bench.create()
        assert await other.load([record.key], bench.start) == [record]
        await bench.apply(bench.update(record, set={"theme": b"light"}))
        (found,) = await other.load([record.key], bench.start)
        assert isinstance(found, Record)
        assert found.fields["theme"] == b"light"
        await bench.apply(bench.destroy(record))
        (found,) = await other.load([record.key], bench.start)
        assert not isinstance(found, Record)

    @scenario
    async def test_loading_writes_nothing(self, bench: Bench) -> None:
        record = await bench.create(bench.rich())
        before = await bench.raw(record)
        for now in (bench.start, record.expires - 1):
            await bench.load(record, now=now)
        assert await bench.raw(record) == before

    @scenario
    async def test_create_never_overwrites_a_record(self, bench: Bench) -> None:
        record = await bench.create(bench.rich())
        before = await bench.raw(record)
        intruder = bench.record(key=record.key, fields={"stolen": b"yes"})
        assert await bench.apply(Create(intruder)) is Refused.EXISTS
        assert await bench.raw(record) == before

    @scenario
    async def test_create_never_overwrites_what_can_not_be_read(self, bench: Bench) -> None:
        record = bench.record()
        await bench.harness.plant(record.key, b"who knows what")
        assert await bench.apply(Create(record)) is Refused.EXISTS
        assert await bench.raw(record) == b"who knows what"

    @scenario
    async def test_update_never_creates(self, bench: Bench) -> None:
        record = bench.record()
        for parts in (
            {"set": {"theme": b"dark"}},
            {"sign_in": SignIn("ada"), "rotate": Rotation(hashed("new"))},
            {"take": ("theme",)},
            {},
        ):
            assert await bench.apply(bench.update(record, **parts)) is Refused.GONE
            assert await bench.raw(record) is None
        assert await bench.load(record) is None

    @scenario
    async def test_an_update_is_applied_to_the_record_that_is_there_now(self, bench: Bench) -> None:
        record = await bench.create(fields={})
        # Both requests began with the empty record.
        first = bench.update(record, set={"cart": b"apples"})
        second = bench.update(record, set={"theme": b"dark"})
        assert [await bench.apply(first), await bench.apply(second)] == [APPLIED, APPLIED]
        assert await bench.fields(record) == {"cart": b"apples", "theme": b"dark"}

    @scenario
    async def test_what_another_set_or_removed_meanwhile_stays_so(self, bench: Bench) -> None:
        record = await bench.create(fields={"cart": b"apples", "theme": b"dark", "draft": b"x"})
        await bench.apply(bench.update(record, set={"cart": b"pears"}, remove=frozenset({"draft"})))
        await bench.apply(bench.update(record, set={"theme": b"light"}))
        assert await bench.fields(record) == {"cart": b"pears", "theme": b"light"}

    @scenario
    async def test_of_two_changes_of_one_field_the_last_stands(self, bench: Bench) -> None:
        record = await bench.create()
        for value in (b"first", b"second"):
            await bench.apply(bench.update(record, set={"theme": value}))
        assert (await bench.fields(record))["theme"] == b"second"

    @scenario
    async def test_clearing_comes_before_removing_and_setting_comes_last(self, bench: Bench) -> None:
        record = await bench.create(fields={"a": b"1", "b": b"2", "c": b"3"})
        change = bench.update(record, clear=True, set={"a": b"new"})
        await bench.apply(change)
        assert await bench.fields(record) == {"a": b"new"}
        change = bench.update(record, remove=frozenset({"a"}), set={"a": b"newer", "b": b"2"})
        await bench.apply(change)
        assert await bench.fields(record) == {"a": b"newer", "b": b"2"}
        change = bench.update(record, take=("b",), set={"b": b"after"})
        assert await bench.apply(change) == Applied({"b": b"2"})
        assert await bench.fields(record) == {"a": b"newer", "b": b"after"}

    @scenario
    async def test_removing_what_is_not_there_is_no_error(self, bench: Bench) -> None:
        record = await bench.create(fields={"a": b"1"})
        change = bench.update(record, remove=frozenset({"b"}), take=("c",))
        assert await bench.apply(change) == APPLIED
        assert await bench.fields(record) == {"a": b"1"}

    @scenario
    async def test_every_kind_of_change_leaves_what_record_apply_says(self, bench: Bench) -> None:
        later = bench.start + 60_000
        kinds: list[dict[str, object]] = [
            {},
            {"at": later},
            {"at": later, "touch": False},
            {"set": {"new": b"1", "theme": b"light"}, "remove": frozenset({"cart"})},
            {"clear": True},
            {"clear": True, "permanent": False},
            {"permanent": True},
            {"rotate": Rotation(hashed("new")), "at": later},
            {"rotate": Rotation(hashed("new"), derived=True), "secret": hashed("secret"), "at": later},
            {"rotate": Rotation(hashed("new"), derived=True), "at": later},
            {"sign_in": SignIn("grace", "Browser/2.0"), "rotate": Rotation(hashed("new")), "at": later},
            {"sign_in": SignIn("ada"), "clear": True},
            {"seen": True, "at": later, "secret": hashed("secret"), "grace": 90_000},
            {"at": later, "grace": 1},
            {"lifetimes": SHORT},
        ]
        for parts in kinds:
            for record in (bench.record(), bench.rich(), bench.rich(seen=0, client="")):
                await bench.create(record)
                change = bench.update(record, **parts)
                assert isinstance(change, Update)
                after = record.apply(change)
                assert isinstance(after, Record)
                # Told where a rotation was not for this request to make, though all else of it is stored.
                rotated = change.rotate is None or change.rotate.secret == after.secret
                assert await bench.apply(change) == Applied(rotated=rotated), parts
                assert await bench.load(record) == after, parts

    @scenario
    async def test_the_store_answers_a_ping(self, bench: Bench) -> None:
        await bench.store.ping()

    @scenario
    async def test_closing_twice_is_harmless(self, bench: Bench) -> None:
        other = await bench.another()
        await other.ping()
        await other.close()
        await other.close()
