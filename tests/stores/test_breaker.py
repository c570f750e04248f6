"""The circuit breaker: who is let through, and when."""

import threading

import pytest

from coatcheck.errors import StoreUnavailable
from coatcheck.stores.breaker import Breaker

DOWN = StoreUnavailable("the cable is out")
pytestmark = pytest.mark.promise("20", "F-01")


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def breaker(clock):
    return Breaker("the server", failures=3, rest=2.0, clock=clock)


def admits(breaker):
    try:
        breaker.admit()
    except StoreUnavailable:
        return False
    return True


def fail(breaker, times):
    for _ in range(times):
        breaker.admit()
        breaker.failed(DOWN)


def test_fewer_failures_than_the_limit_leave_it_closed(breaker):
    fail(breaker, 2)
    assert all(admits(breaker) for _ in range(5))


def test_only_failures_in_a_row_count(breaker):
    for _ in range(5):
        fail(breaker, 2)
        breaker.succeeded()
    assert all(admits(breaker) for _ in range(5))


def test_at_the_limit_it_refuses_and_says_what_and_for_how_long(breaker, clock):
    fail(breaker, 3)
    clock.now += 0.5
    with pytest.raises(
        StoreUnavailable, match=r"the server failed 3 times in a row.* 1\.5 s.*: the cable is out"
    ) as caught:
        breaker.admit()
    assert (caught.value.retry_after, caught.value.resting) == (2, True)


def test_after_the_rest_one_caller_tries_and_the_others_still_wait(breaker, clock):
    fail(breaker, 3)
    clock.now += 2.0
    assert [admits(breaker) for _ in range(5)] == [True, False, False, False, False]


def test_a_try_that_fails_opens_it_for_another_rest(breaker, clock):
    fail(breaker, 3)
    clock.now += 2.0
    breaker.admit()
    clock.now += 1.0
    breaker.failed(DOWN)
    clock.now += 1.9
    assert not admits(breaker)
    clock.now += 0.1
    assert admits(breaker)


def test_a_try_that_succeeds_lets_everybody_through_and_forgets_the_failures(breaker, clock):
    fail(breaker, 3)
    clock.now += 2.0
    breaker.admit()
    breaker.succeeded()
    assert all(admits(breaker) for _ in range(5))
    fail(breaker, 2)
    assert admits(breaker)


def test_a_try_of_which_nothing_is_heard_is_followed_by_another(breaker, clock):
    fail(breaker, 3)
    for _ in range(3):
        clock.now += 2.0
        assert [admits(breaker) for _ in range(3)] == [True, False, False]


def test_of_threads_that_come_at_once_one_tries(breaker, clock):
    fail(breaker, 3)
    clock.now += 2.0
    barrier, admitted = threading.Barrier(16), []

    def come():
        barrier.wait()
        if admits(breaker):
            admitted.append(threading.get_ident())

    threads = [threading.Thread(target=come) for _ in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(admitted) == 1


def test_one_who_comes_just_as_the_server_is_back_is_let_through_and_refuses_no_other(breaker, clock):
    class JustNow:
        """The breaker's lock, for one who waits for it while the answer of the trial comes in."""

        def __init__(self, lock):
            self.lock = lock

        def __enter__(self):
            breaker._lock = self.lock
            breaker.succeeded()
            self.lock.acquire()

        def __exit__(self, *_):
            self.lock.release()

    fail(breaker, 3)
    breaker._lock = JustNow(breaker._lock)
    assert all(admits(breaker) for _ in range(5))


def test_nobody_else_is_let_through_while_one_who_tries_may_be_under_way(clock):
    breaker = Breaker("the server", failures=3, rest=2.0, patience=5.0, clock=clock)
    fail(breaker, 3)
    clock.now += 2.0
    assert admits(breaker)
    clock.now += 4.9
    assert not admits(breaker)
    clock.now += 0.1  # nothing was heard of him
    assert admits(breaker)
    breaker.failed(DOWN)
    clock.now += 1.9
    assert not admits(breaker)
    clock.now += 0.1
    assert admits(breaker)
