"""What the tests of the Memcached stores have in common."""

import asyncio
import inspect
import os
import time
from contextlib import contextmanager
from datetime import timedelta

import msgspec

from coatcheck import AsyncSessions, Sessions
from coatcheck.errors import StoreError
from coatcheck.model.ports import Write
from coatcheck.model.record import Create, Destroy, Record, Update
from coatcheck.stores.memcached import AsyncMemcachedStore, MemcachedStore
from tests.servers.process import HOST
from tests.stores.engine import LIFETIMES, Engine
from tests.visitor import SECRET, Blocking

DAY = 86_400_000
MODES = {"sync": MemcachedStore, "async": AsyncMemcachedStore}


def now():
    return time.time_ns() // 1_000_000


def soon(seconds=20.0):
    """A deadline; by default one that a busy machine keeps as well."""
    return time.monotonic() + seconds


def at(proxy):
    """The address of a proxy."""
    return f"{HOST}:{proxy.port}"


class Waited:
    """An async store that is called as if it were a sync one, in a loop of its own."""

    def __init__(self, store):
        self.store, self.runner = store, asyncio.Runner()

    def __getattr__(self, name):
        attribute = getattr(self.store, name)
        if not inspect.iscoroutinefunction(attribute):
            return attribute
        return lambda *args: self.runner.run(attribute(*args))

    def close(self):
        self.runner.run(self.store.close())
        self.runner.close()


@contextmanager
def opened(mode, servers=(), **options):
    """A store, to be called without waiting."""
    store = MODES[mode](servers, **options)
    store = Waited(store) if mode == "async" else store
    try:
        yield store
    finally:
        store.close()


def nodes_of(store):
    """The servers that the sync stores within have: the one of each, in order."""
    if isinstance(store, MemcachedStore):
        return store._nodes
    store = getattr(store, "store", store)
    return [part._store._nodes[0] for part in store._parts]


# Bytes under keys


def new(body=b"apples", **parts):
    """A write under a key of its own, where nothing lies yet."""
    given = {"key": os.urandom(16), "data": os.urandom(8) + body, "expires": now() + DAY}
    return Write(**(given | parts))


def after(write, body=b"pears", **parts):
    """A write that replaces what `write` stored."""
    changed = {"expected": write.data[:8], "data": os.urandom(8) + body} | parts
    return msgspec.structs.replace(write, **changed)


def ending(write, **parts):
    """A tombstone in place of what `write` stored."""
    return after(write, b"", **({"live": False, "urgent": True} | parts))


def answer_to(store, write, seconds=20.0):
    (answer,) = store.write([write], now(), soon(seconds))
    return answer


def put(store, write=None, **parts):
    """Store a write."""
    write = write or new(**parts)
    assert answer_to(store, write) is None
    return write


def found(store, key, seconds=20.0):
    """What lies under a key; a failure of the item is raised."""
    (answer,) = store.load([key], now(), soon(seconds))
    if isinstance(answer, StoreError):
        raise answer
    return answer


def get(store, write, seconds=20.0):
    """The data under the key of a write."""
    lies = found(store, write.key, seconds)
    return None if lies is None else lies.data


# Records, with the compare-and-swap loop on the store


def a_record(**parts):
    """A record of an anonymous visitor, under a key of its own."""
    at = now()
    plain = {
        "key": os.urandom(16),
        "secret_hash": bytes(32),
        "secret_at": at,
        "created": at,
        "last_used": at,
        "expires": at + DAY,
        "fields": {"cart": b"apples"},
    }
    return Record(**(plain | parts))


def update(record, **parts):
    return Update(**{"key": record.key, "at": now(), "lifetimes": LIFETIMES, **parts})


def destroy(record, **parts):
    return Destroy(**{"key": record.key, "at": now(), **parts})


def applied(store, change, patience=20.0):
    """What becomes of a change, as a manager applies it."""
    (result,) = Engine(store, patience=patience).apply([change], now())
    return result


def state(store, record):
    """What lies under the key of a record."""
    return Engine(store).load(record.key, now()).state


def create(store, **parts):
    record = a_record(**parts)
    applied(store, Create(record))
    assert state(store, record) == record
    return record


# Managers


class BlockingManager(Blocking):
    """An `AsyncSessions` on Memcached that is called as if it were a `Sessions`."""

    def __init__(self, store, **options):
        self.runner = asyncio.Runner()
        self.manager = AsyncSessions(store, **options)


@contextmanager
def managed(mode, servers, *, prefix, **options):
    """A manager, to be called without waiting."""
    store = MODES[mode](servers, prefix=prefix)
    options = {"secret": SECRET, "deadline": timedelta(seconds=20), **options}
    manager = Sessions(store, **options) if mode == "sync" else BlockingManager(store, **options)
    try:
        yield manager
    finally:
        manager.shutdown()
        if mode == "async":
            manager.runner.close()
