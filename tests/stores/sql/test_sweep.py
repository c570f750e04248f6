"""Sweeping a database: in batches, beside requests and other sweepers, and never a record that lives."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest
from sqlalchemy.dialects import mysql

from coatcheck import StoreTimeout
from coatcheck.model.ports import Conflict
from coatcheck.stores.sql.connection import Connection
from coatcheck.stores.sql.errors import Failed, Kind
from coatcheck.stores.sql.statements import Statements
from coatcheck.stores.sql.table import tables
from tests.servers.process import until
from tests.stores.sql.faults import waiting
from tests.stores.sql.scene import DAY, NOW, after, append, found, get, new, put, soon, words
from tests.stores.sql.servers import a_place

pytestmark = pytest.mark.servers
BATCH = 1000


def expired_rows(place, number):
    """So many records of others that have expired, of 300 bytes each."""
    if place.kind == "postgresql":
        place.execute(
            f"INSERT INTO {place.sessions}"
            " SELECT decode(md5(n::text), 'hex'), convert_to(repeat('x', 300), 'UTF8'), 'revision',"
            f" convert_to('user' || (n % 1000), 'UTF8'), n, {NOW} - n, {NOW} - n, 1"
            f" FROM generate_series(1, {number}) AS n"
        )
        place.execute(f"ANALYZE {place.sessions}")
    else:
        place.execute(
            f"INSERT INTO {place.sessions}"
            f" SELECT UNHEX(MD5(seq)), REPEAT('x', 300), 'revision', CONCAT('user', seq % 1000), seq, {NOW} - seq,"
            f" {NOW} - seq, 1"
            f" FROM seq_1_to_{number}"
        )


class Sweepers:
    """Several at once, each with a store of its own."""

    def __init__(self, place, number=2):
        self.swept, self.longest = [0] * number, 0.0
        self._place = place
        self._threads = [threading.Thread(target=self._sweep, args=(one,)) for one in range(number)]

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        for thread in self._threads:
            thread.join(600)

    @property
    def work(self):
        return any(thread.is_alive() for thread in self._threads)

    def _sweep(self, one):
        with closing(self._place.store()) as store:
            while True:
                began = time.monotonic()
                removed = store.sweep(NOW, BATCH, soon())
                self.longest = max(self.longest, time.monotonic() - began)
                self.swept[one] += removed
                if removed < BATCH:
                    return


def test_two_sweepers_at_once_remove_each_record_once_and_none_that_lives(place, store):
    expired_rows(place, 20_000)
    writes = [put(store, new(b"")) for _ in range(20)]
    written = 0
    with Sweepers(place) as sweepers:
        while sweepers.work or written < 40:
            append(store, writes[written % 20].key, b"%d" % written)
            written += 1
    # One may have stopped while the other had the last batch in its hands.
    last = store.sweep(NOW, BATCH, soon())
    assert sum(sweepers.swept) + last == 20_000
    assert place.rows() == 20
    assert sum(len(words(store, write.key)) for write in writes) == written


@pytest.mark.promise("F-19")
def test_a_record_that_is_used_at_the_moment_of_sweeping_stays(place, store):
    write, dead = put(store, new(expires=NOW - 1)), put(store, new(expires=NOW - 1))
    using = place.server.connect()
    cursor = using.cursor()
    cursor.execute("BEGIN")
    cursor.execute(f"UPDATE {place.sessions} SET expires = {NOW + DAY} WHERE {place.key} = %s", (write.key,))
    # It waits for nothing.
    assert store.sweep(NOW, BATCH, soon()) == 1
    cursor.execute("COMMIT")
    using.close()
    assert get(store, dead) is None
    assert get(store, write) == write.data
    assert store.sweep(NOW, BATCH, soon()) == 0


@pytest.mark.promise("F-19")
def test_a_record_that_is_used_while_a_sweep_waits_for_it_stays(place, store):
    """A server that can't pass over locked rows waits, and looks again at what it then removes."""
    write = put(store, new(expires=NOW - 1))
    store._database.statements = without_skipping(store._database.statements)
    using = place.server.connect()
    cursor = using.cursor()
    cursor.execute("BEGIN")
    cursor.execute(f"UPDATE {place.sessions} SET expires = {NOW + DAY} WHERE {place.key} = %s", (write.key,))
    with ThreadPoolExecutor(1) as threads:
        sweeping = threads.submit(store.sweep, NOW, BATCH, soon())
        until(lambda: waiting(place), "it waits for the row")
        cursor.execute("COMMIT")
        assert sweeping.result(30) == 0
    using.close()
    assert get(store, write) == write.data


@pytest.mark.promise("F-19")
@pytest.mark.parametrize("times", [1, 3, 4])
def test_a_sweep_that_a_deadlock_has_rolled_back_is_tried_again_three_times(place, store, monkeypatch, times):
    for _ in range(3):
        put(store, new(expires=NOW - 1))
    left = [times]
    name = "change" if place.kind == "postgresql" else "rows"
    run = getattr(Connection, name)

    def deadlocked(connection, statement, values):
        """The server says so of the statement that finds the rows, so often."""
        if "b_limit" in values and left[0]:
            left[0] -= 1
            raise Failed(Kind.BUSY, RuntimeError("deadlock"))
        return run(connection, statement, values)

    monkeypatch.setattr(Connection, name, deadlocked)
    if times > 3:
        with pytest.raises(StoreTimeout, match="another transaction was in the way"):
            store.sweep(NOW, BATCH, soon())
    assert store.sweep(NOW, BATCH, soon()) == 3
    assert place.rows() == 0


def without_skipping(statements):
    for name in ("dead", "sweep"):
        statement = getattr(statements, name)
        if statement is not None:
            statement.text = statement.text.replace(" SKIP LOCKED", "")
    return statements


@pytest.mark.promise("F-19")
def test_a_read_of_a_record_that_is_being_swept_does_not_wait(place, store):
    write = put(store, new(expires=NOW - 1))
    sweeping = place.server.connect()
    cursor = sweeping.cursor()
    cursor.execute("BEGIN")
    cursor.execute(f"DELETE FROM {place.sessions}")
    assert get(store, write, soon(2)) == write.data
    cursor.execute("COMMIT")
    sweeping.close()
    assert store.write([after(write)], NOW, soon()) == [Conflict(None)]


def test_a_sweep_of_nothing_removes_nothing(store):
    write = put(store, new(expires=NOW - 1))
    assert store.sweep(NOW, 0, soon()) == 0
    assert store.load([write.key], NOW, soon()) == [found(write)]


@pytest.mark.parametrize(
    ("version", "is_mariadb", "skips"),
    [
        ((10, 6, 0), True, True),
        ((10, 5, 9), True, False),
        ((8, 0, 1), False, True),
        ((8, 0, 0), False, False),
        ((5, 7, 44), False, False),
    ],
)
def test_rows_that_are_locked_are_skipped_where_the_server_can(version, is_mariadb, skips):
    dialect = mysql.dialect()
    dialect.server_version_info, dialect.is_mariadb = version, is_mariadb
    said = Statements(tables("coatcheck:"), dialect)
    assert said.dead.text.endswith("FOR UPDATE SKIP LOCKED" if skips else "FOR UPDATE")


class LockWaits:
    """The longest wait for a lock of any of our connections, as the server sees it."""

    def __init__(self, place):
        self.longest, self.samples = 0.0, 0
        self._place = place
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._look)

    def __enter__(self):
        self._thread.start()
        return self

    def __exit__(self, *_):
        self._stop.set()
        self._thread.join()

    def _look(self):
        with self._place.server.connect() as connection:
            while not self._stop.is_set():
                ((waited,),) = connection.execute(
                    "SELECT max(extract(epoch FROM clock_timestamp() - waitstart)) FROM pg_locks WHERE NOT granted"
                ).fetchall()
                self.longest = max(self.longest, float(waited or 0))
                self.samples += 1
                time.sleep(0.005)


@pytest.mark.soak
@pytest.mark.timeout(1200)
def test_a_million_expired_records_are_swept_under_load_and_nobody_waits_for_a_lock():
    place = a_place("postgresql")
    expired_rows(place, 1_000_000)
    store = place.store()
    writes = [put(store, new(b"")) for _ in range(50)]
    stop, took, failed = threading.Event(), [], []

    def requests(worker):
        number = 0
        while not stop.is_set():
            began = time.monotonic()
            try:
                append(store, writes[(worker + 4 * number) % 50].key, b"x")
            except AssertionError as error:
                failed.append(error)
            took.append(time.monotonic() - began)
            number += 1
            time.sleep(0.005)

    workers = [threading.Thread(target=requests, args=(worker,)) for worker in range(4)]
    for worker in workers:
        worker.start()
    began = time.monotonic()
    with LockWaits(place) as waits, Sweepers(place) as sweepers:
        until(lambda: not sweepers.work, "all is swept", patience=1000)
        seconds = time.monotonic() - began
    stop.set()
    for worker in workers:
        worker.join()
    last = store.sweep(NOW, BATCH, soon())
    took.sort()
    batches = sum(-(-swept // BATCH) for swept in sweepers.swept)
    print(
        f"\n{sum(sweepers.swept) + last} swept in {seconds:.0f} s, {batches} batches, the longest"
        f" {sweepers.longest * 1000:.0f} ms; {len(took)} requests of a read and a write, median"
        f" {took[len(took) // 2] * 1000:.1f} ms, 99 % {took[len(took) * 99 // 100] * 1000:.1f} ms, longest"
        f" {took[-1] * 1000:.0f} ms; the longest wait for a lock {waits.longest * 1000:.1f} ms in"
        f" {waits.samples} samples"
    )
    assert sum(sweepers.swept) + last == 1_000_000
    assert failed == []
    assert waits.samples > 100
    assert waits.longest < 0.05
    store.close()
    place.leave()
