"""The index of users. Where a store keeps none (`Capabilities.users`), these tests are skipped by that name."""

from __future__ import annotations

import asyncio

import pytest

from coatcheck.model.ports import Life
from coatcheck.model.record import APPLIED, Create, Record, Refused, Rotation, SignIn
from coatcheck.testing.contract.harness import Bench, contention, hashed, scenario

__all__ = ["ODD_NAMES", "Users"]

ODD_NAMES = (
    *"1*?% _.\\\"'/;,",
    *("[a-z]", "{x}", "{y}", "a:b", "a b", "a b ", "..", "../../x"),
    *("\n", "\r\n", "\0", "\0\0", "\x1b[0m", "'; drop table sessions; --", "None", "null", "undefined"),
    # Twins that a database's collation, or a file system, may take for one.
    *("ada", "Ada", "ADA", "ad\N{LATIN SMALL LETTER A WITH ACUTE}", "ada\N{COMBINING ACUTE ACCENT}", "ad"),
    *("K", "\N{KELVIN SIGN}", "k", "stra\N{LATIN SMALL LETTER SHARP S}e", "strasse"),
    *("x" * 255, "x" * 254, "\N{OLD KEY}" * 255, "\N{OLD KEY}" * 254),
)


def needs_an_index(bench: Bench) -> None:
    if not bench.store.capabilities.users:
        pytest.skip("this store finds no sessions by their user (capabilities.users)")


class Users:
    """Whose sessions are whose."""

    @scenario
    async def test_a_user_whom_nobody_knows_has_no_sessions(self, bench: Bench) -> None:
        needs_an_index(bench)
        await bench.create(bench.signed_in("ada"))
        await bench.create()
        assert await bench.keys_of("nobody") == []

    @scenario
    async def test_the_sessions_of_a_user_come_newest_first_and_complete(self, bench: Bench) -> None:
        needs_an_index(bench)
        times = [(number * 17) % 50 for number in range(50)]
        records = [await bench.create(bench.signed_in("ada", signed_in=bench.start + at)) for at in times]
        await bench.create(bench.signed_in("grace"))
        newest_first = sorted(records, key=lambda record: -record.signed_in)
        assert await bench.lives_of("ada") == [Life(record.key, record.signed_in) for record in newest_first]

    @scenario
    async def test_a_new_sign_in_brings_a_session_to_the_top(self, bench: Bench) -> None:
        needs_an_index(bench)
        first = await bench.create(bench.signed_in("ada", signed_in=bench.start))
        second = await bench.create(bench.signed_in("ada", signed_in=bench.start + 10))
        assert await bench.keys_of("ada") == [second.key, first.key]
        await bench.apply(bench.update(first, at=bench.start + 20, sign_in=SignIn("ada")))
        assert await bench.lives_of("ada") == [
            Life(first.key, bench.start + 20),
            Life(second.key, bench.start + 10),
        ]

    @scenario
    async def test_signing_in_enters_an_anonymous_session(self, bench: Bench) -> None:
        needs_an_index(bench)
        record = await bench.create()
        assert await bench.keys_of("ada") == []
        await bench.apply(bench.update(record, sign_in=SignIn("ada"), rotate=Rotation(hashed("new"))))
        assert await bench.keys_of("ada") == [record.key]

    @scenario
    async def test_a_sign_in_that_was_refused_enters_nothing(self, bench: Bench) -> None:
        needs_an_index(bench)
        record = await bench.create()
        refused = bench.update(record, secret=hashed("another"), sign_in=SignIn("ada"))
        assert await bench.apply(refused) is Refused.CHANGED
        assert await bench.apply(Create(bench.signed_in("ada", key=record.key))) is Refused.EXISTS
        assert await bench.keys_of("ada") == []

    @scenario
    async def test_when_another_user_signs_in_the_session_is_his(self, bench: Bench) -> None:
        needs_an_index(bench)
        record = await bench.create(bench.signed_in("ada"))
        await bench.apply(bench.update(record, sign_in=SignIn("grace"), clear=True))
        assert await bench.keys_of("ada") == []
        assert await bench.keys_of("grace") == [record.key]

    @scenario
    async def test_a_session_is_found_until_it_is_destroyed(self, bench: Bench) -> None:
        needs_an_index(bench)
        kept, ended = [await bench.create(bench.signed_in("ada")) for _ in range(2)]
        await bench.apply(bench.destroy(ended))
        assert await bench.keys_of("ada") == [kept.key]
        await bench.apply(bench.destroy(kept))
        assert await bench.keys_of("ada") == []

    @scenario
    async def test_rotating_and_changing_fields_leave_the_index_alone(self, bench: Bench) -> None:
        needs_an_index(bench)
        times = range(3)
        records = [await bench.create(bench.signed_in("ada", signed_in=bench.start + at)) for at in times]
        before = await bench.lives_of("ada")
        oldest = records[0]
        later = bench.start + 60_000
        for parts in (
            {"rotate": Rotation(hashed("new"))},
            {"secret": hashed("new"), "rotate": Rotation(hashed("next"), derived=True)},
            {"set": {"theme": b"light"}},
            {"clear": True},
            {"permanent": True},
        ):
            assert await bench.apply(bench.update(oldest, at=later, **parts)) == APPLIED
            assert await bench.lives_of("ada") == before

    @scenario
    async def test_a_session_of_a_user_is_found_while_it_lives(self, bench: Bench) -> None:
        needs_an_index(bench)
        record = await bench.create(bench.signed_in("ada"))
        assert await bench.keys_of("ada", now=record.expires - 1) == [record.key]
        assert await bench.keys_of("ada", now=record.expires) == []

    @scenario
    async def test_a_session_that_slid_on_is_found_for_as_long_as_it_lives(self, bench: Bench) -> None:
        needs_an_index(bench)
        record = await bench.create(bench.signed_in("ada"))
        await bench.apply(bench.update(record, at=bench.start + 3_600_000))
        found = await bench.load(record)
        assert isinstance(found, Record)
        assert found.expires > record.expires
        assert await bench.keys_of("ada", now=found.expires - 1) == [record.key]
        assert await bench.keys_of("ada", now=found.expires) == []

    @scenario
    async def test_each_user_whatever_his_name_finds_his_own_sessions_only(self, bench: Bench) -> None:
        needs_an_index(bench)
        records = {name: await bench.create(bench.signed_in(name)) for name in ODD_NAMES}
        found = {name: await bench.keys_of(name) for name in ODD_NAMES}
        assert found == {name: [record.key] for name, record in records.items()}

    @scenario
    async def test_every_sign_in_that_was_answered_is_found(self, bench: Bench) -> None:
        needs_an_index(bench)
        records = [await bench.create() for _ in range(40)]

        async def sign_in(record: Record) -> None:
            assert await bench.apply(bench.update(record, sign_in=SignIn("ada")), bench.parallel) == APPLIED
            lives = await bench.parallel.lives_of("ada", bench.start)
            assert record.key in [life.key for life in lives]

        with contention():
            await asyncio.gather(*(sign_in(record) for record in records))
        assert set(await bench.keys_of("ada")) == {record.key for record in records}

    @scenario
    async def test_a_session_for_which_many_sign_in_at_once_is_found_by_one(self, bench: Bench) -> None:
        needs_an_index(bench)
        names = [f"user {number}" for number in range(12)]
        record = await bench.create()

        with contention():
            await asyncio.gather(
                *(bench.apply(bench.update(record, sign_in=SignIn(name)), bench.parallel) for name in names)
            )
        found = await bench.load(record)
        assert isinstance(found, Record)
        owners = [name for name in names if record.key in await bench.keys_of(name)]
        assert owners == [found.user]

    @scenario
    async def test_sign_ins_and_logouts_at_once_leave_the_index_true(self, bench: Bench) -> None:
        needs_an_index(bench)
        records = [await bench.create(bench.signed_in("ada")) for _ in range(20)]
        changes = [
            change
            for record in records
            for change in (bench.destroy(record), bench.update(record, sign_in=SignIn("grace")))
        ]
        with contention():
            await asyncio.gather(*(bench.apply(change, bench.parallel) for change in changes))
        assert [await bench.is_live(record) for record in records] == [False] * len(records)
        assert await bench.keys_of("ada") == []
        assert await bench.keys_of("grace") == []
