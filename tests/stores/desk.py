"""A store with the compare-and-swap loop on it, and short ways to make changes."""

import asyncio
import functools
import hashlib
import os

from msgspec.structs import replace

from coatcheck.core.calls import Done
from coatcheck.model import codec
from coatcheck.model.record import Create, Destroy, Edit, Record, Refused, Update
from coatcheck.testing.contract.harness import Bench, contention
from tests.stores.engine import LIFETIMES, AsyncEngine, stored

GRACE = 20_000


def secret_hash_of(secret):
    return hashlib.sha256(secret.encode()).digest()


class Desk:
    """A store with the loop on it, and short ways to make changes."""

    def __init__(self, bench):
        self.bench, self.start = bench, bench.start
        self.engine = AsyncEngine(bench.parallel)

    async def another(self):
        """The loop of another process."""
        return AsyncEngine(await self.bench.another())

    def record(self, **parts):
        record = Record(
            **{
                "key": os.urandom(16),
                "secret_hash": secret_hash_of("secret"),
                "secret_at": self.start,
                "created": self.start,
                "last_used": self.start,
                "expires": self.start + LIFETIMES.idle,
                "fields": {},
                **parts,
            }
        )
        return replace(record, fields=dict(record.fields))

    def signed_in(self, user="ada", **parts):
        return self.record(**{"user": user, "signed_in": self.start, **parts})

    def update(self, record, **parts):
        return Update(
            **{"key": record.key, "at": self.start, "lifetimes": LIFETIMES, "grace": GRACE, **parts}
        )

    def destroy(self, record, holder=None, **parts):
        return Destroy(**{"key": record.key, "at": self.start, "holder": holder, **parts})

    async def create(self, record=None, **parts):
        record = record or self.record(**parts)
        assert stored(await self.apply(Create(record))) == record
        return record

    async def apply(self, change, engine=None, known=None):
        (result,) = await (engine or self.engine).apply([change], self.start, known and [known])
        return result

    async def at_once(self, changes):
        """Apply the changes at the same time, each in a call of its own."""
        with contention():
            return await asyncio.gather(*(self.apply(change) for change in changes))

    async def held(self, record, engine=None):
        return await (engine or self.engine).load(record.key, self.start)

    async def state(self, record):
        return (await self.held(record)).state

    async def fields(self, record):
        return (await self.state(record)).fields

    async def edit(self, record, engine=None, rule=None, held=None, **changes):
        """Do as a request does: load, edit fields in place by the function of each, and write them back.

        With `held`, it has loaded that before.
        """
        held = held or await self.held(record, engine)
        edits = {}
        for name, change in changes.items():
            before = held.state.fields[name]
            edits[name] = Edit(codec.encode(change(codec.decode(before))), before, before, rule)
        return await self.apply(self.update(record, edits=edits), engine, held)

    async def value(self, record, name):
        return codec.decode((await self.fields(record))[name])

    async def listed(self, user):
        """The keys of the user's entries that lead to a live record of that sign-in, as the flows check them."""
        keys = []
        for entry in await self.bench.sessions_of(user):
            state = (await self.engine.load(entry.key, self.start)).state
            if isinstance(state, Record) and (state.user, state.signed_in) == (user, entry.signed_in):
                keys.append(entry.key)
        return keys

    async def note(self, result):
        """Enter a sign-in that is stored, where the index is kept beside the records."""
        if isinstance(result, Done) and self.bench.store.index == "beside":
            record = stored(result)
            entry = self.bench.entry(record.user, key=record.key)
            await self.bench.parallel.note(
                [replace(entry, signed_in=record.signed_in)], self.start, self.bench.deadline
            )
        return result


def scenario(test):
    @functools.wraps(test)
    def run(self, harness):
        async def at_a_desk():
            async with Bench(harness) as bench:
                await test(self, Desk(bench))

        asyncio.run(at_a_desk())

    del run.__wrapped__  # pytest would look for a fixture `desk`
    return run


def kinds_of(results):
    """How many of the results were applied, and how many refused, and why."""
    return [
        result if isinstance(result, Refused) else "done"
        for result in results
        if isinstance(result, Done | Refused)
    ]
