"""Pickles are read without running code, and no bytes take more than a bounded amount of memory or time.

R-57, B-01; [FIX] of the old libraries: code execution from the store and from the cookie.
"""

import collections
import copy
import marshal
import os
import pickle
import subprocess
import sys
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

PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)
patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

MEMORY = 1 << 29
SECONDS = 10
"""Of the processor. Each attack took minutes, or gigabytes, or the process."""


def text(content, opcode=b"X"):
    return opcode + len(content).to_bytes(4, "little") + content


def number(value, width=12):
    return b"\x8a" + bytes([width]) + value.to_bytes(width, "little", signed=True)


def doubled(times, leaf=b"K\x01", by=b"\x86"):
    """`t = (t, t)`, and so on."""
    return leaf + b"q\0" + (b"h\0h\0" + by + b"q\0") * times


COLLIDING = b"".join(number(each * (2**61 - 1)) for each in range(1, 60_000))  # each has the hash 0
COLLIDING_PAIRS = b"".join(b"](" + number(each * (2**61 - 1)) + b"Ne" for each in range(1, 30_000))
LATIN1 = b"c_codecs\nencode\n"
DECIMAL = b"cdecimal\nDecimal\n"
UUID_ = b"cuuid\nUUID\n)\x81"

BOMBS = {
    # Lengths and indices that are not there
    "memo index": b"Nr\xff\xff\xff\x7f.",
    "memo index in digits": b"Np4294967295\n.",
    "negative memo index": b"Np-1\n.",
    "BINBYTES": b"B\xff\xff\xff\x7f.",
    "BINBYTES8": b"\x8e\xff\xff\xff\xff\xff\0\0\0.",
    "BINUNICODE8": b"\x8d\xff\xff\xff\xff\xff\0\0\0.",
    "BYTEARRAY8": b"\x96\xff\xff\xff\xff\xff\0\0\0.",
    "BYTEARRAY8 beyond all": b"\x96" + b"\xff" * 8 + b".",
    "FRAME": b"\x95\xff\xff\xff\xff\xff\0\0\0N.",
    "LONG4": b"\x8b\xff\xff\xff\x7f.",
    "LONG4 backwards": b"N\x8b\xfa\xff\xff\xff.",
    "BINSTRING backwards": b"NT\xfa\xff\xff\xff.",
    "too many bytes": text(b"a" * (16 << 20)) + b".",
    # Size
    "opcodes": b"N" * 10_000_000 + b".",
    "marks": b"(" * 10_000_000 + b".",
    "lists": b"]" * 10_000_000 + b".",
    "bytes of a number": b"cbuiltins\nbytes\n" + number(1 << 40) + b"\x85R.",
    "bytearray of a number": b"cbuiltins\nbytearray\n" + number(1 << 40) + b"\x85R.",
    "bytes through a codec": b"cbuiltins\nbytes\n" + text(b"a" * 100_000) + text(b"punycode") + b"\x86R.",
    "encode through a codec": LATIN1 + text(b"a" * 100_000) + text(b"punycode") + b"\x86R.",
    "a text shared": text(b"a" * 1_000_000) + b"q\0](" + b"h\0" * 1000 + b"e.",
    "a text encoded often": LATIN1
    + b"q\1"
    + text(b"a" * 8_000_000)
    + text(b"latin1")
    + b"\x86q\2("
    + b"h\1h\2R" * 1000
    + b"l.",
    "a list shared": b"]q\0" + b"](h\0h\0eq\0" * 60 + b".",
    "a dict shared": b"}q\0" + b"}(K\1h\0K\2h\0uq\0" * 60 + b".",
    "a dict of lists": b"]q\0(" + b"N" * 900 + b"e(" + b"h\0" * 2000 + b"l.",
    # Nesting
    "tuples": b"N" + b"\x85" * 200_000 + b".",
    "lists in lists": b"]" * 200_000 + b"a" * 199_999 + b".",
    "dicts in dicts": b"}" + b"K\1}" * 100_000 + b"s" * 100_000 + b".",
    "frozensets": b"(" * 90_000 + b"\x91" * 90_000 + b".",
    "itself": b"]q\0h\0a.",
    "itself in a tuple": b"]q\0h\0\x85a.",
    "itself in a dict": b"}q\0Nh\0s.",
    # Hashing
    "a nested key": b"}N" + b"\x85" * 200_000 + b"Ns.",
    "a nested member": b"\x8f(N" + b"\x85" * 200_000 + b"\x90.",
    "a doubled tuple": doubled(60) + b".",
    "a doubled key": b"}" + doubled(60) + b"Ns.",
    "a doubled member": b"(" + doubled(60) + b"\x91.",
    "a doubled member of a call": b"cbuiltins\nset\n](" + doubled(60) + b"e\x85R.",
    "two doubled keys that are equal": b"}" + doubled(18) + b"N" + doubled(18) + b"N" + b"ss" + b".",
    "a large key set often": doubled(14) + b"}(" + b"h\0N" * 200_000 + b"u.",
    "a large number set often": text(b"\x7f" * 4_000_000, b"\x8b") + b"q\0}(" + b"h\0N" * 200_000 + b"u.",
    "colliding keys": b"}(" + COLLIDING.replace(b"\x8a\x0c", b"N\x8a\x0c").removeprefix(b"N") + b"Nu.",
    "colliding keys, one by one": b"}"
    + COLLIDING.replace(b"\x8a\x0c", b"Ns\x8a\x0c").removeprefix(b"Ns")
    + b"Ns.",
    "colliding members": b"\x8f(" + COLLIDING + b"\x90.",
    "colliding members, one by one": b"\x8f"
    + COLLIDING.replace(b"\x8a\x0c", b"\x90(\x8a\x0c").removeprefix(b"\x90")
    + b"\x90.",
    "colliding members of a frozenset": b"(" + COLLIDING + b"\x91.",
    "colliding members of a call": b"cbuiltins\nset\n](" + COLLIDING + b"e\x85R.",
    "colliding keys of a call": b"ccollections\nOrderedDict\n](" + COLLIDING_PAIRS + b"e\x85R.",
    # Numbers
    "digits": b"L" + b"9" * 3_000_000 + b"L\n.",
    "digits of an INT": b"I" + b"9" * 3_000_000 + b"\n.",
    "digits of a FLOAT": b"F" + b"9" * 15_000_000 + b"\n.",
    "a Decimal": DECIMAL + text(b"9" * 1000) + b"\x85R.",
    "a Decimal of a number": DECIMAL + text(b"\x7f" * 4_000_000, b"\x8b") + b"\x85R.",
    "a complex of a text": b"cbuiltins\ncomplex\n" + text(b"9" * 1_000_000) + b"\x85R.",
    "a timedelta of text": b"cdatetime\ntimedelta\n" + (text(b"9") * 3) + b"\x87R.",
    "the name of a zone": b"cdatetime\ntimezone\ncdatetime\ntimedelta\nK\0K\0K\0\x87R"
    + text(b"a" * 1000)
    + b"\x86R.",
    "the number of a UUID nested": UUID_ + b"}" + text(b"int") + doubled(60) + b"sb.",
    "the number of a UUID too large": UUID_ + b"}" + text(b"int") + number(1 << 128, 18) + b"sb.",
}
"""Each as it is written: memory, time, or the end of the process; and nothing that has any right to be read."""

CHILD = """
import resource, sys
resource.setrlimit(resource.RLIMIT_AS, ({memory}, {memory}))
resource.setrlimit(resource.RLIMIT_CPU, ({seconds}, {seconds}))
sys.set_int_max_str_digits(0)  # an application may have lifted it
from coatcheck.compat.pickles import loads
from coatcheck.errors import DecodeError
data = sys.stdin.buffer.read()
try:
    loads(data, {{}})
except DecodeError as error:
    print("refused", error.__cause__, sys.modules.get("encodings.punycode"))
"""


def in_a_process_of_its_own(program, data):
    done = subprocess.run(
        [sys.executable, "-c", program], input=data, capture_output=True, timeout=20 * SECONDS, check=False
    )
    return done.returncode, done.stdout.decode(), done.stderr.decode()[-500:]


@pytest.mark.parametrize("name", BOMBS)
def test_r57_a_bomb_is_refused_in_bounded_memory_and_time(name):
    program = CHILD.format(memory=MEMORY, seconds=SECONDS)
    assert in_a_process_of_its_own(program, BOMBS[name]) == (0, "refused None None\n", "")


LENGTHS = [
    "BINBYTES",
    "BINBYTES8",
    "BINUNICODE8",
    "BYTEARRAY8",
    "FRAME",
    "LONG4",
    "LONG4 backwards",
    "BINSTRING backwards",
]


@pytest.mark.parametrize("name", LENGTHS)
def test_a_length_is_compared_with_the_bytes_that_there_are(name):
    with pytest.raises(DecodeError, match="ends too early"):
        loads(BOMBS[name], {})


def test_the_real_unpickler_is_ended_by_such_a_bomb():
    """That the limits are real: a nested key ends the process, 9 bytes take its memory."""
    program = CHILD.format(memory=MEMORY, seconds=SECONDS) + "\nprint('on')\n"
    program = program.replace(
        "from coatcheck.compat.pickles import loads", "loads = lambda data, _: pickle.loads(data)"
    )
    program = "import pickle\n" + program
    assert in_a_process_of_its_own(program, BOMBS["a nested key"])[0] < 0
    assert "MemoryError" in in_a_process_of_its_own(program, BOMBS["memo index"])[2]


LARGE = {
    "numbers": list(range(200_000)),
    "a text": "é" * 6_000_000,
    "bytes": b"\xff" * 4_000_000,
    "rows": [(each, each * 2, str(each)) for each in range(20_000)],
    "texts as keys": {str(each): each for each in range(50_000)},
    "numbers as keys": dict.fromkeys(range(5000)),
    "members": set(range(5000)),
    "nested": [[[[[[[[[[{"a": ((((((1,),),),),),)}]]]]]]]]]],
    "a shared list": [[1, 2, 3]] * 10_000,
}


@pytest.mark.parametrize("name", LARGE)
def test_what_sessions_really_hold_is_within_the_bounds(name):
    for protocol in PROTOCOLS:
        assert loads(pickle.dumps(LARGE[name], protocol), {}) == LARGE[name]


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
    "a function of what is named": b"\x80\x04\x8c\x04uuid\x8c\x0fUUID.__new__\x93.",
    "another codec": b"c_codecs\nencode\n(Va\nVrot13\ntR.",
    "a lookup of codecs": b"c_codecs\nlookup\n(Va\ntR.",
    "an extension": b"\x80\x02\x82\x01.",
    "a persistent id": b"P1\n.",
    "a persistent object": b"\x80\x02K\x01Q.",
    "a buffer": b"\x80\x05\x97.",
    "object": b"cbuiltins\nobject\n)R.",
    "object by NEWOBJ": b"cbuiltins\nobject\n)\x81.",
    "an object with a state": b"ccopy_reg\n_reconstructor\n(cuuid\nUUID\nc__builtin__\nobject\nS'x'\ntR.",
    "the class UUID changed": b"cuuid\nUUID\n(N(dS'hex'\nI1\nstb.",
    "the class Decimal changed": b"cdecimal\nDecimal\n(N(dS'hex'\nI1\nstb.",
    "the class set changed": b"\x80\x02c__builtin__\nset\n}X\x01\0\0\0xK\x01sb.",
    "the function encode changed": b"\x80\x02c_codecs\nencode\nN}X\x01\0\0\0xK\x01s\x86b.",
    "the class of the application changed": CART + b"}X\x01\0\0\0xK\x01sb.",
    "the class of an object changed": CART + b")\x81N}X\x09\0\0\0__class__" + CART + b"s\x86b.",
    "a member of an enumeration changed": f"c{__name__}\nLevel\nK\1\x85R}}X\x07\0\0\0_value_K\2sb.".encode(
        "latin-1"
    ),
    "a UUID without a number": UUID_ + b".",
    "a UUID without a number, inside": UUID_ + b"\x85.",
    "a UUID changed": UUID_ + b"q\0}X\3\0\0\0intK\1sbh\0}X\3\0\0\0intK\2sb.",
    "a UUID of a text": UUID_ + b"}X\3\0\0\0intX\1\0\0\0asb.",
    "a date that is none": b"cdatetime\ndate\nC\x04\x07\xe0\x02\xff\x85R.",
    "a time that is none": b"cdatetime\ntime\nC\x06\xff\0\0\0\0\0\x85R.",
    "a date that is too long": b"cdatetime\ndate\nC\x05\x07\xe0\x02\x01\0\x85R.",
    "a date of numbers": b"cdatetime\ndate\nM\xe0\x07K\1K\1\x87R.",
    "an OrderedDict of dicts": b"ccollections\nOrderedDict\n](}(K\1NK\2Nue\x85R.",
    "a list added to like a set": b"](K\1\x90.",
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
    + b"uq\2("
    + b"h\1)\x81h\2b" * 1000
    + b"l.",
    "itself in its own state": CART + b")\x81q\0}X\1\0\0\0ah\0sb.",
    "a text without quotes": b"Shello\n.",
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
