"""The script in the server is the twin of `settle` and `encode`."""

from struct import Struct as Layout

import pytest
from hypothesis import HealthCheck, Phase, given, seed, settings
from hypothesis import strategies as st
from msgspec.structs import replace

from coatcheck.model.record import Record, RecordError, Update, decode, encode
from coatcheck.stores._redis_words import Words
from coatcheck.stores.redis import from_url
from coatcheck.testing.clock import START
from coatcheck.testing.contract.harness import LIFETIMES
from tests.equivalence import BRANCHES, assert_equal, branches_of, check_apply
from tests.servers.process import HOST
from tests.stores.redis_single import PATIENT, command, new_prefix
from tests.strategies import cases

pytestmark = [pytest.mark.servers, pytest.mark.promise("6", "12", "13", "14", "16")]
ANY = list(HealthCheck)


@pytest.fixture(scope="module")
def in_the_server(redis_port):
    """What the store makes of a change, and what lies there then."""
    prefix = new_prefix()
    store = from_url(f"redis://{HOST}:{redis_port}", prefix=prefix, **PATIENT)
    # Records that are over in a millisecond must still lie there when they are looked at.
    store._words = Words(prefix, shortest_life=60_000)

    def apply(key, data, change):
        name = store._words.name(key)
        if data is None:
            command(store, "DEL", name)
        else:
            command(store, "SET", name, data, "PX", 60_000)
        (answer,) = store.apply([change])
        left = command(store, "PTTL", name)
        assert left > 0 or left == -2
        return answer, command(store, "GET", name)

    yield apply
    store.close()


def test_the_script_is_equal_to_settle(in_the_server):
    check_apply(in_the_server, examples=1_500)


def test_every_branch_is_tried(in_the_server):
    """One case at least of each kind, the same ones every time."""
    left, tried = set(BRANCHES), 0
    while left and tried < 30_000:

        @seed(tried)
        @settings(
            max_examples=250, database=None, deadline=None, phases=[Phase.generate], suppress_health_check=ANY
        )
        @given(cases())
        def some(case):
            if reached := branches_of(*case) & left:
                left.difference_update(reached)
                assert_equal(in_the_server, *case)

        some()
        tried += 250
    assert left == set()


FIELDS = {
    "none": {},
    "the largest that fit into the shortest head": {f"{number:02}": b"x" for number in range(15)},
    "one more": {f"{number:02}": b"x" for number in range(16)},
    "a thousand": {f"field {number}": b"value %d" % number for number in range(1_000)},
    "more than two bytes count": {f"{number}": b"" for number in range(65_600)},
    "names and values of every size of head": {
        "x" * size: b"y" * size for size in (0, 1, 31, 32, 255, 256, 65_535, 65_536)
    },
    "any bytes": {"\0\r\n\N{OLD KEY}": bytes(range(256)), "%s%0": b"%d%%", "\\": b"\\"},
}


def record_with(fields, **parts):
    now = round(START * 1000)
    plain = Record(
        key=bytes(range(16)),
        secret=b"s" * 32,
        secret_at=now,
        created=now,
        last_used=now,
        expires=now + 60_000,
        fields=fields,
    )
    return replace(plain, **parts)


def update_of(record, **parts):
    return Update(key=record.key, at=record.created + 1, lifetimes=LIFETIMES, **parts)


@pytest.mark.parametrize("fields", FIELDS.values(), ids=FIELDS)
def test_maps_of_every_size_are_merged(in_the_server, fields):
    record = record_with(fields)
    data, names = encode(record), list(fields)
    for parts in (
        {},
        {"set": {"new": b"1"}},
        {"set": dict.fromkeys(names[:3], b"other")},
        {"remove": frozenset(names[:2])},
        {"take": (*names[-3:], "absent")},
        {"clear": True, "set": dict.fromkeys(names[:20], b"z" * 300)},
    ):
        assert_equal(in_the_server, data, update_of(record, **parts))
    assert_equal(in_the_server, encode(record_with({})), update_of(record, set=fields))


# Heads that are longer than they need be, and a name twice: no release of ours wrote them, but they can be read.
ODD_MAPS = (
    b"\xde\x00\x01\xa1a\xc4\x011",
    b"\xdf\x00\x00\x00\x01\xa1a\xc4\x011",
    b"\x81\xd9\x01a\xc4\x011",
    b"\x81\xda\x00\x01a\xc5\x00\x011",
    b"\x81\xdb\x00\x00\x00\x01a\xc6\x00\x00\x00\x011",
    b"\x83\xa1a\xc4\x011\xa1b\xc4\x012\xa1a\xc4\x013",
    # And what can't.
    *(b"\x81\xa1\xff\xc4\x011", b"\x81\xa2\xc0\xaf\xc4\x011", b"\x81\xa3\xed\xa0\x80\xc4\x011"),
    *(b"\x81\xa4\xf4\x90\x80\x80\xc4\x011", b"\x81\xa3\xe0\x80\x80\xc4\x011", b"\x81\xa1a\xa11"),
    *(b"\x81\x01\xc4\x011", b"\xc0", b"\x90", b"\x80\x80", b"\x82\xa1a\xc4\x011", b"\xdf\xff\xff\xff\xff"),
    *(b"\x81\xa1a\xc6\xff\xff\xff\xff1", b"\x81\xdb\xff\xff\xff\xffa", b"\xde\x00", b"\x81\xa1a\xc4"),
    *(
        b"\x81\xa1a\xc0",
        b"\xc7\x00\x00",
        b"\x81\xa4\xf0\x9f\x98\x80\xc4\x011",
        b"\x81\xa4\xf0\x80\x80\x80\xc4\x00",
    ),
)


@pytest.mark.parametrize("odd", ODD_MAPS)
def test_maps_as_others_write_them_are_read_as_python_reads_them(in_the_server, odd):
    record = record_with({})
    data = encode(record)[:-1] + odd
    for parts in ({}, {"set": {"b": b"4"}}, {"take": ("a",)}, {"remove": frozenset({"a"})}):
        assert_equal(in_the_server, data, update_of(record, **parts))


@settings(max_examples=400, deadline=None, suppress_health_check=ANY)
@given(st.binary(max_size=12), st.sampled_from(("name", "user", "client")))
def test_text_is_what_python_takes_for_text(in_the_server, raw, where):
    record = record_with({})
    if where == "name":
        data = encode(record)[:-1] + b"\x81" + bytes([0xA0 + len(raw)]) + raw + b"\xc4\x011"
    else:
        user, client = (raw, b"c") if where == "user" else (b"u", raw)
        signed = Layout(">HIHH").pack(0, 5, len(user), len(client)) + user + client
        head = bytearray(encode(record))
        head[1] = 1
        data = bytes(head[:-1]) + signed + b"\x80"
    assert_equal(in_the_server, data, update_of(record, set={"b": b"4"}))


@pytest.mark.parametrize("signed_in", [False, True])
def test_the_short_way_of_a_plain_update_is_equal_too(in_the_server, signed_in):
    """Most updates only set and remove fields, and take it; it must not be taken where the long way does otherwise."""
    spliced = 0

    @settings(max_examples=400, deadline=None, database=None, suppress_health_check=ANY)
    @given(cases(), st.data())
    def equal(case, data):
        nonlocal spliced
        found, change = case
        if found is None or not isinstance(change, Update):
            return
        try:
            record = decode(change.key, found)
        except RecordError:
            record = None
        secret = record.secret if isinstance(record, Record) else bytes(32)
        if isinstance(record, Record):
            names = data.draw(
                st.lists(st.sampled_from([*record.fields, "new", "näme", "n" * 32]), max_size=3)
            )
            # Around the size at which a map has another form, too.
            more = {
                f"f{n}": b"value"
                for n in range(data.draw(st.sampled_from([0, 0, 0, 13, 14, 15, 16, 17, 300])))
            }
            record = replace(record, previous=None, seen=0, fields={**record.fields, **more})
            if signed_in:
                record = replace(record, user="ada", signed_in=record.created, client="Browser/1.0")
            found = encode(record)
            values = st.binary(max_size=300)
            change = replace(
                change, set={name: data.draw(values) for name in names}, at=min(change.at, record.expires)
            )
            spliced += change.at < record.expires
        plain = Update(
            key=change.key,
            at=change.at,
            lifetimes=change.lifetimes,
            grace=change.grace,
            secret=secret,
            set=change.set,
            remove=change.remove,
        )
        assert_equal(in_the_server, found, plain)

    equal()
    assert spliced > 50


def test_no_damage_is_taken_for_a_plain_record(in_the_server):
    key, now = bytes(range(16)), int(START * 1000)
    record = Record(
        key=key,
        secret=b"s" * 32,
        secret_at=now,
        created=now,
        last_used=now,
        expires=now + 60_000,
        user="ada",
        signed_in=now,
        client="Browser/1.0",
        fields={"a": b"apple", "b": b"x" * 300, "c": b""},
    )
    change = Update(key=key, at=now + 5, lifetimes=LIFETIMES, secret=record.secret, set={"b": b"new"})
    late = replace(change, at=record.expires)
    whole = encode(record)
    assert_equal(in_the_server, whole, change)
    for place in range(len(whole)):
        for bits in (0x01, 0x80, 0xFF):
            flipped = bytearray(whole)
            flipped[place] ^= bits
            assert_equal(in_the_server, bytes(flipped), change)
        assert_equal(in_the_server, whole[:place], change)
        assert_equal(in_the_server, whole[:place], late)
    for more in (b"\0", b"\xa1", b"\xa1z\xc4\x01z"):
        assert_equal(in_the_server, whole + more, change)


@pytest.mark.soak
def test_the_script_is_equal_to_settle_for_long(in_the_server):
    check_apply(in_the_server, examples=200_000)
