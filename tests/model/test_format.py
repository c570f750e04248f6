"""The bytes of a record, as the table in `coatcheck.model.format` has them."""

from datetime import UTC, datetime

import pytest
from msgspec.structs import replace

from coatcheck.model.format import RecordError, decode, encode
from coatcheck.model.record import Record, Tombstone

KEY = bytes(range(16))
SECRET, OLD = (bytes([byte]) * 32 for byte in (1, 2))
REVISION = b"8 random"
MARK = b"mark"

# Written out by hand.
START = REVISION.hex()
HEAD = (
    "000102030405060708090a0b0c0d0e0f"  # key
    + "01" * 32  # secret
    + "019b00000001"  # secret_at
    + "019b00000002"  # created
    + "019b00000003"  # last_used
    + "019b00000004"  # expires
    + MARK.hex()
)
TIMES = {"secret_at": 0x019B00000001, "created": 0x019B00000002}
TIMES |= {"last_used": 0x019B00000003, "expires": 0x019B00000004}
SIGNED_IN = "019b00000005" + "0004" + "0003" + "616cc3a9" + "466f78"  # a user of four bytes; "Fox"
IN_GRACE = "02" * 32 + "019b00000006"
OWN_LIMITS = "000000000007" + "010000000008"
SEALED = "0003" + "0a0b0c"
PLAIN = Record(key=KEY, secret_hash=SECRET, mark=MARK, **TIMES)
ADA = {"signed_in": 0x019B00000005, "user": "al\N{LATIN SMALL LETTER E WITH ACUTE}", "client": "Fox"}
GOLDEN = {
    "without fields": (PLAIN, "0100" + HEAD + "80"),
    "permanent": (replace(PLAIN, permanent=True), "0102" + HEAD + "80"),
    "signed in": (replace(PLAIN, **ADA), "0101" + HEAD + SIGNED_IN + "80"),
    "in grace, not seen": (
        replace(PLAIN, previous=OLD),
        "0104" + HEAD + "02" * 32 + "000000000000" + "80",
    ),
    "with limits of its own": (
        replace(PLAIN, idle=7, absolute=0x010000000008),
        "0108" + HEAD + OWN_LIMITS + "80",
    ),
    "with an absolute limit of its own": (
        replace(PLAIN, absolute=8),
        "0108" + HEAD + "000000000000" + "000000000008" + "80",
    ),
    "with sealed bookkeeping": (replace(PLAIN, sealed=b"\x0a\x0b\x0c"), "0110" + HEAD + SEALED + "80"),
    "everything": (
        replace(
            PLAIN,
            permanent=True,
            **ADA,
            previous=OLD,
            seen=0x019B00000006,
            idle=7,
            absolute=0x010000000008,
            sealed=b"\x0a\x0b\x0c",
            fields={"a": b"\x01\x02", "": b""},
        ),
        "011f"
        + HEAD
        + SIGNED_IN
        + IN_GRACE
        + OWN_LIMITS
        + SEALED
        + "82"
        + "a161"
        + "c4020102"
        + "a0"
        + "c400",
    ),
    "long names and values": (
        replace(PLAIN, fields={"n" * 32: b"v" * 256}),
        "0100" + HEAD + "81" + "d920" + "6e" * 32 + "c50100" + "76" * 256,
    ),
    "the user of no name": (
        replace(PLAIN, signed_in=0x019B00000005, user=""),
        "0101" + HEAD + "019b00000005" + "0000" + "0000" + "80",
    ),
    "tombstone": (
        Tombstone(KEY, 0x019B00000004),
        "0180" + "000102030405060708090a0b0c0d0e0f" + "00" * 32 + "00" * 18 + "019b00000004" + "00" * 4,
    ),
}
STATES = pytest.mark.parametrize(
    ("state", "golden"),
    [(state, bytes.fromhex(START + golden)) for state, golden in GOLDEN.values()],
    ids=list(GOLDEN),
)
pytestmark = pytest.mark.promise("F-22")


@STATES
def test_a_record_is_written_as_the_table_says(state, golden):
    assert encode(state, REVISION).hex() == golden.hex()


@STATES
def test_the_bytes_of_the_table_are_read(state, golden):
    assert decode(KEY, golden) == state


@STATES
def test_the_revision_may_be_any_bytes_and_changes_nothing_else(state, golden):
    for revision in (bytes(8), b"\xff" * 8):
        data = encode(state, revision)
        assert data == revision + golden[8:]
        assert decode(KEY, data) == state


@STATES
def test_a_record_cut_off_anywhere_can_not_be_read(state, golden):
    for length in range(len(golden)):
        with pytest.raises(RecordError):
            decode(KEY, golden[:length])


@STATES
def test_a_record_with_something_behind_it_can_not_be_read(state, golden):
    with pytest.raises(RecordError):
        decode(KEY, golden + b"\0")


@STATES
def test_the_record_of_another_key_can_not_be_read(state, golden):
    with pytest.raises(RecordError, match="another key"):
        decode(KEY[::-1], golden)


@pytest.mark.parametrize("version", [0, 2, 255])
def test_another_format_can_not_be_read_and_the_error_names_both(version):
    data = bytearray(encode(PLAIN, REVISION))
    data[8] = version
    with pytest.raises(RecordError, match=f"has format {version}; this release reads format 1"):
        decode(KEY, bytes(data))


@pytest.mark.parametrize("flag", [32, 64])
def test_a_flag_that_is_not_in_the_table_can_not_be_read(flag):
    data = bytearray(encode(PLAIN, REVISION))
    data[9] = flag
    with pytest.raises(RecordError, match="damaged"):
        decode(KEY, bytes(data))


@STATES
def test_with_one_byte_changed_it_is_refused_or_read_as_a_record_whose_times_are_dates(state, golden):
    for offset in range(len(golden)):
        for mask in (0x01, 0x02, 0x80, 0xFF):
            try:
                data = golden[:offset] + bytes([golden[offset] ^ mask]) + golden[offset + 1 :]
                found = decode(KEY, data)
            except RecordError:
                continue
            assert found.key == KEY
            times = [found.expires]
            if isinstance(found, Record):
                times += [found.created, found.last_used, found.secret_at, found.signed_in]
            for time in times:
                datetime.fromtimestamp(time / 1000, UTC)


@pytest.mark.parametrize("which", ["secret_at", "created", "last_used", "expires", "signed_in"])
def test_a_time_after_the_year_9999_can_not_be_read(which):
    end = 253_402_300_800_000  # the first millisecond of the year 10,000
    state = replace(PLAIN, user="ada")
    for time in (end, (1 << 48) - 1):
        with pytest.raises(RecordError, match="damaged"):
            decode(KEY, encode(replace(state, **{which: time}), REVISION))


@pytest.mark.parametrize("where", ["user", "name of a field"])
def test_text_that_is_not_utf_8_can_not_be_read(where):
    state = replace(PLAIN, signed_in=1, user="ada", fields={"theme": b""})
    text = {"user": b"ada", "name of a field": b"theme"}[where]
    data = encode(state, REVISION).replace(text, b"\xff" * len(text))
    with pytest.raises(RecordError, match="damaged"):
        decode(KEY, data)


@pytest.mark.parametrize("fields", ["c0", "90", "8101c400", "81a161a162", "81a161c0", "81a161c402"])
def test_fields_that_are_no_map_of_str_to_bin_can_not_be_read(fields):
    with pytest.raises(RecordError, match="damaged"):
        decode(KEY, bytes.fromhex(START + "0100" + HEAD + fields))


def test_a_live_record_is_never_taken_for_a_tombstone():
    data = bytearray(encode(PLAIN, REVISION))
    data[9] |= 128
    with pytest.raises(RecordError):
        decode(KEY, bytes(data))


@pytest.mark.parametrize("garbage", [b"", b"garbage", bytes(200), b"\xff" * 500])
def test_bytes_of_any_other_kind_can_not_be_read(garbage):
    with pytest.raises(RecordError):
        decode(KEY, garbage)


def test_no_error_tells_the_content_of_the_record():
    data = encode(replace(PLAIN, fields={"password": b"swordfish"}), REVISION)
    with pytest.raises(RecordError) as caught:
        decode(KEY, data[:-1])
    assert "swordfish" not in str(caught.value)
    assert "password" not in str(caught.value)
