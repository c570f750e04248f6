"""Whatever lies under a key: no exception, no other key's data, and nothing is written over it."""

from __future__ import annotations

import os

from coatcheck.model.ports import Found, Unreadable
from coatcheck.model.record import APPLIED, Create, Record, Refused, SignIn, Tombstone, encode
from coatcheck.testing.contract.harness import Bench, hashed, scenario

__all__ = ["Damage"]

MARKER = "COATCHECK_RAN_WHAT_LAY_IN_THE_STORE"
"""Set in the environment by the poisoned bytes below, if anything ever runs them."""
POISON = b'cbuiltins\nexec\n(S\'import os; os.environ["%s"] = "1"\'\ntR.' % MARKER.encode()
GARBAGE = (b"", b"\0", b"\1", b"{}", b"\x80", b"\xc1", b"\1" * 66, b"\xff" * 500, b"null", POISON)


class Damage:
    """Bytes that are no record."""

    @scenario
    async def test_what_can_not_be_read_is_unreadable_and_not_absent(self, bench: Bench) -> None:
        os.environ.pop(MARKER, None)
        for garbage in GARBAGE:
            record = bench.record()
            await bench.harness.plant(record.key, garbage)
            found = await bench.load(record)
            assert isinstance(found, Unreadable), garbage
        assert MARKER not in os.environ

    @scenario
    async def test_a_record_of_another_format_is_unreadable(self, bench: Bench) -> None:
        record = await bench.create()
        for version in (0, 2, 255):
            await bench.harness.plant(record.key, bytes([version]) + encode(record)[1:])
            assert isinstance(await bench.load(record), Unreadable)
            assert await bench.apply(bench.update(record)) is Refused.UNREADABLE

    @scenario
    async def test_what_can_not_be_read_is_left_alone(self, bench: Bench) -> None:
        for garbage in GARBAGE:
            record = bench.record()
            await bench.harness.plant(record.key, garbage)
            for change in (
                bench.update(record, set={"theme": b"dark"}),
                bench.update(record, clear=True),
                bench.update(record, sign_in=SignIn("ada"), secret=hashed("secret")),
                bench.destroy(record, user="ada"),
                bench.destroy(record, signed_in=bench.start),
            ):
                assert await bench.apply(change) is Refused.UNREADABLE
            assert await bench.apply(Create(record)) is Refused.EXISTS
            assert await bench.raw(record) == garbage

    @scenario
    async def test_logging_out_works_on_what_can_not_be_read(self, bench: Bench) -> None:
        for garbage in GARBAGE:
            record = bench.record()
            await bench.harness.plant(record.key, garbage)
            assert await bench.apply(bench.destroy(record)) == APPLIED
            found = await bench.load(record)
            assert isinstance(found, Tombstone) if bench.store.capabilities.tombstones else found is None
            assert await bench.apply(bench.update(record)) is Refused.GONE

    @scenario
    async def test_a_record_that_was_moved_under_another_key_is_unreadable(self, bench: Bench) -> None:
        theirs, mine = await bench.create(), await bench.create(bench.rich())
        moved = await bench.raw(theirs)
        assert moved is not None
        await bench.harness.plant(mine.key, moved)
        assert isinstance(await bench.load(mine), Unreadable)
        assert await bench.apply(bench.update(mine, secret=theirs.secret)) is Refused.UNREADABLE
        assert await bench.load(theirs) == theirs
        assert await bench.raw(mine) == moved

    @scenario
    async def test_a_record_cut_off_anywhere_is_unreadable(self, bench: Bench) -> None:
        record = await bench.create(bench.rich())
        whole = encode(record)
        for length in range(len(whole)):
            await bench.harness.plant(record.key, whole[:length])
            found = await bench.load(record)
            assert isinstance(found, Unreadable), f"cut off after {length} bytes"

    @scenario
    async def test_a_record_with_something_behind_it_is_unreadable(self, bench: Bench) -> None:
        record = await bench.create(bench.rich())
        await bench.harness.plant(record.key, encode(record) + b"\0")
        assert isinstance(await bench.load(record), Unreadable)

    @scenario
    async def test_a_record_with_one_byte_changed_is_never_an_error_nor_another_keys(
        self, bench: Bench
    ) -> None:
        for record in (bench.rich(), bench.record(fields={})):
            await bench.create(record)
            whole = encode(record)
            unreadable = 0
            for offset in range(len(whole)):
                for mask in (0x01, 0x80, 0xFF):
                    damaged = bytearray(whole)
                    damaged[offset] ^= mask
                    await bench.harness.plant(record.key, bytes(damaged))
                    found = await bench.load(record)
                    if found is None and bench.store.capabilities.revokes_all:
                        continue  # of another user, or another sign-in, that does not count
                    assert is_of(found, record.key), f"byte {offset} changed by {mask:#x}: {found}"
                    unreadable += isinstance(found, Unreadable)
            # The version and the key, at least.
            assert unreadable >= 3 * 17

    @scenario
    async def test_a_damaged_record_of_a_user_breaks_no_listing_and_no_sweep(self, bench: Bench) -> None:
        good, bad = [await bench.create(bench.signed_in("ada")) for _ in range(2)]
        await bench.harness.plant(bad.key, b"who knows what")
        capabilities = bench.store.capabilities
        if capabilities.users:
            assert good.key in await bench.keys_of("ada")
        if capabilities.count:
            assert await bench.store.count(bench.start) >= 1
        assert await bench.store.sweep(bench.start, 100) == 0
        assert await bench.raw(bad) == b"who knows what"
        # Another sign-in must not stumble over it either.
        assert await bench.apply(bench.destroy(bad)) == APPLIED
        if capabilities.users:
            assert await bench.keys_of("ada") == [good.key]


def is_of(found: Found, key: bytes) -> bool:
    """Whether `found` says nothing about another key."""
    return isinstance(found, Unreadable) or (isinstance(found, Record | Tombstone) and found.key == key)
