"""Values that a session can hold, drawn at random, and a comparison that no difference of type escapes."""

from __future__ import annotations

import struct
from datetime import UTC, date, datetime, time, timedelta, timezone, tzinfo
from decimal import Decimal
from uuid import UUID
from zoneinfo import ZoneInfo

from hypothesis import strategies as st

ZONES = ("UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Asia/Kathmandu")


def form(value):
    """Two values have the same form only if they are equal in value, in type and in every part."""
    kind = type(value).__name__
    match value:
        case float():
            return kind, "nan" if value != value else struct.pack(">d", value)  # noqa: PLR0124 - only NaN differs from itself
        case Decimal():
            return kind, str(value.as_tuple())
        case datetime():
            return kind, value.replace(tzinfo=None, fold=0).isoformat(), value.fold, zone(value.tzinfo)
        case time():
            return kind, value.replace(fold=0).isoformat(), value.fold
        case dict():
            return kind, tuple((form(key), form(item)) for key, item in value.items())
        case list() | tuple():
            return kind, tuple(form(item) for item in value)
        case set() | frozenset():
            return kind, tuple(sorted((form(item) for item in value), key=repr))
        case _:
            return kind, repr(value)


def zone(tz: tzinfo | None):
    match tz:
        case None:
            return None
        case ZoneInfo():
            return "ZoneInfo", tz.key
        case _:
            return type(tz).__name__, repr(tz)


texts = st.text(max_size=8)
_offsets = st.timedeltas(
    min_value=timedelta(hours=-23, minutes=-59), max_value=timedelta(hours=23, minutes=59)
)
_zones = st.one_of(
    st.none(),
    st.just(UTC),
    st.builds(timezone, _offsets),
    st.builds(timezone, _offsets, texts),
    st.sampled_from(ZONES).map(ZoneInfo),
)
_folds = st.sampled_from((0, 1))
_datetimes = st.builds(
    lambda naive, tz, fold: naive.replace(tzinfo=tz, fold=fold), st.datetimes(), _zones, _folds
)
_times = st.builds(lambda naive, fold: naive.replace(fold=fold), st.times(), _folds)
_integers = st.one_of(
    st.integers(),
    st.sampled_from((-(2**63) - 1, -(2**63), 2**63 - 1, 2**63, 2**64 - 1, 2**64)),
    st.just(4_000).map(lambda digits: 10**digits),
)

atoms = st.one_of(
    st.none(),
    st.booleans(),
    _integers,
    st.floats(),
    texts,
    st.binary(max_size=8),
    _datetimes,
    st.dates(),
    _times,
    st.timedeltas(),
    st.uuids(),
    st.decimals(),
)
"""Every type that holds no other."""

hashables = st.recursive(
    # A signalling NaN has no hash.
    atoms.filter(lambda value: not (isinstance(value, Decimal) and value.is_snan())),
    lambda inner: st.one_of(
        st.tuples(inner), st.tuples(inner, inner), st.frozensets(inner, max_size=3), st.just(())
    ),
    max_leaves=4,
)

_keys = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**63), 2**64 - 1),
    st.floats(),
    texts,
    st.binary(max_size=4),
)

values = st.recursive(
    atoms | hashables | st.sets(hashables, max_size=4),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4),
        st.dictionaries(texts, inner, max_size=4),
        st.dictionaries(_keys, inner, max_size=4),
        st.lists(inner, max_size=3).map(tuple),
    ),
    max_leaves=10,
)
"""Every type, in any nesting."""

ATOMS = {type(None), bool, int, float, str, bytes, date, datetime, time, timedelta, Decimal}


def plain(value):
    """Whether a value and all that it holds are of the types that a session can hold."""
    if type(value) in ATOMS or type(value) is UUID:
        return True
    if type(value) is dict:
        return all(plain(key) and plain(item) for key, item in value.items())
    assert type(value) in (list, tuple, set, frozenset)
    return all(map(plain, value))
