"""What the session layer did, in words and sizes: each call of the store, and what one request came to.

Names and sizes only: no value, no key and no token gets in here.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from coatcheck.core.swap import held_of
from coatcheck.errors import StoreError
from coatcheck.model.fields import CSRF, FLASH
from coatcheck.model.ports import Conflict, Found
from coatcheck.model.record import Record, State, Tombstone
from coatcheck.testing.wrappers import Call

__all__ = ["Request", "Step", "Steps", "redacted"]

_MOST_REMEMBERED = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """One call of the store, which is one round trip to most."""

    call: str
    """The store's method: ``load``, ``write``, ``sessions_of``…"""
    milliseconds: float
    loaded: int = 0
    """Bytes of the records that came back."""
    written: int = 0
    """Bytes of what went there to be stored."""
    told: tuple[str, ...] = ()
    """What it was about, in words."""
    wrote: bool = False
    """Whether anything in the store is different now."""
    parts: Mapping[bytes, Step] = field(default_factory=dict[bytes, "Step"], repr=False)
    """For a call that several requests may share: what it was for each key."""

    def of(self, keys: Collection[bytes]) -> Step | None:
        """The call, as far as it was about `keys`; None: it was not about any of them."""
        if not self.parts or self.parts.keys() <= set(keys):
            return self
        return _together(self, [part for key, part in self.parts.items() if key in keys])


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


class Steps:
    """Tells of a store's calls in words, by what lay under a key before and lies there now."""

    def __init__(self, tell: Callable[[Step], None]) -> None:
        self._tell = tell
        self._known: dict[bytes, State] = {}  # what was last loaded or written

    def answered(self, call: Call, answer: Any, took: float) -> None:
        """Tell of a call that the store answered."""
        match call.method:
            case "load":
                self._tell(self._loaded(call.args[0], answer, took))
            case "write":
                self._tell(self._written(call.args[0], answer, took))
            case "note":
                told = ("noted the sign-in under the user",)
                self._tell(Step(call="note", milliseconds=took, told=told, wrote=True))
            case "sessions_of":
                told = (f"{_count(len(answer), 'session')} of this user",)
                self._tell(Step(call="sessions_of", milliseconds=took, told=told))
            case "sweep":
                self._tell(
                    Step(call="sweep", milliseconds=took, told=(f"{answer} expired",), wrote=answer > 0)
                )
            case "close":
                pass
            case method:
                self._tell(Step(call=method, milliseconds=took))

    def failed(self, call: Call, error: StoreError, took: float) -> None:
        """Tell of a call that failed."""
        step = Step(call=call.method, milliseconds=took, told=(_failed(error),))
        if call.method in ("load", "write"):
            items: Any = call.args[0]
            keys = items if call.method == "load" else [write.key for write in items]
            step = replace(step, parts=dict.fromkeys(keys, step))
        self._tell(step)

    def _loaded(self, keys: Any, answers: Sequence[Any], took: float) -> Step:
        parts: dict[bytes, Step] = {}
        for key, answer in zip(keys, answers, strict=True):
            part = Step(call="load", milliseconds=took, told=("nothing there",))
            if isinstance(answer, Found):
                part = replace(part, loaded=len(answer.data), told=("1 record",))
                self._remember(key, held_of(key, answer).state)
            elif answer is not None:
                part = replace(part, told=(_failed(answer),))
            parts[key] = part
        return _whole("load", took, parts)

    def _written(self, writes: Any, answers: Sequence[Any], took: float) -> Step:
        parts: dict[bytes, Step] = {}
        for write, answer in zip(writes, answers, strict=True):
            part = Step(call="write", milliseconds=took)
            if answer is None:
                after = held_of(write.key, Found(write.data, None)).state
                before = None if write.expected is None else self._known.get(write.key)
                part = replace(part, written=len(write.data), told=tuple(_told(before, after)), wrote=True)
                self._remember(write.key, after)
            elif isinstance(answer, Conflict):
                part = replace(part, told=("another request wrote first: nothing written",))
                self._remember(write.key, held_of(write.key, answer.found).state)
            else:
                part = replace(part, told=(_failed(answer),))
            parts[write.key] = part
        return _whole("write", took, parts)

    def _remember(self, key: bytes, state: State) -> None:
        if len(self._known) >= _MOST_REMEMBERED:
            self._known.clear()
        self._known[key] = state


def redacted(name: str, value: str) -> str:
    """A response header's value, without what a Set-Cookie sets."""
    if name.lower() != "set-cookie":
        return value
    cookie, semicolon, attributes = value.partition(";")
    key, equals, content = cookie.partition("=")
    return f"{key}{equals}{'…' if content else ''}{semicolon}{attributes}"


def _whole(call: str, took: float, parts: Mapping[bytes, Step]) -> Step:
    whole = Step(call=call, milliseconds=took, parts=parts)
    return _together(whole, list(parts.values())) or whole


def _together(call: Step, parts: Sequence[Step]) -> Step | None:
    """`call`, with what its parts tell; None: there are none."""
    if not parts:
        return None
    return replace(
        call,
        loaded=sum(part.loaded for part in parts),
        written=sum(part.written for part in parts),
        told=tuple(word for part in parts for word in part.told),
        wrote=any(part.wrote for part in parts),
    )


def _failed(error: Exception) -> str:
    return f"failed: {type(error).__name__}"


def _told(before: State, after: State) -> list[str]:
    """The difference between what lay under a key and what lies there now, in words."""
    if isinstance(after, Tombstone):
        return ["ended a session"]
    if not isinstance(after, Record):
        return ["noted which sign-ins of the user count"]
    told: list[str] = []
    if not isinstance(before, Record):
        told.append("began a session")
        if after.user is not None:
            told.append("signed in")
        if after.fields:
            told.append(f"set {_names(after.fields)}")
        return told
    if after.signed_in != before.signed_in:
        told.append("signed in")
    if after.secret_hash != before.secret_hash:
        told.append("changed the secret")
    if after.permanent != before.permanent:
        told.append("will last" if after.permanent else "ends with the browser")
    gone = before.fields.keys() - after.fields.keys()
    if messages := sum(name.startswith(FLASH) for name in gone):
        told.append(f"took {'a message' if messages == 1 else f'{messages} messages'} away, to be shown once")
    if removed := [name for name in gone if not name.startswith(FLASH)]:
        told.append(f"removed {_names(removed)}")
    changed = [name for name, data in after.fields.items() if before.fields.get(name) != data]
    if changed:
        told.append(f"set {_names(changed)}")
    return told or ["noted that the session is in use"]


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
