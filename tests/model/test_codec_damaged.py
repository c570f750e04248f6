"""Whatever bytes are read, the outcome is a plain value or a `DecodeError`."""

from __future__ import annotations

import traceback

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec.msgpack import Ext

from coatcheck.errors import DecodeError
from coatcheck.model.codec import decode, encode, same_value
from tests.model.values import plain, values

pytestmark = pytest.mark.promise("C")


pack = msgspec.msgpack.encode

_SHAPES = st.one_of(
    st.binary(),
    st.builds(Ext, st.integers(-128, 127), st.binary(max_size=20)).map(pack),
    st.builds(
        lambda code, inner: pack(Ext(code, pack(inner))),
        st.integers(0, 12),
        st.recursive(
            st.none()
            | st.booleans()
            | st.integers(-(2**63), 2**64 - 1)
            | st.floats()
            | st.text()
            | st.binary(),
            lambda inner: (
                st.lists(inner, max_size=10) | st.dictionaries(st.text(max_size=2), inner, max_size=3)
            ),
            max_leaves=12,
        ),
    ),
)


@st.composite
def damaged(draw):
    data = bytearray(encode(draw(values)))
    for _ in range(draw(st.integers(1, 3))):
        data[draw(st.integers(0, len(data) - 1))] = draw(st.integers(0, 255))
    return bytes(data[: draw(st.integers(0, len(data)))]) if draw(st.booleans()) else bytes(data)


@settings(max_examples=300)
@given(_SHAPES | damaged())
def test_any_bytes_are_a_value_of_plain_types_or_a_decode_error(data):
    try:
        value = decode(data)
    except DecodeError:
        return
    assert plain(value)


@given(_SHAPES | damaged(), values)
def test_comparing_with_any_stored_bytes_never_raises(stored, value):
    assert same_value(stored, encode(value)) in (True, False)


@pytest.mark.parametrize("code", [0, 11, 12, 99, 127, -2, -128])
def test_a_kind_that_this_release_does_not_know_is_a_decode_error(code):
    with pytest.raises(DecodeError):
        decode(pack(Ext(code, b"\xc0")))


@pytest.mark.parametrize(
    "name",
    ["Europe/Atlantis", "../../../../etc/passwd", "/etc/passwd", "", "Europe", "\0", "x" * 5000],
    ids=["unknown", "relative", "absolute", "empty", "directory", "nul", "long"],
)
def test_a_zone_that_this_machine_does_not_know_is_a_decode_error(name):
    with pytest.raises(DecodeError):
        decode(pack(Ext(5, pack([2026, 1, 1, 0, 0, 0, 0, 0, name]))))


def test_a_span_beyond_all_bounds_is_a_decode_error():
    with pytest.raises(DecodeError):
        decode(pack(Ext(8, pack([10**12, 0, 0]))))


@pytest.mark.parametrize("inner", [b"\x90", b"\xc0"], ids=["list", "none"])
@pytest.mark.parametrize(
    "bomb",
    [
        lambda inner: b"\x91" * 100_000 + inner,
        lambda inner: b"\x81\xc0" * 100_000 + inner,
        lambda inner: b"\x81" * 100_000 + inner,
        lambda inner: extensions(inner, 2_000),
        lambda inner: b"\xdd\xff\xff\xff\xff" + inner,
        lambda inner: b"\xdf\xff\xff\xff\xff" + inner,
        lambda inner: b"\xc6\xff\xff\xff\xff" + inner,
        lambda inner: b"\xc9\xff\xff\xff\xff\x01" + inner,
    ],
    ids=["lists", "dicts", "keys", "tuples", "long list", "long dict", "long bytes", "long extension"],
)
def test_a_bomb_is_a_decode_error(bomb, inner):
    with pytest.raises(DecodeError):
        decode(bomb(inner))


def extensions(inner, levels):
    for _ in range(levels):
        inner = b"\xc9" + (len(inner) + 1).to_bytes(4, "big") + b"\x01\x91" + inner
    return inner


@pytest.mark.promise("18")
def test_an_error_of_reading_shows_nothing_of_what_was_read():
    for data in (
        pack(Ext(6, b"2026-hunter2")),
        pack(Ext(10, b"hunter2")),
        pack(Ext(7, pack(["hunter2", 0]))),
        pack(Ext(5, pack([2026, 1, 1, 0, 0, 0, 0, 0, "hunter2"]))),
        pack(Ext(5, pack([2026, 1, 1, 0, 0, 0, 0, "hunter2", None]))),
        pack(Ext(9, b"hunter2")),
        pack("hunter2") + b"\xc1",
        pack("hunter2")[:-1],
    ):
        with pytest.raises(DecodeError) as caught:
            decode(data)
        assert "hunter2" not in "".join(traceback.format_exception(caught.value)), data
