"""A pickle that names what is not there: its field is left behind, and the others are read."""

import json
import pickle
from collections import OrderedDict, defaultdict
from datetime import datetime, timedelta, timezone
from zoneinfo import ZoneInfo

import pytest
from markupsafe import Markup

from coatcheck import DecodeError
from coatcheck.compat.pickles import LEFT, loads

pytestmark = pytest.mark.promise("19")


class Own:
    def __init__(self):
        self.itself = self
        self.list = [self]


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
        "zoned": datetime(2026, 1, 2, tzinfo=ZoneInfo("Europe/Berlin")),
        "html": Markup("<b>tea</b>"),
        "last": 1,
    }
    read = loads(pickle.dumps(fields, protocol), {}, lenient=True)
    assert list(read) == list(fields)
    for name in ("user", "ordered", "when", "html", "last"):
        assert read[name] == fields[name]
    for name in ("own", "list", "dict", "default", "function", "class", "zoned"):
        assert read[name] is LEFT
    assert read["deep"] == [{"a": (LEFT, 1)}]
    assert read["set"] == {LEFT}
    assert type(read["html"]) is str


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
    ],
)
def test_what_is_done_to_an_object_that_stays_behind_is_passed_over(opcodes):
    read = loads(b"\x80\x04](K\x01" + opcodes + b"K\x02e.", {}, lenient=True)
    assert read[0] == 1
    assert read[1] in (LEFT, {LEFT})
    assert read[2:] == [2]
    with pytest.raises(DecodeError):
        loads(b"\x80\x04](K\x01" + opcodes + b"K\x02e.", {})
