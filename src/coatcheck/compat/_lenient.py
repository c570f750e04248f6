"""Classes that a lenient reading knows beside plain types, each as the plain value that a field holds of it.

A `defaultdict` or a `Counter` is read as a dict, text that needs no escaping as text, a zone of zoneinfo or pytz as a zone
of the standard library. Objects of all other classes are left out.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, timedelta, timezone, tzinfo
from typing import Any
from zoneinfo import ZoneInfo

from coatcheck.compat._plain import LONGEST_ZONE, checked
from coatcheck.errors import DecodeError

__all__ = ["LEFT_OUT", "LENIENT", "OPENING_FILES", "StandIn", "zone_of_key"]


class StandIn:
    """Stands for a class that is not called. Its objects are made of what the pickle calls it with, stand-ins included."""

    def __init__(self, make: Callable[[Sequence[Any]], Any]) -> None:
        self.make = make


def _text_in(parts: Sequence[Any]) -> Any:
    # Protocols 0 and 1 give the base class, too, which is not plain and so a stand-in.
    texts = [part for part in parts if type(part) is str]
    return texts[0] if len(texts) == 1 else LEFT_OUT


LEFT_OUT: Any = StandIn(lambda _: LEFT_OUT)
_TEXT = StandIn(_text_in)
_DEFAULTDICT = StandIn(lambda _: {})  # without the factory; the pickle fills it afterwards


def _counter(counts: object) -> dict[Any, Any]:
    return dict(checked(counts, dict))


def _zone_method(kind: object, name: object) -> Any:
    return zone_of_key if kind is ZoneInfo and name == "_unpickle" else LEFT_OUT


def zone_of_key(key: object, _from_cache: object = True) -> Any:
    """The zone of the IANA name `key`. It is left out where this machine's database does not have it."""
    if len(checked(key, str)) > LONGEST_ZONE:
        raise DecodeError("The pickle holds a time zone with a name that is none.")
    try:
        return ZoneInfo(checked(key, str))
    except (ValueError, OSError, LookupError, ImportError):
        return LEFT_OUT


def _pytz_zone(key: object, seconds: object = None, _dst: object = None, name: object = None) -> Any:
    """A zone of pytz at one moment has a fixed offset, with which a field holds it."""
    return zone_of_key(key) if seconds is None else _fixed(timedelta(seconds=checked(seconds, int)), name)


def _pytz_fixed(minutes: object) -> tzinfo:
    return timezone(timedelta(minutes=checked(minutes, int)))


def _fixed(offset: timedelta, name: object) -> tzinfo:
    if len(checked(name, str)) > LONGEST_ZONE:
        raise DecodeError("The pickle holds a time zone with a name that is none.")
    return timezone(offset, checked(name, str))


def _pytz_utc() -> tzinfo:
    return UTC


LENIENT: Mapping[str, tuple[Any, Any]] = {
    "collections.Counter": (Counter, _counter),
    "collections.defaultdict": (_DEFAULTDICT, None),
    "markupsafe.Markup": (_TEXT, None),
    "django.utils.safestring.SafeString": (_TEXT, None),
    "django.utils.safestring.SafeText": (_TEXT, None),
    "builtins.getattr": (_zone_method, _zone_method),
    "zoneinfo.ZoneInfo": (ZoneInfo, None),
    "pytz._UTC": (_pytz_utc, _pytz_utc),
    "pytz._p": (_pytz_zone, _pytz_zone),
    "pytz.FixedOffset": (_pytz_fixed, _pytz_fixed),
}
"""By name, as `PLAIN`. A call of None is not carried out: `StandIn` has another way, and of ZoneInfo only a method is called."""
OPENING_FILES = (zone_of_key, _pytz_zone)
