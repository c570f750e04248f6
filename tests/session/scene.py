"""Shared by the tests of a session: putting fields in, changing a value in place, damaging what is stored."""

from __future__ import annotations

from msgspec.structs import replace

from coatcheck.model.format import decode, encode
from tests.visitor import plant, stored_in


def stored(visitor, **fields):
    """The visitor, after a request that put `fields` in."""
    with visitor.request() as session:
        session.update(fields)
    visitor.sessions.store.calls.clear()
    return visitor


def tamper(visitor, **fields):
    """Put other bytes into the stored record."""
    ((key, data),) = stored_in(visitor.sessions.store).items()
    record = decode(key, data)
    plant(
        visitor.sessions.store, key, encode(replace(record, fields={**record.fields, **fields}), b"tampered")
    )


def change(value, item):
    """Change a list, set, dict, or the list in a tuple, in place."""
    match value:
        case list():
            value.append(item)
        case set():
            value.symmetric_difference_update({item})
        case dict():
            value.setdefault("k", []).append(item)
        case (list() as inner,):
            inner.append(item)
