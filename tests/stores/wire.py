"""Lanes whose batches stay on the wire until the test answers them."""

import asyncio
import time
from contextvars import copy_context

from coatcheck.stores.coalesce import IN_FLIGHT, LARGEST_BATCH, Lane, PerLoop, Tasks
from tests.loops import until


def answers(kind, *numbers):
    """What the wire answers to the items of those numbers: it names each."""
    return [(kind, number) for number in numbers]


def number_of(item):
    return item if isinstance(item, int) else item[0]


class Call:
    """One batch, which waits for its answer."""

    def __init__(self, kind, items, now, deadline):
        self.kind, self.items, self.now, self.deadline = kind, list(items), now, deadline
        self.context = copy_context()
        self.loop = asyncio.get_running_loop()
        self.waits = self.loop.create_future()

    @property
    def numbers(self):
        return [number_of(item) for item in self.items]

    def answer(self, *given):
        self.waits.set_result(list(given) or answers(self.kind, *self.numbers))

    def fail(self, error):
        self.waits.set_exception(error)


class Wire:
    """Notes each call in `calls`; the test answers it."""

    def __init__(self):
        self.calls = []

    @property
    def flying(self):
        return [call for call in self.calls if not call.waits.done()]

    def batches(self, kind):
        """The numbers that each call of a kind carried."""
        return [call.numbers for call in self.calls if call.kind == kind]

    def sender(self, kind):
        async def send(items, now, deadline):
            call = Call(kind, items, now, deadline)
            self.calls.append(call)
            return await call.waits

        return send


class _Lanes(Tasks):
    def __init__(self, wire, keys, sizes):
        super().__init__()
        self.of = {
            "load": Lane(self, wire.sender("load"), **sizes),
            "apply": Lane(
                self,
                wire.sender("apply"),
                cancelled=True,
                key=number_of if keys is None else lambda item: number_of(item) % keys,
                handed_on=lambda item, answer: (number_of(item), answer),
                **sizes,
            ),
        }


class Desk:
    """A lane for loads, and one for changes with a key for each number, or so many keys; and short ways to use them."""

    def __init__(self, *, largest_batch=LARGEST_BATCH, in_flight=IN_FLIGHT, keys=None):
        self.wire = Wire()
        sizes = {"largest_batch": largest_batch, "in_flight": in_flight}
        self.lanes = PerLoop(lambda: _Lanes(self.wire, keys, sizes))

    def send(self, kind, *numbers, now=0, patience=60):
        """What the caller awaits."""

        async def caller():
            # Submitted by the task of the caller.
            return await self.lanes.here().of[kind].submit(numbers, now, time.monotonic() + patience)

        return caller()

    def ask(self, kind, *numbers, now=0, patience=60):
        """A task that asks."""
        return asyncio.create_task(self.send(kind, *numbers, now=now, patience=patience))

    async def fly(self, kind, *numbers):
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

    async def finished(self):
        await self.lanes.here().finished()
