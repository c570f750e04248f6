"""Values come back as they were, and equal values have equal bytes."""

from __future__ import annotations

import random
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from msgspec.msgpack import Ext

from coatcheck.model.codec import IMMUTABLE, decode, encode, same_value
from tests.model.values import atoms, form, hashables, values

pytestmark = pytest.mark.promise("C")


pack = msgspec.msgpack.encode
BERLIN = ZoneInfo("Europe/Berlin")


# There and back


@settings(max_examples=200)
@given(values)
def test_a_value_comes_back_as_what_it_was_types_and_all(value):
    assert form(decode(encode(value))) == form(value)


@pytest.mark.promise("8")
@settings(max_examples=150)
@given(values)
def test_reading_changes_no_byte(value):
    data = encode(value)
    assert encode(decode(data)) == data


STUMBLING = [
    None,
    True,
    0,
    -0.0,
    float("nan"),
    float("inf"),
    "",
    b"",
    1,
    1.0,
    "1",
    b"1",
    2**64 - 1,
    2**64,
    -(2**63),
    -(2**63) - 1,
    10**4000,
    {1: "int", 2.5: "float", None: "none", b"b": "bytes", "s": "str", -(2**63): "", 2**64 - 1: ""},
    {True: "bool", False: "bool"},
    {" t": [1, 2]},
    {" di": {"a": 1}, "__type__": "set", "$date": "2026-01-01"},
    (),
    [],
    {},
    set(),
    frozenset(),
    [(), [], {}, set(), frozenset()],
    {(1, (2, frozenset({3}))), frozenset({(4,)})},
    {1, "1", b"1", 1.5, None, (1,), frozenset({1}), date(2026, 1, 1), UUID(int=1), Decimal("1.10")},
    (2**64, [-(2**70)], {"n": 2**65}, {2**66}),
    datetime(2026, 10, 25, 2, 30, fold=0, tzinfo=BERLIN),
    datetime(2026, 10, 25, 2, 30, fold=1, tzinfo=BERLIN),
    datetime(2026, 10, 25, 2, 30, tzinfo=UTC).replace(tzinfo=None, fold=1),
    datetime(1, 1, 1, tzinfo=UTC).replace(tzinfo=None),
    datetime(9999, 12, 31, 23, 59, 59, 999_999, UTC),
    datetime(2026, 1, 1, tzinfo=timezone(timedelta(hours=5, minutes=45))),
    datetime(2026, 1, 1, tzinfo=timezone(timedelta(hours=-5, microseconds=1), "EST")),
    datetime(2026, 1, 1, tzinfo=timezone(timedelta(0), "UTC")),
    datetime(2026, 1, 1, tzinfo=timezone(timedelta(0), "")),
    datetime(2026, 1, 1, tzinfo=timezone(timedelta(hours=1), "UTC+01:00")),
    time(23, 59, 59, 999_999, fold=1),
    time(0),
    date.max,
    timedelta.max,
    timedelta.min,
    timedelta(microseconds=-1),
    Decimal("0.10"),
    Decimal("-0"),
    Decimal("1E+1000"),
    Decimal("NaN"),
    Decimal("-sNaN123"),
    Decimal("-Infinity"),
    UUID("12345678-1234-5678-1234-567812345678"),
    "\x00\N{OLD KEY}\uffff\u2028",
]


@pytest.mark.parametrize("value", STUMBLING, ids=range(len(STUMBLING)))
def test_the_values_on_which_others_stumbled_come_back(value):
    assert form(decode(encode(value))) == form(value)


def test_a_zone_comes_back_as_the_zone_and_not_only_as_its_offset():
    moment = decode(encode(datetime(2026, 1, 1, tzinfo=BERLIN)))
    assert moment.tzinfo.key == "Europe/Berlin"
    assert (moment + timedelta(days=180)).utcoffset() == timedelta(hours=2)


# Canonical


@pytest.mark.promise("8")
@given(st.lists(hashables, max_size=6), st.randoms(use_true_random=False))
def test_equal_sets_have_the_same_bytes_whatever_their_history(members, dice):
    other = list(members)
    dice.shuffle(other)
    one, two = set(members), set()
    for member in other:
        # What was added and removed again leaves its trace in the table of a set, and in its order.
        two.update(range(100))
        two.difference_update(range(100))
        two.add(member)
    assume({form(member) for member in one} == {form(member) for member in two})  # not so for {1, True}
    assert encode(one) == encode(two)
    assert encode(frozenset(one)) == encode(frozenset(two))
    assert encode([{"deep": one}]) == encode([{"deep": two}])


def test_the_order_of_a_dict_is_part_of_its_value():
    assert list(decode(encode({"b": 1, "a": 2}))) == ["b", "a"]


@given(atoms, atoms)
def test_different_values_have_different_bytes(one, other):
    assert (encode(one) == encode(other)) == (form(one) == form(other))


# Comparing stored values


@pytest.mark.parametrize(
    ("stored", "value"),
    [
        (pack(Ext(2, pack([3, 1, 2]))), {1, 2, 3}),
        (pack(Ext(3, pack(["b", "a"]))), frozenset("ab")),
        (pack({"a": Ext(2, pack([2, 1]))}), {"a": {1, 2}}),
        (b"\xdc\x00\x01\xd3" + (5).to_bytes(8, "big"), [5]),
        (b"\xd6\xff" + bytes(4), datetime(1970, 1, 1, tzinfo=UTC)),
    ],
    ids=["set", "frozenset", "inside", "long forms", "timestamp"],
)
def test_bytes_of_another_release_that_stand_for_the_same_value_are_no_change(stored, value):
    assert stored != encode(value)
    assert same_value(stored, encode(value))


@given(values, values)
def test_values_are_the_same_only_if_they_are(one, other):
    assert same_value(encode(one), encode(one))
    assert same_value(encode(one), encode(other)) == (form(one) == form(other))


@pytest.mark.parametrize(
    ("one", "other"),
    [([1], [True]), ([1], [1.0]), ({0}, {False}), ([0.0], [-0.0]), ({"a": 1}, {"a": 1.0})],
    ids=range(5),
)
def test_values_that_are_equal_but_of_another_type_are_not_the_same(one, other):
    assert one == other
    assert not same_value(encode(one), encode(other))


@pytest.mark.parametrize("stored", [b"", b"\xc1", pack({"a": 1})[:-1], b"\x81\x91\x01\x01"])
def test_what_can_not_be_read_or_not_be_written_again_is_another_value(stored):
    assert not same_value(stored, encode({"a": 1}))


FIXED = [
    *(None, True, 1, 1.5, "s", b"b", UUID(int=1), Decimal(1)),
    *(datetime(2026, 1, 1, tzinfo=UTC), date(2026, 1, 1), time(1), timedelta(1)),
]


@pytest.mark.parametrize("value", FIXED, ids=lambda value: type(value).__name__)
def test_what_can_not_change_is_not_looked_at_again(value):
    assert type(value) in IMMUTABLE


@pytest.mark.parametrize("value", [[], {}, set(), ([],), frozenset()], ids=lambda value: type(value).__name__)
def test_what_can_change_or_hold_what_can_is_looked_at_again(value):
    assert type(value) not in IMMUTABLE


@pytest.mark.promise("8")
def test_the_members_of_a_set_are_stored_in_the_order_of_their_bytes():
    # str hashes differ from process to process, and with them the order of sets.
    dice = random.Random(1)
    words = ["".join(dice.choices("abcdef", k=5)) for _ in range(50)]
    members = sorted(pack(word) for word in set(words))
    assert encode(set(words)) == pack(Ext(2, pack([msgspec.Raw(member) for member in members])))
