"""A Redis store, sync or async, behind a fault proxy, and short ways to say what a test does with it."""

import os
import time
from contextlib import contextmanager

import pytest

from coatcheck.errors import StoreError
from coatcheck.model.ports import Entry, Write
from coatcheck.stores.redis import async_from_url, from_url
from tests.awake import awake
from tests.behaviours import BlockingStore
from tests.servers.process import HOST
from tests.servers.proxy import Proxy

__all__ = [
    "DAY",
    "SYNC_AND_ASYNC",
    "Scene",
    "data_of",
    "item",
    "now_ms",
    "opened",
    "recovered",
    "soon",
    "staged",
]

SYNC_AND_ASYNC = pytest.mark.parametrize("kind", ["sync", "async"])
DAY = 86_400_000
RECOVERY = 20  # seconds within which a store must be back; only a test that is about to fail waits so long


def now_ms():
    return time.time_ns() // 1_000_000


def soon(seconds=20.0):
    """A deadline."""
    return time.monotonic() + seconds


def data_of(body=b"apples"):
    return os.urandom(8) + body


def item(body=b"apples", *, over=None, **parts):
    """A write, of a key where nothing lies, or over an earlier write."""
    place = {"key": os.urandom(16)} if over is None else {"key": over.key, "expected": over.data[:8]}
    return Write(**{"data": data_of(body), "expires": now_ms() + DAY, **place, **parts})


@contextmanager
def opened(kind, url, **options):
    """A store, called without awaiting, be it sync or async."""
    store = (
        from_url(url, **options) if kind == "sync" else BlockingStore(lambda: async_from_url(url, **options))
    )
    try:
        yield store
    finally:
        store.close()


def recovered(store, *, within=RECOVERY):
    """Wait until the store answers again, by itself; the seconds that it took."""
    start = awake()
    while True:
        try:
            store.ping(soon(5))
        except StoreError as error:
            if awake() - start > within:
                raise AssertionError("it does not recover") from error
            time.sleep(0.02)
        else:
            return awake() - start


class Scene:
    """A store behind a proxy, and one that sees what is really there.

    Attributes:
        patience: For how many seconds a call may take.
    """

    def __init__(self, proxy, store, truth, patience):
        self.proxy, self.store, self.truth, self.patience = proxy, store, truth, patience
        self.now = now_ms()

    @property
    def deadline(self):
        return soon(self.patience)

    def put(self, body=b"apples", **parts):
        """A write that is stored."""
        write = item(body, **parts)
        assert self.truth.write([write], self.now, soon()) == [None]
        return write

    def data(self, key):
        """What is really there."""
        (found,) = self.truth.load([key], self.now, soon())
        return None if found is None else found.data

    def load(self, *keys):
        found = self.store.load(keys, self.now, self.deadline)
        return [each and each.data for each in found]

    def write(self, *writes):
        return self.store.write(writes, self.now, self.deadline)

    def entry(self, user="ada", **parts):
        return Entry(
            **{"user": user, "key": os.urandom(16), "signed_in": self.now, "until": self.now + DAY, **parts}
        )

    def entries(self, user="ada"):
        """The entries that are really there."""
        return list(self.truth.sessions_of(user, self.now, 1_000, None, soon()))

    def recover(self):
        self.proxy.heal()
        return recovered(self.store)


@contextmanager
def staged(kind, server, prefix, *, patience=5.0, **options):
    """A scene on a server."""
    url = f"redis://{HOST}:{{}}/0"
    with (
        Proxy(server.port) as proxy,
        opened(kind, url.format(proxy.port), prefix=prefix, **options) as store,
        opened("sync", url.format(server.port), prefix=prefix) as truth,
    ):
        yield Scene(proxy, store, truth, patience)
