"""The encoding of field values: MessagePack, with extensions for the types that MessagePack lacks.

Values are None, bool, int, float, str, bytes, list, dict, tuple, set, frozenset, datetime, date, time, timedelta, UUID
and Decimal, in any nesting. An instance of a subclass is stored as the plain value that it equals: an OrderedDict as a
dict, Markup as a str, a datetime with a pytz zone with its offset. Everything else is refused when it is assigned. Decoding
runs no code of the stored data.

The encoding is canonical: equal values of the same types have equal bytes (sets are sorted by their encoded members),
so that a change is found by comparing bytes.

Extensions, each containing MessagePack: 1 tuple, 2 set, 3 frozenset, 4 int beyond 64 bits (hexadecimal text),
5 datetime ``[year, month, day, hour, minute, second, microsecond, fold, zone]``, 6 date (ISO text), 7 time (ISO
text, fold), 8 timedelta ``[days, seconds, microseconds]``, 9 UUID (16 bytes), 10 Decimal (text). A zone is None, a
str (an IANA name), or ``[offset in microseconds, name or None]``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal, InvalidOperation
from functools import partial
from typing import Any, cast
from uuid import UUID
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import msgspec
from msgspec.msgpack import Ext

from coatcheck.errors import DecodeError, NotStorable
from coatcheck.model.refusals import name_of, refusal, step

__all__ = ["IMMUTABLE", "SETS", "decode", "encode", "path_to_refused", "same_value"]

_DEEPEST = 64
_NATIVE = frozenset({type(None), bool, int, float, str, bytes})
_NATIVE_BUT_INT = _NATIVE - {int}
_SIMPLE_KEYS = frozenset({str})
IMMUTABLE = frozenset({*_NATIVE, datetime, date, time, timedelta, UUID, Decimal})
"""The types whose values, including everything inside them, can't be changed in place."""
_LOWEST, _HIGHEST = -(1 << 63), (1 << 64) - 1
_MICROSECOND = timedelta(microseconds=1)

_TUPLE, _SET, _FROZENSET, _INT, _DATETIME, _DATE, _TIME, _TIMEDELTA, _UUID, _DECIMAL = range(1, 11)
SETS = frozenset({_SET, _FROZENSET})
"""The extension codes of sets."""

_pack = msgspec.msgpack.Encoder().encode


def encode(value: object) -> bytes:
    """The encoded bytes of `value`.

    Raises:
        NotStorable: The value, or a part of it, would not come back unchanged; the message names its type.
    """
    try:
        try:
            return _pack(value if type(value) in _NATIVE else _plain(value, 0, _NATIVE))
        except OverflowError:
            # The value contains an int beyond 64 bits, which `_plain` finds only if int is not native.
            return _pack(_plain(value, 0, _NATIVE_BUT_INT))
    except UnicodeEncodeError:
        # Not chained: the message of msgspec's error could show a part of the value. The same holds in `decode`.
        raise NotStorable("a str with a lone surrogate can't be stored, since it has no UTF-8") from None


def decode(data: bytes) -> Any:
    """The value of bytes from `encode`.

    Raises:
        DecodeError: The bytes are not a value in this format.
    """
    try:
        return _decoder.decode(data)
    except (
        msgspec.DecodeError,
        ValueError,
        TypeError,
        OverflowError,
        InvalidOperation,
        RecursionError,
    ):
        raise DecodeError("the stored value can't be read") from None


def same_value(stored: bytes, encoded: bytes) -> bool:
    """Whether two encodings are of the same value, even if another release wrote `stored` in other bytes."""
    try:
        return encode(decode(stored)) == encoded
    except (DecodeError, NotStorable):
        return False


def _plain(value: object, depth: int, native: frozenset[type]) -> object:
    """`value` in types that MessagePack has. Values of the `native` types are left unchanged."""
    kind = type(value)
    if kind in native:
        return value
    if kind is int:
        number = cast("int", value)
        if _LOWEST <= number <= _HIGHEST:
            return number
        return Ext(_INT, f"{number:x}".encode())
    if depth > _DEEPEST:
        raise NotStorable(f"it is nested deeper than {_DEEPEST} levels, or contains itself")
    if kind is dict:
        mapping = cast("dict[Any, Any]", value)
        if native.issuperset(map(type, mapping.values())) and _SIMPLE_KEYS.issuperset(map(type, mapping)):
            return mapping
        return {_plain_key(key): _plain(item, depth + 1, native) for key, item in mapping.items()}
    if kind is list:
        items = cast("list[Any]", value)
        if native.issuperset(map(type, items)):
            return items
        return [_plain(item, depth + 1, native) for item in items]
    wrap = _WRAPPERS.get(kind)
    if wrap is None:
        return _plain(_base_value(value), depth, native)
    return wrap(value, depth + 1, native)


def _base_value(value: object) -> object:
    """The value of a plain type that an instance of its subclass equals.

    Raises:
        NotStorable: There is none, so that something of the value would be lost.
    """
    for base in type(value).__mro__[1:-1]:
        convert = _CONVERTERS.get(base)
        if convert is None:
            continue
        with suppress(Exception):  # a subclass may raise anything
            plain = convert(value)
            if type(plain) is base and (plain == value or (plain != plain and value != value)):  # noqa: PLR0124 - NaN
                return plain
        break
    raise NotStorable(refusal(value))


def _plain_key(key: object) -> object:
    # Ext is not hashable, so only types that MessagePack has itself can be keys.
    kind = type(key)
    if kind in _NATIVE:
        if kind is not int or _LOWEST <= cast("int", key) <= _HIGHEST:
            return key
    elif isinstance(key, str | int | float | bytes):
        return _plain_key(_base_value(key))
    raise NotStorable(
        f"a dict key must be None, bool, int (64 bits), float, str or bytes, not {name_of(kind)}"
    )


def path_to_refused(value: object) -> str:
    """Where inside `value` the part lies that `encode` refuses: ``['roles'][2]``; empty: it is `value` itself."""
    path = ""
    while True:
        if isinstance(value, dict):
            parts: Iterable[tuple[object, object]] = cast("dict[object, object]", value).items()
        elif isinstance(value, list | tuple):
            parts = enumerate(cast("Sequence[object]", value))
        else:
            return path
        for key, part in parts:
            try:
                encode(part)
            except NotStorable:
                path, value = path + step(key), part
                break
        else:
            return path


def _wrap_tuple(value: tuple[Any, ...], depth: int, native: frozenset[type]) -> Ext:
    return Ext(_TUPLE, _pack([_plain(item, depth, native) for item in value]))


def _wrap_set(code: int, value: set[Any] | frozenset[Any], depth: int, native: frozenset[type]) -> Ext:
    members = sorted(_pack(_plain(item, depth, native)) for item in value)
    return Ext(code, _pack([msgspec.Raw(member) for member in members]))


def _wrap_datetime(value: datetime, *_: object) -> Ext:
    parts = [value.year, value.month, value.day, value.hour, value.minute, value.second, value.microsecond]
    return Ext(_DATETIME, _pack([*parts, value.fold, _zone(value)]))


def _zone(moment: datetime) -> str | list[Any] | None:
    zone = moment.tzinfo
    if zone is None:
        return None
    if isinstance(zone, ZoneInfo) and zone.key is not None:
        return zone.key
    if type(zone) is not timezone:
        # Another library's (pytz, dateutil): the offset that it has at this moment.
        with suppress(Exception):  # which may raise anything
            zone = timezone(cast("timedelta", moment.utcoffset()), cast("str", moment.tzname()))
        # At a moment that comes twice, no two zones are equal.
        if type(zone) is not timezone or moment.replace(tzinfo=zone) != moment:
            raise NotStorable(
                f"a datetime with this zone of {name_of(type(moment.tzinfo))} would not come back equal: store "
                "value.astimezone(datetime.timezone.utc)"
            )
    offset = zone.utcoffset(None)
    unnamed = timezone(offset)
    return [
        offset // _MICROSECOND,
        None if repr(zone) in (repr(unnamed), repr(UTC)) else zone.tzname(None),
    ]


def _wrap_time(value: time, *_: object) -> Ext:
    if value.tzinfo is not None:
        raise NotStorable(
            "a time with a zone can't be stored: store value.replace(tzinfo=None), or a datetime"
        )
    return Ext(_TIME, _pack([value.isoformat(), value.fold]))


def _wrap_timedelta(value: timedelta, *_: object) -> Ext:
    return Ext(_TIMEDELTA, _pack([value.days, value.seconds, value.microseconds]))


def _wrap_date(value: date, *_: object) -> Ext:
    return Ext(_DATE, value.isoformat().encode())


def _wrap_uuid(value: UUID, *_: object) -> Ext:
    return Ext(_UUID, value.bytes)


def _wrap_decimal(value: Decimal, *_: object) -> Ext:
    return Ext(_DECIMAL, str(value).encode())


_WRAPPERS: dict[type, Callable[[Any, int, frozenset[type]], Ext]] = {
    tuple: _wrap_tuple,
    set: partial(_wrap_set, _SET),
    frozenset: partial(_wrap_set, _FROZENSET),
    datetime: _wrap_datetime,
    date: _wrap_date,
    time: _wrap_time,
    timedelta: _wrap_timedelta,
    UUID: _wrap_uuid,
    Decimal: _wrap_decimal,
}


# `kind` is a default, since freezegun puts its own classes under the names of a module.
def _base_datetime(value: datetime, kind: type[datetime] = datetime) -> datetime:
    return kind.combine(
        date(value.year, value.month, value.day),
        time(value.hour, value.minute, value.second, value.microsecond, value.tzinfo, fold=value.fold),
    )


def _base_date(value: date, kind: type[date] = date) -> date:
    return kind(value.year, value.month, value.day)


_CONVERTERS: dict[type, Callable[[Any], object]] = {
    str: str.__str__,
    int: int.__int__,
    float: float.__float__,
    bytes: lambda value: bytes(memoryview(value)),
    list: list,
    dict: dict,
    tuple: tuple,
    set: set,
    frozenset: frozenset,
    datetime: _base_datetime,
    date: _base_date,
    time: lambda value: time(
        value.hour, value.minute, value.second, value.microsecond, value.tzinfo, fold=value.fold
    ),
    timedelta: lambda value: timedelta(value.days, value.seconds, value.microseconds),
    UUID: lambda value: UUID(int=value.int),
    Decimal: Decimal,
}
"""Makes the plain value of an instance of a subclass, past what the subclass says of itself where that can differ."""


def _read_datetime(data: bytes) -> datetime:
    year, month, day, hour, minute, second, microsecond, fold, zone = _unpack(data)
    return datetime(year, month, day, hour, minute, second, microsecond, tzinfo=_read_zone(zone), fold=fold)


def _read_zone(zone: Any) -> tzinfo | None:
    if zone is None:
        return None
    if isinstance(zone, str):
        try:
            return ZoneInfo(zone)
        except (ZoneInfoNotFoundError, OSError) as error:
            raise ValueError("the time zone is not in this machine's database") from error
    offset, name = zone
    if name is None:
        return timezone(timedelta(microseconds=offset))
    return timezone(timedelta(microseconds=offset), name)


def _read_time(data: bytes) -> time:
    text, fold = _unpack(data)
    return time.fromisoformat(text).replace(fold=fold)


def _read_timedelta(data: bytes) -> timedelta:
    days, seconds, microseconds = _unpack(data)
    return timedelta(days, seconds, microseconds)


_READERS: dict[int, Callable[[bytes], Any]] = {
    _TUPLE: lambda data: tuple(_unpack(data)),
    _SET: lambda data: set(_unpack(data)),
    _FROZENSET: lambda data: frozenset(_unpack(data)),
    _INT: lambda data: int(data.decode("ascii"), 16),
    _DATETIME: _read_datetime,
    _DATE: lambda data: date.fromisoformat(data.decode("ascii")),
    _TIME: _read_time,
    _TIMEDELTA: _read_timedelta,
    _UUID: lambda data: UUID(bytes=data),
    _DECIMAL: lambda data: Decimal(data.decode("ascii")),
}


def _read_extension(code: int, data: memoryview) -> Any:
    reader = _READERS.get(code)
    if reader is None:
        raise ValueError("the value has an extension type that this release does not know")
    return reader(bytes(data))


_decoder: msgspec.msgpack.Decoder[Any] = msgspec.msgpack.Decoder(ext_hook=_read_extension)


def _unpack(data: bytes) -> Any:
    return _decoder.decode(data)
