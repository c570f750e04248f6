"""How long a session lives, and when it is worth writing that it was used.

Everything inside is whole milliseconds; `timedelta` and `datetime` are for the border.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from coatcheck.model.record import Lifetimes, Record

__all__ = ["is_alive", "milliseconds", "moment", "slide_is_due"]

_LONGEST_SLIDE = 3_600_000


def milliseconds(span: timedelta) -> int:
    """A span in whole milliseconds."""
    return round(span.total_seconds() * 1000)


def moment(at: int) -> datetime:
    """The aware datetime (UTC) of a time in milliseconds."""
    return datetime.fromtimestamp(at / 1000, UTC)


def is_alive(record: Record, now: int, lifetimes: Lifetimes) -> bool:
    """Whether `record` is within its limits at `now`: those it was stored with, and those in force."""
    if record.permanent:
        idle, absolute = lifetimes.remember_idle, lifetimes.remember_absolute
    else:
        idle, absolute = lifetimes.idle, lifetimes.absolute
    start = record.signed_in or record.created
    return now < record.expires and now < record.last_used + idle and now < start + absolute


def slide_is_due(record: Record, now: int, lifetimes: Lifetimes) -> bool:
    """Whether so much time has gone since the stored use that it must be stored anew.

    At most once per tenth of the idle limit, and per hour; so a session never ends more than that too early.
    """
    idle = lifetimes.remember_idle if record.permanent else lifetimes.idle
    return now - record.last_used >= min(idle // 10, _LONGEST_SLIDE)
