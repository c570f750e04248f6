"""The harness of the Redis stores: how the contract suite gets at the bytes in the server, and moves its clock."""

import time
from base64 import urlsafe_b64decode, urlsafe_b64encode
from datetime import timedelta

from redis.exceptions import ResponseError

from coatcheck.model.record import TOMBSTONE_LIFE, decode
from coatcheck.stores import redis, redis_async
from coatcheck.testing.contract import Harness
from tests.servers.fixtures_redis import new_prefix

FAR = 10**10  # ms
SLACK = 2_000  # ms, within which the server's clock and the test's may differ
FOR_EVER, GONE = -1, -2
PATIENT = {"deadline": timedelta(seconds=30), "connect_deadline": timedelta(seconds=30)}
"""A hundred who shake hands at once on a busy machine are no outage."""


def name_of(prefix, key):
    """Where the record of a key lies."""
    return prefix.encode() + urlsafe_b64encode(key)[:22]


class RedisHarness(Harness):
    """A prefix of its own. Each `open` is a store as another process has it.

    The server keeps time, and can't be told another. So time is made to go by for it: whenever it does, what the
    server was told of the end of each key must be right, and is then moved; what is over is deleted.
    """

    def __init__(self, target, **options):
        super().__init__()
        self.target = target
        self.prefix = new_prefix()
        self.options = {"prefix": self.prefix, **PATIENT, **getattr(target, "options", {}), **options}
        self.admin = target.client()
        self._moved = time.monotonic()

    async def open(self):
        return redis.from_url(self.target.url, **self.options)

    def name(self, key):
        return name_of(self.prefix, key)

    def names(self):
        return list(self.admin.scan_iter(match=f"{self.prefix}*", count=10_000))

    async def plant(self, key, data):
        self.admin.set(self.name(key), data, px=FAR)

    async def raw(self, key):
        return self.admin.get(self.name(key))

    async def advance(self, seconds):
        since, self._moved = (time.monotonic() - self._moved) * 1_000, time.monotonic()
        moves = {}
        for name in self.names():
            told = self.time_to_live(name)
            if told == GONE:
                continue
            state = self._state(name)
            if state is None:
                left = told
            else:
                left = state.expires - self.now
                assert left - since - SLACK <= told <= max(left, 0) + TOMBSTONE_LIFE + SLACK, (left, told)
            moves[name] = round(left - seconds * 1_000)
        await super().advance(seconds)
        for name, left in moves.items():
            if left > 0:
                self.admin.pexpire(name, left + SLACK)
            else:
                self.admin.delete(name)

    def _state(self, name):
        """The record or tombstone of that name; None: it is none."""
        text = name[len(self.prefix) :]
        try:
            return decode(urlsafe_b64decode(text + b"=="), self.admin.get(name))
        except (ValueError, ResponseError):
            return None

    def time_to_live(self, name):
        left = self.admin.pttl(name)
        assert left != FOR_EVER, f"{name} would lie there for ever"
        return left

    async def clean(self):
        try:
            for name in self.names():
                self.time_to_live(name)
                self.admin.delete(name)
        finally:
            self.admin.close()


class AsyncRedisHarness(RedisHarness):
    async def open(self):
        return redis_async.from_url(self.target.url, **self.options)
