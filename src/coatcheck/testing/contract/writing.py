"""Data is written where nothing lies, or over the version that the write expects; and removed."""

from __future__ import annotations

import os

from coatcheck.model.ports import revision_of
from coatcheck.testing.contract.harness import Bench, scenario

__all__ = ["GARBAGE", "Writing"]

GARBAGE = (b"\0", b"{}", b"null", b"\xff" * 7, b"\r\n", b"seven b", b"a line\r\nEND\r\n", bytes(500))
"""Bytes that Coatcheck never wrote."""


class Writing:
    """One compare-and-swap at a time."""

    @scenario
    async def test_nothing_lies_under_a_key_that_was_never_written(self, bench: Bench) -> None:
        await bench.put(b"of another key")
        key = os.urandom(16)
        assert await bench.load(key) is None
        assert await bench.harness.raw(key) is None

    @scenario
    async def test_written_data_is_stored_and_loaded_as_it_is(self, bench: Bench) -> None:
        for live, urgent in ((True, False), (False, False), (True, True), (False, True)):
            written = await bench.put(b"the text", live=live, urgent=urgent)
            assert await bench.data(written.key) == written.data
            assert await bench.harness.raw(written.key) == written.data

    @scenario
    async def test_a_write_that_expects_nothing_is_never_done_over_data(self, bench: Bench) -> None:
        for live, urgent in ((True, False), (False, False), (True, True)):
            first = await bench.put(b"the first")
            second = bench.item(b"the second", key=first.key, live=live, urgent=urgent)
            found = await bench.conflict(second)
            assert found is not None
            assert found.data == first.data
            assert await bench.harness.raw(first.key) == first.data

    @scenario
    async def test_a_write_that_expects_nothing_is_never_done_over_bytes_that_it_can_not_read(
        self, bench: Bench
    ) -> None:
        for garbage in (*GARBAGE, b""):
            write = bench.item()
            await bench.harness.plant(write.key, garbage)
            found = await bench.conflict(write)
            assert found is not None
            assert found.data == garbage
            assert await bench.harness.raw(write.key) == garbage

    @scenario
    async def test_a_write_replaces_the_version_that_it_expects(self, bench: Bench) -> None:
        for live, urgent in ((True, False), (False, False), (True, True)):
            first = await bench.put(b"the first, which is longer")
            loaded = await bench.found(first.key)
            second = await bench.put(b"the second", key=first.key, over=loaded, live=live, urgent=urgent)
            assert await bench.data(first.key) == second.data
            assert await bench.harness.raw(first.key) == second.data

    @scenario
    async def test_the_head_of_written_data_is_its_version(self, bench: Bench) -> None:
        write = await bench.put(b"0")
        for number in range(1, 4):
            write = await bench.put(b"%d" % number, over=write)
            assert await bench.data(write.key) == write.data

    @scenario
    async def test_a_version_that_was_replaced_is_not_accepted_again(self, bench: Bench) -> None:
        first = await bench.put(b"the first")
        loaded = await bench.found(first.key)
        second = await bench.put(b"the second", over=first)
        for old in (first, loaded):
            found = await bench.conflict(bench.item(b"too late", key=first.key, over=old))
            assert found is not None
            assert found.data == second.data
            assert await bench.harness.raw(first.key) == second.data

    @scenario
    async def test_a_write_that_expects_a_version_never_creates(self, bench: Bench) -> None:
        loaded = await bench.found((await bench.put()).key)
        for expected in (os.urandom(8), loaded.version):
            write = bench.item(b"out of nothing", expected=expected)
            assert await bench.conflict(write) is None
            assert await bench.harness.raw(write.key) is None

    @scenario
    async def test_the_version_in_a_conflict_can_be_used_at_once(self, bench: Bench) -> None:
        first = await bench.put(b"the first")
        found = await bench.conflict(bench.item(key=first.key))
        second = await bench.put(b"the second", key=first.key, over=found)
        found = await bench.conflict(bench.item(over=first))
        third = await bench.put(b"the third", key=first.key, over=found)
        assert revision_of(second.data) != revision_of(third.data)
        assert await bench.data(first.key) == third.data

    @scenario
    async def test_loading_writes_nothing(self, bench: Bench) -> None:
        first = await bench.put(b"the first")
        before = await bench.found(first.key)
        for now in (bench.start, first.expires - 1, first.expires):
            await bench.load(first.key, now=now)
        assert await bench.harness.raw(first.key) == first.data
        await bench.put(b"the second", key=first.key, over=before)

    @scenario
    async def test_bytes_that_it_can_not_read_are_loaded_as_they_are_and_can_be_replaced(
        self, bench: Bench
    ) -> None:
        for garbage in GARBAGE:
            key = os.urandom(16)
            await bench.harness.plant(key, garbage)
            found = await bench.found(key)
            assert found.data == garbage
            assert await bench.harness.raw(key) == garbage
            write = await bench.put(b"the end of it", key=key, over=found)
            assert await bench.data(key) == write.data

    @scenario
    async def test_a_removal_tells_whether_something_lay_there(self, bench: Bench) -> None:
        first, second = await bench.put(), await bench.put(live=False)
        absent = os.urandom(16)
        assert await bench.remove(first.key, absent, second.key) == [True, False, True]
        assert await bench.remove(first.key, absent, second.key) == [False, False, False]
        assert await bench.harness.raw(first.key) is None
        assert await bench.harness.raw(second.key) is None

    @scenario
    async def test_bytes_that_it_can_not_read_can_be_removed(self, bench: Bench) -> None:
        for garbage in (*GARBAGE, b""):
            key = os.urandom(16)
            await bench.harness.plant(key, garbage)
            assert await bench.remove(key) == [True]
            assert await bench.load(key) is None
            assert await bench.harness.raw(key) is None

    @scenario
    async def test_where_data_was_removed_a_key_begins_anew(self, bench: Bench) -> None:
        first = await bench.put(b"the first")
        loaded = await bench.found(first.key)
        await bench.remove(first.key)
        for old in (first, loaded):
            assert await bench.conflict(bench.item(b"too late", key=first.key, over=old)) is None
            assert await bench.harness.raw(first.key) is None
        second = await bench.put(b"the second", key=first.key)
        assert await bench.data(first.key) == second.data

    @scenario
    async def test_another_process_sees_at_once_what_was_answered(self, bench: Bench) -> None:
        other = await bench.another()
        first = await bench.put(b"the first")
        assert await bench.data(first.key, store=other) == first.data
        second = await bench.put(b"the second", over=first)
        assert await bench.data(first.key, store=other) == second.data
        await bench.remove(first.key)
        assert await bench.load(first.key, store=other) is None

    @scenario
    async def test_another_process_accepts_and_gives_the_same_versions(self, bench: Bench) -> None:
        other = await bench.another()
        first = await bench.put(b"the first")
        loaded = await bench.found(first.key)
        second = await bench.send(bench.item(b"the second", key=first.key, over=loaded), other)
        third = await bench.put(b"the third", over=second)
        loaded_by_other = await bench.load(first.key, store=other)
        fourth = await bench.put(b"the fourth", key=first.key, over=loaded_by_other)
        assert await bench.data(first.key, store=other) == fourth.data != third.data
