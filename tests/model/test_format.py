"""The bytes of a record, one by one as docs/reference/record-format.md has them."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from coatcheck.core.swap import held_of
from coatcheck.model.format import RecordError, decode, encode
from coatcheck.model.lifetimes import LATEST, Lifetimes
from coatcheck.model.ports import Found, revision_of
from coatcheck.model.record import Record, SignIn, Tombstone, Unreadable, Update
from tests.strategies import records

pytestmark = pytest.mark.promise("F-22")

REVISION = b"REVISION"
KEY = bytes(range(16))
SECRET, OLD = (bytes([byte]) * 32 for byte in (1, 2))
LIMITS = Lifetimes(idle=1_000, absolute=10_000, remember_idle=5_000, remember_absolute=50_000)

# Written out by hand.
START = REVISION.hex() + "01"  # and then the flags
HEAD = (
    "000102030405060708090a0b0c0d0e0f"  # key
    + "01" * 32  # SHA-256 of the secret
    + "019b00000001"  # when that was set
    + "019b00000002"  # created
    + "019b00000003"  # last used
    + "019b00000004"  # expires
    + "6d61726b"  # mark
)
TIMES = {"secret_at": 0x019B00000001, "created": 0x019B00000002}
TIMES |= {"last_used": 0x019B00000003, "expires": 0x019B00000004}
ALE = "al\N{LATIN SMALL LETTER E WITH ACUTE}"
SIGNED_IN = "019b00000005" + "0004" + "0003" + "616cc3a9" + "466f78"  # a user of four bytes; "Fox"
IN_GRACE = "02" * 32 + "019b00000006"
OWN_LIMITS = "000000000007" + "000000000008"
SEALED = "0006" + "7365616c6564"
PLAIN = Record(key=KEY, secret_hash=SECRET, mark=b"mark", **TIMES)
GOLDEN = {
    "without fields": (PLAIN, "00" + HEAD + "80"),
    "permanent": (replace(PLAIN, permanent=True), "02" + HEAD + "80"),
    "signed in": (
        replace(PLAIN, signed_in=0x019B00000005, user=ALE, client="Fox"),
        "01" + HEAD + SIGNED_IN + "80",
    ),
    "in grace, not seen": (replace(PLAIN, previous=OLD), "04" + HEAD + "02" * 32 + "000000000000" + "80"),
    "limits": (replace(PLAIN, idle=7, absolute=8), "08" + HEAD + OWN_LIMITS + "80"),
    "one limit": (replace(PLAIN, absolute=8), "08" + HEAD + "000000000000" + "000000000008" + "80"),
    "sealed": (replace(PLAIN, sealed=b"sealed"), "10" + HEAD + SEALED + "80"),
    "everything": (
        replace(
            PLAIN,
            permanent=True,
            signed_in=0x019B00000005,
            user=ALE,
            client="Fox",
            previous=OLD,
            seen=0x019B00000006,
            idle=7,
            absolute=8,
            sealed=b"sealed",
            fields={"a": b"\x01\x02", "": b""},
        ),
        "1f" + HEAD + SIGNED_IN + IN_GRACE + OWN_LIMITS + SEALED + "82" + "a161" + "c4020102" + "a0" + "c400",
    ),
    "long names and values": (
        replace(PLAIN, fields={"n" * 32: b"v" * 256}),
        "00" + HEAD + "81" + "d920" + "6e" * 32 + "c50100" + "76" * 256,
    ),
    "the user of no name": (
        replace(PLAIN, signed_in=0x019B00000005, user=""),
        "01" + HEAD + "019b00000005" + "0000" + "0000" + "80",
    ),
    "tombstone": (
        Tombstone(KEY, 0x019B00000004),
        "80" + "000102030405060708090a0b0c0d0e0f" + "00" * 32 + "00" * 18 + "019b00000004" + "00" * 4,
    ),
}


def read(key, data):
    """What the engine takes the bytes for."""
    return held_of(key, Found(data, None)).state


EACH = pytest.mark.parametrize("name", GOLDEN)


def golden(name):
    return bytes.fromhex(START + GOLDEN[name][1])


@EACH
def test_a_record_is_written_as_the_table_says(name):
    assert encode(GOLDEN[name][0], REVISION).hex() == golden(name).hex()


@EACH
def test_what_the_table_says_is_read(name):
    assert decode(KEY, golden(name)) == read(KEY, golden(name)) == GOLDEN[name][0]


@EACH
def test_the_revision_stands_first_and_is_no_part_of_what_is_read(name):
    assert revision_of(golden(name)) == REVISION
    assert decode(KEY, b"\xff" * 8 + golden(name)[8:]) == GOLDEN[name][0]


@EACH
def test_what_is_cut_off_anywhere_can_not_be_read(name):
    data = golden(name)
    for length in range(len(data)):
        with pytest.raises(RecordError):
            decode(KEY, data[:length])


@EACH
@pytest.mark.parametrize("more", [b"\0", b"\x80", b"more"])
def test_what_has_something_behind_it_can_not_be_read(name, more):
    with pytest.raises(RecordError):
        decode(KEY, golden(name) + more)


@EACH
def test_the_record_of_another_key_can_not_be_read(name):
    with pytest.raises(RecordError, match="another key"):
        decode(KEY[::-1], golden(name))


@pytest.mark.promise("F-21")
@pytest.mark.parametrize("version", [0, 2, 255])
def test_another_format_can_not_be_read_and_the_error_names_both(version):
    data = bytearray(encode(PLAIN, REVISION))
    data[8] = version
    with pytest.raises(RecordError, match=f"has format {version}; this release reads format 1"):
        decode(KEY, bytes(data))


@pytest.mark.promise("F-21")
@pytest.mark.parametrize("flag", [32, 64, 128])
def test_a_flag_that_is_not_in_the_table_can_not_be_read(flag):
    data = bytearray(encode(PLAIN, REVISION))
    data[9] |= flag
    with pytest.raises(RecordError, match="damaged"):
        decode(KEY, bytes(data))


@EACH
def test_with_one_byte_changed_it_is_refused_or_a_record_that_still_works(name):
    data = golden(name)
    for offset in range(len(data)):
        for mask in (0x01, 0x02, 0x10, 0x80, 0xFF):
            state = read(KEY, data[:offset] + bytes([data[offset] ^ mask]) + data[offset + 1 :])
            if isinstance(state, Unreadable):
                continue
            assert state.key == KEY
            times = [state.expires]
            if isinstance(state, Record):
                times += [state.created, state.last_used, state.secret_at, state.signed_in]
                _change(state)
            for time in times:
                datetime.fromtimestamp(time / 1000, UTC)


def _change(record):
    """Whatever limits it has, it can be changed and written."""
    for signs_in in (None, SignIn("ada")):
        change = Update(key=KEY, at=record.expires - 1, lifetimes=LIMITS, sign_in=signs_in)
        after = record.apply(change)
        if isinstance(after, Record):
            assert decode(KEY, encode(after, REVISION)) == after


def test_nothing_lasts_longer_than_dates_do():
    record = replace(PLAIN, idle=(1 << 48) - 1, absolute=(1 << 48) - 1, last_used=LATEST - 5, expires=LATEST)
    after = record.apply(Update(key=KEY, at=LATEST - 1, lifetimes=LIMITS))
    assert after.expires == LATEST
    assert decode(KEY, encode(after, REVISION)) == after


@pytest.mark.parametrize("which", ["secret_at", "created", "last_used", "expires", "signed_in"])
def test_a_time_after_the_year_9999_can_not_be_read(which):
    end = 253_402_300_800_000  # the first millisecond of the year 10,000
    state = replace(PLAIN, user="ada")
    for time in (end, (1 << 48) - 1):
        with pytest.raises(RecordError, match="damaged"):
            decode(KEY, encode(replace(state, **{which: time}), REVISION))
    assert decode(KEY, encode(replace(state, **{which: end - 1}), REVISION))


@pytest.mark.parametrize("where", ["user", "client", "name of a field"])
def test_text_that_is_not_utf_8_can_not_be_read(where):
    state = replace(PLAIN, signed_in=1, user="ada", client="Browser", fields={"theme": b""})
    text = {"user": b"ada", "client": b"Browser", "name of a field": b"theme"}[where]
    data = encode(state, REVISION).replace(text, b"\xff" * len(text))
    with pytest.raises(RecordError, match="damaged"):
        decode(KEY, data)


@pytest.mark.parametrize("fields", ["c0", "90", "8101c400", "81a161a162", "81a161c0", "81a161c402"])
def test_fields_that_are_no_map_of_str_to_bin_can_not_be_read(fields):
    with pytest.raises(RecordError, match="damaged"):
        decode(KEY, bytes.fromhex(START + "00" + HEAD + fields))


@pytest.mark.promise("12")
@pytest.mark.parametrize("flags", range(32))
def test_a_live_record_is_never_taken_for_a_tombstone(flags):
    data = bytearray(encode(replace(PLAIN, fields={"a": b"1"}), REVISION))
    data[9] = 128 | flags
    with pytest.raises(RecordError):
        decode(KEY, bytes(data))


@pytest.mark.promise("12")
def test_a_tombstone_has_nothing_but_its_end():
    tombstone = golden("tombstone")
    for offset in [*range(26, 76), *range(82, len(tombstone))]:
        with pytest.raises(RecordError):
            decode(KEY, tombstone[:offset] + b"\1" + tombstone[offset + 1 :])


@pytest.mark.promise("18")
def test_no_error_tells_what_was_in_the_record():
    data = encode(replace(PLAIN, user="ada", fields={"password": b"swordfish"}), REVISION)
    for damaged in (data[:-1], data[:8] + b"\2" + data[9:], data + b"x"):
        unreadable = read(KEY, damaged)
        assert isinstance(unreadable, Unreadable)
        for shown in (unreadable.reason, repr(unreadable)):
            assert not {"swordfish", "password", "ada"} & set(shown.replace("'", " ").split())
            assert SECRET.hex() not in shown


@pytest.mark.promise("C")
@given(records(), st.binary(min_size=8, max_size=8))
def test_a_record_comes_back_as_it_was(record, revision):
    data = encode(record, revision)
    assert (decode(record.key, data), revision_of(data)) == (record, revision)


@given(st.binary(max_size=200), st.sampled_from(["", "01", "0100" + HEAD, "0180"]))
def test_whatever_lies_there_is_read_or_refused(data, start):
    data = bytes(8) + bytes.fromhex(start) + data
    assert isinstance(read(KEY, data), Record | Tombstone | Unreadable)
