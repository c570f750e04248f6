"""Many threads on one SQLite store, and its end."""

import gc
import sqlite3
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from functools import partial

import pytest

from coatcheck.errors import StoreTimeout
from coatcheck.stores.sqlite import SQLiteStore
from coatcheck.stores.sqlite import connections as connections_module
from coatcheck.stores.sqlite.turns import Turns
from tests.awake import awake
from tests.stores.sqlite.scene import (
    NOW,
    after,
    append,
    ending,
    get,
    new,
    put,
    query,
    soon,
    users,
    words,
)

# Threads


@pytest.mark.promise("F-13")
def test_a_reader_is_not_kept_waiting_by_a_writer_who_waits_until_the_deadline(store, path):
    write, other = new(), new()
    put(store, write, other)
    with closing(sqlite3.connect(path, isolation_level=None)) as writer:
        writer.execute("BEGIN IMMEDIATE")
        writer.execute('DELETE FROM "coatcheck:sessions"')
        assert get(store, write) == write.data
        assert store.count(NOW, soon()) == 2
        for refused in (
            lambda: store.write([after(write)], NOW, soon(0.05)),
            lambda: store.write([after(write), ending(other)], NOW, soon(0.05)),
            lambda: store.remove([write.key], NOW, soon(0.05)),
            lambda: store.sweep(NOW, 1, soon(0.05)),
        ):
            began, start = time.monotonic(), awake()
            with pytest.raises(StoreTimeout, match=r"sessions\.db: .* locked .*SQLITE_BUSY") as raised:
                refused()
            assert time.monotonic() - began > 0.04
            assert awake() - start < 5
            assert not raised.value.ambiguous
            assert isinstance(raised.value.__cause__, sqlite3.OperationalError)
        writer.execute("ROLLBACK")
    put(store, after(write), ending(other))


@pytest.mark.promise("F-13")
def test_a_thread_whose_turn_does_not_come_within_the_deadline_is_told_so(store):
    inside, leave = threading.Event(), threading.Event()

    def linger(item, connection):
        inside.set()
        assert leave.wait(60)

    with ThreadPoolExecutor(1) as threads:
        lingering = threads.submit(store._connections.write, linger, [0], soon())
        assert inside.wait(60)
        with pytest.raises(StoreTimeout, match="other threads of this process were writing") as raised:
            store.write([new()], NOW, soon(0.05))
        assert not raised.value.ambiguous
        leave.set()
        lingering.result()
    put(store, new())


@pytest.mark.promise("6")
def test_a_hundred_threads_append_to_one_record_and_all_stand(store, path):
    write = put(store, new(body=b""))
    barrier = threading.Barrier(100)

    def change(number):
        barrier.wait()
        append(store, write.key, b"%d" % number)

    with ThreadPoolExecutor(100) as threads:
        list(threads.map(change, range(100)))
    assert sorted(words(path, write.key), key=int) == [b"%d" % number for number in range(100)]


@pytest.mark.promise("F-13")
def test_eight_threads_of_two_stores_write_a_hundred_times_each_and_none_is_turned_away(store, path):
    write = put(store, new(body=b""))
    with closing(SQLiteStore(path, ballast=0)) as other, ThreadPoolExecutor(8) as threads:
        barrier = threading.Barrier(8)

        def change(number):
            mine = (store, other)[number % 2]
            barrier.wait()
            for _ in range(100):
                append(mine, write.key, b"%d" % number)

        list(threads.map(change, range(8)))
    there = words(path, write.key)
    assert [there.count(b"%d" % number) for number in range(8)] == [100] * 8


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


def test_a_thread_that_no_longer_waits_is_passed_over():
    turns = Turns()
    assert turns.take(1)
    assert not turns.take(0.001)
    turns.give()
    assert turns.take(0.001)


def test_a_turn_that_comes_just_as_the_wait_ends_is_taken():
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
    write = put(store, new())
    for _ in range(50):
        threads = [threading.Thread(target=get, args=(store, write)) for _ in range(40)]
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
        put(store, new())
        store.count(NOW, soon())

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
@pytest.mark.parametrize("times", [1, 2])
def test_a_closed_store_opens_the_file_again_at_the_next_call(store, connections, times):
    write = new()
    for use in (
        lambda: put(store, write),
        lambda: get(store, write),
        lambda: users(store, "ada"),
        lambda: store.count(NOW, soon()),
        lambda: store.sweep(NOW, 1, soon()),
        lambda: store.remove([bytes(16)], NOW, soon()),
        lambda: store.ping(soon()),
    ):
        for _ in range(times):
            store.close()
        assert not connections.open
        use()
        assert len(connections.open) == 1
    assert get(store, write) == write.data


@pytest.mark.promise("24")
def test_a_call_that_is_under_way_when_the_store_is_closed_ends_well_and_then_its_connection_is_closed(
    store, path, connections
):
    inside, leave = threading.Event(), threading.Event()
    write = new()

    def linger(item, connection):
        inside.set()
        assert leave.wait(60)
        return store._write(item, connection)

    with ThreadPoolExecutor(1) as threads:
        lingering = threads.submit(store._connections.write, linger, [write], soon())
        assert inside.wait(60)
        store.close()
        assert len(connections.open) == 1
        store.ping(soon())  # it is used again meanwhile
        store.close()
        assert len(connections.open) == 1
        leave.set()
        assert lingering.result() == [None]
    assert not connections.open
    assert not store._connections._retired
    assert query(path, 'SELECT count(*) FROM "coatcheck:sessions"') == [(1,)]
    connections.open.clear()
    store.ping(soon())
    store.ping(soon())
    assert len(connections.open) == 1


@pytest.mark.promise("24", "F-18")
def test_the_log_that_goes_as_the_last_connection_closes_is_not_taken_for_a_lost_one(store, monkeypatch):
    # While a thread connects, as at a fork: its connection has not opened the log yet.
    inside, leave = threading.Event(), threading.Event()
    connect = sqlite3.connect

    def connect_as_the_other_closes(*arguments, **named):
        connection = connect(*arguments, **named)
        leave.set()
        lingering.result()
        return connection

    def linger(connection):
        inside.set()
        assert leave.wait(60)

    with ThreadPoolExecutor(1) as threads:
        write = put(store, new())
        lingering = threads.submit(store._connections.use, linger, soon())
        assert inside.wait(60)
        store.close()
        monkeypatch.setattr(sqlite3, "connect", connect_as_the_other_closes)
        assert get(store, write) == write.data
    store.ping(soon())


@pytest.mark.promise("24", "F-18")
def test_a_look_while_the_last_connection_closes_does_not_miss_the_log(store, monkeypatch):
    looked = []

    class Connection(sqlite3.Connection):
        def close(self):
            super().close()
            store._connections.check()  # as another thread does
            looked.append(1)

    monkeypatch.setattr(sqlite3, "connect", partial(sqlite3.connect, factory=Connection))
    store.close()
    store.ping(soon())
    store.close()
    assert looked


@pytest.mark.promise("24", "F-18")
def test_a_connection_that_closes_during_a_look_is_not_missed_either(store, monkeypatch):
    store.ping(soon())
    look = connections_module.Files.at

    def close_and_look(path):
        store.close()  # as another thread does
        return look(path)

    monkeypatch.setattr(connections_module.Files, "at", close_and_look)
    store._connections.check()


@pytest.mark.promise("24", "F-18")
def test_a_fork_waits_for_the_call_of_another_thread(store, connections, monkeypatch):
    inside, leave = threading.Event(), threading.Event()
    pause = time.sleep

    def linger(connection):
        inside.set()
        assert leave.wait(60)

    def end_the_call(seconds):
        leave.set()
        pause(seconds)

    with ThreadPoolExecutor(1) as threads:
        lingering = threads.submit(store._connections.use, linger, soon())
        assert inside.wait(60)
        monkeypatch.setattr(time, "sleep", end_the_call)
        connections_module._before_fork()
        try:
            assert not connections.open
        finally:
            connections_module._after_fork_in_parent()
            leave.set()
        lingering.result()


@pytest.mark.promise("F-18")
def test_a_fork_does_not_wait_for_ever_for_a_connection_that_is_being_made(store, monkeypatch):
    # The tests of several processes show what then happens in the child.
    monkeypatch.setattr(connections_module, "_FORK_PATIENCE", 0.01)
    making, leave = threading.Event(), threading.Event()

    def make():
        with connections_module.Connections.opening:
            making.set()
            assert leave.wait(60)

    with ThreadPoolExecutor(1) as threads:
        other = threads.submit(make)
        assert making.wait(60)
        connections_module._before_fork()
        connections_module._after_fork_in_parent()
        with pytest.raises(StoreTimeout, match="no connection could be made until the deadline") as raised:
            store.ping(soon(0.01))
        assert not raised.value.ambiguous
        leave.set()
        other.result()
    store.ping(soon())


@pytest.mark.promise("F-18")
def test_a_child_starts_anew_once(store):
    store.ping(soon())
    store._connections.start_anew()
    assert store._connections._idle
