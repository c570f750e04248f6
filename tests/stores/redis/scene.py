"""A Redis store of either colour behind a fault proxy, and short ways to say what a test does with it."""

import os
import time
from contextlib import contextmanager
from datetime import timedelta

import pytest

from coatcheck.errors import StoreError
from coatcheck.model.record import Applied, Create, Destroy, Lifetimes, Record, Rotation, SignIn, Update
from coatcheck.stores import redis, redis_async
from tests.frameworks.test_asgi_sqlite import Blocking
from tests.servers.process import HOST
from tests.servers.proxy import Proxy

__all__ = ["BOTH_COLOURS", "Scene", "opened", "recovered", "staged"]

BOTH_COLOURS = pytest.mark.parametrize("colour", ["sync", "async"])
HOUR = 3_600_000
LIFETIMES = Lifetimes(
    idle=24 * HOUR, absolute=720 * HOUR, remember_idle=720 * HOUR, remember_absolute=2160 * HOUR
)
RECOVERY = 20  # seconds within which a store must be back; only a test that is about to fail waits so long


@contextmanager
def opened(colour, url, **options):
    """A store, called without awaiting, whatever its colour."""
    options = {"deadline": timedelta(seconds=5), "connect_deadline": timedelta(seconds=5)} | options
    if colour == "sync":
        store = redis.from_url(url, **options)
    else:
        store = Blocking(lambda: redis_async.from_url(url, **options))
    try:
        yield store
    finally:
        store.close()


def recovered(store, *, within=RECOVERY):
    """Wait until the store answers again, by itself; the seconds that it took."""
    start = time.monotonic()
    while True:
        try:
            store.ping()
        except StoreError as error:
            if time.monotonic() - start > within:
                raise AssertionError("it does not recover") from error
            time.sleep(0.02)
        else:
            return time.monotonic() - start


class Scene:
    """A store behind a proxy, and one that sees what is really there."""

    def __init__(self, proxy, store, truth):
        self.proxy, self.store, self.truth = proxy, store, truth
        self.now = time.time_ns() // 1_000_000

    def record(self, **parts):
        given = {
            "key": os.urandom(16),
            "secret": b"s" * 32,
            "secret_at": self.now,
            "created": self.now,
            "last_used": self.now,
            "expires": self.now + LIFETIMES.idle,
            "fields": {"a": b"1", "b": b"2"},
            **parts,
        }
        return Record(**given)

    def stored(self, **parts):
        """A record that is there."""
        record = self.record(**parts)
        assert self.truth.apply([Create(record)]) == [Applied()]
        return record

    def found(self, record):
        """What is really there."""
        (found,) = self.truth.load([record.key], self.now)
        return found

    def update(self, record, **parts):
        given = {
            "key": record.key,
            "at": self.now + 1,
            "lifetimes": LIFETIMES,
            "secret": record.secret,
            **parts,
        }
        return Update(**given)

    def changes(self, record):
        """One change of each kind, by name."""
        return {
            "create": Create(record),
            "set": self.update(record, set={"a": b"3", "c": b"4"}, remove=frozenset({"b"})),
            "take": self.update(record, take=("a",)),
            "slide": self.update(record),
            "rotate": self.update(record, rotate=Rotation(b"n" * 32)),
            "rotate, derived": self.update(record, rotate=Rotation(b"n" * 32, derived=True)),
            "sign in": self.update(record, sign_in=SignIn("ada"), rotate=Rotation(b"n" * 32)),
            "destroy": Destroy(key=record.key, at=self.now + 1),
            "revoke": Destroy(key=record.key, at=self.now + 1, user="ada", signed_in=self.now),
        }

    def recover(self):
        self.proxy.heal()
        return recovered(self.store)


@contextmanager
def staged(colour, server, prefix, **options):
    """A scene on a server."""
    url = f"redis://{HOST}:{{}}/0"
    with (
        Proxy(server.port) as proxy,
        opened(colour, url.format(proxy.port), prefix=prefix, **options) as store,
        opened("sync", url.format(server.port), prefix=prefix) as truth,
    ):
        yield Scene(proxy, store, truth)
