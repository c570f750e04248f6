"""How deep values may be nested."""

from __future__ import annotations

import sys

import pytest

from coatcheck.errors import DecodeError, NotStorable
from coatcheck.model import codec
from coatcheck.model.codec import decode, encode
from tests.model.values import form

pytestmark = pytest.mark.promise("C")


def cyclic_list():
    value = []
    value.append([value, value])
    return value


def cyclic_dict():
    value = {}
    value["self"] = ({"again": value}, value)
    return value


def nested(wrap, levels):
    value = wrap(1)
    for _ in range(levels - 1):
        value = wrap(value)
    return value


WRAPS = {
    "list": lambda value: [value],
    "dict": lambda value: {"k": value},
    "dict of int": lambda value: {1: value},
    "tuple": lambda value: (value,),
    "frozenset": lambda value: frozenset({value}),
}


@pytest.mark.parametrize("make", [cyclic_list, cyclic_dict])
def test_what_contains_itself_is_refused(make):
    with pytest.raises(NotStorable, match="contains itself"):
        encode(make())


@pytest.mark.parametrize("wrap", WRAPS)
def test_what_is_nested_64_levels_deep_comes_back(wrap):
    value = nested(WRAPS[wrap], 64)
    assert form(decode(encode(value))) == form(value)


@pytest.mark.parametrize("wrap", WRAPS)
@pytest.mark.parametrize("levels", [70, 500])
def test_what_is_nested_deeper_is_refused(wrap, levels):
    with pytest.raises(NotStorable, match="64 levels"):
        encode(nested(WRAPS[wrap], levels))


def test_reading_in_a_deep_call_is_a_decode_error_at_worst():
    data = encode(nested(lambda value: (value,), 60))

    def deep(levels):
        return deep(levels - 1) if levels else decode(data)

    assert type(deep(10)) is tuple
    limit = sys.getrecursionlimit()
    results = set()
    for levels in range(limit - 300, limit, 7):
        try:
            results.add(type(deep(levels)))
        except (DecodeError, RecursionError) as error:
            results.add(type(error))
    assert DecodeError in results
    assert results <= {tuple, DecodeError, RecursionError}


def test_the_deepest_level_is_the_one_that_the_message_names():
    with pytest.raises(NotStorable, match=f"{codec._DEEPEST} levels"):
        encode(nested(WRAPS["list"], 100))
