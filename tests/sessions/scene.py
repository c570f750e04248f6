"""Shared by the tests of the managers: moving the clock, and stores that fail."""

from __future__ import annotations

from datetime import timedelta

from coatcheck import StoreUnavailable
from coatcheck.stores.memory import AsyncMemoryStore
from tests.visitor import CountedStore


def advance(sessions, **span):
    sessions.settings.clock.advance(timedelta(**span))


class Failing(CountedStore):
    """Fails at the operations in `failing`."""

    def __init__(self):
        super().__init__()
        self.failing = set()

    def load(self, keys, now, deadline):
        if "load" in self.failing:
            raise StoreUnavailable("down", ambiguous=False)
        return super().load(keys, now, deadline)

    def write(self, writes, now, deadline):
        if "write" in self.failing:
            raise StoreUnavailable("down", ambiguous=False)
        return super().write(writes, now, deadline)


class AsyncFailing(AsyncMemoryStore):
    """Fails at the operations in `failing`; waits, at applying, while it is `held`."""

    def __init__(self):
        super().__init__()
        self.failing = set()
        self.held = None

    async def load(self, keys, now, deadline):
        if "load" in self.failing:
            raise StoreUnavailable("down", ambiguous=False)
        return await super().load(keys, now, deadline)

    async def write(self, writes, now, deadline):
        if self.held is not None:
            await self.held.wait()
        if "write" in self.failing:
            raise StoreUnavailable("down", ambiguous=False)
        return await super().write(writes, now, deadline)


async def signed_in(sessions, **fields):
    """The cookie of a session that has signed in."""
    session = sessions.open("")
    await sessions.load(session)
    session.update(fields)
    session.sign_in("ada")
    return (await sessions.close(session)).set_cookie.partition(";")[0]
