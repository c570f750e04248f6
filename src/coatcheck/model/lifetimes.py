"""How long a session lives.

Everything inside is whole milliseconds; `timedelta` and `datetime` are for the border.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from msgspec import Struct

__all__ = [
    "LATEST",
    "LONGEST_COOKIE",
    "LONGEST_SLIDE",
    "USUALLY_COVERED",
    "Lifetimes",
    "milliseconds",
    "moment",
]

LATEST = 253_402_300_799_999
"""The end of the year 9999 (ms), the last moment that a `datetime` can hold."""
LONGEST_COOKIE = timedelta(days=400)
"""How long a browser keeps a cookie at most (RFC 6265bis §5.5)."""
LONGEST_SLIDE = 3_600_000
"""Use is stored at least so often (ms)."""
USUALLY_COVERED = 90 * 86_400_000
"""How long an index entry stands, if nothing says otherwise (ms): the longest limit of the default settings."""


class Lifetimes(Struct, frozen=True):
    """The limits of the settings, in milliseconds: how long a session lives without use, and how long at all."""

    idle: int
    absolute: int
    remember_idle: int
    remember_absolute: int

    def longest(self, absolute: int = 0) -> int:
        """The longest life that a session can have; `absolute` is its own limit, 0 for none."""
        return max(self.absolute, self.remember_absolute, absolute)

    def limits(self, *, permanent: bool, idle: int = 0, absolute: int = 0) -> tuple[int, int]:
        """The idle and the absolute limit of one session; `idle` and `absolute` are its own, 0 for none."""
        if permanent:
            return idle or self.remember_idle, absolute or self.remember_absolute
        return idle or self.idle, absolute or self.absolute


def milliseconds(span: timedelta) -> int:
    """A span in whole milliseconds."""
    return round(span.total_seconds() * 1000)


def moment(at: int) -> datetime:
    """The aware datetime (UTC) of a time in milliseconds."""
    return datetime.fromtimestamp(at / 1000, UTC)
