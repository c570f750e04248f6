from __future__ import annotations

import ast
import enum
import marshal
import os
import pickle
import random
import re
import sys
import traceback
import zoneinfo
from collections import Counter, OrderedDict, defaultdict, namedtuple
from contextlib import suppress
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from types import MappingProxyType, SimpleNamespace
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from msgspec.msgpack import Ext

import coatcheck
from coatcheck.errors import DecodeError, NotStorable
from coatcheck.model import codec
from coatcheck.model.codec import IMMUTABLE, decode, encode, same_value
from tests.model.values import ATOMS, atoms, form, hashables, values

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


# What is refused


class Markup(str):
    __slots__ = ()


class Color(enum.IntEnum):
    RED = 1


class Mode(enum.StrEnum):
    FAST = "fast"


class Moment(datetime):
    pass


class Zone(tzinfo):
    def utcoffset(self, when):
        return timedelta(0)


Point = namedtuple("Point", "x y")  # noqa: PYI024 - the untyped kind, as applications have it

REFUSED = [
    (Markup("<b>"), "Markup", "str"),
    (Mode.FAST, "Mode", "str"),
    (Color.RED, "Color", "int"),
    (Point(1, 2), "Point", "tuple"),
    (OrderedDict(a=1), "OrderedDict", "dict"),
    (defaultdict(list), "defaultdict", "dict"),
    (Counter("a"), "Counter", "dict"),
    (type("Sub", (list,), {})([1]), "Sub", "list"),
    (type("Sub", (set,), {})([1]), "Sub", "set"),
    (type("Sub", (frozenset,), {})([1]), "Sub", "frozenset"),
    (type("Sub", (bytes,), {})(b"1"), "Sub", "bytes"),
    (type("Sub", (float,), {})(1), "Sub", "float"),
    (type("Sub", (Decimal,), {})(1), "Sub", "Decimal"),
    (type("Sub", (UUID,), {})(int=1), "Sub", "UUID"),
    (type("Sub", (timedelta,), {})(1), "Sub", "timedelta"),
    (Moment(2026, 1, 1), "Moment", "datetime"),
    (SimpleNamespace(secret="hunter2"), "SimpleNamespace", "plain data"),
    (object(), "object", "plain data"),
    (Markup, "type", "plain data"),
    (len, "builtin_function_or_method", "plain data"),
    (ValueError("hunter2"), "ValueError", "plain data"),
    (bytearray(b"hunter2"), "bytearray", "plain data"),
    (memoryview(b"hunter2"), "memoryview", "plain data"),
    (1j, "complex", "plain data"),
    (Fraction(1, 3), "fractions.Fraction", "plain data"),
    (range(3), "range", "plain data"),
    ({}.keys(), "dict_keys", "plain data"),
    (MappingProxyType({}), "mappingproxy", "plain data"),
    (iter([]), "list_iterator", "plain data"),
    (..., "ellipsis", "plain data"),
    (time(1, tzinfo=UTC), "time with a zone", "datetime"),
    (datetime(2026, 1, 1, tzinfo=Zone()), "Zone", "zoneinfo"),
    ("\ud800", "lone surrogate", "str"),
    ("hunter2\udcff", "lone surrogate", "str"),
]


@pytest.mark.promise("21")
@pytest.mark.parametrize(("value", "name", "advice"), REFUSED, ids=range(len(REFUSED)))
def test_what_would_not_come_back_is_refused_by_name_wherever_it_stands(value, name, advice):
    wrapped = [value, [value], (value,), {"k": value}, {1: value}, [1, {"k": ([value], 2)}], [2**64, value]]
    with suppress(
        TypeError
    ):  # not hashable: a mappingproxy has a __hash__ since Python 3.12, which asks its dict
        wrapped += [{value}, frozenset({value}), {(value, 1)}]
    for refused in wrapped:
        with pytest.raises(NotStorable) as caught:
            encode(refused)
        assert name in str(caught.value)
        assert advice in str(caught.value)
        assert "hunter2" not in str(caught.value)


KEYS_REFUSED = [
    *((1, 2), frozenset(), date(2026, 1, 1), UUID(int=1), Decimal(1)),
    *(Markup("k"), Color.RED, 2**64, -(2**63) - 1),
]


@pytest.mark.parametrize("key", KEYS_REFUSED, ids=range(len(KEYS_REFUSED)))
def test_a_key_of_a_dict_that_would_not_come_back_is_refused_by_name(key):
    for value in ({key: 1}, [{"a": {key: 1}}], {"a": 1, key: [1]}):
        with pytest.raises(NotStorable, match=f"dict key .*{type(key).__name__}"):
            encode(value)


def test_a_key_that_is_no_text_is_refused():
    with pytest.raises(NotStorable, match="lone surrogate"):
        encode({"\ud800": 1})


def test_a_zone_without_a_name_is_refused():
    with Path(zoneinfo.TZPATH[0], "Europe/Berlin").open("rb") as file:
        nameless = ZoneInfo.from_file(file)
    with pytest.raises(NotStorable, match="zone"):
        encode(datetime(2026, 1, 1, tzinfo=nameless))


def cyclic_list():
    value = []
    value.append([value, value])
    return value


def cyclic_dict():
    value = {}
    value["self"] = ({"again": value}, value)
    return value


def nested(wrap, levels):
    value = wrap(1)
    for _ in range(levels - 1):
        value = wrap(value)
    return value


WRAPS = {
    "list": lambda value: [value],
    "dict": lambda value: {"k": value},
    "dict of int": lambda value: {1: value},
    "tuple": lambda value: (value,),
    "frozenset": lambda value: frozenset({value}),
}


@pytest.mark.parametrize("make", [cyclic_list, cyclic_dict])
def test_what_contains_itself_is_refused(make):
    with pytest.raises(NotStorable, match="contains itself"):
        encode(make())


@pytest.mark.parametrize("wrap", WRAPS)
def test_what_is_nested_64_levels_deep_comes_back(wrap):
    value = nested(WRAPS[wrap], 64)
    assert form(decode(encode(value))) == form(value)


@pytest.mark.parametrize("wrap", WRAPS)
@pytest.mark.parametrize("levels", [70, 500])
def test_what_is_nested_deeper_is_refused(wrap, levels):
    with pytest.raises(NotStorable, match="64 levels"):
        encode(nested(WRAPS[wrap], levels))


@pytest.mark.parametrize(
    "number", [10**4299, 10**5000, -(10**5000), 1 << 100_000], ids=["4300 digits", "5001", "-5001", "30103"]
)
def test_an_int_of_any_size_comes_back_or_is_refused(number):
    # str() of an int with more than 4300 digits raises a ValueError of its own.
    try:
        data = encode([number])
    except NotStorable:
        return
    assert decode(data) == [number]


def test_only_an_int_beyond_64_bits_is_written_in_another_way():
    # Elsewhere the same int would have other bytes, and reading would write.
    beyond = Ext(4, b"10000000000000000")
    assert encode([2**64, 2**64 - 1, -(2**63), 5]) == pack([beyond, 2**64 - 1, -(2**63), 5])
    assert decode(encode([-(2**63) - 1])) == [-(2**63) - 1]


# What is read

_SHAPES = st.one_of(
    st.binary(),
    st.builds(Ext, st.integers(-128, 127), st.binary(max_size=20)).map(pack),
    st.builds(
        lambda code, inner: pack(Ext(code, pack(inner))),
        st.integers(0, 12),
        st.recursive(
            st.none()
            | st.booleans()
            | st.integers(-(2**63), 2**64 - 1)
            | st.floats()
            | st.text()
            | st.binary(),
            lambda inner: (
                st.lists(inner, max_size=10) | st.dictionaries(st.text(max_size=2), inner, max_size=3)
            ),
            max_leaves=12,
        ),
    ),
)


@st.composite
def damaged(draw):
    data = bytearray(encode(draw(values)))
    for _ in range(draw(st.integers(1, 3))):
        data[draw(st.integers(0, len(data) - 1))] = draw(st.integers(0, 255))
    return bytes(data[: draw(st.integers(0, len(data)))]) if draw(st.booleans()) else bytes(data)


def plain(value):
    if type(value) in ATOMS or type(value) is UUID:
        return True
    if type(value) is dict:
        return all(plain(key) and plain(item) for key, item in value.items())
    assert type(value) in (list, tuple, set, frozenset)
    return all(map(plain, value))


@settings(max_examples=300)
@given(_SHAPES | damaged())
def test_any_bytes_are_a_value_of_plain_types_or_a_decode_error(data):
    try:
        value = decode(data)
    except DecodeError:
        return
    assert plain(value)


@given(_SHAPES | damaged(), values)
def test_comparing_with_any_stored_bytes_never_raises(stored, value):
    assert same_value(stored, encode(value)) in (True, False)


@pytest.mark.parametrize("code", [0, 11, 12, 99, 127, -2, -128])
def test_a_kind_that_this_release_does_not_know_is_a_decode_error(code):
    with pytest.raises(DecodeError):
        decode(pack(Ext(code, b"\xc0")))


@pytest.mark.parametrize(
    "name",
    ["Europe/Atlantis", "../../../../etc/passwd", "/etc/passwd", "", "Europe", "\0", "x" * 5000],
    ids=["unknown", "relative", "absolute", "empty", "directory", "nul", "long"],
)
def test_a_zone_that_this_machine_does_not_know_is_a_decode_error(name):
    with pytest.raises(DecodeError):
        decode(pack(Ext(5, pack([2026, 1, 1, 0, 0, 0, 0, 0, name]))))


def test_a_span_beyond_all_bounds_is_a_decode_error():
    with pytest.raises(DecodeError):
        decode(pack(Ext(8, pack([10**12, 0, 0]))))


@pytest.mark.parametrize("inner", [b"\x90", b"\xc0"], ids=["list", "none"])
@pytest.mark.parametrize(
    "bomb",
    [
        lambda inner: b"\x91" * 100_000 + inner,
        lambda inner: b"\x81\xc0" * 100_000 + inner,
        lambda inner: b"\x81" * 100_000 + inner,
        lambda inner: extensions(inner, 2_000),
        lambda inner: b"\xdd\xff\xff\xff\xff" + inner,
        lambda inner: b"\xdf\xff\xff\xff\xff" + inner,
        lambda inner: b"\xc6\xff\xff\xff\xff" + inner,
        lambda inner: b"\xc9\xff\xff\xff\xff\x01" + inner,
    ],
    ids=["lists", "dicts", "keys", "tuples", "long list", "long dict", "long bytes", "long extension"],
)
def test_a_bomb_is_a_decode_error(bomb, inner):
    with pytest.raises(DecodeError):
        decode(bomb(inner))


def extensions(inner, levels):
    for _ in range(levels):
        inner = b"\xc9" + (len(inner) + 1).to_bytes(4, "big") + b"\x01\x91" + inner
    return inner


@pytest.mark.promise("18")
def test_an_error_of_reading_shows_nothing_of_what_was_read():
    for data in (
        pack(Ext(6, b"2026-hunter2")),
        pack(Ext(10, b"hunter2")),
        pack(Ext(7, pack(["hunter2", 0]))),
        pack(Ext(5, pack([2026, 1, 1, 0, 0, 0, 0, 0, "hunter2"]))),
        pack(Ext(5, pack([2026, 1, 1, 0, 0, 0, 0, "hunter2", None]))),
        pack(Ext(9, b"hunter2")),
        pack("hunter2") + b"\xc1",
        pack("hunter2")[:-1],
    ):
        with pytest.raises(DecodeError) as caught:
            decode(data)
        assert "hunter2" not in "".join(traceback.format_exception(caught.value)), data


@pytest.mark.promise("18")
def test_an_error_of_writing_shows_nothing_of_what_was_to_be_written():
    for value in (
        "hunter2\ud800",
        ["hunter2\ud800"],
        {"hunter2\ud800": 1},
        {"pw": SimpleNamespace(pw="hunter2")},
    ):
        with pytest.raises(NotStorable) as caught:
            encode(value)
        assert "hunter2" not in "".join(traceback.format_exception(caught.value))
        assert "hunter2" not in repr(caught.value.__cause__)


# Nothing that is read can run


class Evil:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (str(self.marker),)


@pytest.mark.promise("19")
@pytest.mark.parametrize("protocol", range(6))
def test_a_pickle_in_the_store_does_not_run(tmp_path, protocol):
    marker = tmp_path / "it ran"
    data = pickle.dumps(Evil(marker), protocol)
    for stored in (data, pack(data), *(pack(Ext(code, data)) for code in range(-1, 12))):
        try:
            found = decode(stored)
        except DecodeError:
            continue
        assert plain(found)  # bytes, or a huge int
    assert not marker.exists()
    pickle.loads(data)
    assert marker.exists(), "the bait is good"


@pytest.mark.promise("19")
def test_marshalled_code_in_the_store_does_not_run():
    for value in (compile("1/0", "x", "exec"), {"a": 1}, (lambda: None).__code__):
        data = marshal.dumps(value)
        try:
            found = decode(data)
        except DecodeError:
            continue
        assert plain(found)


RUNS_CODE = {
    *("pickle", "cPickle", "_pickle", "pickletools", "marshal", "shelve", "dbm", "copyreg"),
    *("dill", "cloudpickle", "jsonpickle", "joblib", "yaml", "ruamel", "code", "codeop", "runpy"),
}


def ways_to_run_code(source: str) -> list[str]:
    found = []
    for node in ast.walk(ast.parse(source)):
        match node:
            case ast.Import(names=names):
                found += [name.name for name in names if name.name.partition(".")[0] in RUNS_CODE]
            case ast.ImportFrom(module=str(module)) if module.partition(".")[0] in RUNS_CODE:
                found.append(module)
            case ast.Name(id="eval" | "exec" | "compile" | "__import__" as name):
                found.append(name)
            case ast.Attribute(attr="eval" | "exec" | "__import__" | "loads_pickle" as name):
                found.append(name)
    return found


SOURCE = Path(coatcheck.__file__).parent
WRITER = SOURCE / "compat" / "_pickler.py"
"""Writes what servers of the old libraries read. Reading is done by code of our own."""


@pytest.mark.promise("19")
def test_nothing_in_the_package_can_unpickle_or_evaluate():
    for path in SOURCE.rglob("*.py"):
        if path != WRITER:
            assert ways_to_run_code(path.read_text()) == [], path.name


@pytest.mark.promise("19")
def test_of_pickle_only_the_writing_half_is_used():
    assert ways_to_run_code(WRITER.read_text()) == ["pickle"]
    assert set(re.findall(r"pickle\.(\w+)", WRITER.read_text())) == {"Pickler", "PicklingError"}


@pytest.mark.parametrize(
    "source",
    [
        "import pickle",
        "import os, marshal as m",
        "def f():\n    from pickle import loads",
        "from shelve import open",
        "import yaml.cyaml",
        "eval('1')",
        "x = exec",
        "import builtins\nbuiltins.eval('1')",
        "__import__('pickle')",
        "try:\n    import cPickle\nexcept ImportError:\n    pass",
    ],
)
def test_the_search_for_ways_to_run_code_finds_them(source):
    assert ways_to_run_code(source)


def test_the_search_does_not_mind_words():
    assert (
        ways_to_run_code("import re\n# pickle, eval(x)\n'''import pickle'''\nre.compile('x')\nevaluate = 1")
        == []
    )


# What the session asks


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


def test_reading_in_a_deep_call_is_a_decode_error_at_worst():
    data = encode(nested(lambda value: (value,), 60))

    def deep(levels):
        return deep(levels - 1) if levels else decode(data)

    assert type(deep(10)) is tuple
    limit = sys.getrecursionlimit()
    results = set()
    for levels in range(limit - 300, limit, 7):
        try:
            results.add(type(deep(levels)))
        except (DecodeError, RecursionError) as error:
            results.add(type(error))
    assert DecodeError in results
    assert results <= {tuple, DecodeError, RecursionError}


@pytest.mark.promise("8")
def test_the_same_dice_give_the_same_bytes_in_another_process():
    # str hashes differ from process to process, and with them the order of sets.
    dice = random.Random(1)
    words = ["".join(dice.choices("abcdef", k=5)) for _ in range(50)]
    members = sorted(pack(word) for word in set(words))
    assert encode(set(words)) == pack(Ext(2, pack([msgspec.Raw(member) for member in members])))


def test_the_deepest_level_is_the_one_that_the_message_names():
    with pytest.raises(NotStorable, match=f"{codec._DEEPEST} levels"):
        encode(nested(WRAPS["list"], 100))
