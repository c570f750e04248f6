"""Coalescing under random arrival, answers, failures and cancellations: every caller gets exactly its own answer."""

import asyncio
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coatcheck.errors import StoreTimeout, StoreUnavailable
from tests.loops import LOOPS, run
from tests.stores.wire import Desk, answers

pytestmark = pytest.mark.promise("B")

KEYS = 5

_numbers = st.integers(0, 12)
_patience = st.sampled_from((60, 60, 60, -1))
_steps = st.one_of(
    st.tuples(st.just("load"), st.tuples(st.lists(_numbers, min_size=1, max_size=4), _patience)),
    st.tuples(st.just("apply"), st.tuples(st.integers(1, 4), _patience)),
    st.tuples(st.just("cancel"), st.integers(0, 30)),
    st.tuples(st.just("turn"), st.integers(1, 4)),
    st.tuples(st.just("answer"), st.integers(0, 3)),
    st.tuples(st.just("break"), st.integers(0, 3)),
)


class Play:
    """One run, and what each caller may expect of it."""

    def __init__(self, largest_batch, in_flight):
        self.desk = Desk(largest_batch=largest_batch, in_flight=in_flight, keys=KEYS)
        self.largest_batch, self.in_flight = largest_batch, in_flight
        self.callers = []  # kind, numbers, task, patience
        self.cancelled = set()
        self.stored = Counter()
        self.broken = set()
        self.next_change = 1_000

    def ask(self, kind, numbers, patience):
        task = self.desk.ask(kind, *numbers, patience=patience)
        self.callers.append((kind, numbers, task, patience))

    async def step(self, what, how):
        wire = self.desk.wire
        match what:
            case "load":
                self.ask("load", *how)
            case "apply":
                # Each change is one of a kind, so that its way can be followed.
                count, patience = how
                self.ask("apply", list(range(self.next_change, self.next_change + count)), patience)
                self.next_change += count
            case "cancel" if how < len(self.callers):
                # Before it has run, a task has asked for nothing.
                await asyncio.sleep(0)
                if self.callers[how][2].cancel():
                    self.cancelled.add(how)
            case "turn":
                for _ in range(how):
                    await asyncio.sleep(0)
            case "answer" if wire.flying:
                self.answer(wire.flying[how % len(wire.flying)])
            case "break" if wire.flying:
                call = wire.flying[how % len(wire.flying)]
                self.broken.update((call.kind, number) for number in call.numbers)
                call.fail(StoreUnavailable("down"))
        self.look()

    def answer(self, call):
        if call.kind == "apply":
            self.stored.update(call.numbers)
        call.answer()

    def look(self):
        """What must hold at every moment."""
        for kind in ("load", "apply"):
            flying = [call for call in self.desk.wire.flying if call.kind == kind]
            assert len(flying) <= self.in_flight
            for call in flying:
                if len(call.numbers) > self.largest_batch:
                    assert any(set(call.numbers) <= set(numbers) for _, numbers, *_ in self.callers)
            if kind == "apply":
                keys = [key for call in flying for key in {number % KEYS for number in call.numbers}]
                assert len(set(keys)) == len(keys)

    async def finish(self):
        for _ in range(1_000):
            await self.desk.settle()
            if not self.desk.wire.flying:
                break
            self.answer(self.desk.wire.flying[0])
            self.look()
        await self.desk.finished()

    def judge(self):
        """What must hold at the end."""
        for at, (kind, numbers, task, patience) in enumerate(self.callers):
            assert task.done()
            broken = any((kind, number) in self.broken for number in numbers)
            late = False
            if task.cancelled():
                assert at in self.cancelled
            elif (error := task.exception()) is None:
                assert task.result() == answers(kind, *numbers)
                assert patience > 0
            elif isinstance(error, StoreTimeout):
                late = True
                assert patience < 0
            else:
                assert isinstance(error, StoreUnavailable)
                assert broken
            if kind == "apply":
                # Also what a caller asked that is gone. Once, unless the store failed or there was no time.
                expected = {0} if broken or late else {0, 1} if patience < 0 else {1}
                assert {self.stored[number] for number in numbers} <= expected


@settings(max_examples=150)
@given(st.lists(_steps, max_size=60), st.integers(1, 5), st.integers(1, 3), st.sampled_from(sorted(LOOPS)))
def test_every_caller_gets_exactly_its_own_answer_whatever_happens(steps, largest_batch, in_flight, loop):
    async def play():
        game = Play(largest_batch, in_flight)
        for step in steps:
            await game.step(*step)
        await game.finish()
        game.judge()

    run(play(), loop)
