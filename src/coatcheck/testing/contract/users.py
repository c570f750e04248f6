"""The index: which sessions a user has. `Within` and `Beside` are for a store with that index, `Listing` for both."""

from __future__ import annotations

import asyncio
import time

from msgspec.structs import replace

from coatcheck.model.ports import Conflict, Entry
from coatcheck.testing.contract.harness import DAY, SHORT, Bench, contention, scenario
from coatcheck.testing.contract.service import comes_back
from coatcheck.testing.contract.values import ODD_NAMES

__all__ = ["Beside", "Listing", "Within"]


class Listing:
    """The entries of one user, in order and in pages."""

    @scenario
    async def test_a_user_without_a_sign_in_has_no_entries(self, bench: Bench) -> None:
        await bench.sign_in(bench.entry("ada"))
        await bench.put()
        assert await bench.sessions_of("grace") == []

    @scenario
    async def test_entries_come_newest_first_then_by_key_and_complete(self, bench: Bench) -> None:
        entries = [
            await bench.sign_in(bench.entry("ada", after=(number * 17) % 25, until=DAY + number))
            for number in range(50)
        ]
        await bench.sign_in(bench.entry("grace"))
        assert await bench.sessions_of("ada") == newest_first(entries)

    @scenario
    async def test_pages_hold_each_entry_once_though_their_last_one_is_gone(self, bench: Bench) -> None:
        # Five sign-ins in each millisecond, so that pages end between equals.
        entries = newest_first([await bench.sign_in(bench.entry("ada", after=n // 5)) for n in range(20)])
        assert await bench.sessions_of("ada", limit=3) == entries[:3]
        assert await bench.sessions_of("ada", limit=3, after=entries[2]) == entries[3:6]
        await withdraw(bench, entries[5])
        assert await bench.sessions_of("ada", limit=7, after=entries[5]) == entries[6:13]
        assert await bench.sessions_of("ada", limit=100, after=entries[12]) == entries[13:]
        assert await bench.sessions_of("ada", after=entries[-1]) == []

    @scenario
    async def test_an_entry_is_listed_until_its_moment_and_no_longer(self, bench: Bench) -> None:
        entry = await bench.sign_in(bench.entry("ada", until=DAY))
        longer = await bench.sign_in(bench.entry("ada", after=-1, until=DAY + 1))
        assert await bench.sessions_of("ada", now=entry.until - 1) == [entry, longer]
        assert await bench.sessions_of("ada", now=entry.until) == [longer]
        assert await bench.sessions_of("ada", now=entry.until, limit=1) == [longer]
        assert await bench.sessions_of("ada", now=longer.until) == []

    @scenario
    async def test_a_new_sign_in_takes_the_place_of_the_one_before(self, bench: Bench) -> None:
        first = await bench.sign_in(bench.entry("ada", after=0))
        second = await bench.sign_in(bench.entry("ada", after=10))
        assert await bench.sessions_of("ada") == [second, first]
        again = await bench.sign_in(bench.entry("ada", key=first.key, after=20))
        assert await bench.sessions_of("ada") == [again, second]

    @scenario
    async def test_each_user_whatever_the_name_has_entries_of_his_own(self, bench: Bench) -> None:
        entries = {name: await bench.sign_in(bench.entry(name)) for name in ODD_NAMES}
        found = {name: await bench.sessions_of(name) for name in ODD_NAMES}
        assert found == {name: [entry] for name, entry in entries.items()}

    @scenario
    async def test_another_process_sees_every_entry(self, bench: Bench) -> None:
        other = await bench.another()
        entry = await bench.sign_in(bench.entry("ada"))
        assert await bench.sessions_of("ada", store=other) == [entry]

    @scenario
    async def test_sign_ins_at_the_same_time_are_all_listed_once_they_were_answered(
        self, bench: Bench
    ) -> None:
        entries = [bench.entry("ada", after=number) for number in range(40)]

        async def sign_in(entry: Entry) -> None:
            await bench.sign_in(entry, bench.parallel)
            assert entry in await bench.sessions_of("ada", store=bench.parallel)

        with contention():
            await asyncio.gather(*(sign_in(entry) for entry in entries))
        assert await bench.sessions_of("ada") == newest_first(entries)


class Within:
    """A write stores its entry together with the data."""

    @scenario
    async def test_a_refused_write_enters_nothing(self, bench: Bench) -> None:
        lying = await bench.put()
        entry = bench.entry("ada", key=lying.key)
        await bench.conflict(bench.item(key=lying.key, entry=entry))
        ghost = bench.entry("ada")
        await bench.conflict(bench.item(key=ghost.key, expected=b"8 random", entry=ghost))
        assert await bench.sessions_of("ada") == []

    @scenario
    async def test_a_refused_write_takes_no_entry_away(self, bench: Bench) -> None:
        entry = await bench.sign_in(bench.entry("ada"))
        await bench.conflict(bench.item(key=entry.key))
        await bench.conflict(bench.item(key=entry.key, entry=bench.entry("grace", key=entry.key)))
        assert await bench.sessions_of("ada") == [entry]
        assert await bench.sessions_of("grace") == []

    @scenario
    async def test_the_entry_of_the_last_write_is_the_only_one_of_its_key(self, bench: Bench) -> None:
        ada = bench.entry("ada")
        write = await bench.put(key=ada.key, entry=ada)
        for entry in (
            replace(ada, until=ada.until + 1),
            replace(ada, until=ada.until - 1),
            replace(ada, signed_in=ada.signed_in - 1),
            replace(ada, user="grace"),
        ):
            write = await bench.put(over=write, entry=entry)
            found = [*await bench.sessions_of("ada"), *await bench.sessions_of("grace")]
            assert found == [entry]

    @scenario
    async def test_a_write_without_an_entry_takes_the_entry_away(self, bench: Bench) -> None:
        entry = bench.entry("ada")
        write = await bench.put(key=entry.key, entry=entry)
        write = await bench.put(over=write, live=False)
        assert await bench.sessions_of("ada") == []
        await bench.put(over=write, entry=entry)
        assert await bench.sessions_of("ada") == [entry]

    @scenario
    async def test_an_entry_goes_with_data_that_is_removed(self, bench: Bench) -> None:
        kept, removed = await bench.sign_in(bench.entry("ada")), await bench.sign_in(bench.entry("ada"))
        assert await bench.remove(removed.key) == [True]
        assert await bench.sessions_of("ada") == [kept]
        await bench.put(key=removed.key)
        assert await bench.sessions_of("ada") == [kept]

    @scenario
    async def test_an_entry_goes_with_data_that_is_swept(self, bench: Bench) -> None:
        entry = bench.entry("ada")
        await bench.put(key=entry.key, entry=entry, expires=bench.start + SHORT)
        await bench.harness.advance(4)
        await bench.sweep_everything()
        assert await bench.sessions_of("ada", now=bench.harness.now) == []
        await bench.put(key=entry.key)
        assert await bench.sessions_of("ada", now=bench.harness.now) == []

    @scenario
    async def test_of_many_that_sign_in_one_session_the_winner_is_listed(self, bench: Bench) -> None:
        names = [f"user {number}" for number in range(12)]
        with contention():
            for _ in range(5):
                lying = await bench.put()
                writes = [
                    bench.item(name.encode(), over=lying, entry=bench.entry(name, key=lying.key))
                    for name in names
                ]
                await asyncio.gather(*(bench.write(write, store=bench.parallel) for write in writes))
                winner = (await bench.found(lying.key)).data[8:].decode()
                listed = [
                    name
                    for name in names
                    for entry in await bench.sessions_of(name)
                    if entry.key == lying.key
                ]
                assert listed == [winner]

    @scenario
    async def test_sign_ins_and_endings_at_the_same_time_leave_a_true_index(self, bench: Bench) -> None:
        entries = [await bench.sign_in(bench.entry("ada", after=number)) for number in range(20)]
        # Read before any ending: nothing is to be written over that.
        signed_in = {entry.key: await bench.found(entry.key) for entry in entries}

        async def end(entry: Entry) -> None:
            expected = (await bench.found(entry.key)).version
            while True:
                write = bench.item(key=entry.key, expected=expected, live=False, urgent=True)
                (answer,) = await bench.write(write, store=bench.parallel)
                if answer is None:
                    return
                assert isinstance(answer, Conflict), answer
                assert answer.found is not None
                expected = answer.found.version

        async def sign_in_again(entry: Entry) -> None:
            again = replace(entry, user="grace")
            over = bench.item(key=entry.key, over=signed_in[entry.key], entry=again)
            await bench.write(over, store=bench.parallel)

        kept = entries[:5]
        with contention():
            await asyncio.gather(*(step(entry) for entry in entries[5:] for step in (sign_in_again, end)))
        assert await bench.sessions_of("ada") == newest_first(kept)
        assert await bench.sessions_of("grace") == []


class Beside:
    """`note` and `forget` keep entries apart from the data."""

    async def note(self, bench: Bench, *entries: Entry) -> None:
        await bench.store.note(entries, bench.start, bench.deadline)

    async def forget(self, bench: Bench, *entries: Entry) -> None:
        await bench.store.forget(entries, bench.deadline)

    @scenario
    async def test_several_entries_are_noted_together(self, bench: Bench) -> None:
        entries = [bench.entry(user, after=after) for user in ("ada", "grace") for after in range(3)]
        await self.note(bench)
        await self.note(bench, *entries)
        assert await bench.sessions_of("ada") == newest_first(entries[:3])
        assert await bench.sessions_of("grace") == newest_first(entries[3:])

    @scenario
    async def test_a_later_sign_in_replaces_an_entry_and_an_earlier_one_does_not(self, bench: Bench) -> None:
        entry = bench.entry("ada", after=10)
        await self.note(bench, entry)
        await self.note(bench, entry, replace(entry, signed_in=bench.start))
        assert await bench.sessions_of("ada") == [entry]
        later = replace(entry, signed_in=entry.signed_in + 1)
        await self.note(bench, later)
        assert await bench.sessions_of("ada") == [later]

    @scenario
    async def test_the_end_of_an_entry_only_moves_forward(self, bench: Bench) -> None:
        entry = bench.entry("ada")
        await self.note(bench, entry)
        await self.note(bench, replace(entry, until=entry.until - 1_000))
        assert await bench.sessions_of("ada") == [entry]
        longer = replace(entry, until=entry.until + 1_000)
        await self.note(bench, longer)
        assert await bench.sessions_of("ada") == [longer]
        later = replace(entry, signed_in=entry.signed_in + 1)
        await self.note(bench, later)
        assert await bench.sessions_of("ada") == [replace(later, until=longer.until)]

    @scenario
    async def test_one_key_may_be_listed_for_two_users(self, bench: Bench) -> None:
        ada = bench.entry("ada")
        grace = replace(ada, user="grace")
        await self.note(bench, ada)
        await self.note(bench, grace)
        assert await bench.sessions_of("ada") == [ada]
        await self.forget(bench, ada)
        assert await bench.sessions_of("ada") == []
        assert await bench.sessions_of("grace") == [grace]

    @scenario
    async def test_only_exactly_this_entry_is_forgotten(self, bench: Bench) -> None:
        entry, other = bench.entry("ada", after=10), bench.entry("ada", after=20)
        await self.note(bench, entry, other)
        await self.forget(bench)
        await self.forget(
            bench,
            replace(entry, signed_in=entry.signed_in - 1),
            replace(entry, signed_in=entry.signed_in + 1),
            replace(entry, until=entry.until - 1),
            replace(entry, user="grace"),
            bench.entry("ada"),
        )
        assert await bench.sessions_of("ada") == [other, entry]
        await self.forget(bench, bench.entry("grace"), entry)
        assert await bench.sessions_of("ada") == [other]
        await self.forget(bench, entry)
        assert await bench.sessions_of("ada") == [other]

    @scenario
    async def test_forgetting_a_sign_in_leaves_the_later_one_of_the_same_moment(self, bench: Bench) -> None:
        with contention():
            for _ in range(20):
                old = bench.entry("ada")
                await self.note(bench, old)
                new = replace(old, signed_in=old.signed_in + 1)
                await asyncio.gather(
                    bench.parallel.forget([old], bench.deadline),
                    bench.parallel.note([new], bench.start, bench.deadline),
                )
                assert [entry for entry in await bench.sessions_of("ada") if entry.key == old.key] == [new]

    @scenario
    async def test_an_entry_stays_when_its_data_is_written_or_removed(self, bench: Bench) -> None:
        entry = await bench.sign_in(bench.entry("ada"))
        await bench.put(key=entry.key, over=await bench.found(entry.key), live=False)
        assert await bench.sessions_of("ada") == [entry]

    @scenario
    async def test_a_note_whose_deadline_has_passed_comes_back_at_once(self, bench: Bench) -> None:
        noted = await bench.sign_in(bench.entry("ada"))
        for passed in (time.monotonic(), 0.0):
            await comes_back(bench.store.note([bench.entry("ada")], bench.start, passed))
            await comes_back(bench.store.forget([bench.entry("ada")], passed))
            await comes_back(bench.store.index_may_be_incomplete(passed))
        assert noted in await bench.sessions_of("ada")

    @scenario
    async def test_the_store_tells_whether_its_index_may_be_incomplete(self, bench: Bench) -> None:
        reason = await bench.store.index_may_be_incomplete(bench.deadline)
        assert reason is None or reason.strip()


def newest_first(entries: list[Entry]) -> list[Entry]:
    return sorted(entries, key=lambda entry: (-entry.signed_in, entry.key))


async def withdraw(bench: Bench, entry: Entry) -> None:
    """Take an entry out of the index."""
    if bench.store.index == "within":
        await bench.remove(entry.key)
    else:
        await bench.store.forget([entry], bench.deadline)
