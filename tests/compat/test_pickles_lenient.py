"""A pickle that names what is not there: its field is left behind, and the others are read."""

import json
import pickle
from collections import Counter, OrderedDict, defaultdict
from datetime import UTC, datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from markupsafe import Markup

from coatcheck import DecodeError
from coatcheck.compat.pickles import LEFT_OUT, loads
from coatcheck.model.codec import decode, encode

pytestmark = pytest.mark.promise("19")


class Own:
    def __init__(self):
        self.itself = self
        self.list = [self]

    @classmethod
    def method(cls):
        """Pickles call `getattr` for it."""


def factory():
    """The factory of a defaultdict."""


class OwnList(list):
    pass


class OwnDict(dict):
    pass


@pytest.mark.parametrize("protocol", range(6))
def test_an_object_in_a_pickle_loses_its_field_and_no_other(protocol):
    fields = {
        "user": "ada",
        "own": Own(),
        "list": OwnList([1, Own()]),
        "dict": OwnDict(a=Own()),
        "default": defaultdict(list, {"a": [1]}),
        "deep": [{"a": (Own(), 1)}],
        "set": {Own()},
        "function": json.dumps,
        "class": Own,
        "ordered": OrderedDict(a=1),
        "when": datetime(2026, 1, 2, tzinfo=timezone(timedelta(hours=2))),
        "counter": Counter("aab"),
        "deeper": [defaultdict(factory, {1: defaultdict(int, {"b": 3})})],
        "zoned": [datetime(2026, month, 2, tzinfo=ZoneInfo("Europe/Berlin")) for month in (1, 7)],
        "attribute": Own.method,
        "html": Markup("<b>tea</b>"),
        "last": 1,
    }
    read = loads(pickle.dumps(fields, protocol), {}, lenient=True)
    assert list(read) == list(fields)
    for name in ("user", "default", "ordered", "when", "counter", "deeper", "zoned", "html", "last"):
        assert read[name] == fields[name]
    for name in ("own", "list", "dict", "function", "class", "attribute"):
        assert read[name] is LEFT_OUT
    assert read["deep"] == [{"a": (LEFT_OUT, 1)}]
    assert read["set"] == {LEFT_OUT}
    assert type(read["html"]) is str
    assert type(read["default"]) is type(read["counter"]) is type(read["deeper"][0][1]) is dict
    assert {moment.tzinfo.key for moment in read["zoned"]} == {"Europe/Berlin"}
    for name in ("user", "default", "counter", "deeper", "zoned", "html"):
        assert decode(encode(read[name])) == fields[name]


@pytest.mark.parametrize(
    "opcodes",
    [
        b"(ishop\nCart\n",  # an object of an old class of Python 2
        b"(cshop\nCart\nK\x01o",
        b"cshop\nCart\n(]e",
        b"cshop\nCart\n(K\x01\x90",
        b"cshop\nCart\n(K\x01K\x02u",
        b"cshop\nCart\n)\x81}b",
        b"cbuiltins\nset\n(]cshop\nCart\natR",
        b"cmarkupsafe\nMarkup\n(]e",
        b"cmarkupsafe\nMarkup\n(K\x01\x90",
        b"cmarkupsafe\nMarkup\nK\x01K\x02s",
        b"ccollections\ndefaultdict\n}b",
        b"cbuiltins\ngetattr\nX\x01\0\0\0aX\x05\0\0\0upper\x86R",
        b"cshop\nCart\n)}X\x01\0\0\0aK\x01s\x92",
    ],
)
def test_what_is_done_to_an_object_that_stays_behind_is_passed_over(opcodes):
    read = loads(b"\x80\x04](K\x01" + opcodes + b"K\x02e.", {}, lenient=True)
    assert read[0] == 1
    assert type(read[1]) in (type(LEFT_OUT), set)
    assert read[2:] == [2]
    with pytest.raises(DecodeError):
        loads(b"\x80\x04](K\x01" + opcodes + b"K\x02e.", {})


PYTZ = {
    "utc": (b"\x80\x02cpytz\n_UTC\nq\x00)Rq\x01.", UTC),
    "Berlin's summer": (
        b"\x80\x02cpytz\n_p\nq\x00(X\r\x00\x00\x00Europe/Berlinq\x01M \x1cM\x10\x0eX\x04\x00\x00\x00CESTq\x02tq\x03Rq\x04.",
        timezone(timedelta(hours=2), "CEST"),
    ),
    "without summer": (
        b"\x80\x04\x95\x1f\x00\x00\x00\x00\x00\x00\x00\x8c\x04pytz\x94\x8c\x02_p\x94\x93\x94\x8c\tEtc/GMT+5\x94\x85\x94R\x94.",
        ZoneInfo("Etc/GMT+5"),
    ),
    "an offset": (
        b"\x80\x02cpytz\nFixedOffset\nq\x00KZ\x85q\x01Rq\x02.",
        timezone(timedelta(minutes=90)),
    ),
}
"""As pytz 2025.2 writes them."""


@pytest.mark.parametrize("name", PYTZ)
def test_a_zone_of_pytz_is_read_as_one_of_the_standard_library(name):
    pickled, zone = PYTZ[name]
    assert loads(pickled, {}, lenient=True) == zone


@pytest.mark.parametrize("key", ["Atlantis/Capital", "../../etc/passwd", "/etc/passwd", "", "\0", "Europe"])
def test_a_moment_in_a_zone_that_this_machine_does_not_know_is_left_out(key):
    moment = pickle.dumps([datetime(2026, 1, 2, tzinfo=ZoneInfo("Europe/Berlin"))], 5)
    text = b"\x8c" + bytes([len(key)]) + key.encode()
    pickled = moment.replace(b"\x8c\rEurope/Berlin", text)
    pickled = pickled[:2] + b"\x95" + (len(pickled) - 11).to_bytes(8, "little") + pickled[11:]
    assert loads(pickled, {}, lenient=True) == [LEFT_OUT]


@pytest.mark.parametrize("arguments", [(b"A" * 101,), (b"UTC", 0, 0, b"A" * 101)], ids=["a key", "a name"])
def test_the_name_of_a_zone_is_bounded(arguments):
    values = (b"K\0" if each == 0 else b"X" + len(each).to_bytes(4, "little") + each for each in arguments)
    with pytest.raises(DecodeError, match="time zone with a name that is none"):
        loads(b"\x80\x02cpytz\n_p\n(" + b"".join(values) + b"tR.", {}, lenient=True)


def test_a_zone_shared_by_the_whole_process_is_not_changed():
    zone = pickle.dumps(ZoneInfo("Europe/Berlin"), 2)[:-1]
    with pytest.raises(DecodeError, match="immutable type"):
        loads(zone + b"}X\x03\0\0\0keyX\x01\0\0\0as" + b"b.", {}, lenient=True)


MANY = 200
TUPLE = b"(" + b"N" * 10_000 + b"tq\x01"
WORK = {
    "a class that is left out": b"cshop\nCart\nq\0" + TUPLE + b"h\0h\1R" * MANY,
    "an object that is left out": b"cshop\nCart\nq\0" + TUPLE + b"h\0h\1\x81" * MANY,
    "text": b"cmarkupsafe\nMarkup\nq\0" + TUPLE + b"h\0h\1R" * MANY,
    "a dict with a factory": b"ccollections\ndefaultdict\nq\0" + TUPLE + b"h\0h\1R" * MANY,
    "an argument that is left out": b"cbuiltins\nset\nq\0"
    b"(cshop\nCart\n" + b"N" * 10_000 + b"tq\x01" + b"h\0h\1R" * MANY,
    "a UUID, which takes no arguments": b"cuuid\nUUID\nq\0" + TUPLE + b"h\0h\1\x81" * MANY,
    "zones": b"cbuiltins\ngetattr\nczoneinfo\nZoneInfo\nX\x09\0\0\0_unpickle\x86Rq\0"
    + b"".join(b"h\0X\x05\0\0\0Z%04d\x85R" % number for number in range(500)),
    "zones of pytz": b"cpytz\n_p\nq\0" + b"".join(b"h\0X\x05\0\0\0Z%04d\x85R" % each for each in range(500)),
}
"""Each would cost more than the million steps that a pickle may take, and is small enough to be carried out if it does."""


@pytest.mark.parametrize("name", WORK)
def test_the_work_for_objects_that_stay_behind_is_charged(name):
    with pytest.raises(DecodeError, match="too much work"):
        loads(WORK[name] + b".", {}, lenient=True)


def test_a_name_is_bounded_since_a_text_can_be_named_often():
    long = b"X\x10\x27\0\0" + b"a" * 10_000
    with pytest.raises(DecodeError, match="name that is none"):
        loads(long + b"q\0h\0\x93.", {}, lenient=True)


def test_many_objects_that_stay_behind_are_neither_deep_nor_dear():
    fields = {"own": [Own() for _ in range(5_000)], "last": 1}
    read = loads(pickle.dumps(fields, 5), {}, lenient=True)
    assert read == {"own": [LEFT_OUT] * 5_000, "last": 1}


def test_nothing_that_only_the_lenient_reading_knows_is_read_by_the_other():
    for value in (Counter(), defaultdict(list), Markup(), ZoneInfo("Europe/Berlin")):
        with pytest.raises(DecodeError, match="which the setting 'allow' does not"):
            loads(pickle.dumps(value), {})
