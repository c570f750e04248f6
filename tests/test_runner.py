"""The runner of `Sessions`: calls, errors, events, and the turns of threads that change one key."""

import inspect
import os
import runpy
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from coatcheck import Sessions
from coatcheck.core.calls import Apply, Count, Done, Load, Writes
from coatcheck.core.swap import held_of
from coatcheck.errors import StoreTimeout, StoreUnavailable
from coatcheck.model import codec
from coatcheck.model.ports import Conflict
from coatcheck.outages import Outages
from coatcheck.runner import Runner
from coatcheck.stores.memory import MemoryStore
from coatcheck.testing import PausingStore, Race
from tests.core.scene import NOW, a_token
from tests.runner_scene import CALLS, ENTRY, WRITE, a_swap, applied, created, of, one_more
from tests.visitor import SECRET

DOWN = StoreUnavailable("down")


class Noted:
    """A store that notes how it is called."""

    def __init__(self):
        self.calls = []

    def __getattr__(self, method):
        def call(*arguments):
            self.calls.append((method, arguments))
            return [f"the answer of {method}"]

        return call


def a_runner(store, patience=60, told=None):
    return Runner(store, a_swap(), patience, [].append if told is None else told.append, Outages(store))


def held(store, number=1):
    key = a_token(number).key
    return held_of(key, store.load([key], NOW, 0)[0])


def turns(runner):
    return runner._turns._turns


@pytest.mark.parametrize("method", CALLS)
def test_each_call_of_a_flow_is_one_of_the_store_with_a_deadline(method):
    call, expected = CALLS[method]
    store = Noted()
    before = time.monotonic()
    assert a_runner(store, patience=5).run(of(call), NOW) == [f"the answer of {method}"]
    ((called, (*arguments, deadline)),) = store.calls
    assert (called, tuple(arguments)) == (method, expected)
    assert before + 5 <= deadline <= time.monotonic() + 5


def test_a_failure_of_the_store_is_the_flow_s_to_handle_and_nothing_else_is():
    class Down(Noted):
        def load(self, *_):
            raise DOWN

        def write(self, *_):
            raise DOWN

        def count(self, *_):
            raise DOWN

        def ping(self, *_):
            raise ZeroDivisionError

    def flow():
        try:
            yield Count()
        except StoreUnavailable:
            return "handled"

    runner = a_runner(Down())
    assert runner.run(flow(), NOW) == "handled"
    with pytest.raises(StoreUnavailable):
        runner.run(of(Count()), NOW)
    for call in (Load([ENTRY.key] * 2), Writes([WRITE] * 2)):
        assert runner.run(of(call), NOW) == [DOWN, DOWN]
    with pytest.raises(ZeroDivisionError):
        runner.run(of(CALLS["ping"][0]), NOW)


def test_another_number_of_answers_than_of_items_is_a_failure_of_each_item():
    runner = a_runner(Noted())
    for call in (Load([ENTRY.key] * 2), Writes([WRITE] * 2)):
        answers = runner.run(of(call), NOW)
        assert [type(answer) for answer in answers] == [StoreUnavailable] * 2
    first, second = runner.run(applied(one_more(held_in_memory(1)), one_more(held_in_memory(2))), NOW)
    assert isinstance(first, StoreUnavailable)
    assert isinstance(second, StoreUnavailable)


def test_nothing_to_apply_asks_nothing():
    assert a_runner(object()).run(applied(), NOW) == []


@pytest.mark.promise("20")
def test_a_failure_inside_of_the_loop_is_a_result():
    class Down(MemoryStore):
        def load(self, *_):
            raise StoreUnavailable("down")

    (result,) = a_runner(Down()).run(applied(one_more(held_in_memory())), NOW)
    assert isinstance(result, StoreUnavailable)


def held_in_memory(number=1):
    store = MemoryStore()
    (done,) = a_runner(store).run(applied(created(number, count=0)), NOW)
    return done.held


@pytest.mark.promise("20")
def test_a_change_that_is_not_stored_by_the_deadline_asks_the_store_nothing_more():
    (result,) = a_runner(object(), patience=0).run(applied(created()), NOW)
    assert isinstance(result, StoreTimeout)
    assert not result.ambiguous


# Turns


@pytest.mark.promise("6")
def test_threads_that_change_one_record_take_turns_and_never_conflict():
    class Counting(MemoryStore):
        conflicts = loads = 0

        def load(self, *arguments):
            self.loads += 1
            return super().load(*arguments)

        def write(self, *arguments):
            time.sleep(0.001)  # so that others wait
            answers = super().write(*arguments)
            self.conflicts += sum(isinstance(answer, Conflict) for answer in answers)
            return answers

    store = Counting()
    runner = a_runner(store)
    (done,) = runner.run(applied(created(count=0)), NOW)
    known, start = done.held, threading.Barrier(8)

    def work():
        start.wait(60)
        for _ in range(10):
            # Each began with the record as it was at first.
            (result,) = runner.run(applied(one_more(known), known=[known]), NOW)
            assert isinstance(result, Done)

    with ThreadPoolExecutor(8) as pool:
        for working in [pool.submit(work) for _ in range(8)]:
            working.result()
    # A thread that found none before it goes by what it knew, which is old; one that waited is handed what is there.
    assert (store.loads, store.conflicts < 40) == (0, True)
    assert codec.decode(held(store).state.fields["count"]) == 80
    assert turns(runner) == {}


class Parked(MemoryStore):
    """A store whose writes wait for the test."""

    def __init__(self):
        super().__init__()
        self.reached, self.go = threading.Event(), threading.Event()

    def write(self, *arguments):
        self.reached.set()
        assert self.go.wait(30)
        return super().write(*arguments)


@pytest.mark.promise("F-02")
def test_a_turn_that_does_not_come_within_the_deadline_is_an_error_that_says_nothing_was_sent():
    store = Parked()
    runner, hasty = a_runner(store), a_runner(store, patience=0.05)
    hasty._turns = runner._turns
    with ThreadPoolExecutor(1) as pool:
        writing = pool.submit(runner.run, applied(created()), NOW)
        assert store.reached.wait(30)
        with pytest.raises(StoreTimeout) as caught:
            # It has the turn of the first key already, and gives it back.
            hasty.run(applied(created(), created(0)), NOW)
        assert caught.value.ambiguous is False
        assert set(turns(runner)) == {a_token().key}
        store.go.set()
        writing.result()
    assert turns(runner) == {}


def test_a_turn_that_comes_at_the_very_moment_of_giving_up_leaves_nothing_behind():
    class Late:
        """A lock that is free again once somebody has given up on it."""

        def acquire(self, timeout):
            runner._turns.give_back([change], [])
            return False

        def release(self):
            pass

    runner, change = a_runner(MemoryStore()), created()
    assert runner._turns.take([change], [None], time.monotonic() + 60) == [None]
    (turn,) = turns(runner).values()
    turn.lock = Late()
    with pytest.raises(StoreTimeout):
        runner._turns.take([change], [None], time.monotonic())
    assert turns(runner) == {}


@pytest.mark.promise("B")
def test_threads_that_change_the_same_records_in_opposite_order_do_not_block_each_other():
    store = MemoryStore()
    runner = a_runner(store)
    runner.run(applied(created(1, count=0), created(2, count=0)), NOW)
    start = threading.Barrier(4)

    def work(order):
        start.wait(60)
        for _ in range(50):
            known = [held(store, number) for number in order]
            results = runner.run(applied(*map(one_more, known), known=known), NOW)
            assert all(isinstance(result, Done) for result in results)

    with ThreadPoolExecutor(4) as pool:
        for working in [pool.submit(work, order) for order in ((1, 2), (2, 1)) * 2]:
            working.result(60)
    assert [codec.decode(held(store, number).state.fields["count"]) for number in (1, 2)] == [200, 200]


def test_two_changes_of_one_key_in_one_call_need_one_turn():
    store = MemoryStore()
    runner = a_runner(store, patience=1)
    runner.run(applied(created(count=0)), NOW)
    known = held(store)
    results = runner.run(applied(one_more(known), one_more(known), known=[known, known]), NOW)
    assert all(isinstance(result, Done) for result in results)
    assert turns(runner) == {}


def test_turns_are_given_back_where_the_store_raises_what_it_should_not():
    class Broken(MemoryStore):
        def write(self, *_):
            raise ZeroDivisionError

    runner = a_runner(Broken())
    with pytest.raises(ZeroDivisionError):
        runner.run(of(Apply([created()], [None])), NOW)
    assert turns(runner) == {}


@pytest.mark.promise("24")
def test_a_change_that_is_stored_is_told_and_answered_also_while_the_store_is_being_closed():
    class Closing(MemoryStore):
        def close(self):
            gate.open()
            writer.result()

    store = PausingStore(Closing())
    told = []
    sessions = Sessions(store, secret=SECRET, on_event=lambda event: told.append(event.kind))
    session = sessions.open("")
    session["a"] = 1
    with Race() as race, store.hold("write", "after") as gate:
        writer = race.start("writer", lambda: sessions.close(session))
        gate.wait()
        sessions.shutdown()
    assert writer.result().set_cookie is not None
    assert told == ["created"]


@pytest.mark.promise("24")
def test_a_call_while_the_store_is_being_closed_is_refused_unsent_and_one_after_it_is_made():
    class Closing(MemoryStore):
        def close(self):
            with pytest.raises(StoreUnavailable, match="being shut down") as caught:
                runner.run(applied(created()), NOW)
            refused.append(caught.value.ambiguous)

    store, refused = Closing(), []
    runner = a_runner(store)
    runner.close()
    assert refused == [False]
    assert held(store).state is None
    runner.run(applied(created()), NOW)
    assert held(store).state is not None


def test_where_processes_can_not_fork_the_runner_is_imported_all_the_same(monkeypatch):
    monkeypatch.delattr(os, "register_at_fork")
    assert "Runner" in runpy.run_path(inspect.getfile(Runner))


@pytest.mark.promise("24")
def test_a_forked_process_waits_for_no_turn_of_a_thread_that_it_does_not_have():
    store = PausingStore(MemoryStore())
    sessions = Sessions(store, secret=SECRET, deadline=timedelta(seconds=2))
    session = sessions.open("")
    session["a"] = 1
    cookie = (sessions.close(session).set_cookie or "").partition(";")[0]

    def write():
        session = sessions.open(cookie)
        session["a"] = 2
        sessions.close(session)

    with Race() as race, store.hold("write") as gate:
        race.start("writer", write)
        gate.wait()
        if (child := os.fork()) == 0:
            try:
                write()
            except BaseException:  # noqa: BLE001 - the parent reads the status
                os._exit(1)
            os._exit(0)
        _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0
