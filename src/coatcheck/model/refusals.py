"""Why a value can't be stored, and what to store in its place: advice that works when it is followed to the letter."""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable, ItemsView, Iterable, Iterator, KeysView, Mapping, ValuesView
from datetime import tzinfo
from enum import Enum
from typing import Any

import msgspec

__all__ = ["name_of", "refusal", "step"]

_PLAIN_NAME = re.compile(r"[A-Za-z_]{1,30}")
"""The keys that an error shows. One with a digit, or a longer one, may be a token, and is no name that a program chose."""


def name_of(kind: type) -> str:
    """The name of a type as it is imported."""
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def refusal(value: object) -> str:
    """The refusal of `value`: its type, and the expression to store in its place. Nothing of the value itself."""
    kind = type(value)
    expression = _expression(value, kind)
    name = name_of(kind)
    if expression is None:
        return f"{name} can't be stored: store plain data in its place (an id, a dict of its parts)"
    back = f", and read it back with {kind.__name__}(…)" if isinstance(value, Enum) else ""
    return f"{name} can't be stored: store {expression}{back}"


def _expression(value: object, kind: type) -> str | None:
    # Only the type is looked at, since an attribute of an instance may run code or ask a database.
    if isinstance(value, type):
        return None
    for fits, expression in _ADVICE:
        if fits(value, kind):
            return expression if isinstance(expression, str) else expression(kind)
    return None


def _has(*names: str) -> Callable[[object, type], bool]:
    return lambda _, kind: all(hasattr(kind, name) for name in names)


def _is(*kinds: type) -> Callable[[object, type], bool]:
    return lambda value, _: isinstance(value, kinds)


def _named(package: str, name: str) -> Callable[[object, type], bool]:
    # By name, since an import costs time, and some packages are not there.
    return lambda _, kind: any(
        parent.__name__ == name and parent.__module__.partition(".")[0] == package for parent in kind.__mro__
    )


def _key_of_model(kind: Any) -> str:
    """The attribute of an ORM object's primary key (SQLAlchemy)."""
    mapper = kind.__mapper__
    keys = [f"value.{mapper.get_property_by_column(column).key}" for column in mapper.primary_key]
    whole = keys[0] if len(keys) == 1 else f"[{', '.join(keys)}]"
    return f"{whole}, and load the object again in the next request"


_ADVICE: list[tuple[Callable[[object, type], bool], str | Callable[[Any], str]]] = [
    (_is(Enum), "value.value"),
    (_has("__mapper__"), _key_of_model),
    (
        lambda _, kind: hasattr(kind, "_meta") and hasattr(kind, "pk"),
        "value.pk, and load the object again in the next request",
    ),
    (_has("__dataclass_fields__"), "dataclasses.asdict(value)"),
    (_has("model_dump"), 'value.model_dump(mode="json")'),
    (_is(msgspec.Struct), "msgspec.to_builtins(value)"),
    (_has("__attrs_attrs__"), "attrs.asdict(value)"),
    (_has("to_dict", "getlist"), "value.to_dict(flat=False)"),
    (_has("multi_items"), "value.multi_items()"),
    (
        lambda _, kind: kind.__module__.partition(".")[0] == "numpy" and hasattr(kind, "tolist"),
        "value.tolist()",
    ),
    (_named("zoneinfo", "ZoneInfo"), "value.key"),
    (_is(BaseException, tzinfo), "str(value)"),
    (_named("pathlib", "PurePath"), "str(value)"),
    (_named("fractions", "Fraction"), "str(value)"),
    (_named("ipaddress", "_IPAddressBase"), "str(value)"),
    (lambda _, kind: kind.__name__ in ("__proxy__", "LazyString", "LazyProxy", "URL"), "str(value)"),
    (_is(re.Pattern), "value.pattern"),
    (_is(bytearray, memoryview), "bytes(value)"),
    (_is(complex), "[value.real, value.imag]"),
    (_is(Mapping), "dict(value)"),
    (_is(range, deque, Iterator, KeysView, ValuesView, ItemsView), "list(value)"),
    (lambda value, kind: isinstance(value, Iterable) and kind.__name__.endswith("Set"), "list(value)"),
]


def step(key: object) -> str:
    """One step of a path inside a value. A key that may be data of a visitor is left out."""
    if type(key) is int:
        return f"[{key}]"
    return f"[{key!r}]" if type(key) is str and _PLAIN_NAME.fullmatch(key) else "[…]"
