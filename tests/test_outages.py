"""The lines in the log of a store that fails: when, how often, and what stands in them."""

import logging

import pytest

from coatcheck import StoreFull, StoreUnavailable
from coatcheck import outages as outages_module
from coatcheck.core.calls import Apply, Aside, Count, Load, Ping, Sweep
from coatcheck.outages import Outages
from coatcheck.stores.memory import AsyncMemoryStore, MemoryStore
from coatcheck.testing import AsyncFailingStore, FailingStore
from tests.visitor import Blocking, Visitor, make_sessions

pytestmark = pytest.mark.promise("20")

DOWN = StoreUnavailable("h:1 can't be reached: is it running?")
LOADING, CHANGING = Load([b""]), Apply([], [])


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def outages(clock):
    return Outages(object(), clock)


@pytest.fixture
def lines(caplog):
    """What was logged since it was last asked."""

    def lines():
        records, told = [record for record in caplog.records if record.name == "coatcheck"], []
        for record in records:
            assert record.levelno == logging.WARNING
            told.append(record.getMessage())
        caplog.clear()
        return told

    return lines


def resting():
    error = StoreUnavailable("h:1 failed 5 times in a row")
    error.resting = True
    return error


def test_the_beginning_the_breaker_and_the_end_are_one_line_each(outages, clock, lines):
    for _ in range(5):
        outages.failed(LOADING, DOWN)
    assert lines() == ["The session store fails: h:1 can't be reached: is it running?"]
    for _ in range(5):
        outages.failed(LOADING, resting())
        clock.now += 1
    assert lines() == [
        "The session store is not called by every request any more: h:1 failed 5 times in a row"
    ]
    assert outages.under_way
    outages.answered(LOADING)
    assert not outages.under_way
    assert lines() == ["The session store answers again: 10 calls failed in 4 s."]


def test_a_success_just_after_a_failure_ends_nothing_since_another_server_may_have_answered(
    outages, clock, lines
):
    for _ in range(3):
        outages.failed(LOADING, DOWN)
        clock.now += 0.9
        outages.answered(LOADING)
    assert outages.under_way
    assert len(lines()) == 1


def test_a_store_that_comes_and_goes_is_told_of_once_a_minute(outages, clock, lines):
    for _ in range(6):
        outages.failed(LOADING, DOWN)
        outages.failed(LOADING, resting())
        clock.now += 5
        outages.answered(LOADING)
        clock.now += 5
    assert len(lines()) == 3
    clock.now += 5  # a minute after the last line
    outages.failed(LOADING, resting())
    assert lines() == ["The session store fails: h:1 failed 5 times in a row"]
    outages.failed(LOADING, resting())
    assert lines() == []


def test_an_outage_that_begins_within_the_minute_is_told_of_when_it_is_over(outages, clock, lines):
    outages.failed(LOADING, DOWN)
    clock.now += 30
    outages.answered(LOADING)
    assert len(lines()) == 2
    outages.failed(LOADING, DOWN)
    clock.now += 59
    outages.failed(LOADING, DOWN)
    assert lines() == []
    clock.now += 1
    outages.failed(LOADING, DOWN)
    assert len(lines()) == 1


def test_each_kind_of_line_is_logged_at_most_once_a_minute(outages, clock, lines):
    at = {}
    for second in range(600):
        clock.now += 1
        if second % 59 < 57:
            outages.failed(LOADING, resting() if second % 3 else DOWN)
        else:
            outages.answered(LOADING)
        for line in lines():
            kind = line.split(":")[0].split(" in ")[0][:30]
            assert clock.now - at.get(kind, float("-inf")) >= 60
            at[kind] = clock.now
    assert len(at) == 3


def test_a_read_that_fails_meanwhile_does_not_hide_that_changes_fail(outages, clock, lines):
    outages.failed(CHANGING, StoreFull("the disk is full"))
    outages.failed(LOADING, DOWN)
    clock.now += 10
    outages.answered(LOADING)
    assert outages.under_way
    outages.answered(CHANGING)
    assert not outages.under_way


def test_where_changes_fail_an_answer_to_a_read_ends_nothing(outages, clock, lines):
    outages.failed(CHANGING, StoreFull("the disk is full"))
    clock.now += 10
    outages.answered(LOADING)
    assert outages.under_way
    outages.answered(CHANGING)
    assert not outages.under_way
    for failing in (LOADING, Ping(), Count()):
        outages.failed(failing, DOWN)
        clock.now += 10
        outages.answered(CHANGING)
        assert not outages.under_way


def test_a_sweep_ends_nothing_since_memcached_is_not_asked_for_one(outages, clock, lines):
    for failing in (LOADING, CHANGING):
        outages.failed(failing, DOWN)
        clock.now += 10
        outages.answered(Sweep(10))
        assert outages.under_way


def test_work_that_is_not_the_stores_proves_nothing_either(outages, clock):
    outages.failed(LOADING, DOWN)
    clock.now += 10
    outages.answered(Aside(dict))
    assert outages.under_way


def test_of_two_threads_that_see_the_end_one_tells(outages, clock, lines):
    outages.failed(LOADING, DOWN)
    clock.now += 10
    outages.answered(LOADING)
    outages.answered(LOADING)
    assert len(lines()) == 2


def test_causes_in_a_circle_are_no_endless_search(outages, lines):
    error = StoreUnavailable("h:1 can't be reached")
    error.__cause__ = ValueError()
    error.__cause__.__context__ = KeyError()
    error.__cause__.__context__.__context__ = error.__cause__
    outages.failed(LOADING, error)
    assert lines() == ["The session store fails: h:1 can't be reached (ValueError)"]


def test_the_line_has_the_driver_s_type_and_none_of_its_text(outages, lines):
    class DriverError(Exception):
        pass

    error = StoreUnavailable("h:1 can't be reached")
    error.__cause__ = DriverError("SET hunter2")
    outages.failed(LOADING, error)
    assert lines() == ["The session store fails: h:1 can't be reached (DriverError)"]


def test_a_type_that_the_error_names_already_is_not_named_twice(clock, lines):
    class DriverError(Exception):
        pass

    error, root = StoreUnavailable("h:1 can't be reached (TimeoutError)"), DriverError()
    error.__cause__, root.__context__ = root, TimeoutError()
    Outages(object(), clock).failed(LOADING, error)
    assert lines() == ["The session store fails: h:1 can't be reached (TimeoutError)"]


def test_a_store_that_can_show_itself_is_shown(clock, lines):
    class Named:
        def __repr__(self):
            return "<Named, h:1>"

    Outages(Named(), clock).failed(LOADING, DOWN)
    assert lines()[0].startswith("The session store <Named, h:1> fails: ")


# Through the managers


@pytest.fixture(params=["sync", "async"])
def made(request):
    """A manager of either kind and its store, which fails when it is told to."""
    if request.param == "sync":
        store = FailingStore(MemoryStore())
        yield make_sessions(store), store
        return
    store = AsyncFailingStore(AsyncMemoryStore())
    sessions = Blocking(store)
    yield sessions, store
    sessions.runner.close()


def failing(call):
    with pytest.raises(StoreUnavailable):
        call()


@pytest.mark.parametrize("method", ["load", "load one", "write", "write one", "sessions_of", "ping", "count"])
def test_whatever_call_fails_the_log_says_so_once(made, lines, method):
    sessions, store = made
    visitor = Visitor(sessions).signed_in("ada")
    keys = [bytes.fromhex(visitor.handle)] if method.endswith("one") else None
    assert lines() == []
    store.fail(method.removesuffix(" one"), error=DOWN, keys=keys)

    def request():
        with visitor.request() as session:
            session["a"] = 1

    for _ in range(2):
        failing(
            {
                "sessions_of": lambda: sessions.of_user("ada"),
                "ping": sessions.ping,
                "count": sessions.count,
            }.get(method, request)
        )
    assert lines() == [f"The session store fails: {DOWN}"]


def test_that_it_answers_again_is_said_by_the_call_that_succeeds(made, lines, monkeypatch):
    sessions, store = made
    monkeypatch.setattr(outages_module, "_CALM", 0.0)
    visitor = Visitor(sessions).signed_in("ada", a=1)
    store.fail("load", error=DOWN)
    failing(visitor.read)
    store.recover()
    assert visitor.read() == {"a": 1}
    begun, over = lines()
    assert begun == f"The session store fails: {DOWN}"
    assert over == "The session store answers again: 1 calls failed in 0 s."
    assert visitor.read() == {"a": 1}
    assert lines() == []


def test_the_event_says_what_the_log_says():
    told, store = [], FailingStore(MemoryStore())
    visitor = Visitor(make_sessions(store, on_event=told.append)).signed_in("ada")
    store.fail("load", error=DOWN)
    failing(visitor.read)
    assert told[-1].reason == f"load: StoreUnavailable: {DOWN}"
