"""Coalescing: what arrives while batches are on the wire leaves together, and nobody gets another's answer."""

import asyncio
import traceback
from contextvars import ContextVar

import pytest

from coatcheck.errors import StoreFull, StoreTimeout, StoreUnavailable
from tests.loops import on_each_loop, until
from tests.stores.wire import Desk, answers

pytestmark = pytest.mark.promise("B")

KINDS = pytest.mark.parametrize("kind", ["load", "apply"])


# Batches


@KINDS
@on_each_loop
async def test_an_idle_store_is_asked_at_once_for_exactly_what_one_caller_wants(kind):
    desk = Desk()
    asking = desk.ask(kind, 7)
    for _ in range(2):  # one turn for the caller, one for the batch: there is no timer
        await asyncio.sleep(0)
    assert desk.wire.batches(kind) == [[7]]
    desk.wire.calls[0].answer()
    assert await asking == answers(kind, 7)
    assert len(desk.wire.calls) == 1


@KINDS
@on_each_loop
async def test_callers_of_one_moment_leave_together(kind):
    desk = Desk()
    asking = [desk.ask(kind, number) for number in range(10)]
    await asyncio.sleep(0)
    assert len(asyncio.all_tasks() - {*asking, asyncio.current_task()}) == 1  # no task for nobody
    await until(lambda: desk.wire.calls)
    assert desk.wire.batches(kind) == [list(range(10))]
    await desk.answer_all()
    assert [task.result() for task in asking] == [answers(kind, number) for number in range(10)]
    assert len(desk.wire.calls) == 1


@KINDS
@on_each_loop
async def test_what_arrives_while_two_batches_are_on_the_wire_leaves_together_as_the_next_one(kind):
    desk = Desk()
    await desk.fly(kind, 1, 2)
    for number in range(3, 27):
        desk.ask(kind, number)
        await desk.settle()
        assert desk.wire.batches(kind) == [[1], [2]]
    desk.wire.calls[1].answer()
    await desk.settle()
    assert desk.wire.batches(kind) == [[1], [2], list(range(3, 27))]
    for number in (27, 28):
        desk.ask(kind, number)
    desk.wire.calls[0].answer()
    desk.wire.calls[2].answer()
    await desk.settle()
    assert desk.wire.batches(kind)[3:] == [[27, 28]]
    await desk.answer_all()


@pytest.mark.parametrize("in_flight", [1, 2, 3])
@KINDS
@on_each_loop
async def test_no_more_batches_of_one_kind_are_on_the_wire_than_there_may_be(kind, in_flight):
    desk = Desk(in_flight=in_flight, largest_batch=3)
    tasks = [desk.ask(kind, number) for number in range(40)]
    most = 0
    await desk.settle()
    while desk.wire.flying:
        most = max(most, len(desk.wire.flying))
        desk.wire.flying[-1].answer()
        await desk.settle()
    assert all(task.done() for task in tasks)
    assert most == in_flight
    assert [len(batch) for batch in desk.wire.batches(kind)] == [3] * 13 + [1]


@on_each_loop
async def test_loads_do_not_wait_for_changes():
    desk = Desk()
    await desk.fly("apply", 1, 2)
    await desk.fly("load", 3, 4)
    assert len(desk.wire.flying) == 4
    await desk.answer_all()


@KINDS
@on_each_loop
async def test_a_batch_has_a_largest_size_and_keeps_callers_whole_and_in_order(kind):
    desk = Desk(largest_batch=4)
    await desk.fly(kind, 100, 101)
    wanted = [(0, 1, 2), (3,), (4, 5, 6), (7, 8), (9,), (10,), (11, 12, 13, 14, 15, 16), (17,), (18, 19)]
    tasks = [desk.ask(kind, *numbers) for numbers in wanted]
    await desk.settle()
    await desk.answer_all()
    assert desk.wire.batches(kind)[2:] == [
        [0, 1, 2, 3],
        [4, 5, 6],
        [7, 8, 9, 10],
        [11, 12, 13, 14, 15, 16],
        [17, 18, 19],
    ]
    assert [task.result() for task in tasks] == [answers(kind, *numbers) for numbers in wanted]


@on_each_loop
async def test_changes_of_one_record_all_go_out_in_the_order_in_which_they_came():
    desk = Desk()
    tasks = [desk.ask("apply", number) for number in (1, 2, 1, 1)]
    await desk.settle()
    assert desk.wire.batches("apply") == [[1, 2, 1, 1]]
    await desk.answer_all()
    assert all(task.done() for task in tasks)


@on_each_loop
async def test_the_latest_time_of_a_batch_counts_for_it_and_for_no_other():
    desk = Desk()
    for times in ((5, 9, 7), (3,), (4, 2)):
        for now in times:
            desk.ask("load", now, now=now, patience=now * 100)
        await desk.settle()
        await desk.answer_all()
    assert [round(call.deadline - desk.wire.calls[1].deadline, -2) for call in desk.wire.calls] == [
        600,
        0,
        100,
    ]
    # A clock that leapt ahead and was set right must not let later loads see what is live as expired.
    assert [call.now for call in desk.wire.calls] == [9, 3, 4]


@on_each_loop
async def test_a_batch_does_not_run_in_the_context_of_one_of_its_callers():
    visitor = ContextVar("visitor")
    desk = Desk()

    async def caller(number):
        visitor.set(number)
        return await desk.send("load", number)

    tasks = [asyncio.create_task(caller(number)) for number in range(3)]
    await desk.settle()
    assert desk.wire.batches("load") == [[0, 1, 2]]
    assert visitor not in desk.wire.calls[0].context
    await desk.answer_all()
    assert all(task.done() for task in tasks)


# Failures


@KINDS
@on_each_loop
async def test_a_batch_of_one_that_fails_is_not_sent_again(kind):
    desk = Desk()
    task = desk.ask(kind, 1)
    await desk.settle()
    desk.wire.calls[0].fail(StoreFull("full"))
    with pytest.raises(StoreFull):
        await task
    assert len(desk.wire.calls) == 1


@KINDS
@on_each_loop
async def test_a_batch_that_fails_fails_for_each_caller_and_is_not_sent_again(kind):
    desk = Desk()
    tasks = [desk.ask(kind, number) for number in range(5)]
    await desk.settle()
    error, reason = StoreTimeout("too late", ambiguous=True), OSError("reset by peer")
    error.__cause__, error.retry_after = reason, 7
    desk.wire.calls[0].fail(error)
    errors = await asyncio.gather(*tasks, return_exceptions=True)
    assert len(desk.wire.calls) == 1
    for mine in errors:
        assert type(mine) is StoreTimeout
        assert (str(mine), mine.ambiguous, mine.retry_after, mine.__cause__) == ("too late", True, 7, reason)
    again = desk.ask(kind, 9)
    await desk.settle()
    await desk.answer_all()
    assert again.result() == answers(kind, 9)


@on_each_loop
async def test_the_trace_of_one_callers_error_does_not_show_another_caller():
    desk = Desk()

    async def alice():
        await desk.send("load", 1)

    async def bob():
        await desk.send("load", 2)

    tasks = [asyncio.create_task(alice()), asyncio.create_task(bob())]
    await desk.settle()
    desk.wire.calls[0].fail(StoreUnavailable("down"))
    errors = await asyncio.gather(*tasks, return_exceptions=True)
    of_alice, of_bob = ("".join(traceback.format_exception(error)) for error in errors)
    assert "in alice" in of_alice
    assert "in bob" in of_bob
    assert "in bob" not in of_alice
    assert "in alice" not in of_bob


@KINDS
@on_each_loop
async def test_a_store_that_gives_too_few_or_too_many_answers_is_believed_by_nobody(kind):
    for wrong in (answers(kind, 2, 3), answers(kind, 1, 2, 3, 4), []):
        desk = Desk()
        tasks = [desk.ask(kind, number) for number in (1, 2, 3)]
        await desk.settle()
        desk.wire.calls[0].waits.set_result(wrong)
        for error in await asyncio.gather(*tasks, return_exceptions=True):
            assert isinstance(error, StoreUnavailable)
        assert len(desk.wire.calls) == 1


# One key, one writer


@on_each_loop
async def test_items_of_one_key_are_never_in_two_batches_at_once():
    desk = Desk(in_flight=3)
    await desk.fly("apply", 1)
    waiting = [desk.ask("apply", *numbers) for numbers in ((1,), (2, 1), (3,), (1, 4), (4,))]
    await desk.settle()
    # What shares no key with the batch on the wire overtakes; the rest stay in their order.
    assert desk.wire.batches("apply") == [[1], [3, 4]]
    desk.wire.calls[0].answer()
    await desk.settle()
    assert desk.wire.batches("apply")[2:] == [[1, 2, 1]]
    await desk.answer_all()
    assert desk.wire.batches("apply")[3:] == [[1, 4]]
    for task, numbers in zip(waiting, ((1,), (2, 1), (3,), (1, 4), (4,)), strict=True):
        assert task.result() == answers("apply", *numbers)


@on_each_loop
async def test_what_waits_for_its_key_is_not_looked_at_again_and_again():
    desk = Desk(in_flight=3)
    await desk.fly("apply", 1)
    desk.ask("apply", 1)
    started, tasks = [], desk.lanes.here()
    start = tasks.start
    tasks.start = lambda *how: started.append(how) or start(*how)
    await desk.settle()
    assert len(started) == 1
    await desk.answer_all()
    assert len(started) == 2


@on_each_loop
async def test_an_item_that_waits_is_handed_the_answer_of_its_key():
    desk = Desk()
    await desk.fly("apply", 1)
    desk.ask("apply", 2, 1)
    desk.ask("apply", 1)
    await desk.settle()
    desk.wire.calls[0].answer("newest")
    await desk.settle()
    assert desk.wire.calls[1].items == [2, (1, "newest"), (1, "newest")]
    await desk.answer_all()


@on_each_loop
async def test_a_batch_that_failed_hands_nothing_on():
    desk = Desk()
    await desk.fly("apply", 1)
    desk.ask("apply", 1)
    failing = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
    await desk.settle()
    desk.wire.calls[0].fail(StoreUnavailable("down"))
    await desk.settle()
    assert desk.wire.calls[1].items == [1]
    await desk.answer_all()
    await asyncio.gather(*failing, return_exceptions=True)


# Deadlines


@pytest.mark.promise("F-02")
@KINDS
@on_each_loop
async def test_a_caller_whose_deadline_passed_while_it_waited_is_told_that_nothing_was_sent(kind):
    desk = Desk()
    await desk.fly(kind, 100, 101)
    late, later = desk.ask(kind, 1, patience=-1), desk.ask(kind, 2)
    await desk.settle()
    assert not late.done()
    desk.wire.calls[0].answer()
    await desk.settle()
    with pytest.raises(StoreTimeout, match="busy") as caught:
        await late
    assert caught.value.ambiguous is False
    assert desk.wire.batches(kind)[2:] == [[2]]
    await desk.answer_all()
    assert later.result() == answers(kind, 2)


@KINDS
@on_each_loop
async def test_where_only_callers_without_time_wait_the_next_one_is_sent(kind):
    desk = Desk()
    late = [desk.ask(kind, number, patience=-1) for number in range(3)]
    await asyncio.wait(late)
    assert all(isinstance(task.exception(), StoreTimeout) for task in late)
    assert desk.wire.calls == []
    later = desk.ask(kind, 9)
    await desk.settle()
    await desk.answer_all()
    assert later.result() == answers(kind, 9)
