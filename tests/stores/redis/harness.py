"""The harness of the Redis stores: how the contract suite gets at the bytes in the server, and moves its clock."""

from base64 import urlsafe_b64encode

from coatcheck.stores.redis import AsyncRedisStore, RedisStore, async_from_url, from_url
from coatcheck.testing.contract import Harness
from tests.servers.fixtures_redis import new_prefix

FAR = 10**10  # ms
SLACK = 2_000  # ms, by which the machine may be slow
LIVE = b"\1"  # the mark of a session


def name_of(prefix, key):
    """Where the record of a key lies."""
    return prefix.encode() + urlsafe_b64encode(key)[:22]


class RedisHarness(Harness):
    """A prefix of its own. Each `open` is a store as another process has it.

    The server keeps time, and can't be told another. So time goes by for its keys: their lives are made shorter.
    """

    def __init__(self, target, **options):
        super().__init__()
        self.target = target
        self.prefix = new_prefix()
        self.options = {"prefix": self.prefix, **getattr(target, "options", {}), **options}
        self.admin = target.client()

    async def open(self):
        return from_url(self.target.url, **self.options)

    def name(self, key):
        return name_of(self.prefix, key)

    def names(self):
        return list(self.admin.scan_iter(match=f"{self.prefix}*", count=10_000))

    async def plant(self, key, data):
        self.admin.set(self.name(key), data + LIVE, px=FAR)

    async def raw(self, key):
        value = self.admin.get(self.name(key))
        return None if value is None else value[:-1]

    async def advance(self, seconds):
        lives = {name: self.life(name) for name in self.names()}
        await super().advance(seconds)
        for name, life in lives.items():
            if life is not None and life <= seconds * 1_000:
                self.admin.delete(name)
            elif life is not None:
                self.admin.pexpire(name, round(life - seconds * 1_000) + SLACK)

    def life(self, name):
        """How long a key still lies there (ms); None: for ever, as only the markers of the index may."""
        life = self.admin.pttl(name)
        if life == -1:
            assert name.startswith(f"{self.prefix}users:".encode()), f"{name} would lie there for ever"
            return None
        return life

    async def clean(self):
        try:
            for name in self.names():
                self.life(name)
                self.admin.delete(name)
        finally:
            self.admin.close()


class AsyncRedisHarness(RedisHarness):
    async def open(self):
        return async_from_url(self.target.url, **self.options)


class ClientHarness(RedisHarness):
    """Stores on a client of the application's own, as the target makes one."""

    async def open(self):
        return RedisStore(self.target.client(), prefix=self.prefix)


class AsyncClientHarness(RedisHarness):
    async def open(self):
        return AsyncRedisStore(self.target.async_client(), prefix=self.prefix)
