"""Old pickles are read without running anything; new ones hold what the application named, and builtins.

[FIX] 1.8 and 1.9: code execution from the cookie and from the store. B-01, R-57.
"""

import base64
import collections
import datetime as dt
import decimal
import io
import os
import pickle
import subprocess
import sys
import uuid
from dataclasses import dataclass

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from coatcheck.compat.gimlet.pickles import dumps, loads, named
from coatcheck.errors import ConfigurationError, DecodeError, NotStorable

pytestmark = pytest.mark.promise("19")

# On a busy machine an example may take long.
patient = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])

ON_PYTHON_2 = {  # by protocol: a dict with str, unicode, long, set and bytes that are UTF-8
    0: "KGRwMApTJ3NldCcKcDEKY19fYnVpbHRpbl9fCnNldApwMgooKGxwMwpJMQphSTIKYXRwNApScDUKc1MnbmFtZScKcDYKUydGcm9kbycKcDcKc1MnYmlnJwpwOApMMTE4MDU5MTYyMDcxNzQxMTMwMzQyNEwKc1MnbGlzdCcKcDkKKGxwMTAKSTEKYUYyLjUKYU5hSTAxCmFzUydyYXcnCnAxMQpTJ2NhZlx4YzNceGE5JwpwMTIKc1MndW5pJwpwMTMKVmjpbGxvIFx1MjBhYwpwMTQKc1MnY2FydF9pZCcKcDE1CkkxMjM0NQpzLg==",
    1: "fXEAKFUDc2V0cQFjX19idWlsdGluX18Kc2V0CnECKF1xAyhLAUsCZXRxBFJxBVUEbmFtZXEGVQVGcm9kb3EHVQNiaWdxCEwxMTgwNTkxNjIwNzE3NDExMzAzNDI0TApVBGxpc3RxCV1xCihLAUdABAAAAAAAAE5JMDEKZVUDcmF3cQtVBWNhZsOpcQxVA3VuaXENWAoAAABow6lsbG8g4oKscQ5VB2NhcnRfaWRxD005MHUu",
    2: "gAJ9cQAoVQNzZXRxAWNfX2J1aWx0aW5fXwpzZXQKcQJdcQMoSwFLAmWFcQRScQVVBG5hbWVxBlUFRnJvZG9xB1UDYmlncQiKCQAAAAAAAAAAQFUEbGlzdHEJXXEKKEsBR0AEAAAAAAAATohlVQNyYXdxC1UFY2Fmw6lxDFUDdW5pcQ1YCgAAAGjDqWxsbyDigqxxDlUHY2FydF9pZHEPTTkwdS4=",
}
PYTHON_2_VALUE = {
    "set": {1, 2},
    "name": "Frodo",
    "big": 2**70,
    "list": [1, 2.5, None, True],
    "raw": "café",
    "uni": "héllo €",
    "cart_id": 12345,
}
PROTOCOLS = range(pickle.HIGHEST_PROTOCOL + 1)

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False),
    st.text(),
    st.binary(),
    st.binary().map(bytearray),
    st.complex_numbers(allow_nan=False),
)
values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(st.text(), inner, max_size=4),
        st.lists(inner, max_size=4).map(tuple),
        st.sets(st.integers()),
        st.frozensets(st.text()),
    ),
    max_leaves=12,
)


@dataclass
class Cart:
    items: list


@patient
@given(values)
def test_builtins_come_back_as_they_were(value):
    assert loads(dumps(value, {}), {}) == value
    assert pickle.loads(dumps(value, {})) == value, "and gimlet reads them"


@patient
@given(values, st.sampled_from(PROTOCOLS))
def test_builtins_of_every_protocol_are_read(value, protocol):
    assert loads(pickle.dumps(value, protocol), {}) == value


@pytest.mark.parametrize("protocol", ON_PYTHON_2)
def test_what_python_2_wrote_is_read_and_its_text_is_utf_8(protocol):
    assert loads(base64.b64decode(ON_PYTHON_2[protocol]), {}) == PYTHON_2_VALUE


def test_bytes_of_python_2_that_are_no_utf_8_are_read_as_latin_1():
    assert loads(b"(dp0\nS'b'\np1\nS'\\xff\\xfe'\np2\ns.", {}) == {"b": "\xff\xfe"}


class Evil:
    """What a pickle that was made by an attacker would call."""

    calls: list = []  # noqa: RUF012 - that it stays empty is the test

    def __init__(self, function, *arguments):
        self.what = function, arguments

    def __reduce__(self):
        return self.what


ATTACKS = {
    "os.system": Evil(os.system, "touch ran"),
    "eval": Evil(eval, "__import__('os').system('touch ran')"),
    "getattr": Evil(getattr, "text", "upper"),
    "subprocess": Evil(subprocess.call, ["touch", "ran"]),
    "open": Evil(io.open, "ran", "w"),
    "codecs": Evil(__import__("_codecs").decode, b"x", "zlib"),
    "import": Evil(__import__, "antigravity"),
}


@pytest.mark.parametrize("name", ATTACKS)
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_fix_code_in_a_pickle_does_not_run(name, protocol, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    attack = pickle.dumps({"a": [ATTACKS[name]]}, protocol)
    for classes in ({}, named([dt.datetime])):
        with pytest.raises(DecodeError):
            loads(attack, classes)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "opcodes",
    [
        b"\x80\x02c__builtin__\nset\n(K\x01tb.",  # BUILD on a class
        b"\x80\x04\x8c\x08builtins\x94\x8c\x09set.__or__\x93.",  # a dotted name
        b"\x80\x02\x82\x01.",  # EXT1
        b"P1\n.",  # PERSID
        b"\x80\x02K\x01Q.",  # BINPERSID
        b"(i__builtin__\nset\n.",  # INST
        b"(c__builtin__\nset\no.",  # OBJ
        b"\x80\x04\x97.",  # NEXT_BUFFER
        b"\x80\x02c_codecs\nencode\n(X\x01\x00\x00\x00xX\x05\x00\x00\x00rot13tR.",
        b"\x80\x02c_codecs\nlookup\n(X\x01\x00\x00\x00xtR.",
    ],
    ids=range(10),
)
def test_fix_opcodes_that_do_more_than_make_data_are_refused(opcodes):
    with pytest.raises(DecodeError):
        loads(opcodes, {})


@pytest.mark.parametrize(
    "opcodes",
    [
        b"\x80\x02Nr\xff\xff\xff\x7f.",  # LONG_BINPUT into the last place of a memo of 16 GiB
        b"Np4294967295\n.",
        b"\x80\x05\x96\xff\xff\xff\xff\xff\x00\x00\x00.",  # BYTEARRAY8 of 2^40 bytes
        b"\x80\x04\x8e\xff\xff\xff\xff\xff\x00\x00\x00.",
        b"\x80\x04\x95\xff\xff\xff\xff\xff\x00\x00\x00N.",
        b"\x80\x02\x8b\xff\xff\xff\x7f.",
        b"\x80\x02c__builtin__\nbytes\n(\x8a\x05\x00\x00\x00\x00\x7ftR.",
        b"\x80\x02c__builtin__\nbytearray\n(\x8a\x05\x00\x00\x00\x00\x7ftR.",
        b"N" * (16 * 1024 * 1024 + 1),
    ],
    ids=range(9),
)
def test_r57_a_pickle_that_asks_for_more_memory_than_it_has_is_refused(opcodes):
    with pytest.raises(DecodeError):
        loads(opcodes, {})


@patient
@given(st.binary(max_size=200))
def test_r57_any_bytes_are_read_or_refused_with_one_error(noise):
    try:
        loads(noise, {})
    except DecodeError as error:
        assert error.__cause__ is None  # noqa: PT017 - most noise is refused, some is a pickle


def test_r57_deep_nesting_is_no_crash():
    deep = loads(b"\x80\x02" + b"]" * 100_000 + b"a" * 99_999 + b".", {})
    assert isinstance(deep, list)
    with pytest.raises(NotStorable):
        dumps(deep, {})


def test_classes_that_the_application_names_are_read_and_written():
    moment = dt.datetime(2026, 11, 21, 12, tzinfo=dt.UTC)
    value = {"at": moment, "price": decimal.Decimal("9.90"), "id": uuid.UUID(int=7)}
    classes = named("datetime.datetime, datetime.timezone datetime.timedelta decimal.Decimal uuid.UUID")
    for protocol in PROTOCOLS[2:]:
        assert loads(pickle.dumps(value, protocol), classes) == value
    assert loads(dumps(value, classes), classes) == value
    for missing in ("datetime.datetime", "decimal.Decimal", "uuid.UUID"):
        less = {name: kind for name, kind in classes.items() if name != missing}
        with pytest.raises(DecodeError, match=missing):
            loads(pickle.dumps(value), less)


def test_a_class_of_the_application_is_named_itself():
    classes = named([Cart])
    assert loads(pickle.dumps(Cart([1])), classes) == Cart([1])
    assert loads(dumps({"cart": Cart([1])}, classes), classes) == {"cart": Cart([1])}
    with pytest.raises(DecodeError, match="Cart"):
        loads(pickle.dumps(Cart([1]), 2), named([dt.date]))


@pytest.mark.parametrize("entry", ["no.such.module", "os.system", "os", 7, "datetime.nothing"])
def test_naming_what_is_no_class_is_refused(entry):
    with pytest.raises(ConfigurationError):
        named([entry])


@pytest.mark.parametrize(
    "value",
    [
        Cart([1]),
        Cart,
        os.system,
        collections.OrderedDict(a=1),
        collections.Counter("a"),
        dt.date(2026, 1, 1),
        len,
    ],
    ids=repr,
)
def test_what_is_no_builtin_is_not_written(value):
    """7.3: refuse the rest unless the user opts in."""
    with pytest.raises(NotStorable, match="allow"):
        dumps({"a": [value]}, {})


def test_reading_changes_no_class():
    """BUILD can set attributes on whatever it is given; on builtin types it can't, and nothing else is handed out."""
    before = dict(vars(set))
    for opcodes in (
        b"\x80\x02c__builtin__\nset\n}X\x01\x00\x00\x00xK\x01sb.",
        b"\x80\x02c_codecs\nencode\nN}X\x01\x00\x00\x00xK\x01s\x86b.",
    ):
        for classes in ({}, named([dt.datetime])):
            with pytest.raises(DecodeError):
                loads(opcodes, classes)
    assert dict(vars(set)) == before


def test_the_real_unpickler_would_have_run_it(tmp_path, monkeypatch):
    """That the attacks above are real."""
    monkeypatch.chdir(tmp_path)
    pickle.loads(pickle.dumps(Evil(subprocess.call, [sys.executable, "-c", "open('ran', 'w').close()"])))
    assert (tmp_path / "ran").exists()
