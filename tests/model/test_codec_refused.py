"""Values that can't be stored are refused by name."""

from __future__ import annotations

import enum
import traceback
import zoneinfo
from collections import Counter, OrderedDict, defaultdict, namedtuple
from contextlib import suppress
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from decimal import Decimal
from fractions import Fraction
from pathlib import Path
from types import MappingProxyType, SimpleNamespace
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec
import pytest
from msgspec.msgpack import Ext

from coatcheck.errors import NotStorable
from coatcheck.model.codec import decode, encode

pytestmark = pytest.mark.promise("C")


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
    assert encode([2**64, 2**64 - 1, -(2**63), 5]) == msgspec.msgpack.encode([beyond, 2**64 - 1, -(2**63), 5])
    assert decode(encode([-(2**63) - 1])) == [-(2**63) - 1]


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
