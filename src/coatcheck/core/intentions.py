"""The changes of fields that a handler wants, those that were sent to the store, and the values it began with."""

from __future__ import annotations

from typing import Any, NamedTuple

from coatcheck.model.record import Edit, SignIn
from coatcheck.silent import silent

__all__ = ["NOTHING_WANTED", "Read", "Sent", "Wanted"]


class Read(NamedTuple):
    """A field's value as it was read, or last sent to the store.

    Attributes:
        value: The object that the application got.
        base: Its bytes: what the application's edits begin with.
        stored: The bytes that were stored; None: the field was absent (`setdefault`).
    """

    value: Any
    base: bytes
    stored: bytes | None

    def __repr__(self) -> str:
        return silent(self)


class Wanted(NamedTuple):
    """The changes of fields that a handler wants, in bytes.

    Attributes:
        set: Fields that are assigned.
        edits: Fields that are merged where another request changed them, too.
        remove: Fields to remove.
    """

    set: dict[str, bytes]
    edits: dict[str, Edit]
    remove: frozenset[str]

    def __repr__(self) -> str:
        return silent(self)

    @property
    def fields(self) -> dict[str, bytes]:
        """All fields that are set, for a record that starts afresh."""
        if not self.edits:
            return self.set
        return {**self.set, **{name: edit.data for name, edit in self.edits.items()}}


NOTHING_WANTED = Wanted({}, {}, frozenset())


class Sent(NamedTuple):
    """The changes as they were sent, to be told from those that are wanted since.

    `generation` tells whether the session was ended since, and `changes` itself whether everything was cleared;
    `recorded` is a copy of it, and `fields` what was sent of the fields.
    """

    generation: int
    changes: dict[str, bytes | None]
    recorded: dict[str, bytes | None]
    fields: dict[str, bytes]
    permanent: bool | None
    limits: tuple[int, int] | None
    sign_in: SignIn | None
    rotate: int

    def __repr__(self) -> str:
        return silent(self)
