"""Coalescing for callers that are cancelled, for several event loops, and at the end."""

import asyncio
import gc
import threading
import weakref

import pytest

from coatcheck.errors import StoreFull, StoreUnavailable
from coatcheck.stores.coalesce import PerLoop, Tasks
from tests.cancelling import BY_ANY_WAY
from tests.loops import on_each_loop, quiet, run
from tests.stores.wire import Desk, answers

pytestmark = pytest.mark.promise("B", "F-05")

KINDS = pytest.mark.parametrize("kind", ["load", "apply"])


# Callers who are cancelled


@BY_ANY_WAY
@KINDS
@on_each_loop
async def test_a_caller_who_is_cancelled_while_his_batch_is_on_the_wire_harms_nobody(kind, cancelled):
    desk = Desk()
    before = desk.ask(kind, 1)
    leaving = asyncio.create_task(cancelled(desk.send(kind, 2)))
    after = desk.ask(kind, 3)
    await leaving
    await desk.settle()
    assert desk.wire.batches(kind) == [[1, 2, 3]]
    desk.wire.calls[0].answer()
    assert await asyncio.gather(before, after) == [answers(kind, 1), answers(kind, 3)]
    assert len(desk.wire.calls) == 1


@BY_ANY_WAY
@KINDS
@on_each_loop
async def test_a_caller_who_is_cancelled_before_his_batch_left_harms_nobody(kind, cancelled):
    desk = Desk()
    await desk.fly(kind, 100, 101)
    before = desk.ask(kind, 1)
    leaving = asyncio.create_task(cancelled(desk.send(kind, 2)))
    after = desk.ask(kind, 3)
    await leaving
    await desk.answer_all()
    assert await asyncio.gather(before, after) == [answers(kind, 1), answers(kind, 3)]
    # What was to be stored is stored; what was to be read, nobody reads any more.
    assert desk.wire.batches(kind)[2:] == ([[1, 3]] if kind == "load" else [[1, 2, 3]])


@KINDS
@on_each_loop
async def test_when_all_callers_of_a_batch_are_cancelled_before_it_left_the_next_ones_are_answered(kind):
    desk = Desk()
    await desk.fly(kind, 100, 101)
    leaving = [desk.ask(kind, number) for number in range(5)]
    await desk.settle()
    for task in leaving:
        task.cancel()
    await desk.settle()
    await desk.answer_all()
    assert desk.wire.batches(kind)[2:] == ([] if kind == "load" else [[0, 1, 2, 3, 4]])
    later = desk.ask(kind, 9)
    await desk.settle()
    await desk.answer_all()
    assert later.result() == answers(kind, 9)


@pytest.mark.parametrize("error", [StoreUnavailable("down"), StoreFull("full")], ids=repr)
@KINDS
@on_each_loop
async def test_an_error_whose_callers_are_all_gone_is_not_told_to_the_loop(kind, error):
    desk = Desk()
    tasks = [desk.ask(kind, number) for number in range(3)]
    await desk.settle()
    for task in tasks:
        task.cancel()
    await desk.settle()
    while desk.wire.flying:  # the members alone, too
        desk.wire.flying[0].fail(error)
        await desk.settle()
    assert all(task.cancelled() for task in tasks)


# Batches that are cancelled


@KINDS
@pytest.mark.parametrize("turns", [1, 2, 3])
@on_each_loop
async def test_callers_of_a_batch_that_somebody_cancels_are_told_and_the_next_ones_are_answered(kind, turns):
    desk = Desk()
    callers = [desk.ask(kind, number) for number in range(3)]
    for _ in range(turns):  # before the batch began, and after
        await asyncio.sleep(0)
    batches = asyncio.all_tasks() - {asyncio.current_task(), *callers}
    for task in batches:
        task.cancel()
    await asyncio.wait(batches)
    assert all(task.cancelled() for task in batches)
    for _ in range(2):
        later = desk.ask(kind, 9)
        await desk.settle()
        await desk.answer_all()
        assert later.result() == answers(kind, 9)
    for outcome in await asyncio.gather(*callers, return_exceptions=True):
        # Those whose batch had not begun board the next one.
        assert isinstance(outcome, StoreUnavailable) or outcome[0] in answers(kind, 0, 1, 2)


@on_each_loop
async def test_however_many_batches_are_cancelled_before_they_begin_the_next_one_leaves():
    desk = Desk(in_flight=1)
    caller = desk.ask("load", 1)
    for _ in range(3):
        await asyncio.sleep(0)
        if not desk.wire.calls:
            (batch,) = desk.lanes.here().tasks
            batch.cancel()
            await asyncio.sleep(0)
    await desk.settle()
    await desk.answer_all()
    assert await caller == answers("load", 1)


def test_a_loop_that_ends_with_batches_under_way_ends():
    desk = Desk()

    async def leave():
        for kind in ("load", "apply"):
            await desk.fly(kind, 1, 2)
            for number in range(3, 6):
                desk.ask(kind, number)
        await desk.settle()

    asyncio.run(leave())
    assert len(desk.wire.calls) >= 4


# Several loops


def test_each_event_loop_has_its_own_batches():
    loops, calls_each = 4, 60
    desk = Desk(in_flight=1)
    wire = desk.wire
    begin = threading.Barrier(loops)
    failures = []

    async def serve():
        async def answer():
            while not all(task.done() for task in tasks):
                for call in [call for call in list(wire.calls) if call.loop is loop]:
                    if not call.waits.done():
                        call.answer()
                await asyncio.sleep(0)

        loop = asyncio.get_running_loop()
        mine = range(mine_from.value, mine_from.value + calls_each)
        begin.wait(60)
        tasks = [desk.ask(kind, number) for kind in ("load", "apply") for number in mine]
        await answer()
        for number, task in zip([*mine, *mine], tasks, strict=True):
            assert task.result() in (answers("load", number), answers("apply", number))
        await quiet()

    mine_from = threading.local()

    def body(number):
        mine_from.value = number * 1_000
        try:
            run(serve(), "uvloop" if number % 2 else "asyncio")
        except BaseException as error:  # noqa: BLE001 - told below
            failures.append(error)

    threads = [threading.Thread(target=body, args=(number,)) for number in range(loops)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert failures == []
    assert len({id(call.loop) for call in wire.calls}) == loops
    for call in wire.calls:
        assert len({number // 1_000 for number in call.numbers}) == 1


def test_a_loop_that_calls_again_after_another_one_finds_what_it_had():
    here = PerLoop(object).here

    async def mine():
        return here()

    with asyncio.Runner() as one, asyncio.Runner() as other:
        first, second = one.run(mine()), other.run(mine())
        assert first is not second
        assert (one.run(mine()), other.run(mine())) == (first, second)


@pytest.mark.parametrize("loop", ["asyncio", "uvloop"])
def test_a_loop_that_is_gone_leaves_nothing_behind(loop):
    desk, gone = Desk(), []

    async def use():
        gone.append(weakref.ref(asyncio.get_running_loop()))
        task = desk.ask("load", 1)
        await desk.settle()
        await desk.answer_all()
        await task
        desk.wire.calls.clear()

    for _ in range(3):
        run(use(), loop)
    gc.collect()
    assert [ref() for ref in gone] == [None] * 3


# The end


@on_each_loop
async def test_finishing_waits_for_what_was_begun_and_for_what_waits_behind_it():
    desk = Desk(largest_batch=2)
    accepted = [desk.ask(kind, number) for kind in ("load", "apply") for number in range(9)]
    await desk.settle()
    finishing = asyncio.create_task(desk.finished())
    await desk.settle()
    while desk.wire.flying:
        assert not finishing.done()
        desk.wire.flying[0].answer()
        await desk.settle()
    await finishing
    assert [len(task.result()) for task in accepted] == [1] * 18


@on_each_loop
async def test_work_that_runs_alone_goes_on_where_its_caller_is_cancelled():
    tasks, gate, done = Tasks(), asyncio.Event(), []

    async def work():
        await gate.wait()
        done.append(True)

    caller = asyncio.create_task(tasks.alone(work()))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    finishing = asyncio.create_task(tasks.finished())
    await asyncio.sleep(0)
    assert not finishing.done()
    gate.set()
    await finishing
    assert done == [True]
