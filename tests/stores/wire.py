"""A store whose calls stay on the wire until the test answers them."""

import asyncio
from contextvars import copy_context

from coatcheck.model.ports import Capabilities
from coatcheck.model.record import Applied, Destroy, Tombstone
from coatcheck.stores.coalesce import Coalesced
from tests.loops import until


def key(number):
    return number.to_bytes(16)


def change(number):
    return Destroy(key=key(number), at=0)


def found(number):
    """What the wire says lies under the key of that number: it names the key."""
    return Tombstone(key(number), 0)


def applied(number):
    """What the wire answers to the change of that number: it names the key."""
    return Applied({"key": key(number)})


class Call:
    """One call, which waits for its answer."""

    def __init__(self, method, numbers, now):
        self.method, self.numbers, self.now = method, numbers, now
        self.context = copy_context()
        self.loop = asyncio.get_running_loop()
        self.waits = self.loop.create_future()

    def answer(self):
        make = {"load": found, "apply": applied}.get(self.method)
        self.waits.set_result(make and [make(number) for number in self.numbers])

    def fail(self, error):
        self.waits.set_exception(error)


class Wire:
    """Notes each call in `calls`; the test answers it."""

    def __init__(self, **capabilities):
        self.capabilities = Capabilities(**capabilities)
        self.calls = []
        self.closed = 0

    @property
    def flying(self):
        return [call for call in self.calls if not call.waits.done()]

    def batches(self, method):
        """The numbers that each call of `method` carried."""
        return [call.numbers for call in self.calls if call.method == method]

    async def load(self, keys, now):
        return await self._send("load", [int.from_bytes(key) for key in keys], now)

    async def apply(self, changes):
        return await self._send("apply", [int.from_bytes(change.key) for change in changes])

    async def enroll(self, user, life, expires):
        return await self._send("enroll")

    async def lives_of(self, user, now):
        return await self._send("lives_of")

    async def count(self, now):
        return await self._send("count")

    async def sweep(self, now, limit):
        return await self._send("sweep")

    async def ping(self):
        return await self._send("ping")

    async def close(self):
        self.closed += 1

    async def _send(self, method, numbers=(), now=None):
        call = Call(method, list(numbers), now)
        self.calls.append(call)
        return await call.waits


class Desk:
    """A coalesced wire, and short ways to ask it."""

    def __init__(self, **settings):
        self.wire = Wire()
        self.store = Coalesced(self.wire, **settings)

    def send(self, kind, *numbers, now=0):
        """What the caller awaits."""
        if kind == "load":
            return self.store.load([key(number) for number in numbers], now)
        return self.store.apply([change(number) for number in numbers])

    def ask(self, kind, *numbers, now=0):
        """A task that asks."""
        return asyncio.create_task(self.send(kind, *numbers, now=now))

    async def fly(self, kind, *numbers, at=0):
        """Let batches of one be on the wire, one for each number."""
        for number in numbers:
            self.ask(kind, number)
            before = len(self.wire.calls)
            await until(lambda before=before: len(self.wire.calls) > before)

    async def settle(self):
        """Let everybody who can go on do so."""
        for _ in range(8):
            await asyncio.sleep(0)

    async def answer_all(self):
        """Answer whatever is on the wire, until nobody waits any more."""
        while self.wire.flying:
            self.wire.flying[0].answer()
            await self.settle()


def answers(kind, *numbers):
    return [(found if kind == "load" else applied)(number) for number in numbers]
