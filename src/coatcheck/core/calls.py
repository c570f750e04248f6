"""What a flow can ask for: one class for each operation of a store, `Apply`, and `Aside`.

A flow is a generator. It yields these, or an `Event` to tell, is sent the answer, and returns its result. `Load` and
`Writes` are answered item by item, also where the store fails as a whole (`for_each`). The failure of any other call is
thrown into the flow. `Sessions` and `AsyncSessions` run flows.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from typing import Any, TypeAlias, TypeVar

from msgspec import Struct

from coatcheck.errors import StoreError, StoreUnavailable, TooLarge
from coatcheck.events import Event
from coatcheck.model.ports import Entry, Found, Write
from coatcheck.model.record import Applied, Change, Refused, State

__all__ = [
    "ITEM_BY_ITEM",
    "Apply",
    "Aside",
    "Call",
    "CheckIndex",
    "Count",
    "Done",
    "Flow",
    "Forget",
    "Held",
    "Load",
    "Note",
    "Ping",
    "Remove",
    "Result",
    "SessionsOf",
    "Sweep",
    "Writes",
    "for_each",
    "outcome",
]

T = TypeVar("T")


class Held(Struct, frozen=True):
    """What a request knows to lie under a key: the bytes in their version, and what they mean."""

    found: Found | None
    state: State


class Done(Struct, frozen=True):
    """A change that was applied and is stored; `held` is what lies under its key since."""

    answer: Applied
    held: Held


Result: TypeAlias = Done | Refused | StoreError | TooLarge
"""What became of one change."""


class Load(Struct, frozen=True):
    """`Store.load`."""

    keys: Sequence[bytes]


class Apply(Struct, frozen=True):
    """Apply changes by compare-and-swap. The answer: a `Result` for each.

    `known` says what the caller knows to lie under each change's key, so that it need not be read again; None: nothing.
    """

    changes: Sequence[Change]
    known: Sequence[Held | None]


class Writes(Struct, frozen=True):
    """`Store.write`."""

    writes: Sequence[Write]


class Remove(Struct, frozen=True):
    """`Store.remove`."""

    keys: Sequence[bytes]


class Note(Struct, frozen=True):
    """`Store.note`."""

    entries: Sequence[Entry]


class SessionsOf(Struct, frozen=True):
    """`Store.sessions_of`."""

    user: str
    limit: int
    after: Entry | None = None


class CheckIndex(Struct, frozen=True):
    """`Store.index_may_be_incomplete`."""


class Forget(Struct, frozen=True):
    """`Store.forget`."""

    entries: Sequence[Entry]


class Count(Struct, frozen=True):
    """`Store.count`."""


class Sweep(Struct, frozen=True):
    """`Store.sweep`."""

    limit: int


class Ping(Struct, frozen=True):
    """`Store.ping`."""


class Aside(Struct, frozen=True):
    """Work that is not the store's, and may block. An exception that it raises is not thrown into the flow: it is the answer."""

    work: Callable[[], Any]


Call: TypeAlias = (
    Load | Apply | Writes | Remove | Note | SessionsOf | CheckIndex | Forget | Count | Sweep | Ping | Aside
)
Flow: TypeAlias = Generator[Call | Event, Any, T]


ITEM_BY_ITEM = (Apply, Load, Remove, Writes)
"""The calls that are answered item by item, where an answer may be a `StoreError`."""


def outcome(work: Callable[[], Any]) -> Any:
    """What `work` returns, or the exception that it raises."""
    try:
        return work()
    except Exception as error:  # noqa: BLE001 - it is the flow's to judge
        return error


def for_each(call: Load | Writes, answers: Sequence[Any] | StoreError) -> Sequence[Any]:
    """`answers`, one for each item of `call`: the failure of the whole call is the answer of each."""
    count = len(call.keys if isinstance(call, Load) else call.writes)
    if isinstance(answers, StoreError):
        return [answers] * count
    if len(answers) != count:
        return [StoreUnavailable(f"the store gave {len(answers)} answers to {count} items")] * count
    return answers
