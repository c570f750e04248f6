"""Large and odd: what goes in comes out, byte for byte."""

from __future__ import annotations

from coatcheck.model.record import APPLIED, Applied, Create, Record
from coatcheck.testing.contract.harness import Bench, scenario
from coatcheck.testing.contract.users import ODD_NAMES

__all__ = ["Values"]

ODD_FIELDS = (
    *ODD_NAMES,
    *("", "\N{BOMB}", "\ufeff", "\ud7ff\ue000", "\U0010ffff", "x" * 4096, "\N{BOMB}" * 1024),
    # Where MessagePack changes from one form of a string to the next.
    *("x" * 31, "x" * 32, "x" * 256, "x" * 65_535, "x" * 65_536),
)
SIZES = (0, 1, 255, 256, 65_535, 65_536, 200 * 1024)
ODD_KEYS = (
    *(bytes([byte]) * 16 for byte in (0, 0x0A, 0x0D, 0x20, 0x22, 0x25, 0x27, 0x2A, 0x5C, 0x7B, 0x80, 0xFF)),
    # Twins, for a collation that folds case or drops trailing spaces.
    *(b"a" * 16, b"A" * 16, b"a" * 15 + b" ", b"a" * 15 + b"\0", b" " + b"a" * 15),
    *(b"\r\nset x 0 0 1\r\ny", b"{a}:{b}:{c}:{d}:", b"../../../../etc/", bytes(range(16)), bytes(15) + b"\1"),
)


class Values:
    """No byte is special to a store."""

    @scenario
    async def test_fields_with_odd_names_come_back(self, bench: Bench) -> None:
        fields = {name: b"%d" % number for number, name in enumerate(ODD_FIELDS)}
        record = await bench.create(fields=fields)
        assert await bench.load(record) == record
        changed = {name: value + b" changed" for name, value in fields.items()}
        assert await bench.apply(bench.update(record, set=changed)) == APPLIED
        assert await bench.fields(record) == changed
        assert await bench.apply(bench.update(record, take=tuple(fields))) == Applied(changed)
        assert await bench.fields(record) == {}

    @scenario
    async def test_fields_with_odd_names_can_be_removed_one_by_one(self, bench: Bench) -> None:
        left = dict.fromkeys(ODD_FIELDS, b"x")
        record = await bench.create(fields=left)
        for name in ODD_FIELDS:
            await bench.apply(bench.update(record, remove=frozenset({name})))
            left.pop(name, None)
            assert await bench.fields(record) == left

    @scenario
    async def test_values_of_any_bytes_and_any_size_come_back(self, bench: Bench) -> None:
        fields = {f"{size} bytes": bytes(range(256)) * (size // 256) + bytes(size % 256) for size in SIZES}
        record = await bench.create(fields=fields)
        assert await bench.load(record) == record
        bigger = {f"{name} more": value[::-1] for name, value in fields.items()}
        await bench.apply(bench.update(record, set=bigger))
        assert await bench.fields(record) == fields | bigger
        assert await bench.apply(bench.update(record, take=tuple(bigger))) == Applied(bigger)

    @scenario
    async def test_a_thousand_fields_come_back(self, bench: Bench) -> None:
        fields = {f"field {number}": b"%d" % number for number in range(1_000)}
        record = await bench.create(fields=fields)
        assert await bench.load(record) == record
        more = {f"field {number}": b"%d!" % number for number in range(500, 1_500)}
        await bench.apply(bench.update(record, set=more))
        assert await bench.fields(record) == fields | more
        gone = frozenset(fields)
        await bench.apply(bench.update(record, remove=gone))
        left = await bench.fields(record)
        assert left == {name: value for name, value in more.items() if name not in gone}

    @scenario
    async def test_users_and_clients_with_odd_names_come_back(self, bench: Bench) -> None:
        for name in ODD_NAMES:
            record = await bench.create(bench.signed_in(name, client=name))
            found = await bench.load(record)
            assert isinstance(found, Record)
            assert (found.user, found.client) == (name, name)
            assert await bench.apply(bench.destroy(record, user=name)) == APPLIED

    @scenario
    async def test_each_key_whatever_its_bytes_has_a_record_of_its_own(self, bench: Bench) -> None:
        records = [bench.record(key=key, fields={"key": key}) for key in ODD_KEYS]
        for record in records:
            assert await bench.apply(Create(record)) == APPLIED
        assert list(await bench.store.load(ODD_KEYS, bench.start)) == records
        for record in records:
            assert await bench.load(record) == record
            assert await bench.apply(bench.update(record, take=("key",))) == Applied({"key": record.key})
