"""Many threads on one SQLite store, and the end of it."""

import gc
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import timedelta

import pytest

from benchmarks.sqlite_bench import (
    DAY,
    NOW,
    Connections,
    a_record,
    create,
    destroy,
    fields,
    load,
    query,
    update,
)
from coatcheck.errors import StoreError, StoreTimeout, StoreUnavailable
from coatcheck.model.record import APPLIED, Refused
from coatcheck.stores._sqlite_connections import Turns
from coatcheck.stores.sqlite import SQLiteStore


@pytest.fixture
def path(tmp_path):
    return tmp_path / "sessions.db"


@pytest.fixture
def store(path):
    with closing(SQLiteStore(path, ballast=0)) as store:
        yield store


@pytest.fixture
def connections(monkeypatch):
    return Connections(monkeypatch)


# Threads


@pytest.mark.promise("F-13")
def test_a_reader_is_not_kept_waiting_by_a_writer(path):
    with closing(SQLiteStore(path, deadline=timedelta(seconds=0.05), ballast=0)) as store:
        record = create(store, a_record())
        with closing(sqlite3.connect(path, isolation_level=None)) as writer:
            writer.execute("BEGIN IMMEDIATE")
            writer.execute('DELETE FROM "coatcheck:sessions"')
            assert load(store, record) == record
            assert store.count(NOW) == 1
            with pytest.raises(StoreTimeout, match=r"sessions\.db: database is locked") as raised:
                store.apply([update(record)])
            assert not raised.value.ambiguous
            assert isinstance(raised.value.__cause__, sqlite3.OperationalError)
            writer.execute("ROLLBACK")
        assert store.apply([update(record)]) == [APPLIED]


@pytest.mark.promise("F-13")
def test_a_thread_whose_turn_does_not_come_within_the_deadline_is_told_so(path):
    with closing(SQLiteStore(path, deadline=timedelta(seconds=0.05), ballast=0)) as store:
        inside, leave = threading.Event(), threading.Event()

        def linger(connection):
            inside.set()
            assert leave.wait(60)

        with ThreadPoolExecutor(1) as threads:
            lingering = threads.submit(store._write, linger)
            assert inside.wait(60)
            with pytest.raises(StoreTimeout, match="too many threads are waiting") as raised:
                store.apply([destroy(a_record())])
            assert not raised.value.ambiguous
            leave.set()
            lingering.result()
        assert store.apply([destroy(a_record())]) == [Refused.GONE]


@pytest.mark.promise("6")
def test_a_hundred_threads_change_fields_of_one_record_and_all_stand(store, path):
    record = create(store, a_record(fields={}))
    barrier = threading.Barrier(100)

    def change(number):
        barrier.wait()
        return store.apply([update(record, set={f"field {number}": b"%d" % number})])

    with ThreadPoolExecutor(100) as threads:
        answers = list(threads.map(change, range(100)))
    assert answers == [[APPLIED]] * 100
    assert fields(path, record) == {f"field {number}": b"%d" % number for number in range(100)}


@pytest.mark.promise("F-13")
def test_eight_threads_of_two_stores_write_a_hundred_times_each_and_none_is_turned_away(store, path):
    record = create(store, a_record(fields={}))
    with closing(SQLiteStore(path, ballast=0)) as other, ThreadPoolExecutor(8) as threads:
        barrier = threading.Barrier(8)

        def change(number):
            mine = (store, other)[number % 2]
            barrier.wait()
            for times in range(1, 101):
                count = {f"field {number}": b"%d" % times}
                assert mine.apply([update(record, set=count)]) == [APPLIED]

        list(threads.map(change, range(8)))
    assert fields(path, record) == {f"field {number}": b"100" for number in range(8)}


@pytest.mark.promise("F-13")
def test_turns_are_given_in_the_order_in_which_they_were_asked_for():
    turns, order = Turns(), []
    assert turns.take(1)

    def take(number):
        assert turns.take(60)
        order.append(number)
        turns.give()

    threads = []
    for number in range(20):
        threads.append(threading.Thread(target=take, args=(number,)))
        threads[-1].start()
        while len(turns._waiting) <= number:
            pass
    turns.give()
    for thread in threads:
        thread.join()
    assert order == list(range(20))


def test_one_who_no_longer_waits_for_his_turn_is_passed_over():
    turns = Turns()
    assert turns.take(1)
    assert not turns.take(0.001)
    turns.give()
    assert turns.take(0.001)


def test_a_turn_that_comes_just_as_one_stops_waiting_is_taken():
    turns = Turns()
    assert turns.take(1)

    class Late:
        """A lock that is released while `acquire` is giving up."""

        def acquire(self, timeout=-1):
            if timeout != -1:
                turns.give()
            return False

        def release(self):
            pass

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(threading, "Lock", Late)
        assert turns.take(0.001)
    assert not turns.take(0.001)


@pytest.mark.promise("24")
def test_threads_that_come_and_go_leave_no_connections_behind(store, connections):
    record = create(store, a_record())
    for _ in range(50):
        threads = [threading.Thread(target=load, args=(store, record)) for _ in range(40)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert connections.made <= 40
    assert connections.made == len(connections.open)


# Closing


@pytest.mark.promise("24")
def test_closing_closes_every_connection_from_whatever_thread_and_is_harmless_twice(path, connections):
    store = SQLiteStore(path, ballast=0)
    barrier = threading.Barrier(8)

    def use(_):
        barrier.wait()
        create(store, a_record())
        store.count(NOW)

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(use, range(8)))
    assert connections.open
    thread = threading.Thread(target=store.close)
    thread.start()
    thread.join()
    assert not connections.open
    store.close()
    gc.collect()
    assert [file.name for file in path.parent.iterdir()] == ["sessions.db"]


@pytest.mark.promise("24")
def test_a_closed_store_says_so(path):
    store = SQLiteStore(path, ballast=0)
    store.close()
    record = a_record()
    for use in (
        lambda: load(store, record),
        lambda: create(store, record),
        lambda: store.lives_of("ada", NOW),
        lambda: store.sweep(NOW, 1),
        store.ping,
    ):
        with pytest.raises(StoreError, match=r"sessions\.db: the store was closed") as raised:
            use()
        assert not isinstance(raised.value, StoreUnavailable)  # another try would be no better


@pytest.mark.promise("24")
def test_a_call_that_is_under_way_when_the_store_is_closed_ends_well_and_then_its_connection_is_closed(
    path, connections
):
    store = SQLiteStore(path, ballast=0)
    inside, leave = threading.Event(), threading.Event()
    record = a_record()

    def linger(connection):
        inside.set()
        assert leave.wait(60)
        connection.execute(store._insert, (record.key, b"", None, 0, NOW + DAY))

    with ThreadPoolExecutor(1) as threads:
        lingering = threads.submit(store._write, linger)
        assert inside.wait(60)
        store.close()
        assert len(connections.open) == 1
        leave.set()
        lingering.result()
    assert not connections.open
    assert query(path, 'SELECT count(*) FROM "coatcheck:sessions"') == [(1,)]


def test_a_read_that_is_under_way_when_the_store_is_closed_ends_well_too(path, monkeypatch):
    inside, leave = threading.Event(), threading.Event()
    really_connect = sqlite3.connect

    class Slow(sqlite3.Connection):
        def execute(self, statement, *parameters):
            if statement.startswith("SELECT data"):
                inside.set()
                assert leave.wait(60)
            return super().execute(statement, *parameters)

    monkeypatch.setattr(
        sqlite3, "connect", lambda *args, **kwargs: really_connect(*args, factory=Slow, **kwargs)
    )
    store = SQLiteStore(path, ballast=0)
    record = create(store, a_record())
    with ThreadPoolExecutor(1) as threads:
        loading = threads.submit(load, store, record)
        assert inside.wait(60)
        store.close()
        leave.set()
        assert loading.result() == record
    assert not store._connections._open


@pytest.mark.promise("F-18")
def test_a_fork_does_not_wait_longer_than_the_deadline_for_a_connection_that_is_being_made(path):
    # What then happens in the child is among the tests of several processes.
    with closing(SQLiteStore(path, deadline=timedelta(seconds=0.01), ballast=0)) as store:
        with store._connections._opening:
            assert not store._connections.hold()
        store.ping()


def test_a_read_whose_connection_is_taken_by_another_thread_makes_one(store):
    class Taken(list):
        def __bool__(self):
            return True  # and then there is none

    record = create(store, a_record())
    store._connections._close_idle()
    store._connections._idle = Taken()
    assert load(store, record) == record


@pytest.mark.promise("F-18")
def test_a_child_starts_anew_once(store):
    store.ping()
    store._connections.start_anew()
    assert store._connections._idle
