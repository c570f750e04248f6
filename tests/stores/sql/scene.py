"""What the tests of the SQL store have in common."""

import os
import time

import msgspec

from coatcheck.core.calls import Done
from coatcheck.model.ports import Conflict, Entry, Found, Write
from coatcheck.model.record import Create, Destroy, Record, Update
from tests.stores.engine import LIFETIMES

NOW = int(time.time() * 1000)
DAY = 86_400_000
SLACK = 8
"""Seconds over a deadline, on a machine that is busy with other things."""


def soon(seconds=20.0):
    """A deadline."""
    return time.monotonic() + seconds


def data_of(body=b"apples"):
    return os.urandom(8) + body


def new(body=b"apples", **parts):
    """A write of a new key."""
    return Write(**({"key": os.urandom(16), "data": data_of(body), "expires": NOW + DAY} | parts))


def signed_in(user, at=NOW, **parts):
    write = new(**parts)
    return msgspec.structs.replace(write, entry=Entry(user, write.key, at, NOW + 30 * DAY))


def after(write, body=b"pears", **parts):
    """A write that replaces what `write` stored."""
    return msgspec.structs.replace(write, **({"expected": write.data[:8], "data": data_of(body)} | parts))


def ending(write):
    return after(write, b"", expires=NOW + 30_000, live=False, entry=None, urgent=True)


def found(write):
    """What a load finds after `write`."""
    return Found(write.data, write.data[:8])


def put(store, *writes):
    assert store.write(writes, NOW, soon()) == [None] * len(writes)
    return writes[0]


def get(store, write, deadline=None):
    """The data under the write's key."""
    (there,) = store.load([write.key], NOW, deadline or soon())
    return None if there is None else there.data


def append(store, key, word):
    """Add a word to the data, by compare-and-swap; how many conflicts it took."""
    (there,) = store.load([key], NOW, soon())
    conflicts = 0
    while True:
        data = data_of(there.data[8:] + word + b" ")
        write = Write(key=key, expected=there.version, data=data, expires=NOW + DAY)
        (answer,) = store.write([write], NOW, soon())
        if answer is None:
            return conflicts
        assert isinstance(answer, Conflict), answer
        there = answer.found
        conflicts += 1


def words(store, key):
    (there,) = store.load([key], NOW, soon())
    return there.data[8:].split()


# With the engine on top


def a_record(**parts):
    plain = {
        "key": os.urandom(16),
        "secret_hash": bytes(32),
        "secret_at": NOW,
        "created": NOW,
        "last_used": NOW,
        "expires": NOW + DAY,
        "fields": {"theme": b"dark"},
    }
    return Record(**{**plain, **parts})


def create(engine, record=None, **parts):
    record = record or a_record(**parts)
    done(engine.apply([Create(record)], NOW))
    return record


def update(record, **parts):
    return Update(**{"key": record.key, "at": NOW, "lifetimes": LIFETIMES, **parts})


def destroy(record, **parts):
    return Destroy(**{"key": record.key, "at": NOW, **parts})


def done(results):
    """What the applied changes took."""
    assert all(isinstance(result, Done) for result in results), results
    return [result.answer for result in results]


def fields(engine, record):
    return dict(engine.load(record.key, NOW).state.fields)
