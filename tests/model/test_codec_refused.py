"""Values that can't be stored are refused by name."""

from __future__ import annotations

import dataclasses
import datetime as dt
import enum
import re
import traceback
import zoneinfo
from collections import Counter, OrderedDict, defaultdict, deque, namedtuple
from contextlib import suppress
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from fractions import Fraction
from ipaddress import ip_address, ip_network
from pathlib import Path, PurePosixPath
from types import MappingProxyType, SimpleNamespace
from uuid import UUID
from zoneinfo import ZoneInfo

import msgspec
import pytest
from msgspec.msgpack import Ext

from coatcheck.errors import NotStorable
from coatcheck.model.codec import decode, encode, path_to_refused
from tests.model.values import form

pytestmark = pytest.mark.promise("C")


class Markup(str):
    __slots__ = ()


class Color(enum.IntEnum):
    RED = 1


class Mode(enum.StrEnum):
    FAST = "fast"


class Kind(enum.Enum):
    ONE = "one"


class Wrong(tzinfo):
    def utcoffset(self, when):
        raise OverflowError("hunter2")


class Twice(tzinfo):
    """A zone with a moment that comes twice."""

    def utcoffset(self, when):
        return timedelta(hours=2 - when.fold)

    def tzname(self, when):
        return None


class Other(str):
    """Equal to nothing."""

    __slots__ = ()

    def __eq__(self, other):
        return False

    __hash__ = str.__hash__


class Elsewhere(dict):
    """Keeps its items elsewhere."""

    def __init__(self):
        super().__init__(hunter2=1)

    def __iter__(self):
        return iter(())

    def keys(self):
        return ()


class Raising(list):
    def __eq__(self, other):
        raise ValueError("hunter2")

    __hash__ = None


@dataclasses.dataclass
class Part:
    name: str


class Struct(msgspec.Struct):
    name: str


class DjangoModel:
    """What of a Django model tells it from others."""

    _meta = None
    pk = 7


class Attrs:
    __attrs_attrs__ = ()


class LazyString:
    def __str__(self):
        return "hello"


PLAIN = "plain data"
REFUSED = [
    (Kind.ONE, "Kind", "value.value"),
    (Part("hunter2"), "Part", "dataclasses.asdict(value)"),
    (Struct("hunter2"), "Struct", "msgspec.to_builtins(value)"),
    (DjangoModel(), "DjangoModel", "value.pk"),
    (PurePosixPath("/etc"), "PurePosixPath", "str(value)"),
    (ip_address("::1"), "IPv6Address", "str(value)"),
    (ip_network("10.0.0.0/8"), "IPv4Network", "str(value)"),
    (LazyString(), "LazyString", "str(value)"),
    (Fraction(1, 3), "fractions.Fraction", "str(value)"),
    (ValueError("x"), "ValueError", "str(value)"),
    (UTC, "timezone", "str(value)"),
    (ZoneInfo("Europe/Berlin"), "ZoneInfo", "value.key"),
    (Twice(), "Twice", "str(value)"),
    (re.compile("a"), "Pattern", "value.pattern"),
    (bytearray(b"hunter2"), "bytearray", "bytes(value)"),
    (memoryview(b"hunter2"), "memoryview", "bytes(value)"),
    (1j, "complex", "[value.real, value.imag]"),
    (range(3), "range", "list(value)"),
    (deque([1]), "deque", "list(value)"),
    ({}.keys(), "dict_keys", "list(value)"),
    (iter([]), "list_iterator", "list(value)"),
    (MappingProxyType({"a": 1}), "mappingproxy", "dict(value)"),
    (time(1, tzinfo=UTC), "time with a zone", "value.replace(tzinfo=None)"),
    (datetime(2026, 1, 1, tzinfo=Twice()), "Twice", "value.astimezone(datetime.timezone.utc)"),
    (datetime(2026, 1, 1, tzinfo=Wrong()), "Wrong", "datetime.timezone.utc"),
    (SimpleNamespace(secret="hunter2"), "SimpleNamespace", PLAIN),
    (object(), "object", PLAIN),
    (Markup, "type", PLAIN),
    (len, "builtin_function_or_method", PLAIN),
    (..., "ellipsis", PLAIN),
    (Other("hunter2"), "Other", PLAIN),
    (Raising([1]), "Raising", PLAIN),
    ("\ud800", "lone surrogate", "str"),
    (Markup("hunter2\udcff"), "lone surrogate", "str"),
]


@pytest.mark.promise("21")
@pytest.mark.parametrize(("value", "name", "advice"), REFUSED, ids=range(len(REFUSED)))
def test_what_would_not_come_back_is_refused_by_name_wherever_it_stands(value, name, advice):
    wrapped = [value, [value], (value,), {"k": value}, {1: value}, [1, {"k": ([value], 2)}], [2**64, value]]
    # Not hashable: a mappingproxy has a __hash__ since Python 3.12, which asks its dict.
    with suppress(TypeError, OverflowError):
        wrapped += [{value}, frozenset({value}), {(value, 1)}]
    for refused in wrapped:
        with pytest.raises(NotStorable) as caught:
            encode(refused)
        assert name in str(caught.value)
        assert advice in str(caught.value)
        assert "hunter2" not in str(caught.value)


FOLLOWED = [case for case in REFUSED if "value" in case[2]]


@pytest.mark.parametrize(("value", "name", "advice"), FOLLOWED, ids=range(len(FOLLOWED)))
def test_what_is_advised_can_be_stored(value, name, advice):
    stored = eval(advice, {"value": value, "dataclasses": dataclasses, "datetime": dt, "msgspec": msgspec})
    assert decode(encode(stored)) == stored


def test_what_other_libraries_advise_needs_no_value():
    with pytest.raises(NotStorable, match=r"attrs\.asdict\(value\)"):
        encode(Attrs())
    with pytest.raises(NotStorable, match=r"Kind\(…\)"):
        encode(Kind.ONE)


Point = namedtuple("Point", "x y")  # noqa: PYI024 - the untyped kind, as applications have it


class Moment(datetime):
    pass


class Zone(tzinfo):
    """Any library's."""

    def utcoffset(self, when):
        return timedelta(hours=5, minutes=45)

    def tzname(self, when):
        return "Kathmandu"


def sub(kind, *args, **kwargs):
    return type("Sub", (kind,), {})(*args, **kwargs)


EQUAL = [
    (Markup("<b>"), "<b>"),
    (Mode.FAST, "fast"),
    (Color.RED, 1),
    (Point(1, Color.RED), (1, 1)),
    (OrderedDict(b=1, a=2), {"b": 1, "a": 2}),
    (defaultdict(list, a=[1]), {"a": [1]}),
    (Counter("aab"), {"a": 2, "b": 1}),
    (sub(dict, token_type="Bearer"), {"token_type": "Bearer"}),
    (sub(list, [Mode.FAST]), ["fast"]),
    (sub(set, [1]), {1}),
    (sub(frozenset, [1]), frozenset([1])),
    (sub(bytes, b"1"), b"1"),
    (sub(float, 1.5), 1.5),
    (sub(int, 2**70), 2**70),
    (sub(Decimal, "1.50"), Decimal("1.50")),
    (sub(UUID, int=1), UUID(int=1)),
    (sub(timedelta, 1, 2, 3), timedelta(1, 2, 3)),
    (Moment(2026, 1, 2, 3, 4, 5, 6, fold=1), datetime(2026, 1, 2, 3, 4, 5, 6, fold=1)),  # noqa: DTZ001
    (Moment(2026, 1, 2, tzinfo=UTC), datetime(2026, 1, 2, tzinfo=UTC)),
    (sub(date, 2026, 1, 2), date(2026, 1, 2)),
    (sub(time, 1, 2, 3, 4), time(1, 2, 3, 4)),
    (
        datetime(2026, 1, 1, tzinfo=Zone()),
        datetime(2026, 1, 1, tzinfo=timezone(timedelta(hours=5, minutes=45), "Kathmandu")),
    ),
    (
        datetime(2026, 1, 1, tzinfo=sub(ZoneInfo, "Europe/Berlin")),
        datetime(2026, 1, 1, tzinfo=ZoneInfo("Europe/Berlin")),
    ),
]


@pytest.mark.parametrize(("value", "plain"), EQUAL, ids=range(len(EQUAL)))
def test_an_instance_of_a_subclass_is_stored_as_the_plain_value_that_it_equals(value, plain):
    assert value == plain
    for wrap in (lambda part: part, lambda part: [part, 2**70], lambda part: {"a": (part,)}):
        assert encode(wrap(value)) == encode(wrap(plain))
        assert form(decode(encode(wrap(value)))) == form(wrap(plain))


def test_a_float_that_is_no_number_is_stored_from_a_subclass_too():
    assert encode(sub(float, "nan")) == encode(float("nan"))


def test_keys_of_subclasses_are_stored_as_the_plain_keys_that_they_equal():
    assert encode({Mode.FAST: 1, Color.RED: 2, Markup("k"): 3}) == encode({"fast": 1, 1: 2, "k": 3})


def test_what_a_subclass_keeps_elsewhere_is_not_lost_in_silence():
    with pytest.raises(NotStorable, match="Elsewhere"):
        encode(Elsewhere())


PATHS = [
    ({"roles": [1, 2, object()]}, "['roles'][2]"),
    ([{"a": (object(),)}], "[0]['a'][0]"),
    ({"hunter2": {7: object()}}, "[…][7]"),
    ({"hunter two": object()}, "[…]"),
    ({"k" * 31: object()}, "[…]"),
    ({"a": {1, (object(),)}}, "['a']"),
    ({"a": {(1, 2): 3}}, "['a']"),
    (object(), ""),
    ([[1], "\ud800"], "[1]"),
]


@pytest.mark.parametrize(("value", "path"), PATHS, ids=range(len(PATHS)))
def test_the_part_that_is_refused_has_a_path(value, path):
    assert path_to_refused(value) == path


KEYS_REFUSED = [
    *((1, 2), frozenset(), date(2026, 1, 1), UUID(int=1), Decimal(1)),
    *(2**64, -(2**63) - 1, sub(int, 2**64)),
]


@pytest.mark.parametrize("key", KEYS_REFUSED, ids=range(len(KEYS_REFUSED)))
def test_a_key_of_a_dict_that_would_not_come_back_is_refused_by_name(key):
    for value in ({key: 1}, [{"a": {key: 1}}], {"a": 1, key: [1]}):
        with pytest.raises(NotStorable, match=r"dict key .*(tuple|frozenset|date|UUID|Decimal|int)"):
            encode(value)


def test_a_key_that_is_no_text_is_refused():
    with pytest.raises(NotStorable, match="lone surrogate"):
        encode({"\ud800": 1})


def test_a_zone_without_a_name_is_stored_by_its_offset():
    with Path(zoneinfo.TZPATH[0], "Europe/Berlin").open("rb") as file:
        nameless = ZoneInfo.from_file(file)
    moment = datetime(2026, 1, 1, tzinfo=nameless)
    assert decode(encode(moment)) == moment
    assert decode(encode(moment)).tzinfo == timezone(timedelta(hours=1), "CET")


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
