"""Every order of a few steps; and that signing everybody out is complete in every one of them."""

import threading
from math import comb

import pytest
from msgspec.structs import replace

from coatcheck import Sessions
from coatcheck.errors import StoreUnavailable
from coatcheck.stores.memory import MemoryStore
from coatcheck.testing import ManualClock, Stuck
from tests.interleaving import in_steps, interleavings, stepwise
from tests.testing.items import DEADLINE
from tests.testing.stores import NoIndexStore, SeparateIndexStore


class Counter:
    def __init__(self):
        self.value = 0


def increment(counter):
    seen = counter.value
    yield
    counter.value = seen + 1
    return seen


def steps(number):
    def script(world):
        for _ in range(number - 1):
            world.append(number)
            yield
        world.append(number)

    return script


class TestTheOrders:
    def test_are_all_there_and_each_once(self):
        orders = [run.order for run in interleavings(list, steps(3), steps(2))]
        assert len(orders) == len(set(orders)) == comb(5, 2)

    def test_of_three_scripts_are_all_there(self):
        assert sum(1 for _ in interleavings(list, steps(2), steps(2), steps(2))) == 90

    def test_are_those_in_which_the_steps_were_taken(self):
        for run in interleavings(list, steps(3), steps(2)):
            assert run.world == [{"script": 3, "script 2": 2}[name] for name in run.order]

    def test_find_the_lost_update(self):
        lost = [run for run in interleavings(Counter, increment, increment) if run.world.value == 1]
        assert [run.order for run in lost] == [
            ("increment", "increment 2", "increment", "increment 2"),
            ("increment", "increment 2", "increment 2", "increment"),
            ("increment 2", "increment", "increment", "increment 2"),
            ("increment 2", "increment", "increment 2", "increment"),
        ]
        assert repr(lost[0]) == "<Interleaving increment | increment 2 | increment | increment 2>"

    def test_give_what_each_script_returned(self):
        results = [run.results for run in interleavings(Counter, increment, increment)]
        assert {"increment": 0, "increment 2": 1} in results
        assert {"increment": 0, "increment 2": 0} in results

    def test_follow_scripts_whose_steps_depend_on_what_the_others_did(self):
        def waits_for_more(counter):
            for _ in range(counter.value + 1):
                yield

        runs = list(interleavings(Counter, waits_for_more, increment))
        assert {run.order.count("waits_for_more") for run in runs} == {2, 3}
        assert len({run.order for run in runs}) == len(runs)

    def test_that_went_wrong_are_named(self):
        def fails_after_the_other(counter):
            yield
            if counter.value:
                raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError) as caught:
            list(interleavings(Counter, fails_after_the_other, increment))
        (note,) = caught.value.__notes__
        assert (
            note
            == "in the interleaving fails_after_the_other | increment | increment | fails_after_the_other"
        )

    def test_are_not_begun_when_they_are_too_many(self):
        with pytest.raises(ValueError, match="more than 5 interleavings"):
            list(interleavings(list, steps(3), steps(3), limit=5))

    def test_as_many_as_allowed_are_not_too_many(self):
        assert len(list(interleavings(list, steps(2), steps(2), limit=6))) == 6

    def test_of_a_script_that_waits_in_a_loop_end(self):
        def waits(counter):
            while not counter.value:
                yield

        with pytest.raises(Stuck, match="after 1,000 steps: waits"):
            list(interleavings(Counter, waits))


class TestStepwise:
    def test_each_request_is_a_step_and_answers_are_sent(self):
        def flow():
            first = yield "a"
            second = yield "b"
            return first + second

        script = stepwise(flow(), str.upper)
        assert next(script) is None
        with pytest.raises(StopIteration) as end:
            next(script)
        assert end.value.value == "AB"

    def test_what_performing_raises_is_the_flows(self):
        def flow():
            try:
                yield "a"
            except StoreUnavailable:
                return (yield "b")

        def perform(request):
            if request == "a":
                raise StoreUnavailable("down")
            return request

        script = stepwise(flow(), perform)
        next(script)
        with pytest.raises(StopIteration) as end:
            next(script)
        assert end.value.value == "b"

    def test_a_flow_that_asks_nothing_is_one_step(self):
        def flow():
            return 7
            yield

        with pytest.raises(StopIteration) as end:
            next(stepwise(flow(), str))
        assert end.value.value == 7


class TestInSteps:
    def test_each_call_of_the_store_is_a_step(self):
        counted = []

        def twice(store):
            counted.append(store.count(0, DEADLINE))
            counted.append(store.count(0, DEADLINE))
            return "done"

        script = in_steps(twice, MemoryStore())
        next(script)
        assert counted == [0]
        with pytest.raises(StopIteration) as end:
            next(script)
        assert end.value.value == "done"
        assert counted == [0, 0]

    def test_one_that_calls_nothing_is_one_step(self):
        with pytest.raises(StopIteration) as end:
            next(in_steps(lambda store: 7, MemoryStore()))
        assert end.value.value == 7

    def test_what_it_raises_is_raised_where_the_step_was_taken(self):
        def fails(store):
            store.count(0, DEADLINE)
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            next(in_steps(fails, MemoryStore()))

    def test_given_up_it_leaves_no_thread_behind(self):
        before = threading.active_count()

        def twice(store):
            store.count(0, DEADLINE)
            store.count(0, DEADLINE)

        script = in_steps(twice, MemoryStore())
        next(script)
        assert threading.active_count() == before + 1
        (thread,) = [thread for thread in threading.enumerate() if thread.name == "twice"]
        script.close()
        thread.join(60)
        assert threading.active_count() == before

    def test_two_that_wait_for_each_other_are_told_apart_by_where_they_stand(self):
        lock = threading.Lock()

        def holds_the_lock(store):
            with lock:
                store.count(0, DEADLINE)
                store.ping(DEADLINE)

        def scripts():
            return [
                lambda store: in_steps(holds_the_lock, store, timeout=0.1),
                lambda store: in_steps(holds_the_lock, store, timeout=0.1),
            ]

        with pytest.raises(Stuck) as caught:
            list(interleavings(MemoryStore, *scripts()))
        assert "It stands on its way to its first call, at " in str(caught.value)
        assert "in holds_the_lock" in str(caught.value)


SECRET = "a secret of thirty-two characters!"


class Site:
    """Two visitors are signed in as ada, a third is anonymous."""

    def __init__(self, store_type):
        self.clock = ManualClock()
        self.store = store_type()
        self.old = [self.visit(self.store, lambda session: session.sign_in("ada")) for _ in range(2)]
        self.anonymous = self.visit(self.store, lambda session: session.update(cart="apples"))
        self.clock.advance(1)

    def sessions(self, store):
        return Sessions(store, secret=SECRET, clock=self.clock)

    def visit(self, store, handle, cookie=""):
        """The Cookie header that the visitor has after a request."""
        sessions = self.sessions(store)
        session = sessions.open(cookie)
        handle(session)
        set_cookie = sessions.close(session).set_cookie
        return cookie if set_cookie is None else set_cookie.partition(";")[0]

    def user_of(self, cookie):
        return self.sessions(self.store).open(cookie).user


def revoke_everybody(site):
    return in_steps(lambda store: site.sessions(store).revoke_user("ada"), site.store)


def rotate(site):
    def request(store):
        return site.visit(store, lambda session: session.rotate(), site.old[0])

    return in_steps(request, site.store)


def write(site):
    def request(store):
        return site.visit(store, lambda session: session.update(late="yes"), site.old[1])

    return in_steps(request, site.store)


def sign_in_anew(site):
    return in_steps(lambda store: site.visit(store, lambda session: session.sign_in("ada")), site.store)


def sign_in_the_anonymous(site):
    def request(store):
        return site.visit(store, lambda session: session.sign_in("ada"), site.anonymous)

    return in_steps(request, site.store)


def sign_in_again(site):
    def request(store):
        return site.visit(store, lambda session: session.sign_in("ada"), site.old[0])

    return in_steps(request, site.store)


ALONE = [(rotate,), (write,), (sign_in_anew,), (sign_in_the_anonymous,), (sign_in_again,)]
PAIRS = [
    (rotate, write),
    (sign_in_anew, rotate),
    (sign_in_the_anonymous, write),
    (sign_in_again, rotate),
    (sign_in_again, write),
    (sign_in_the_anonymous, sign_in_anew),
]
STORES = [MemoryStore, SeparateIndexStore, NoIndexStore]


def beside_in_every_order(*pairs, marks=()):
    return [
        pytest.param(store_type, others, marks=marks, id="-".join([store_type.__name__, *names_of(others)]))
        for store_type, several in pairs
        for others in several
    ]


def names_of(scripts):
    return [script.__name__ for script in scripts]


@pytest.mark.promise("17")
@pytest.mark.parametrize(
    ("store_type", "others"),
    [
        *beside_in_every_order((MemoryStore, PAIRS), *((store, ALONE) for store in STORES[1:])),
        *beside_in_every_order(*((store, PAIRS) for store in STORES[1:]), marks=pytest.mark.soak),
    ],
)
def test_revoking_a_user_is_complete_beside_sign_ins_and_rotations_in_every_order(store_type, others):
    signs_in = {sign_in_anew, sign_in_the_anonymous, sign_in_again}
    runs = list(interleavings(lambda: Site(store_type), revoke_everybody, *others))
    assert len(runs) > 5
    for run in runs:
        new = [run.results[other.__name__] for other in others if other in signs_in]
        late = [run.results[other.__name__] for other in others if other not in signs_in]
        for cookie in [*run.world.old, *late]:
            assert run.world.user_of(cookie) is None, run
        for other, cookie in zip([other for other in others if other in signs_in], new, strict=True):
            # One that was answered before the call began is ended, one that began after it stands.
            order = run.order
            last = len(order) - 1 - order[::-1].index(other.__name__)
            if last < order.index("revoke_everybody"):
                assert run.world.user_of(cookie) is None, run
            if order.index(other.__name__) > len(order) - 1 - order[::-1].index("revoke_everybody"):
                assert run.world.user_of(cookie) == "ada", run


class RotatingDropsFromTheIndex(MemoryStore):
    def _write(self, write, now):
        before = self._written.get(write.key)
        if before is not None and before.entry == write.entry:
            write = replace(write, entry=None)
        return super()._write(write, now)


def test_some_order_finds_a_store_whose_rotation_touches_the_index():
    runs = list(interleavings(lambda: Site(RotatingDropsFromTheIndex), revoke_everybody, rotate))
    still_in = [run for run in runs if run.world.user_of(run.results["rotate"]) == "ada"]
    assert 0 < len(still_in) < len(runs)
