"""Merging: property tests on the bytes that the codec writes, and on any others."""

from __future__ import annotations

from datetime import UTC, datetime
from decimal import Decimal

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coatcheck.model import codec, merges
from coatcheck.model.merges import LARGEST, MOST_ELEMENTS, merged, ruled
from tests.model.values import atoms, form, hashables, values

pytestmark = pytest.mark.promise("M")


def together(base, theirs, ours):
    """What two edits make of values."""
    return codec.decode(merged(*map(codec.encode, (base, theirs, ours))))


def same(one, other):
    return form(one) == form(other)


# Values that differ from all others, also where they are equal to Python (1, 1.0, True), would say nothing of merging.
_plain = st.one_of(st.integers(0, 9), st.sampled_from("abcdef"), st.lists(st.integers(0, 3), max_size=2))
_lists = st.lists(_plain, max_size=6)
_members = st.one_of(st.integers(0, 9), st.sampled_from("abcdef"), st.tuples(st.integers(0, 3)))
_sets = st.sets(_members, max_size=6)
_dicts = st.dictionaries(st.sampled_from("abcdef"), st.one_of(_plain, _lists, _sets), max_size=6)
_containers = st.one_of(_lists, _sets, _sets.map(frozenset), _dicts)


# Unchanged sides


@given(values, values)
def test_where_one_side_changed_nothing_the_other_stands(base, edited):
    assert same(together(base, base, edited), edited)
    assert same(together(base, edited, base), edited)


@given(_containers)
def test_where_neither_changed_anything_nothing_changes(base):
    assert same(together(base, base, base), base)


# Lists: each side replaced one range


@st.composite
def list_edits(draw, disjoint):
    """A list, two edits of it, and what one after the other makes of it."""
    base = draw(st.lists(st.integers(0, 3), max_size=8))
    cuts = sorted(draw(st.lists(st.integers(0, len(base)), min_size=4, max_size=4)))
    first, second = slice(*cuts[:2]), slice(*cuts[2:])
    new = st.lists(st.integers(4, 9), max_size=3)
    left, right = draw(new), draw(new)
    one, two, both = list(base), list(base), list(base)
    one[first] = left
    two[second] = right
    both[second] = right
    both[first] = left
    if disjoint == "ours first":
        one, two = two, one
    return base, one, two, both


def ranges_of(base, edited):
    """The range that an edit replaced, by its longest common prefix, then suffix."""
    start = 0
    while start < min(len(base), len(edited)) and base[start] == edited[start]:
        start += 1
    end, other = len(base), len(edited)
    while end > start and other > start and base[end - 1] == edited[other - 1]:
        end, other = end - 1, other - 1
    return start, end, edited[start:other]


@pytest.mark.parametrize("order", ["theirs first", "ours first"])
@given(data=st.data())
def test_disjoint_edits_of_a_list_give_what_one_after_the_other_would(data, order):
    base, one, two, both = data.draw(list_edits(order))
    first, second = (one, two) if order == "theirs first" else (two, one)
    here, there = ranges_of(base, first), ranges_of(base, second)
    result = together(base, one, two)
    # Where what is replaced is equal to what lies beside it, the ranges may meet: then ours stands.
    if here[1] <= there[0] and not (here[0] == here[1] == there[0] == there[1]):
        assert result == both


@given(
    st.lists(st.integers(0, 9), max_size=6),
    st.lists(st.integers(0, 9), max_size=3),
    st.lists(st.integers(0, 9), max_size=3),
)
def test_elements_that_both_appended_are_all_kept_the_stored_ones_first(base, theirs, ours):
    expected = base + ours if not theirs else base + theirs if not ours else base + theirs + ours
    assert together(base, base + theirs, base + ours) == expected


@given(st.lists(st.integers(10, 19), max_size=6), st.data())
def test_insertions_at_one_place_are_both_kept(base, data):
    at = data.draw(st.integers(0, len(base)))
    one, two = (data.draw(st.lists(st.integers(0, 9), min_size=1, max_size=2)) for _ in range(2))
    theirs, ours = base[:at] + one + base[at:], base[:at] + two + base[at:]
    assert together(base, theirs, ours) == base[:at] + one + two + base[at:]


@given(st.lists(st.integers(0, 9), min_size=1, max_size=6, unique=True), st.data())
def test_the_same_deletion_is_done_once(base, data):
    at = data.draw(st.integers(0, len(base) - 1))
    less = base[:at] + base[at + 1 :]
    assert together(base, less, less) == less


def test_equal_deletions_among_equal_elements_are_one():
    # Two requests that each took the last of three equal ones cannot be told from one.
    assert together([1, 1, 1], [1, 1], [1, 1]) == [1, 1]


@pytest.mark.parametrize(
    ("base", "theirs", "ours", "result"),
    [
        ([1, 2, 3], [1, 9, 3], [1, 8, 3], [1, 8, 3]),
        ([1, 2, 3], [9, 2, 3], [1, 2, 8], [9, 2, 8]),
        ([1, 2, 3], [1, 2, 8], [9, 2, 3], [9, 2, 8]),
        ([1, 2, 3], [], [1, 2, 3, 4], [4]),
        ([1, 2, 3], [], [1, 5, 2, 3], [1, 5, 2, 3]),
        ([1, 2, 3], [1, 3], [1, 2, 3, 4], [1, 3, 4]),
        ([1, 2, 3], [2, 1, 3], [1, 2, 3, 4], [2, 1, 3, 4]),
        ([[1], [2]], [[1, 5], [2]], [[1], [2, 6]], [[1, 5], [2, 6]]),
        ([[1]], [[1, 5]], [[1, 6]], [[1, 6]]),
    ],
)
def test_what_became_of_lists(base, theirs, ours, result):
    assert together(base, theirs, ours) == result


# Dicts: key by key


@given(_dicts, st.data())
def test_disjoint_edits_of_a_dict_give_what_one_after_the_other_would(base, data):
    keys = st.sampled_from("abcdefgh")
    ours_keys = data.draw(st.sets(keys, max_size=4))
    theirs_keys = data.draw(st.sets(keys, max_size=4)) - ours_keys
    theirs, ours, both = dict(base), dict(base), dict(base)
    for names, edited in ((theirs_keys, theirs), (ours_keys, ours)):
        for name in sorted(names):
            if data.draw(st.booleans()):
                edited.pop(name, None)
                both.pop(name, None)
            else:
                edited[name] = both[name] = data.draw(_plain)
    assert together(base, theirs, ours) == both


@given(_dicts, _dicts)
def test_identical_edits_of_a_dict_are_one(base, edited):
    for name in base.keys() & edited.keys():
        # Within a list, the same insertion twice is two insertions.
        if isinstance(base[name], list) and isinstance(edited[name], list):
            edited[name] = base[name]
    assert together(base, edited, edited) == edited


@pytest.mark.parametrize(
    ("base", "theirs", "ours", "result"),
    [
        ({"a": 1}, {}, {"a": 2}, {}),
        ({"a": 1}, {"a": 2}, {}, {}),
        ({"a": 1}, {"a": 2}, {"a": 3}, {"a": 3}),
        ({}, {"a": 2}, {"a": 3}, {"a": 3}),
        ({}, {"a": [2]}, {"a": [3]}, {"a": [3]}),
        ({"a": []}, {"a": [2]}, {"a": [3]}, {"a": [2, 3]}),
        (
            {"a": {"b": {"c": [1]}}},
            {"a": {"b": {"c": [1, 2]}}},
            {"a": {"b": {"c": [1, 3]}, "d": 4}},
            {"a": {"b": {"c": [1, 2, 3]}, "d": 4}},
        ),
        ({"a": {1}}, {"a": {1, 2}}, {"a": [1]}, {"a": [1]}),
        ({"a": {1}, "b": 1}, {"a": {1, 2}, "b": 2}, {"a": [1], "b": 1}, {"a": [1], "b": 2}),
        ({"a": {1}, "b": 1}, {"a": [1], "b": 2}, {"a": {1, 2}, "b": 1}, {"a": {1, 2}, "b": 2}),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}, {"a": 1, "b": 2, "c": 3}, {"b": 2, "a": 1, "c": 3}),
        ({1: 1, "1": 1}, {1: 2, "1": 1}, {1: 1, "1": 2}, {1: 2, "1": 2}),
        ({None: 1, b"k": 1, 1.5: 1}, {None: 2, b"k": 1, 1.5: 1}, {b"k": 1, 1.5: 2}, {b"k": 1, 1.5: 2}),
        ({True: "a"}, {True: "b"}, {1: "a", "c": 1}, {True: "b", "c": 1}),
    ],
    ids=range(14),
)
def test_what_became_of_dicts(base, theirs, ours, result):
    assert same(together(base, theirs, ours), result)


@given(_dicts, _dicts, _dicts)
def test_what_one_side_removed_stays_removed(base, theirs, ours):
    result = together(base, theirs, ours)
    for name in base:
        if name not in theirs or name not in ours:
            assert name not in result
    assert result.keys() >= (theirs.keys() - base.keys()) | (ours.keys() - base.keys())


@given(_dicts, _dicts, _dicts)
def test_every_value_of_a_merged_dict_is_that_of_a_side_or_itself_merged(base, theirs, ours):
    result = together(base, theirs, ours)
    for name, value in result.items():
        if theirs.get(name) == base.get(name):
            assert value == ours[name]
        elif ours.get(name) == base.get(name):
            assert value == theirs[name]
        elif name not in base:
            assert value == ours[name]
        else:
            assert value == together(base[name], theirs[name], ours[name])


# Sets


@given(_sets, _sets, _sets, st.sampled_from([set, frozenset]))
def test_a_set_has_what_either_added_less_what_either_removed(base, theirs, ours, kind):
    result = together(kind(base), kind(theirs), kind(ours))
    assert type(result) is kind
    assert result == ((theirs | ours) - (base - theirs) - (base - ours))
    # As the codec itself would write it.
    data = merged(*[codec.encode(kind(those)) for those in (base, theirs, ours)])
    assert data == codec.encode(result)


@given(st.sets(hashables, max_size=5), st.sets(hashables, max_size=5))
def test_members_of_any_kind_can_be_added_by_both(theirs, ours):
    members = {codec.encode({member}) for member in theirs | ours}
    result = together(set(), theirs, ours)
    kept = {codec.encode({member}) for member in result}
    assert kept <= members
    # 1 and True are one member, also where each side added its own.
    assert all(member in result or codec.encode({member}) in kept for member in theirs | ours)


# Everything else is the later write


@given(atoms, atoms, atoms)
def test_values_without_parts_are_ours(base, theirs, ours):
    if codec.encode(theirs) != codec.encode(base) and codec.encode(ours) != codec.encode(base):
        assert same(together(base, theirs, ours), ours)


@given(values, values, values)
def test_different_kinds_are_ours(base, theirs, ours):
    if len({type(base), type(theirs), type(ours)}) > 1 and ours != base:
        encoded = [codec.encode(value) for value in (base, theirs, ours)]
        if encoded[0] not in encoded[1:]:
            assert merged(*encoded) == encoded[2]


@pytest.mark.parametrize("size", [14, 15, 16])
def test_containers_of_any_size_are_merged(size):
    # MessagePack writes up to 15 elements in another way than more.
    items = list(range(size - 1))
    assert together(items, [*items, -1], [*items, -2]) == [*items, -1, -2]
    base = dict.fromkeys(items, 0)
    assert together(base, {**base, -1: 0}, {**base, -2: 0}) == {**base, -1: 0, -2: 0}


def test_bytes_that_are_no_value_are_of_no_kind():
    base, ours = codec.encode([1]), codec.encode([1, 2])
    for broken in (b"", ours[:1], ours[:2]):
        assert merged(base, broken, ours) == ours
        assert merged(broken, base, ours) == ours


def test_a_tuple_is_a_value_of_its_own():
    assert together((1,), (1, 2), (1, 3)) == (1, 3)


@pytest.mark.parametrize("who", [0, 1, 2])
@pytest.mark.parametrize("kind", [list, set, dict])
def test_too_many_elements_are_the_later_write(kind, who):
    def make(count, extra=()):
        items = [*range(count), *extra]
        return dict.fromkeys(items, 1) if kind is dict else kind(items)

    sides = [make(5), make(5, [-1]), make(5, [-2])]
    assert together(*sides) != sides[2]
    sides[who] = make(MOST_ELEMENTS + 1, [-3])
    assert together(*sides) == sides[2]
    at_most = [make(MOST_ELEMENTS - 1), make(MOST_ELEMENTS - 1, [-1]), make(MOST_ELEMENTS - 1, [-2])]
    assert len(together(*at_most)) == MOST_ELEMENTS + 1


@pytest.mark.parametrize("who", [0, 1, 2])
def test_too_many_bytes_are_the_later_write(who):
    sides = [["x"], ["x", "y"], ["x", "z"]]
    room = LARGEST - len(codec.encode([*sides[who], ""])) - 3
    sides[who] = [*sides[who], "b" * room]
    sides = [["b" * room, *side] if at != who and who == 0 else side for at, side in enumerate(sides)]
    encoded = [codec.encode(side) for side in sides]
    if who:
        assert len(encoded[who]) <= LARGEST
        assert merged(*encoded) != encoded[2]
    encoded[who] = codec.encode([*sides[who], "b" * 9])
    assert len(encoded[who]) > LARGEST
    assert merged(*encoded) == encoded[2]


def test_two_assigned_values_are_never_mixed_since_only_edits_come_here():
    # The rule stands in `Record.apply`, where only `Update.edits` is merged: tests/model/test_record.py.
    with pytest.raises(TypeError):
        merged(b"", b"")


# Any bytes


_encoded = st.one_of(
    values.map(codec.encode),
    st.binary(max_size=40),
    st.builds(
        lambda data, at, byte: (
            data[: at % (len(data) + 1)] + bytes([byte]) + data[at % (len(data) + 1) + 1 :]
        ),
        values.map(codec.encode),
        st.integers(0, 99),
        st.integers(0, 255),
    ),
    st.builds(
        lambda code, data: msgspec.msgpack.encode(msgspec.msgpack.Ext(code, data)),
        st.sampled_from((2, 3, 1, 99)),
        st.binary(max_size=9) | st.lists(st.integers(0, 5)).map(msgspec.msgpack.encode),
    ),
)


@settings(max_examples=400)
@given(_encoded, _encoded, _encoded)
def test_whatever_the_bytes_nothing_raises_and_there_is_one_answer(base, theirs, ours):
    result = merged(base, theirs, ours)
    assert isinstance(result, bytes)
    assert merged(bytes(base), bytearray(theirs), memoryview(ours).tobytes()) == result
    if theirs == base:
        assert result == ours
    if ours == base:
        assert result == theirs


@given(_containers, _containers, _containers)
def test_what_is_merged_can_always_be_read_and_is_canonical(base, theirs, ours):
    encoded = [codec.encode(value) for value in (base, theirs, ours)]
    data = merged(*encoded)
    value = codec.decode(data)
    assert codec.encode(value) == data
    # Another writer, who merges nothing on top, leaves it as it is.
    assert merged(encoded[0], data, encoded[0]) == data


@pytest.mark.parametrize("head", [b"\x81\xa1a", b"\x91", b"\x81\x01"], ids=["dicts", "lists", "int keys"])
@pytest.mark.parametrize("depth", [60, 500, 20_000])
def test_depth_neither_raises_nor_overflows(head, depth):
    base, theirs, ours = (head * depth + bytes([value]) for value in (1, 2, 3))
    assert merged(base, theirs, ours) == ours


def test_a_map_that_claims_more_than_it_has_is_ours():
    for head in (b"\xdf\xff\xff\xff\xff", b"\xde\xff\xff", b"\xdf", b"\xde\x00", b"\x82\x01"):
        assert merged(head, b"\x81\x01\x02", b"\x81\x01\x03") == b"\x81\x01\x03"
        assert merged(b"\x80", head, b"\x81\x01\x03") == b"\x81\x01\x03"
        # Less than a head is an empty map.
        assert merged(b"\x80", b"\x81\x01\x03", head) in {head, b"\x81\x01\x03"}


# Rules


@pytest.mark.parametrize(
    ("rule", "base", "theirs", "ours", "result"),
    [
        (merges.add, 1, 5, 2, 6),
        (merges.add, None, 5, 2, 7),
        (merges.add, 5, None, 6, 1),
        (merges.add, None, None, 6, 6),
        (merges.add, 1.5, 2.5, 3.5, 4.5),
        (merges.add, Decimal("1.10"), Decimal("2.20"), Decimal("1.15"), Decimal("2.25")),
        (merges.add, 10**30, 10**30 + 1, 10**30 + 2, 10**30 + 3),
        (merges.largest, 1, 5, 2, 5),
        (merges.largest, 1, 2, 5, 5),
        (merges.largest, 1, None, 5, 5),
        (
            merges.largest,
            None,
            datetime(2030, 1, 1, tzinfo=UTC),
            datetime(2029, 1, 1, tzinfo=UTC),
            datetime(2030, 1, 1, tzinfo=UTC),
        ),
        (merges.first, 1, 2, 3, 2),
        (merges.first, 1, None, 3, 3),
        (merges.last, [1], [1, 2], [1, 3], [1, 3]),
        (merges.last, 1, None, 3, 3),
        (lambda base, theirs, ours: [base, theirs, ours], 1, None, "x", [1, None, "x"]),
    ],
    ids=range(16),
)
def test_what_rules_make(rule, base, theirs, ours, result):
    encoded = [None if value is None else codec.encode(value) for value in (base, theirs, ours)]
    assert same(codec.decode(ruled(rule, *encoded)), result)


@pytest.mark.parametrize(
    ("base", "theirs", "ours"),
    [(1, 2, 2.5), (1, True, 2), (None, None, False), ("a", "b", "c"), (1, 2, Decimal(3)), ([1], [1], [1])],
)
def test_adding_takes_numbers_of_one_kind(base, theirs, ours):
    with pytest.raises(TypeError, match="numbers of one kind"):
        merges.add(base, theirs, ours)
    assert (
        ruled(merges.add, *[None if value is None else codec.encode(value) for value in (base, theirs, ours)])
        is None
    )


@given(st.lists(st.integers(-9, 9), min_size=1, max_size=6))
def test_counts_add_up_however_many_meet(steps):
    # Each read 100; each is merged with what lies there by then.
    lies_there = 100
    for step in steps:
        lies_there = codec.decode(ruled(merges.add, *map(codec.encode, (100, lies_there, 100 + step))))
    assert lies_there == 100 + sum(steps)


@pytest.mark.promise("18")
@pytest.mark.parametrize("error", [ValueError, RecursionError, KeyError, StopIteration, ZeroDivisionError])
def test_a_rule_that_raises_makes_nothing_and_is_not_heard(error):
    def rule(*_):
        raise error("a secret")

    assert ruled(rule, None, None, codec.encode(1)) is None


def test_a_rule_is_not_asked_about_what_can_not_be_read():
    assert ruled(merges.last, b"\xc1", codec.encode(1), codec.encode(2)) is None


@pytest.mark.parametrize("result", [object(), "\ud800", {object(): 1}])
def test_a_rule_whose_result_can_not_be_stored_makes_nothing(result):
    assert ruled(lambda *_: result, None, None, codec.encode(1)) is None
