"""Bombs: pickles of a few bytes or many that took all memory, or minutes, or ended the process (R-57)."""

import pickle
import re
import subprocess
import sys

import pytest

from coatcheck.compat.pickles import loads

pytestmark = pytest.mark.promise("19")

PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)
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


NUMBERS = [number(each * (2**61 - 1)) for each in range(1, 60_000)]  # each has the hash 0
COLLIDING = b"".join(NUMBERS)
COLLIDING_PAIRS = b"".join(b"](" + each + b"Ne" for each in NUMBERS)
LATIN1 = b"c_codecs\nencode\n"
DECIMAL = b"cdecimal\nDecimal\n"
UUID_ = b"cuuid\nUUID\n)\x81"

REASONS = {
    "ends too early": {
        "BINBYTES": b"B\xff\xff\xff\x7f.",
        "BINBYTES8": b"\x8e\xff\xff\xff\xff\xff\0\0\0.",
        "BINUNICODE8": b"\x8d\xff\xff\xff\xff\xff\0\0\0.",
        "BYTEARRAY8": b"\x96\xff\xff\xff\xff\xff\0\0\0.",
        "BYTEARRAY8 beyond all": b"\x96" + b"\xff" * 8 + b".",
        "FRAME": b"\x95\xff\xff\xff\xff\xff\0\0\0N.",
        "LONG4": b"\x8b\xff\xff\xff\x7f.",
        "LONG4 backwards": b"N\x8b\xfa\xff\xff\xff.",
        "BINSTRING backwards": b"NT\xfa\xff\xff\xff.",
    },
    "numbers more values than it holds": {
        "memo index": b"Nr\xff\xff\xff\x7f.",
        "memo index in digits": b"Np4294967295\n.",
        "negative memo index": b"Np-1\n.",
    },
    "pickle is too large": {
        "too many bytes": text(b"a" * (16 << 20)) + b".",
    },
    "has too many opcodes": {
        "opcodes": b"N" * 10_000_000 + b".",
        "marks": b"(" * 10_000_000 + b".",
        "lists": b"]" * 10_000_000 + b".",
    },
    "too large, or nested too deep": {
        "a text shared": text(b"a" * 1_000_000) + b"q\0](" + b"h\0" * 1000 + b"e.",
        "a list shared": b"]q\0" + b"](h\0h\0eq\0" * 60 + b".",
        "a dict shared": b"}q\0" + b"}(K\1h\0K\2h\0uq\0" * 60 + b".",
        "a dict of lists": b"]q\0(" + b"N" * 900 + b"e(" + b"h\0" * 2000 + b"l.",
        "a set shared": b"\x8f("
        + b"".join(text(b"%d" % each) for each in range(1000))
        + b"\x90q\0("
        + b"h\0" * 2000
        + b"l.",
        "a large number set often": text(b"\x7f" * 4_000_000, b"\x8b") + b"q\0}" + b"h\0Ns" * 100_000 + b".",
        "tuples": b"N" + b"\x85" * 200_000 + b".",
        "lists in lists": b"]" * 200_000 + b"a" * 199_999 + b".",
        "dicts in dicts": b"}" + b"K\1}" * 100_000 + b"s" * 100_000 + b".",
        "frozensets": b"(" * 90_000 + b"\x91" * 90_000 + b".",
        "a nested key": b"}N" + b"\x85" * 200_000 + b"Ns.",
        "a nested member": b"\x8f(N" + b"\x85" * 200_000 + b"\x90.",
        "a doubled tuple": doubled(60) + b".",
        "a doubled key": b"}" + doubled(60) + b"Ns.",
        "a doubled member": b"(" + doubled(60) + b"\x91.",
        "a doubled member of a call": b"cbuiltins\nset\n](" + doubled(60) + b"e\x85R.",
        "the number of a UUID nested": UUID_ + b"}" + text(b"int") + doubled(60) + b"sb.",
    },
    "contains itself": {
        "itself": b"]q\0h\0a.",
        "itself in a tuple": b"]q\0h\0\x85a.",
        "itself in a dict": b"}q\0Nh\0s.",
    },
    "takes too much work": {
        "a text encoded often": LATIN1
        + b"q\1"
        + text(b"a" * 8_000_000)
        + text(b"latin1")
        + b"\x86q\2("
        + b"h\1h\2R" * 1000
        + b"l.",
        "two doubled keys that are equal": b"}(" + doubled(18) + b"N" + doubled(18) + b"Nu.",
        "a large key set often": doubled(14) + b"}" + b"h\0Ns" * 100_000 + b".",
        "colliding keys": b"}(" + b"N".join(NUMBERS) + b"Nu.",
        "colliding keys, one by one": b"}" + b"Ns".join(NUMBERS) + b"Ns.",
        "colliding members": b"\x8f(" + COLLIDING + b"\x90.",
        "colliding members, one by one": b"\x8f(" + b"\x90(".join(NUMBERS) + b"\x90.",
        "colliding members of a frozenset": b"(" + COLLIDING + b"\x91.",
        "colliding members of a call": b"cbuiltins\nset\n](" + COLLIDING + b"e\x85R.",
        "colliding keys of a call": b"ccollections\nOrderedDict\n](" + COLLIDING_PAIRS + b"e\x85R.",
    },
    "another codec": {
        "encode through a codec": LATIN1 + text(b"a" * 100_000) + text(b"punycode") + b"\x86R.",
    },
    "TypeError": {
        "bytes of a number": b"cbuiltins\nbytes\n" + number(1 << 40) + b"\x85R.",
        "bytes through a codec": b"cbuiltins\nbytes\n" + text(b"a" * 100_000) + text(b"punycode") + b"\x86R.",
        "a complex of a text": b"cbuiltins\ncomplex\n" + text(b"9" * 1_000_000) + b"\x85R.",
    },
    "a number that is too long": {
        "digits": b"L" + b"9" * 3_000_000 + b"L\n.",
        "digits of an INT": b"I" + b"9" * 3_000_000 + b"\n.",
        "digits of a FLOAT": b"F" + b"9" * 15_000_000 + b"\n.",
    },
    "more than 256 characters": {
        "a Decimal": DECIMAL + text(b"9" * 1000) + b"\x85R.",
    },
    "where only a": {
        "bytearray of a number": b"cbuiltins\nbytearray\n" + number(1 << 40) + b"\x85R.",
        "a Decimal of a number": DECIMAL + text(b"\x7f" * 4_000_000, b"\x8b") + b"\x85R.",
        "a timedelta of text": b"cdatetime\ntimedelta\n" + (text(b"9") * 3) + b"\x87R.",
    },
    "with a name that is none": {
        "the name of a zone": b"cdatetime\ntimezone\ncdatetime\ntimedelta\nK\0K\0K\0\x87R"
        + text(b"a" * 1000)
        + b"\x86R.",
    },
    "a UUID that is none": {
        "the number of a UUID too large": UUID_ + b"}" + text(b"int") + number(1 << 128, 18) + b"sb.",
    },
}
"""Bombs, by the bound that each exceeds. Each took memory, or time, or the process."""
BOMBS = {name: (reason, bombs[name]) for reason, bombs in REASONS.items() for name in bombs}

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
    print(error, error.__cause__, sys.modules.get("encodings.punycode"))
"""


def in_a_process_of_its_own(program, data):
    done = subprocess.run(
        [sys.executable, "-c", program], input=data, capture_output=True, timeout=20 * SECONDS, check=False
    )
    return done.returncode, done.stdout.decode(), done.stderr.decode()[-500:]


@pytest.mark.parametrize("name", BOMBS)
def test_r57_a_bomb_is_refused_in_bounded_memory_and_time(name):
    reason, data = BOMBS[name]
    code, told, error = in_a_process_of_its_own(CHILD.format(memory=MEMORY, seconds=SECONDS), data)
    assert (code, error) == (0, "")
    assert re.fullmatch(f".*{reason}.* None None\n", told)


def test_the_real_unpickler_is_ended_by_such_a_bomb():
    """The limits are real: a nested key ends the process, and 7 bytes take its memory."""
    program = CHILD.format(memory=MEMORY, seconds=SECONDS)
    program = program.replace(
        "from coatcheck.compat.pickles import loads",
        "import pickle; loads = lambda data, _: pickle.loads(data)",
    )
    assert in_a_process_of_its_own(program, BOMBS["a nested key"][1])[0] < 0
    assert "MemoryError" in in_a_process_of_its_own(program, BOMBS["memo index"][1])[2]


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
