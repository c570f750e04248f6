"""Pickles are read without running code, as `pickle` reads them; and any bytes are harmless.

R-57, B-01; [FIX] of the old libraries: code execution from the store and from the cookie.
"""

import collections
import copy
import marshal
import os
import pickle
import subprocess
import time
import traceback
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from uuid import UUID

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from coatcheck.compat._plain import named
from coatcheck.compat.pickles import loads
from coatcheck.errors import DecodeError
from tests.compat.test_pickle_bombs import COLLIDING, DECIMAL, LATIN1, SECONDS, UUID_, doubled, text

pytestmark = pytest.mark.promise("19")

PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)
patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])


class Evil:
    """Calls a function when it is unpickled."""

    def __init__(self, function, *arguments):
        self.what = function, arguments

    def __reduce__(self):
        return self.what


ATTACKS = {
    "os.system": Evil(os.system, "touch ran"),
    "eval": Evil(eval, "__import__('os').system('touch ran')"),
    "getattr": Evil(getattr, "text", "upper"),
    "subprocess": Evil(subprocess.call, ["touch", "ran"]),
    "open": Evil(open, "ran", "w"),
    "codecs": Evil(__import__("_codecs").decode, b"x", "zlib"),
    "import": Evil(__import__, "antigravity"),
}


@pytest.mark.parametrize("name", ATTACKS)
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_b01_no_code_runs_from_a_pickle(name, protocol, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    attack = pickle.dumps({"a": [ATTACKS[name]]}, protocol)
    for allowed in ({}, named([Cart])):
        with pytest.raises(DecodeError, match="names"):
            loads(attack, allowed)
    assert list(tmp_path.iterdir()) == []


def test_the_real_unpickler_would_have_run_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pickle.loads(pickle.dumps(ATTACKS["subprocess"]))
    assert (tmp_path / "ran").exists()


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"hello",
        b"\x80\x04}",  # no end
        marshal.dumps({"a": compile("open('ran', 'w')", "", "exec")}),
        b"!!python/object/apply:os.system ['touch ran']",
        b"\x00\x05\x16\x00" + pickle.dumps({}),  # a file of dbm, as shelve has them
        b'{"a": 1}',
        b"\x80\x06N.",  # a protocol that is not known
    ],
    ids=["nothing", "text", "no end", "marshal", "yaml", "shelve", "json", "protocol 6"],
)
def test_b01_other_formats_are_no_pickles(data, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DecodeError) as caught:
        loads(data, {})
    assert caught.value.__cause__ is None
    assert list(tmp_path.iterdir()) == []


class Cart:
    def __init__(self, *items):
        self.items = items

    def __eq__(self, other):
        return self.items == other.items

    def __call__(self):
        return 1

    __hash__ = None


class Slotted:
    __slots__ = ("a",)


class Level(__import__("enum").IntEnum):
    HIGH = 1


class Tags(set):
    pass


CART = f"c{__name__}\nCart\n".encode()
HAND_MADE = {
    "a class of Python 2": b"(i__builtin__\nset\n.",
    "an old class, by OBJ": b"(c__builtin__\nset\no.",
    "an old class with arguments": b"(S'true'\nios\nsystem\n.",
    "a builtin of Python 2": b"c__builtin__\neval\n(S'1'\ntR.",
    "getattr": b"cbuiltins\ngetattr\n(cuuid\nUUID\nS'__init__'\ntR.",
    "a dotted name": b"\x80\x04\x8c\x08builtins\x8c\x0aset.__or__\x93.",
    "a name that is no text": b"\x80\x04K\1K\2\x93.",
    "a function of what is named": b"\x80\x04\x8c\x04uuid\x8c\x0cUUID.__new__\x93.",
    "another codec": b"c_codecs\nencode\n(Va\nVrot13\ntR.",
    "a lookup of codecs": b"c_codecs\nlookup\n(Va\ntR.",
    "an extension": b"\x80\x02\x82\x01.",
    "a persistent id": b"P1\n.",
    "a persistent object": b"\x80\x02K\x01Q.",
    "a buffer": b"\x80\x05\x97.",
    "object": b"cbuiltins\nobject\n)R.",
    "object by NEWOBJ": b"cbuiltins\nobject\n)\x81.",
    "an object with a state": b"ccopy_reg\n_reconstructor\n(" + CART + b"c__builtin__\nobject\nS'x'\ntR.",
    "an object of another base": b"ccopy_reg\n_reconstructor\n(" + CART + b"c__builtin__\nset\nNtR.",
    "the class UUID changed": b"cuuid\nUUID\n(N(dS'hex'\nI1\nstb.",
    "the class Decimal changed": b"cdecimal\nDecimal\n(N(dS'hex'\nI1\nstb.",
    "the class set changed": b"\x80\x02c__builtin__\nset\n}X\x01\0\0\0xK\x01sb.",
    "the function encode changed": b"\x80\x02c_codecs\nencode\nN}X\x01\0\0\0xK\x01s\x86b.",
    "the class of the application changed": CART + b"}X\x01\0\0\0xK\x01sb.",
    "an attribute of the class of the application": CART + b"N}X\x01\0\0\0xK\x01s\x86b.",
    "the class of an object changed": CART + b")\x81N}X\x09\0\0\0__class__" + CART + b"s\x86b.",
    "a member of an enumeration changed": f"c{__name__}\nLevel\nK\1\x85R}}X\x07\0\0\0_value_K\2sb.".encode(
        "latin-1"
    ),
    "a UUID without a number": UUID_ + b".",
    "a UUID without a number, inside": UUID_ + b"\x85.",
    "a UUID changed": UUID_ + b"q\0}X\3\0\0\0intK\1sbh\0}X\3\0\0\0intK\2sb.",
    "a UUID of a float": UUID_ + b"}X\3\0\0\0intG\0\0\0\0\0\0\0\0sb.",
    "a UUID of a text": UUID_ + b"}X\3\0\0\0intX\1\0\0\0asb.",
    "a date that is none": b"cdatetime\ndate\nC\x04\x07\xe0\x02\xff\x85R.",
    "a time that is none": b"cdatetime\ntime\nC\x06\xff\0\0\0\0\0\x85R.",
    "a date that is too long": b"cdatetime\ndate\nC\x05\x07\xe0\x02\x01\0\x85R.",
    "a date of numbers": b"cdatetime\ndate\nM\xe0\x07K\1K\1\x87R.",
    "an OrderedDict of dicts": b"ccollections\nOrderedDict\n](}(K\1NK\2Nue\x85R.",
    "a set of a text": b"cbuiltins\nset\nX\1\0\0\0a\x85R.",
    "a list added to like a set": b"](K\1\x90.",
    "a dict added to like a set": b"}((K\1K\2l\x90.",
    "a tuple added to": b")K\1a.",
    "bytes added to": b"\x96\1\0\0\0\0\0\0\0aK\1a.",
    "a list that is part of another, added to": b"]q\0]h\0ah\0K\1a.",
    "a call of what was made": CART + b")\x81)R.",
    "arguments that are a text": CART + b"X\1\0\0\0aR.",
    "arguments for NEWOBJ that are a text": CART + b"X\1\0\0\0a\x81.",
    "a nested argument for the application's class": CART + b"N" + b"\x85" * 200_000 + b"R.",
    "a doubled argument for the application's class": CART + doubled(60) + b"\x85R.",
    "a doubled state for the application's class": CART + b")\x81}X\1\0\0\0a" + doubled(60) + b"sb.",
    "members of the application's set": f"c{__name__}\nTags\n](".encode() + COLLIDING + b"e\x85R.",
    "a large state, often": CART
    + b"q\1}("
    + b"".join(text(b"%d" % n) + b"N" for n in range(2000))
    + b"uq\2"
    + b"h\1)\x81h\2b" * 1000
    + b".",
    "itself in its own state": CART + b")\x81q\0}X\1\0\0\0ah\0sb.",
    "a text without quotes": b"Shello\n.",
    "a text in other quotes": b"Sxax\n.",
    "one quote": b"S'\n.",
    "an odd number of keys and values": b"}(K\1u.",
    "more than there is": b"K\1\x86.",
    "a memo without the index": b"h\7.",
}


@pytest.mark.parametrize("name", HAND_MADE)
def test_what_no_pickler_writes_is_refused_and_changes_nothing(name):
    before = [dict(vars(kind)) for kind in (set, UUID, Decimal, Cart, Level)]
    with pytest.raises(DecodeError) as caught:
        loads(HAND_MADE[name], named([Cart, Level, Tags, Slotted]))
    assert caught.value.__cause__ is None
    assert [dict(vars(kind)) for kind in (set, UUID, Decimal, Cart, Level)] == before
    assert Level.HIGH.value == 1


def test_no_value_is_told_in_an_error():
    for data in (
        b"I12hunter2\n.",
        b"(S'hunter2'\nios\nsystem\n.",
        b"S'hunter2\n.",
        b"\x80\x04\x8c\x07hunter2\x85K\x02\x93.",
        DECIMAL + text(b"hunter2") + b"\x85R.",
    ):
        with pytest.raises(DecodeError) as caught:
            loads(data, {})
        assert "hunter2" not in "".join(traceback.format_exception(caught.value))


hashable = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False),
    st.text(),
    st.binary(),
    st.complex_numbers(allow_nan=False),
    st.dates(),
    st.times(),
    st.datetimes(timezones=st.none() | st.just(UTC) | st.just(timezone(timedelta(hours=-3), "x"))),
    st.timedeltas(),
    st.decimals(allow_nan=False).filter(lambda each: len(str(each)) < 200),
    st.uuids(allow_nil=True),
)
keys = st.recursive(
    hashable,
    lambda inner: st.lists(inner, max_size=3).map(tuple) | st.frozensets(inner, max_size=3),
    max_leaves=4,
)
values = st.recursive(
    hashable | st.binary().map(bytearray),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
        st.dictionaries(keys, inner, max_size=4),
        st.dictionaries(st.text(), inner, max_size=4).map(collections.OrderedDict),
        st.sets(keys, max_size=4),
        st.frozensets(keys, max_size=4),
        inner.map(lambda shared: [shared, shared, (shared,)]),
    ),
    max_leaves=12,
)


@patient
@given(values, st.sampled_from(PROTOCOLS))
@example(datetime(2026, 10, 25, 2, 30, fold=1, tzinfo=UTC), 4)
@example(list(range(3000)), 2)
def test_what_pickle_writes_in_any_protocol_is_read(value, protocol):
    for data in (pickle.dumps(value, protocol), pickle._dumps(value, protocol)):
        read = loads(data, {})
        assert read == value
        assert repr(read) == repr(pickle.loads(data)), "types and order included"


def is_harmless(data):
    """Read or refused with the one error; and a value that was read can be gone through."""
    began = time.process_time()
    try:
        value = loads(data, named([Cart, Tags]))
    except DecodeError as error:
        assert error.__cause__ is None  # noqa: PT017 - most noise is refused, some is a pickle
    else:
        repr(value)
        copy.deepcopy(value)
        pickle.dumps(value)
    assert time.process_time() - began < SECONDS


@patient
@given(st.binary(max_size=300))
def test_r57_any_bytes_are_harmless(noise):
    is_harmless(noise)


@patient
@given(values, st.sampled_from(PROTOCOLS), st.data())
def test_r57_a_pickle_with_some_bytes_changed_is_harmless(value, protocol, data):
    changed = bytearray(pickle.dumps(value, protocol))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(changed)))
        changed[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    is_harmless(bytes(changed))


PIECES = [
    *(
        b"N",
        b"\x88",
        b"K\1",
        b"J\xff\xff\xff\xff",
        b"(",
        b"]",
        b"}",
        b")",
        b"\x8f",
        b"l",
        b"t",
        b"d",
        b"\x91",
    ),
    *(b"a", b"e", b"s", b"u", b"\x90", b"\x85", b"\x86", b"\x87", b"q\0", b"h\0", b"q\1", b"h\1", b"\x94"),
    *(
        b"R",
        b"b",
        b"o",
        b"\x81",
        b"\x92",
        b"0",
        b"1",
        b"2",
        b"X\3\0\0\0int",
        b"U\1a",
        b"C\1b",
        b"G" + bytes(8),
    ),
    *(
        CART,
        UUID_,
        DECIMAL,
        LATIN1,
        b"cbuiltins\nset\n",
        b"cdatetime\ndate\n",
        b"ccopy_reg\n_reconstructor\n",
    ),
    f"c{__name__}\nTags\n".encode(),
    *(
        b"cbuiltins\nobject\n",
        b"ccollections\nOrderedDict\n",
        b"\x8a\x01\x02",
        b"\x93",
        b"I01\n",
        b"V1\n",
        b"S'a'\n",
    ),
]


@settings(patient, max_examples=500)
@given(st.lists(st.sampled_from(PIECES), max_size=40))
def test_r57_opcodes_in_any_order_are_harmless(pieces):
    is_harmless(b"".join(pieces) + b".")
