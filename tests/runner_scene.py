"""What the tests of both runners ask of them."""

import secrets

from coatcheck.core.calls import (
    Apply,
    CheckIndex,
    Count,
    Forget,
    Load,
    Note,
    Ping,
    Remove,
    SessionsOf,
    Sweep,
    Writes,
)
from coatcheck.core.swap import Swap
from coatcheck.model import codec, merges
from coatcheck.model.ports import Entry, Write
from coatcheck.model.record import Create, Edit, Update
from tests.core.scene import NOW, SETTINGS, a_record, a_token

ENTRY = Entry("ada", a_token().key, NOW, NOW + 1)
WRITE = Write(key=ENTRY.key, data=bytes(8), expires=NOW + 1)
CALLS = {
    "load": (Load([ENTRY.key]), ([ENTRY.key], NOW)),
    "write": (Writes([WRITE]), ([WRITE], NOW)),
    "remove": (Remove([ENTRY.key]), ([ENTRY.key], NOW)),
    "note": (Note([ENTRY]), ([ENTRY], NOW)),
    "sessions_of": (SessionsOf("ada", 7, ENTRY), ("ada", NOW, 7, ENTRY)),
    "index_may_be_incomplete": (CheckIndex(), ()),
    "forget": (Forget([ENTRY]), ([ENTRY],)),
    "count": (Count(), (NOW,)),
    "sweep": (Sweep(9), (NOW, 9)),
    "ping": (Ping(), ()),
}
"""Each call of a flow, and with which arguments the store's method is called; the deadline comes last."""


def a_swap():
    return Swap(secrets.token_bytes, 1 << 20)


def of(call):
    """A flow that makes one call."""
    return (yield call)


def created(number=1, **fields):
    return Create(a_record(a_token(number), fields=fields))


def one_more(held, name="count"):
    """A change that counts a field of what is held one further."""
    key, data = held.state.key, held.state.fields[name]
    more = codec.encode(codec.decode(data) + 1)
    return Update(
        key=key, at=NOW, lifetimes=SETTINGS.lifetimes, edits={name: Edit(more, data, data, merges.add)}
    )


def applied(*changes, known=None):
    """A flow that applies changes."""
    return of(Apply(changes, known or [None] * len(changes)))
