"""Any bytes, of any size: data, versions, keys and names go in and come out as they are."""

from __future__ import annotations

from coatcheck.testing.contract.harness import Bench, scenario

__all__ = ["ODD_NAMES", "Values"]

ODD_NAMES = (
    *"1*?% _.\\\"'/;,",
    *("[a-z]", "{x}", "{y}", "a:b", "a b", "a b ", "..", "../../x"),
    *("\n", "\r\n", "\0", "\0\0", "\x1b[0m", "'; drop table sessions; --", "None", "null", "undefined"),
    # Twins, for a database's collation or a file system.
    *("ada", "Ada", "ADA", "ad\N{LATIN SMALL LETTER A WITH ACUTE}", "ada\N{COMBINING ACUTE ACCENT}", "ad"),
    *("K", "\N{KELVIN SIGN}", "k", "stra\N{LATIN SMALL LETTER SHARP S}e", "strasse"),
    *("x" * 255, "x" * 254, "\N{OLD KEY}" * 255, "\N{OLD KEY}" * 254),
)
SIZES = (0, 1, 247, 248, 65_527, 65_528, 200 * 1024)
ODD_KEYS = (
    *(bytes([byte]) * 16 for byte in (0, 0x0A, 0x0D, 0x20, 0x22, 0x25, 0x27, 0x2A, 0x5C, 0x7B, 0x80, 0xFF)),
    # Twins, for a collation that folds case or drops trailing spaces.
    *(b"a" * 16, b"A" * 16, b"a" * 15 + b" ", b"a" * 15 + b"\0", b" " + b"a" * 15),
    *(b"\r\nset x 0 0 1\r\ny", b"{a}:{b}:{c}:{d}:", b"../../../../etc/", bytes(range(16)), bytes(15) + b"\1"),
)
ODD_HEADS = (
    *(bytes(8), b"\0" * 7 + b"\1", b"\xff" * 8, b" " * 8, b"\r\nEND\r\n\0", b"12345678", b'{"a":1}\n'),
    # Twins again.
    *(b"abcdefgh", b"ABCDEFGH", b"abcdefg ", b"abcdefg\0", b" abcdefg"),
)


class Values:
    """No byte is special to a store."""

    @scenario
    async def test_data_of_any_bytes_and_any_size_comes_back(self, bench: Bench) -> None:
        texts = [bytes(range(256)) * (size // 256) + bytes(size % 256) for size in SIZES]
        texts += [
            b"\n",
            b"\r\n",
            b"0",
            b" ",
            b"trailing \0\n ",
            b"\xed\xa0\x80",
            b"VALUE x 0 1\r\nx\r\nEND\r\n",
        ]
        writes = [bench.item(text) for text in texts]
        assert list(await bench.write(*writes)) == [None] * len(writes)
        for write in writes:
            assert await bench.data(write.key) == write.data
            again = await bench.put(write.data[:7:-1], over=write)
            assert await bench.data(write.key) == again.data

    @scenario
    async def test_each_key_whatever_its_bytes_has_data_of_its_own(self, bench: Bench) -> None:
        writes = [bench.item(key, key=key) for key in ODD_KEYS]
        assert list(await bench.write(*writes)) == [None] * len(writes)
        for write in writes:
            assert await bench.data(write.key) == write.data
            assert await bench.remove(write.key) == [True]
            assert await bench.load(write.key) is None

    @scenario
    async def test_a_version_whatever_its_bytes_is_told_from_every_other(self, bench: Bench) -> None:
        lying = await bench.put()
        for head in ODD_HEADS:
            lying = await bench.send(bench.item(over=lying, data=head + b"text"))
            for other in ODD_HEADS:
                if other != head:
                    await bench.conflict(bench.item(key=lying.key, expected=other))
            assert await bench.data(lying.key) == lying.data
