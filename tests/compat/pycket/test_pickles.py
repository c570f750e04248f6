"""No code comes out of a pickle."""

import base64
import collections
import json
import pickle
import pickletools
from datetime import UTC, date, datetime, time, timedelta, timezone
from decimal import Decimal
from enum import IntEnum
from pathlib import Path
from typing import NamedTuple
from uuid import UUID, uuid1

import pytest

from coatcheck.compat.pycket._pickles import PROTOCOL_OF_OLD, Pickles
from coatcheck.errors import ConfigurationError, DecodeError, NotStorable

pytestmark = pytest.mark.promise("19")

DATA = Path(__file__).parents[1] / "data"

NAIVE = datetime(2016, 2, 29, 12, 30, 59, 123456)  # noqa: DTZ001 - one of those that applications have
PLAIN = {
    "none": None,
    "truth": [True, False],
    "numbers": (0, -1, 2**70, 1.5, 1 + 2j),
    "texts": ("", "héllo €", b"", b"\x00\xff", bytearray(b"\xff"), bytearray()),
    "sets": [{1, 2}, frozenset("a"), set()],
    "nested": {"a": {1: [{"b": ()}]}},
    "times": [
        NAIVE,
        datetime(2016, 2, 29, tzinfo=UTC),
        date(2016, 2, 29),
    ],
    "more times": [time(23, 59), timedelta(3, 4, 5), timezone(timedelta(hours=2))],
    "others": [Decimal("1.50"), UUID(int=7), uuid1(), collections.OrderedDict(z=1, a=2)],
}


class Level(IntEnum):
    HIGH = 1


class Cart:
    def __init__(self, *items):
        self.items = items

    def __eq__(self, other):
        return self.items == other.items

    __hash__ = None


class Text(str):
    __slots__ = ()


class Point(NamedTuple):
    x: int
    y: int


def helper():
    raise AssertionError


@pytest.mark.parametrize("protocol", [4, PROTOCOL_OF_OLD])
def test_plain_values_come_back_as_what_they_were(protocol):
    pickles = Pickles(protocol=protocol)
    data = pickles.dumps(PLAIN)
    assert repr(pickles.loads(data)) == repr(PLAIN)
    assert repr(pickle.loads(data)) == repr(PLAIN)  # what servers of the old library do with it


def test_without_side_by_side_a_pickle_of_builtins_names_nothing():
    """[FIX 3.4] [7.3 a pickle only of builtin containers and scalars]"""
    plain = {name: PLAIN[name] for name in ("none", "truth", "sets", "nested")} | {"b": b"\xff", "n": 2**70}
    opcodes = {opcode.name for opcode, _, _ in pickletools.genops(Pickles().dumps(plain))}
    assert not opcodes & {"GLOBAL", "STACK_GLOBAL", "REDUCE", "BUILD", "NEWOBJ", "INST", "OBJ"}


def test_side_by_side_it_is_of_protocol_2():
    """[3.5 protocol 0 on 2.7, 3, 4] [7.3 protocol 2 is read by all]"""
    assert Pickles(protocol=PROTOCOL_OF_OLD).dumps({"a": "é", "b": b"\xff"})[:2] == b"\x80\x02"


def test_pickles_of_every_protocol_are_read():
    """[3.5 the default protocol of each Python]"""
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        assert repr(Pickles().loads(pickle.dumps(PLAIN, protocol))) == repr(PLAIN)


@pytest.mark.parametrize("protocol", ["0", "1", "2"])
def test_what_python_2_wrote_is_read(protocol):
    """[3.5 protocol 0 on 2.7]: written by Python 2.7.18"""
    data = json.loads((DATA / "pycket27.json").read_text())["pickles"][protocol]
    assert Pickles().loads(base64.b64decode(data)) == {
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


@pytest.mark.parametrize(
    "value",
    [object(), Cart(), Level.HIGH, Text("a"), Point(1, 2), helper, len, Cart, [].append, lambda: 1, iter(())],
    ids=[
        "object",
        "instance",
        "enum",
        "str",
        "tuple",
        "function",
        "builtin",
        "class",
        "method",
        "lambda",
        "iterator",
    ],
)
def test_anything_else_is_refused_when_it_is_set(value):
    """[FIX 3.4 any picklable value]"""
    with pytest.raises(NotStorable) as caught:
        Pickles().dumps([{"a": value}], field="cart")
    assert caught.value.field == "cart"


def test_what_is_nested_without_end_is_refused():
    endless = []
    for _ in range(100_000):
        endless = [endless]
    with pytest.raises(NotStorable, match="RecursionError"):
        Pickles().dumps(endless)


class Evil:
    """Runs a program when it is unpickled."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return __import__("os").system, (f"touch {self.marker}",)


class Curious:
    """Evaluates when it is unpickled."""

    def __reduce__(self):
        return eval, ("__import__('pathlib').Path('marker').touch()",)


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_no_code_runs_from_a_pickle(protocol, tmp_path, monkeypatch):
    """[FIX 3.4 pickle.loads of the store's content: code execution] [B-01]"""
    monkeypatch.chdir(tmp_path)
    marker = tmp_path / "marker"
    for bad in (Evil(marker), Curious()):
        data = pickle.dumps({"a": bad}, protocol)
        with pytest.raises(DecodeError, match="names"):
            Pickles().loads(data)
        assert not marker.exists()
        pickle.loads(data)  # so that the test can fail
        assert marker.exists()
        marker.unlink()


HAND_MADE = {
    "system": b"cos\nsystem\n(S'true'\ntR.",
    "inst": b"(S'true'\nios\nsystem\n.",
    "builtins of Python 2": b"c__builtin__\neval\n(S'1'\ntR.",
    "getattr": b"cbuiltins\ngetattr\n(cuuid\nUUID\nS'__init__'\ntR.",
    "a dotted name": b"\x80\x04\x8c\x04uuid\x8c\x0fUUID.__new__\x93.",
    "memory": b"cbuiltins\nbytes\n(I7\ntR.",
    "memory again": b"cbuiltins\nbytearray\n(I7\ntR.",
    "another codec": b"c_codecs\nencode\n(Va\nVzlib\ntR.",
    "an object with a state": b"ccopy_reg\n_reconstructor\n(cuuid\nUUID\nc__builtin__\nobject\nS'x'\ntR.",
    "the class changed": b"cuuid\nUUID\n(N(dS'hex'\nI1\nstb.",
    "the class of numbers changed": b"cdecimal\nDecimal\n(N(dS'hex'\nI1\nstb.",
    "the maker changed": b"cbuiltins\nbytes\n(N(dS'_make'\nI1\nstb.",
    "a persistent id": b"Pmine\n.",
    "nothing": b"",
    "not the end": b"\x80\x04}",
    "text": b"hello",
}


@pytest.mark.parametrize("data", HAND_MADE.values(), ids=HAND_MADE)
def test_pickles_made_by_hand_do_no_harm(data):
    """[FIX 3.4]"""
    with pytest.raises(DecodeError) as caught:
        Pickles().loads(data)
    assert caught.value.__cause__ is None
    assert repr(Pickles().loads(Pickles().dumps(PLAIN))) == repr(PLAIN)
    assert UUID(int=1).hex == "0" * 31 + "1"


def test_what_the_application_names_is_written_and_read():
    """[FIX 3.4 an allow-list that the user names]"""
    for allowed in (Cart, f"{__name__}.Cart"):
        pickles = Pickles([allowed])
        assert pickles.loads(pickles.dumps({"cart": Cart(1, 2)})) == {"cart": Cart(1, 2)}
        with pytest.raises(NotStorable, match="Point"):
            pickles.dumps(Cart(Point(1, 2)))
    both = Pickles([Cart, Point, Level, Text])
    assert both.loads(both.dumps(Cart(Point(1, 2), Level.HIGH, Text("a")))).items == (
        Point(1, 2),
        Level.HIGH,
        "a",
    )
    with pytest.raises(DecodeError, match="Cart"):
        Pickles([Point]).loads(both.dumps(Cart()))


@pytest.mark.parametrize("allowed", ["Cart", "", 7, Cart(), ".", None])
def test_what_names_nothing_cannot_be_allowed(allowed):
    with pytest.raises(ConfigurationError, match="allow"):
        Pickles([allowed])


def test_no_value_is_told_in_an_error():
    for data in (b"I12hunter2\n.", b"(S'hunter2'\nios\nsystem\n.", b"S'hunter2\n."):
        with pytest.raises(DecodeError) as caught:
            Pickles().loads(data)
        assert "hunter2" not in f"{caught.value} {caught.value.__cause__}"
