"""What the tests of the Memcached stores have in common."""

import asyncio
import inspect
import os
import time
from contextlib import contextmanager
from datetime import timedelta

from coatcheck import AsyncSessions, Sessions
from coatcheck.model.ports import Life
from coatcheck.model.record import Create, Destroy, Lifetimes, Record, Update
from coatcheck.stores.memcached import MemcachedStore
from coatcheck.stores.memcached_async import AsyncMemcachedStore
from tests.visitor import SECRET, Blocking

DAY = 86_400_000
LIFETIMES = Lifetimes(DAY, 30 * DAY, 30 * DAY, 90 * DAY)
COLOURS = {"sync": MemcachedStore, "async": AsyncMemcachedStore}
PATIENT = timedelta(seconds=10)
"""A deadline for tests of something else, on a machine that is busy."""
WAITING = {"deadline": PATIENT, "connect_deadline": PATIENT}


def now():
    return time.time_ns() // 1_000_000


def a_record(**parts):
    """A record of an anonymous visitor, under a key of its own."""
    at = now()
    plain = {
        "key": os.urandom(16),
        "secret": bytes(32),
        "secret_at": at,
        "created": at,
        "last_used": at,
        "expires": at + DAY,
        "fields": {"cart": b"apples"},
    }
    return Record(**(plain | parts))


def signed_in(user, **parts):
    return a_record(**{"user": user, "signed_in": now(), **parts})


def update(record, **parts):
    return Update(**{"key": record.key, "at": now(), "lifetimes": LIFETIMES, **parts})


def destroy(record, **parts):
    return Destroy(**{"key": record.key, "at": now(), **parts})


def apply(store, change):
    (answer,) = store.apply([change])
    return answer


def create(store, record=None, **parts):
    """Store a record, as a manager does: a sign-in is enrolled."""
    record = record or a_record(**parts)
    assert apply(store, Create(record)).taken == {}
    if record.user is not None:
        store.enroll(record.user, Life(record.key, record.signed_in), record.signed_in + 90 * DAY)
    return record


def load(store, record, at=None):
    (found,) = store.load([record.key], at or now())
    return found


class Waited:
    """An async store that is called as if it were a sync one, in a loop of its own."""

    def __init__(self, store):
        self.store, self.runner = store, asyncio.Runner()

    def __getattr__(self, name):
        attribute = getattr(self.store, name)
        if not inspect.iscoroutinefunction(attribute):
            return attribute
        return lambda *args, **kwargs: self.runner.run(attribute(*args, **kwargs))

    def close(self):
        # What a fault left behind may still be on its way to the end of its loop.
        self.runner.run(self.store.close())
        self.runner.run(asyncio.sleep(0))
        self.runner.close()


@contextmanager
def opened(colour, servers, **options):
    """A store of that colour, to be called without waiting."""
    store = COLOURS[colour](servers, **{**WAITING, **options})
    store = Waited(store) if colour == "async" else store
    try:
        yield store
    finally:
        store.close()


class BlockingManager(Blocking):
    """An `AsyncSessions` on Memcached that is called as if it were a `Sessions`."""

    def __init__(self, store, **options):
        self.runner = asyncio.Runner()
        self.manager = AsyncSessions(store, **options)


@contextmanager
def managed(colour, servers, *, store_options=None, **options):
    """A manager of that colour, to be called without waiting."""
    store = COLOURS[colour](servers, **{**WAITING, **(store_options or {})})
    options = {"secret": SECRET, **options}
    manager = Sessions(store, **options) if colour == "sync" else BlockingManager(store, **options)
    try:
        yield manager
    finally:
        manager.shutdown()
        if colour == "async":
            manager.runner.close()
