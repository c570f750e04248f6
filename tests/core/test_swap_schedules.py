"""Several loops on one store in random order, with writes that are lost, delayed and answered late, against a dict.

A counter that is edited with `merges.add` ends between the number of acknowledged edits and that number plus the
ambiguous ones; no element is in a list twice; each flash message is taken by at most one.
"""

from __future__ import annotations

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from coatcheck.core.calls import Done, Load, Writes
from coatcheck.core.swap import Swap, held_of
from coatcheck.errors import StoreError, StoreTimeout, StoreUnavailable
from coatcheck.model import codec, merges
from coatcheck.model.ports import Conflict, Found, revision_of
from coatcheck.model.record import Create, Destroy, Edit, Record, Refused, Tombstone, Update
from tests.core.scene import NOW, SETTINGS, Dice, a_record, a_token

pytestmark = pytest.mark.promise("L", "M", "6")

KEY = a_token().key
FATES = ("stored", "stored", "stored", "answer lost", "late", "never", "not sent", "repeated")
WORK = ("count", "append", "add", "take", "set", "destroy", "read")


class Server:
    """A dict that compares and swaps. What is sent to it may arrive late, twice or never."""

    def __init__(self, record):
        self.data = {}
        self.delayed = []
        self.swap(_first(record))

    def swap(self, write):
        found = self.data.get(write.key)
        if (None if found is None else found.version) != write.expected:
            return Conflict(found)
        self.data[write.key] = Found(write.data, revision_of(write.data))
        return None

    def arrive(self, number):
        """Let a delayed write arrive now."""
        self.swap(self.delayed.pop(number % len(self.delayed)))

    def answer(self, call, fates):
        if isinstance(call, Load):
            return [self.data.get(key) for key in call.keys]
        return [self.carry_out(write, next(fates)) for write in call.writes]

    def carry_out(self, write, fate):
        lost = StoreTimeout("no answer", ambiguous=True)
        match fate:
            case "stored":
                return self.swap(write)
            case "answer lost":
                self.swap(write)
                return lost
            case "late":
                self.delayed.append(write)
                return lost
            case "repeated":  # by the network: the first lands, and its twin later
                self.delayed.append(write)
                return self.swap(write)
            case "not sent":
                return StoreUnavailable("refused", ambiguous=False)
            case _:
                return lost


def _first(record):
    loop = Swap(Dice(), 1 << 20).apply([Create(record)], [None])
    return next(loop).writes[0]


class Loop:
    """One process: its loop, which has read the record some time ago."""

    number = 0

    def __init__(self, server, work, known):
        Loop.number += 1
        self.mark = Loop.number
        self.server = server
        self.changes = [_change(kind, known, self.mark * 100 + at) for at, kind in enumerate(work)]
        self.work = work
        self.flow = Swap(_Random(), 1 << 20).apply(self.changes, [known] * len(work))
        self.results = None
        self.call = None
        self._go(lambda: next(self.flow))

    def _go(self, step):
        try:
            self.call = step()
        except StopIteration as stop:
            self.call, self.results = None, stop.value

    def step(self, fates):
        """Let the store carry out what the loop waits for."""
        if self.call is None:
            return
        answer = self.server.answer(self.call, fates)
        self._go(lambda: self.flow.send(answer))


class _Random:
    made = 0

    def __call__(self, size):
        _Random.made += 1
        return b"r" + _Random.made.to_bytes(size - 1, "big")


def _change(kind, known, mark):
    fields = known.state.fields
    base = {"key": KEY, "at": NOW, "lifetimes": SETTINGS.lifetimes}

    def edit(name, change, rule=None):
        before = fields.get(name)
        return Update(
            **base, edits={name: Edit(codec.encode(change(codec.decode(before))), before, before, rule)}
        )

    match kind:
        case "count":
            return edit("count", lambda count: count + 1, merges.add)
        case "append":
            return edit("list", lambda items: [*items, mark])
        case "add":
            return edit("set", lambda items: items | {mark})
        case "take":
            return Update(**base, take=("flash",))
        case "set":
            return Update(**base, set={f"own {mark}": b"\x01"})
        case "destroy":
            return Destroy(key=KEY, at=NOW)
        case "create":
            return Create(a_record())
        case _:
            return Update(**base)


def a_world():
    values = {"count": 0, "list": [0], "set": {0}, "flash": "once"}
    server = Server(a_record(fields=values))
    return server, held_of(KEY, server.data[KEY])


@settings(max_examples=400, suppress_health_check=[HealthCheck.too_slow])
@given(st.data())
def test_whatever_is_lost_or_late_nothing_counts_twice_and_nothing_that_was_told_is_lost(data):
    server, known = a_world()
    work = st.lists(st.sampled_from(WORK[:5] * 3 + WORK), min_size=1, max_size=3)
    loops, fates = [], iter(lambda: data.draw(st.sampled_from(FATES)), None)
    for batch in data.draw(st.lists(work, min_size=1, max_size=5)):
        loops.append(Loop(server, batch, known))
        if data.draw(st.booleans()):
            loops[-1].step(fates)
    while waiting := [loop for loop in loops if loop.call is not None]:
        if server.delayed and data.draw(st.booleans()):
            server.arrive(data.draw(st.integers(0, 9)))
        else:
            waiting[data.draw(st.integers(0, len(waiting) - 1))].step(fates)
    while server.delayed:
        server.arrive(0)
    judge(loops, server)


def judge(loops, server):
    told = [
        (kind, change, result)
        for loop in loops
        for kind, change, result in zip(loop.work, loop.changes, loop.results, strict=True)
    ]
    done = [(kind, change) for kind, change, result in told if isinstance(result, Done)]
    unknown = [
        (kind, change)
        for kind, change, result in told
        if isinstance(result, StoreError) and getattr(result, "ambiguous", False)
    ]
    assert all(isinstance(result, Done | Refused | StoreError) for _, _, result in told)
    state = held_of(KEY, server.data[KEY]).state
    taken = [
        result
        for kind, _, result in told
        if kind == "take" and isinstance(result, Done) and result.answer.taken
    ]
    assert len(taken) <= 1
    if isinstance(state, Tombstone):
        assert any(kind == "destroy" for kind, _ in done + unknown)
        return
    assert not any(kind == "destroy" for kind, _ in done)
    count, items, members = (codec.decode(state.fields[name]) for name in ("count", "list", "set"))
    sure, maybe = (sum(kind == "count" for kind, _ in those) for those in (done, unknown))
    assert sure <= count <= sure + maybe
    assert len(set(items)) == len(items)
    for kind, name, found in (("append", "list", set(items)), ("add", "set", members)):
        sure, maybe = (
            {_added(change, name) for of, change in those if of == kind} for those in (done, unknown)
        )
        assert sure <= found - {0} <= sure | maybe
    assert {n for kind, change in done if kind == "set" for n in change.set} <= set(state.fields)
    assert isinstance(state, Record)
    if taken:
        assert "flash" not in state.fields


def _added(change, name):
    edit = change.edits[name]
    (item,) = set(codec.decode(edit.data)) - set(codec.decode(edit.base))
    return item


@pytest.mark.promise("12")
@settings(max_examples=200)
@given(st.data())
def test_once_an_ending_was_answered_nothing_brings_the_session_back(data):
    server, known = a_world()
    fates = iter(lambda: data.draw(st.sampled_from(FATES)), None)
    before = [Loop(server, [kind], known) for kind in data.draw(st.lists(st.sampled_from(WORK), max_size=3))]
    for loop in before:
        for _ in range(data.draw(st.integers(0, 2))):
            loop.step(fates)
    ending = Loop(server, ["destroy"], known)
    while ending.call is not None:
        ending.step(iter(lambda: "stored", None))
    assert isinstance(ending.results[0], Done | Refused)
    after = [*before, Loop(server, ["set"], known), Loop(server, ["create"], known)]
    while waiting := [loop for loop in after if loop.call is not None]:
        waiting[0].step(fates)
    while server.delayed:
        server.arrive(0)
    assert isinstance(held_of(KEY, server.data[KEY]).state, Tombstone)


@pytest.mark.parametrize("kind", ["count", "append", "add"])
def test_a_hundred_that_began_with_the_same_record_all_count(kind):
    server, known = a_world()
    loops = [Loop(server, [kind], known) for _ in range(100)]
    for _ in range(101):
        for loop in loops:
            loop.step(iter(lambda: "stored", None))
    assert all(isinstance(loop.results[0], Done) for loop in loops)
    state = held_of(KEY, server.data[KEY]).state
    name = {"count": "count", "append": "list", "add": "set"}[kind]
    value = codec.decode(state.fields[name])
    assert (value if kind == "count" else len(value) - 1) == 100


def test_the_server_of_these_tests_answers_what_it_is_asked():
    server, known = a_world()
    (loop,) = [Loop(server, ["set"], known)]
    assert isinstance(loop.call, Writes)
    loop.step(iter(["late"]))
    assert isinstance(loop.call, Load)
    server.arrive(0)
    loop.step(iter([]))
    assert isinstance(loop.results[0], Done)
