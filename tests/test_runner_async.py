"""The runner of `AsyncSessions`: what requests ask for at once leaves together, and no cancelling cancels a write."""

import asyncio
import time

import pytest

from coatcheck.core.calls import Apply, Count, Done, Load, Writes
from coatcheck.core.swap import held_of
from coatcheck.errors import StoreTimeout, StoreUnavailable
from coatcheck.model import codec
from coatcheck.model.ports import Conflict
from coatcheck.model.record import Refused
from coatcheck.outages import Outages
from coatcheck.runner_async import AsyncRunner
from coatcheck.stores.coalesce import PerLoop, Tasks
from coatcheck.stores.memory import AsyncMemoryStore
from tests.cancelling import BY_ANY_WAY
from tests.core.scene import NOW, a_token
from tests.loops import on_each_loop, until
from tests.runner_scene import CALLS, ENTRY, WRITE, a_swap, applied, created, of, one_more


class Noted:
    """A store that notes how it is called."""

    loads_in_place = False

    def __init__(self):
        self.calls = []

    def __getattr__(self, method):
        async def call(*arguments):
            self.calls.append((method, arguments))
            return [f"the answer of {method}"]

        return call


class Parked(AsyncMemoryStore):
    """A store whose calls wait for the test, one by one."""

    loads_in_place = False

    def __init__(self):
        super().__init__()
        self.waiting = []
        self.loaded, self.written, self.conflicts = [], [], 0

    async def load(self, keys, now, deadline):
        self.loaded.append(list(keys))
        await self._park()
        return await super().load(keys, now, deadline)

    async def write(self, writes, now, deadline):
        self.written.append([write.key for write in writes])
        await self._park()
        answers = await super().write(writes, now, deadline)
        self.conflicts += sum(isinstance(answer, Conflict) for answer in answers)
        return answers

    async def _park(self):
        gate = asyncio.Event()
        self.waiting.append(gate)
        await gate.wait()

    async def go_on(self):
        """Let whatever waits go on, until nothing does."""
        for _ in range(100):
            await asyncio.sleep(0)
            while self.waiting:
                self.waiting.pop(0).set()
                await asyncio.sleep(0)

    def put(self, *changes):
        """What lies there once `changes` are applied."""
        flow = a_swap().apply(changes, [None] * len(changes))
        call = next(flow)
        try:
            flow.send(self._store.write(call.writes, NOW, 0))
        except StopIteration as stop:
            return [done.held for done in stop.value]
        raise AssertionError

    def count(self, number=1):
        key = a_token(number).key
        state = held_of(key, self._store.load([key], NOW, 0)[0]).state
        return codec.decode(state.fields["count"])


def a_runner(store, patience=60):
    return AsyncRunner(store, a_swap(), patience, [].append, Outages(store), PerLoop(Tasks))


@pytest.mark.parametrize("method", CALLS)
@on_each_loop
async def test_each_call_of_a_flow_is_one_of_the_store_with_a_deadline(method):
    call, expected = CALLS[method]
    store = Noted()
    before = time.monotonic()
    assert await a_runner(store, patience=5).run(of(call), NOW) == [f"the answer of {method}"]
    ((called, (*arguments, deadline)),) = store.calls
    assert (called, tuple(arguments)) == (method, expected)
    assert before + 5 <= deadline <= time.monotonic() + 5


@on_each_loop
async def test_nothing_to_apply_asks_nothing():
    store = Noted()
    assert await a_runner(store).run(applied(), NOW) == []
    assert store.calls == []


@on_each_loop
async def test_a_failure_of_the_store_is_the_flow_s_to_handle():
    class Down(Noted):
        async def load(self, *_):
            raise StoreUnavailable("down")

        async def write(self, *_):
            raise StoreUnavailable("down")

        async def count(self, *_):
            raise StoreUnavailable("down")

    def flow():
        try:
            yield Count()
        except StoreUnavailable:
            return "handled"

    runner = a_runner(Down())
    assert await runner.run(flow(), NOW) == "handled"
    for call in (Load([ENTRY.key] * 2), Writes([WRITE] * 2)):
        answers = await runner.run(of(call), NOW)
        assert [type(answer) for answer in answers] == [StoreUnavailable] * 2
    (result,) = await runner.run(applied(one_more(Parked().put(created(count=0))[0])), NOW)
    assert isinstance(result, StoreUnavailable)


@on_each_loop
async def test_another_number_of_answers_than_of_items_is_a_failure_of_each_item():
    for in_place in (False, True):
        store = Noted()
        store.loads_in_place = in_place
        runner = a_runner(store)
        for call in (Load([ENTRY.key, a_token(2).key]), Writes([WRITE] * 2)):
            answers = await runner.run(of(call), NOW)
            assert [type(answer) for answer in answers] == [StoreUnavailable] * 2
        held = Parked().put(created(1, count=0), created(2, count=0))
        results = await runner.run(applied(*map(one_more, held), known=held), NOW)
        assert [isinstance(result, StoreUnavailable) for result in results] == [True, True]


@pytest.mark.promise("B")
@on_each_loop
async def test_a_record_that_several_requests_want_is_loaded_once_and_given_to_each():
    store = Parked()
    store.put(created(1), created(3))
    runner = a_runner(store)
    keys = [a_token(number).key for number in (1, 2, 3)]
    wanted = [[keys[0]], [keys[2], keys[0]], [keys[1]], [keys[0], keys[0]]]
    tasks = [asyncio.create_task(runner.run(of(Load(some)), NOW)) for some in wanted]
    await store.go_on()
    assert store.loaded == [[keys[0], keys[2], keys[1]]]
    for some, task in zip(wanted, tasks, strict=True):
        found = task.result()
        assert [held_of(key, data).state and key for key, data in zip(some, found, strict=True)] == [
            None if key == keys[1] else key for key in some
        ]


@pytest.mark.promise("B")
@on_each_loop
async def test_requests_that_share_a_key_that_can_not_be_loaded_get_an_error_each():
    class Down(Noted):
        async def load(self, keys, *_):
            return [StoreUnavailable("down")] * len(keys)

    runner = a_runner(Down())
    key = a_token().key
    found = await asyncio.gather(*[runner.run(of(Load([key])), NOW) for _ in range(3)])
    errors = [answer for (answer,) in found]
    assert len({id(error) for error in errors}) == 3
    assert {str(error) for error in errors} == {"down"}


@on_each_loop
async def test_a_store_whose_loads_never_wait_is_asked_in_place():
    store = Noted()
    store.loads_in_place = True
    runner = a_runner(store)
    await asyncio.gather(*[runner.run(of(Load([bytes(16)])), NOW) for _ in range(3)])
    assert len(store.calls) == 3
    assert not runner._tasks.here().tasks


@pytest.mark.promise("6", "B")
@on_each_loop
async def test_changes_of_one_record_that_wait_together_are_one_write_and_nothing_is_lost():
    store = Parked()
    (known,) = store.put(created(count=0))
    runner = a_runner(store)
    tasks = [
        asyncio.create_task(runner.run(applied(one_more(known), known=[known]), NOW)) for _ in range(100)
    ]
    await store.go_on()
    assert all(isinstance(task.result()[0], Done) for task in tasks)
    assert store.count() == 100
    # 32 at a time: the first batch's answer is handed to those that wait, so that none of them conflicts or loads.
    assert (len(store.written), store.conflicts, store.loaded) == (4, 0, [])


@pytest.mark.promise("6")
@on_each_loop
async def test_a_change_that_waited_behind_a_refused_one_is_applied_to_what_its_caller_knew():
    store = Parked()
    (known,) = store.put(created(count=0))
    runner = a_runner(store)
    first = asyncio.create_task(runner.run(applied(created(count=9)), NOW))
    await until(lambda: store.written)
    second = asyncio.create_task(runner.run(applied(one_more(known), known=[known]), NOW))
    await store.go_on()
    assert (await first, store.count()) == ([Refused.EXISTS], 1)
    assert isinstance((await second)[0], Done)


@pytest.mark.promise("6")
@on_each_loop
async def test_of_two_batches_none_changes_a_record_that_the_other_is_changing():
    store = Parked()
    one, two = store.put(created(1, count=0), created(2, count=0))
    runner = a_runner(store)
    first = asyncio.create_task(runner.run(applied(one_more(one), known=[one]), NOW))
    await until(lambda: store.written)
    both = asyncio.create_task(runner.run(applied(one_more(one), one_more(two), known=[one, two]), NOW))
    alone = asyncio.create_task(runner.run(applied(one_more(two), known=[two]), NOW))
    for _ in range(20):
        await asyncio.sleep(0)
    assert store.written == [[a_token(1).key], [a_token(2).key]]
    await store.go_on()
    await asyncio.gather(first, both, alone)
    assert (store.count(1), store.count(2), store.conflicts) == (2, 2, 0)


@pytest.mark.promise("20")
@on_each_loop
async def test_changes_that_are_not_stored_by_the_deadline_ask_the_store_nothing_more():
    store = Noted()
    change = created()
    (result,) = await a_runner(store).batches.send_changes(
        [(change.key, change, None)], NOW, time.monotonic()
    )
    assert isinstance(result, StoreTimeout)
    assert (result.ambiguous, store.calls) == (False, [])


@pytest.mark.promise("L")
@on_each_loop
async def test_a_lost_answer_is_looked_up():
    class Loses(Parked):
        async def write(self, *how):
            await AsyncMemoryStore.write(self, *how)
            raise StoreTimeout("lost")

        async def _park(self):
            pass

    store = Loses()
    (known,) = store.put(created(count=0))
    (result,) = await a_runner(store).run(applied(one_more(known), known=[known]), NOW)
    assert (isinstance(result, Done), store.count(), len(store.loaded)) == (True, 1, 1)


@pytest.mark.promise("F-05", "L")
@BY_ANY_WAY
@on_each_loop
async def test_the_change_of_a_request_that_is_cancelled_is_carried_out_after_a_conflict_too(cancelled):
    store = Parked()
    (known,) = store.put(created(count=0))
    runner = a_runner(store)
    leaving = asyncio.create_task(cancelled(runner.run(applied(one_more(known), known=[known]), NOW)))
    await leaving
    await until(lambda: store.written)
    # Another process comes first.
    flow = a_swap().apply([one_more(known)], [known])
    assert store._store.write(next(flow).writes, NOW, 0) == [None]
    await store.go_on()
    await runner.close()
    assert (store.count(), store.conflicts) == (2, 1)


@pytest.mark.promise("F-05")
@pytest.mark.parametrize("method", [method for method in CALLS if method != "load"])
@on_each_loop
async def test_what_is_asked_alone_is_done_even_if_its_caller_is_cancelled(method):
    begun, gate, done = [], asyncio.Event(), []

    class Slow(Noted):
        def __getattr__(self, name):
            async def call(*_):
                begun.append(name)
                await gate.wait()
                done.append(name)
                return [None]

            return call

        async def close(self):
            done.append("closed")

    runner = a_runner(Slow())
    task = asyncio.create_task(runner.run(of(CALLS[method][0]), NOW))
    await until(lambda: begun)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    finishing = asyncio.create_task(runner.close())
    await asyncio.sleep(0)
    assert not finishing.done()
    gate.set()
    await finishing
    assert done == [method, "closed"]


@pytest.mark.promise("F-05")
@on_each_loop
async def test_work_that_was_started_is_waited_for():
    gate, runner = asyncio.Event(), a_runner(Noted())
    task = runner.start(gate.wait())
    finishing = asyncio.create_task(runner.close())
    await asyncio.sleep(0)
    assert not finishing.done()
    gate.set()
    await finishing
    assert task.result() is True


@pytest.mark.promise("F-05")
@on_each_loop
async def test_while_it_closes_only_what_it_waits_for_is_carried_out():
    store, gate = Parked(), asyncio.Event()
    runner = a_runner(store)
    (known,) = store.put(created(count=0))

    async def work():
        await gate.wait()
        await runner.run(of(Load([known.state.key])), NOW)
        return await runner.start(runner.run(applied(one_more(known), known=[known]), NOW))

    task = runner.start(work())
    finishing = asyncio.create_task(runner.close())
    await asyncio.sleep(0)
    (answer,) = await runner.run(of(Load([known.state.key])), NOW)
    assert isinstance(answer, StoreUnavailable)
    assert not answer.ambiguous
    for late in (applied(one_more(known)), of(CALLS["ping"][0])):
        with pytest.raises(StoreUnavailable, match="shut down") as refused:
            await runner.run(late, NOW)
        assert not refused.value.ambiguous
    with pytest.raises(StoreUnavailable, match="shut down") as refused:
        runner.start(asyncio.sleep(0))
    assert not refused.value.ambiguous
    gate.set()
    await store.go_on()
    await finishing
    assert (isinstance(task.result()[0], Done), store.count(), len(store.loaded)) == (True, 1, 1)


@on_each_loop
async def test_a_failure_of_the_whole_batch_is_thrown_into_each_flow():
    class Broken(Noted):
        async def write(self, *_):
            raise ZeroDivisionError

    runner = a_runner(Broken())
    flows = [runner.run(of(Apply([created(number)], [None])), NOW) for number in (1, 2)]
    results = await asyncio.gather(*flows, return_exceptions=True)
    assert [type(result) for result in results] == [ZeroDivisionError] * 2
