"""What is written, what an application may allow, and what Python 2 wrote."""

import base64
import collections
import json
import os
import pickle
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import IntEnum
from fractions import Fraction
from pathlib import Path
from types import SimpleNamespace
from typing import NamedTuple
from uuid import UUID, uuid1

import pytest

from coatcheck.compat._pickler import dumps
from coatcheck.compat._plain import named
from coatcheck.compat.pickles import loads
from coatcheck.errors import ConfigurationError, DecodeError, NotStorable

pytestmark = pytest.mark.promise("19")

DATA = Path(__file__).parent / "data"
PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)

NAIVE = datetime(2016, 2, 29, 12, 30, 59, 123456)  # noqa: DTZ001 - one of those that applications have
PLAIN = {
    "none": None,
    "truth": [True, False],
    "numbers": (0, -1, 2**70, 1.5, 1 + 2j),
    "texts": ("", "héllo €", b"", b"\x00\xff", bytearray(b"\xff"), bytearray()),
    "sets": [{1, 2}, frozenset("a"), set()],
    "nested": {"a": {1: [{"b": ()}]}},
    "times": [NAIVE, datetime(2016, 2, 29, tzinfo=UTC), date(2016, 2, 29)],
    "more times": [time(23, 59), time(1, tzinfo=UTC), timedelta(3, 4, 5), timezone(timedelta(hours=2), "x")],
    "others": [Decimal("1.50"), UUID(int=7), uuid1(), collections.OrderedDict(z=1, a=2)],
}

ON_PYTHON_2 = {  # by protocol: a dict with str, unicode, long, set and bytes that are UTF-8
    0: "KGRwMApTJ3NldCcKcDEKY19fYnVpbHRpbl9fCnNldApwMgooKGxwMwpJMQphSTIKYXRwNApScDUKc1MnbmFtZScKcDYKUydGcm9kbycKcDcKc1MnYmlnJwpwOApMMTE4MDU5MTYyMDcxNzQxMTMwMzQyNEwKc1MnbGlzdCcKcDkKKGxwMTAKSTEKYUYyLjUKYU5hSTAxCmFzUydyYXcnCnAxMQpTJ2NhZlx4YzNceGE5JwpwMTIKc1MndW5pJwpwMTMKVmjpbGxvIFx1MjBhYwpwMTQKc1MnY2FydF9pZCcKcDE1CkkxMjM0NQpzLg==",
    1: "fXEAKFUDc2V0cQFjX19idWlsdGluX18Kc2V0CnECKF1xAyhLAUsCZXRxBFJxBVUEbmFtZXEGVQVGcm9kb3EHVQNiaWdxCEwxMTgwNTkxNjIwNzE3NDExMzAzNDI0TApVBGxpc3RxCV1xCihLAUdABAAAAAAAAE5JMDEKZVUDcmF3cQtVBWNhZsOpcQxVA3VuaXENWAoAAABow6lsbG8g4oKscQ5VB2NhcnRfaWRxD005MHUu",
    2: "gAJ9cQAoVQNzZXRxAWNfX2J1aWx0aW5fXwpzZXQKcQJdcQMoSwFLAmWFcQRScQVVBG5hbWVxBlUFRnJvZG9xB1UDYmlncQiKCQAAAAAAAAAAQFUEbGlzdHEJXXEKKEsBR0AEAAAAAAAATohlVQNyYXdxC1UFY2Fmw6lxDFUDdW5pcQ1YCgAAAGjDqWxsbyDigqxxDlUHY2FydF9pZHEPTTkwdS4=",
}


class Level(IntEnum):
    HIGH = 1


class Cart:
    def __init__(self, *items):
        self.items = items

    def __eq__(self, other):
        return self.items == other.items

    __hash__ = None


class Basket(Cart):
    def __reduce__(self):
        return Basket, self.items


class Slotted:
    __slots__ = ("a",)


class Own:
    def __getstate__(self):
        return [1, 2]

    def __setstate__(self, state):
        self.state = state


class WithNew:
    def __new__(cls, *, a):
        made = super().__new__(cls)
        made.a = a
        return made

    def __getnewargs_ex__(self):
        return (), {"a": self.a}


class Text(str):
    __slots__ = ()


class Point(NamedTuple):
    x: int
    y: int


class Rows(list):
    pass


class Form(dict):
    pass


def helper():
    raise AssertionError


@pytest.mark.parametrize("protocol", [2, 4])
def test_plain_values_come_back_as_what_they_were(protocol):
    data = dumps(PLAIN, {}, protocol)
    assert repr(loads(data, {})) == repr(PLAIN)
    assert repr(pickle.loads(data)) == repr(PLAIN), "servers of the old libraries read it"


@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_plain_values_of_every_protocol_are_read(protocol):
    """[3.5 the default protocol of each Python]"""
    assert repr(loads(pickle.dumps(PLAIN, protocol), {})) == repr(PLAIN)


@pytest.mark.parametrize("protocol", ON_PYTHON_2)
def test_what_gimlet_wrote_on_python_2_is_read_and_its_text_is_utf_8(protocol):
    assert loads(base64.b64decode(ON_PYTHON_2[protocol]), {}) == {
        "set": {1, 2},
        "name": "Frodo",
        "big": 2**70,
        "list": [1, 2.5, None, True],
        "raw": "café",
        "uni": "héllo €",
        "cart_id": 12345,
    }


@pytest.mark.parametrize("protocol", ["0", "1", "2"])
def test_what_pycket_wrote_on_python_2_is_read(protocol):
    """[3.5 protocol 0 on 2.7]: written by Python 2.7.18"""
    data = json.loads((DATA / "pycket27.json").read_text())["pickles"][protocol]
    assert loads(base64.b64decode(data), {}) == {
        "foo": "bar",
        "n": 7,
        "long": 2**70,
        "float": 2.5,
        "list": [1, None, True, {"a": (1, 2)}],
        "uni": "héllo €",
        "utf8": "héllo",
        "set": {1, 2},
        "frozen": frozenset("a"),
        "when": NAIVE,
        "day": date(2016, 2, 29),
        "time": time(23, 59),
        "delta": timedelta(3, 4, 5),
        "decimal": Decimal("1.50"),
        "uuid": UUID("5f0a7c52-6a7e-4b9c-9c53-0d8f6f3f5f11"),
        "ordered": collections.OrderedDict([("z", 1), ("a", 2)]),
        "complex": 1 + 2j,
        "bytearray": bytearray(b"\x00\xff"),
    }


def test_byte_strings_of_python_2_that_are_no_utf_8_are_latin_1():
    """Each by itself: that one is not does not change how its neighbours are read."""
    assert loads(b"(dp0\nS'b'\np1\nS'\\xff\\xfe'\np2\nsS'c'\nS'\\xc3\\xa9'\ns.", {}) == {
        "b": "\xff\xfe",
        "c": "é",
    }


@pytest.mark.parametrize("micro", [0, 0xC3A9, 0x0EC3A9, 999_999])
@pytest.mark.parametrize("year", [1, 1984, 2026, 9999])
def test_a_date_of_python_2_is_read_whether_or_not_its_bytes_are_utf_8(year, micro):
    moment = datetime(year, 12, 31, 23, 59, 59, micro)  # noqa: DTZ001 - Python 2 had no other
    state = moment.__reduce__()[1][0]
    assert loads(b"cdatetime\ndatetime\nU\x0a" + state + b"\x85R.", {}) == moment


def test_what_the_application_allows_is_written_and_read():
    """[FIX 3.4 an allow-list that the user names]"""
    for allow in ([Cart], [f"{__name__}.Cart"], f"{__name__}.Cart", f"decimal.Decimal, {__name__}.Cart"):
        allowed = named(allow)
        assert loads(dumps({"cart": Cart(1, 2)}, allowed, 4), allowed) == {"cart": Cart(1, 2)}
        with pytest.raises(NotStorable, match="Point"):
            dumps(Cart(Point(1, 2)), allowed, 4)
    with pytest.raises(DecodeError, match=r"Cart.*allow"):
        loads(pickle.dumps(Cart()), named([Point]))


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize(
    "value",
    [
        Cart(Point(1, 2), Level.HIGH, Text("a")),
        collections.defaultdict(list, {1: [2]}),
        collections.defaultdict(set, {1: {2}}),
        collections.deque([1, 2]),
        collections.Counter("aab"),
        Fraction(1, 2),
        Basket(list(range(20_000))),
        Rows([1, [2]]),
        Form(a=1),
        {Point(1, 2): {Level.HIGH}},
        Cart,
    ],
    ids=lambda value: repr(value)[:30],
)
def test_classes_of_every_shape_may_be_allowed(value, protocol):
    allowed = named([Cart, Basket, Point, Level, Text, Rows, Form, Fraction, list])
    allowed |= named("collections.defaultdict collections.deque collections.Counter")
    read = loads(dumps(value, allowed, protocol), allowed)
    assert (type(read), read) == (type(value), value)


def test_state_is_set_as_pickle_sets_it():
    slotted = Slotted()
    slotted.a = [1]
    allowed = named([Slotted, Own, WithNew, SimpleNamespace])
    for protocol in (2, 4):
        assert loads(pickle.dumps(slotted, protocol), allowed).a == [1]
        assert loads(pickle.dumps(Own(), protocol), allowed).state == [1, 2]
    assert loads(pickle.dumps(WithNew(a=[1]), 4), allowed).a == [1]


def test_objects_of_python_2_are_read():
    """Of old classes and of new ones; old ones had their `__init__` called where it took arguments from the pickle."""
    name = f"{__name__}\nCart\n".encode()
    for data in (
        b"ccopy_reg\n_reconstructor\n(c" + name + b"c__builtin__\nobject\nNtR(dS'items'\n(I1\ntsb.",
        b"(i" + name + b"(dS'items'\n(I1\ntsb.",
        b"(c" + name + b"o}U\x05itemsK\x01\x85sb.",
        b"(I1\ni" + name + b".",
        b"(c" + name + b"K\x01o.",
    ):
        assert loads(data, named([Cart])) == Cart(1)


@pytest.mark.parametrize(
    "entry", ["no.such.module", "os.system", "os", 7, "datetime.nothing", "Cart", "", ".", None]
)
def test_what_names_no_class_or_function_cannot_be_allowed(entry):
    with pytest.raises(ConfigurationError, match="allow"):
        named([entry])


@pytest.mark.parametrize(
    "value",
    [
        object(),
        object,
        Cart(),
        Level.HIGH,
        Text("a"),
        Point(1, 2),
        helper,
        len,
        os.system,
        Cart,
        [].append,
        iter(()),
    ],
    ids=[
        "object",
        "type",
        "instance",
        "enum",
        "str",
        "tuple",
        "function",
        "builtin",
        "system",
        "class",
        "method",
        "iterator",
    ],
)
def test_anything_else_is_refused_when_it_is_written(value):
    """[FIX 3.4 any picklable value] [7.3 refuse the rest unless the user opts in]"""
    with pytest.raises(NotStorable, match="allow") as caught:
        dumps([{"a": value}], {}, 4, field="cart")
    assert caught.value.field == "cart"


def endless():
    value = []
    value.append(value)
    return value


def nested(levels):
    value = []
    for _ in range(levels):
        value = [value]
    return value


@pytest.mark.parametrize(
    "value",
    [
        nested(100_000),
        nested(200),
        endless(),
        [["a" * 1000] * 1000] * 1000,
        set(range(50_000)),
        Decimal("1" * 300),
    ],
    ids=["too deep for pickle", "too deep", "itself", "shared", "hashing", "digits"],
)
def test_what_could_not_be_read_again_is_refused_when_it_is_written(value):
    with pytest.raises(NotStorable) as caught:
        dumps({"a": value}, {}, 4, field="a")
    assert caught.value.field == "a"
