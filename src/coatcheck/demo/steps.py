"""What the session layer did, in words and sizes: each call of the store, and what one request came to.

Names and sizes only: no value, no key and no token gets in here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from coatcheck.core.state import CSRF, FLASH
from coatcheck.errors import StoreError
from coatcheck.model.ports import Found, Life
from coatcheck.model.record import Applied, Change, Create, Record, Refused, Update, encode

__all__ = [
    "Request",
    "Step",
    "apply_step",
    "enroll_step",
    "failed_step",
    "lives_step",
    "load_step",
    "plain_step",
    "redacted",
    "revoke_step",
    "sweep_step",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One call of the store, which is one round trip to most."""

    call: str
    """The store's method: ``load``, ``apply``, ``lives_of``…"""
    milliseconds: float
    loaded: int = 0
    """Bytes of the records that came back."""
    written: int = 0
    """Bytes of what went there to be stored."""
    told: tuple[str, ...] = ()
    """What it was about, in words."""
    wrote: bool = False
    """Whether anything in the store is different now."""
    several: bool = False
    """Whether it may have been more than one round trip."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """What one request made the session layer do."""

    at: datetime
    by: str
    """The framework that served it."""
    method: str
    path: str
    status: int
    milliseconds: float
    """From its arrival until its response was ready."""
    steps: tuple[Step, ...]
    headers: tuple[tuple[str, str], ...] = field(repr=False)
    """What the session layer put on the response; the cookie's value is left out."""

    @property
    def counted(self) -> str:
        """What the steps are."""
        return "call" if any(step.several for step in self.steps) else "round trip"

    @property
    def in_store(self) -> float:
        """How many of the milliseconds the store took."""
        return sum(step.milliseconds for step in self.steps)

    @property
    def loaded(self) -> int:
        """Bytes that came from the store."""
        return sum(step.loaded for step in self.steps)

    @property
    def written(self) -> int:
        """Bytes that went to the store."""
        return sum(step.written for step in self.steps)

    @property
    def wrote(self) -> bool:
        """Whether it changed anything in the store."""
        return any(step.wrote for step in self.steps)


def load_step(found: Sequence[Found], took: float) -> Step:
    """What `Store.load` answered."""
    records = [record for record in found if isinstance(record, Record)]
    loaded = sum(len(encode(record)) for record in records)
    told = _count(len(records), "record") if records else "nothing there"
    return Step(call="load", milliseconds=took, loaded=loaded, told=(told,))


def apply_step(changes: Sequence[Change], answers: Sequence[Applied | Refused], took: float) -> Step:
    """What `Store.apply` answered."""
    pairs = list(zip(changes, answers, strict=True))
    applied = [change for change, answer in pairs if isinstance(answer, Applied)]
    return Step(
        call="apply",
        milliseconds=took,
        written=sum(map(_size, applied)),
        told=tuple(line for change, answer in pairs for line in _told(change, answer)),
        wrote=bool(applied),
    )


def enroll_step(took: float) -> Step:
    """That `Store.enroll` returned."""
    return Step(call="enroll", milliseconds=took, told=("noted the sign-in under the user",), wrote=True)


def revoke_step(took: float) -> Step:
    """That `RevokesAll.revoke_all` returned."""
    return Step(call="revoke_all", milliseconds=took, told=("ended this user’s sessions",), wrote=True)


def lives_step(lives: Sequence[Life], took: float) -> Step:
    """What `Store.lives_of` answered."""
    return Step(call="lives_of", milliseconds=took, told=(f"{_count(len(lives), 'session')} of this user",))


def sweep_step(swept: int, took: float) -> Step:
    """What `Store.sweep` answered."""
    return Step(call="sweep", milliseconds=took, told=(f"{swept} expired",), wrote=swept > 0)


def plain_step(call: str, took: float) -> Step:
    """That a call returned of which there is nothing to tell."""
    return Step(call=call, milliseconds=took)


def failed_step(call: str, error: StoreError, took: float) -> Step:
    """That a call failed."""
    return Step(call=call, milliseconds=took, told=(f"failed: {type(error).__name__}",))


def redacted(name: str, value: str) -> str:
    """A response header's value, without what a Set-Cookie sets."""
    if name.lower() != "set-cookie":
        return value
    cookie, semicolon, attributes = value.partition(";")
    key, equals, content = cookie.partition("=")
    return f"{key}{equals}{'…' if content else ''}{semicolon}{attributes}"


def _size(change: Change) -> int:
    if isinstance(change, Create):
        return len(encode(change.record))
    if isinstance(change, Update):
        return sum(len(name.encode()) + len(data) for name, data in change.set.items())
    return 0


def _told(change: Change, answer: Applied | Refused) -> list[str]:
    if isinstance(answer, Refused):
        return [f"refused ({answer.value}): nothing written"]
    if isinstance(change, Create):
        return _told_of_creation(change.record)
    if isinstance(change, Update):
        return _told_of_update(change) or ["noted that the session is in use"]
    return ["ended a session"]


def _told_of_creation(record: Record) -> list[str]:
    told = ["began a session"]
    if record.user is not None:
        told.append("signed in")
    if record.fields:
        told.append(f"set {_names(record.fields)}")
    return told


def _told_of_update(update: Update) -> list[str]:
    told: list[str] = []
    if update.sign_in is not None:
        told.append("signed in")
    if update.rotate is not None:
        told.append("changed the secret")
    if update.permanent is not None:
        told.append("will last" if update.permanent else "ends with the browser")
    if update.clear:
        told.append("cleared every field")
    if update.take:
        told.append(f"took {_names(update.take)} away, to be shown once")
    if update.remove:
        told.append(f"removed {_names(update.remove)}")
    if update.set:
        told.append(f"set {_names(update.set)}")
    return told


def _names(fields: Iterable[str]) -> str:
    names = sorted(fields)
    messages = sum(name.startswith(FLASH) for name in names)
    shown = [f"“{name}”" for name in names if not name.startswith(FLASH) and name != CSRF]
    if messages:
        shown.append("a message" if messages == 1 else f"{messages} messages")
    if CSRF in names:
        shown.append("the forms’ token")
    return ", ".join(shown)


def _count(number: int, what: str) -> str:
    return f"{number} {what}" if number == 1 else f"{number} {what}s"
