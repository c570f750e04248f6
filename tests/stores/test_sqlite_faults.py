"""What the SQLite store makes of a damaged file, and of every fault that SQLite can answer."""

import sqlite3
from contextlib import closing
from datetime import timedelta

import pytest

from benchmarks.sqlite_bench import NOW, a_record, create, destroy, load, query, signed_in, update
from coatcheck.errors import (
    ConfigurationError,
    StoreError,
    StoreFull,
    StoreReadOnly,
    StoreTimeout,
    StoreUnavailable,
)
from coatcheck.model.record import APPLIED, Record
from coatcheck.stores.sqlite import SQLiteStore

KIB = 1 << 10
SIZE = 6 << 20
BALLAST = 1 << 20


@pytest.fixture
def path(tmp_path):
    return tmp_path / "sessions.db"


# A file that holds something else than it should


def test_a_file_that_is_no_database_is_refused_and_left_as_it_is(path):
    path.write_bytes(b"no database" * 100)
    with pytest.raises(StoreUnavailable, match=r"sessions\.db: file is not a database"):
        SQLiteStore(path)
    assert path.read_bytes() == b"no database" * 100


def test_an_empty_file_is_a_new_database(path):
    path.touch()
    with closing(SQLiteStore(path, ballast=0)) as store:
        assert store.count(NOW) == 0


@pytest.mark.promise("20")
def test_a_file_that_is_gone_is_unavailable_and_not_made_anew(path):
    with closing(SQLiteStore(path, ballast=0)) as store:
        path.unlink()
        for use in (store.ping, lambda: store.count(NOW), lambda: create(store, a_record())):
            with pytest.raises(StoreUnavailable, match=r"sessions\.db: unable to open database file"):
                use()
        assert not path.exists()


@pytest.mark.promise("20")
def test_a_damaged_file_is_unavailable_until_it_is_put_right(path):
    with closing(SQLiteStore(path, ballast=0)) as store:
        create(store, *(a_record(number, fields={"cart": bytes(1 * KIB)}) for number in range(200)))
    good = path.read_bytes()
    with closing(SQLiteStore(path, ballast=0)) as store:
        path.write_bytes(good[: 8 * KIB] + b"\xff" * (len(good) - 8 * KIB))
        with pytest.raises(StoreUnavailable, match=r"sessions\.db: database disk image is malformed"):
            load(store, a_record(7))
        with pytest.raises(StoreUnavailable, match=r"sessions\.db: database disk image is malformed"):
            store.apply([destroy(a_record(7))])
        path.write_bytes(good)
        assert isinstance(load(store, a_record(7)), Record)
        assert store.apply([destroy(a_record(7))]) == [APPLIED]


# Faults that are made, one statement at a time


class Faults:
    """What the next statement that begins with a word raises, before or after it is done."""

    def __init__(self, monkeypatch):
        self.before = {}
        self.after = {}
        self.made = 0
        mine = self

        class Faulty(sqlite3.Connection):
            def execute(self, statement, *parameters):
                word = statement.split()[0]
                if fault := mine.before.pop(word, None):
                    raise fault
                cursor = super().execute(statement, *parameters)
                if fault := mine.after.pop(word, None):
                    raise fault
                return cursor

        really_connect = sqlite3.connect

        def connect(*args, **kwargs):
            self.made += 1
            return really_connect(*args, factory=Faulty, **kwargs)

        monkeypatch.setattr(sqlite3, "connect", connect)


@pytest.fixture
def faults(monkeypatch):
    return Faults(monkeypatch)


@pytest.fixture
def store(path, faults):
    with closing(SQLiteStore(path, deadline=timedelta(seconds=0.05), ballast=0)) as store:
        yield store


def error(code):
    fault = sqlite3.OperationalError("what SQLite says")
    fault.sqlite_errorcode = code
    return fault


@pytest.mark.promise("20")
@pytest.mark.parametrize(
    ("code", "expected"),
    [
        (sqlite3.SQLITE_LOCKED, StoreTimeout),
        (sqlite3.SQLITE_FULL, StoreFull),
        (sqlite3.SQLITE_IOERR_SHMSIZE, StoreFull),
        (sqlite3.SQLITE_READONLY_DBMOVED, StoreReadOnly),
        (sqlite3.SQLITE_IOERR_WRITE, StoreUnavailable),
        (sqlite3.SQLITE_CORRUPT_INDEX, StoreUnavailable),
        (sqlite3.SQLITE_NOTADB, StoreUnavailable),
        (sqlite3.SQLITE_CANTOPEN_ISDIR, StoreUnavailable),
        (sqlite3.SQLITE_ERROR, StoreUnavailable),
    ],
)
def test_each_fault_of_sqlite_is_an_error_of_ours_with_the_file_and_the_cause(store, faults, code, expected):
    record = create(store, signed_in("ada", fields={"cart": b"sesame"}))
    for word, use in (
        ("SELECT", lambda: store.count(NOW)),
        ("UPDATE", lambda: store.apply([update(record)])),
    ):
        fault = faults.before[word] = error(code)
        with pytest.raises(StoreError, match=r"sessions\.db: what SQLite says") as raised:
            use()
        assert type(raised.value) is expected
        assert raised.value.__cause__ is fault
        for secret in ("ada", "sesame", record.key.hex(), repr(record.key)):
            assert secret not in str(raised.value)
    assert load(store, record) == record
    assert store.apply([update(record)]) == [APPLIED]


def test_a_fault_that_python_found_has_no_code_and_is_wrapped_all_the_same(store, faults):
    faults.before["SELECT"] = sqlite3.OperationalError("Could not decode to UTF-8")
    with pytest.raises(StoreUnavailable, match="Could not decode"):
        store.ping()


@pytest.mark.promise("9")
@pytest.mark.parametrize("code", [sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_FSYNC, sqlite3.SQLITE_BUSY])
def test_a_commit_that_fails_is_rolled_back_and_not_answered(store, faults, path, code):
    record = create(store, a_record())
    made = faults.made
    faults.before["COMMIT"] = error(code)
    with pytest.raises(StoreError):
        store.apply([update(record, set={"cart": b"pears"})])
    if code == sqlite3.SQLITE_FULL:
        # Closing the last connection would delete the log, whose room is all that is left.
        store.ping()
        assert faults.made == made
    assert load(store, record) == record
    query(path, "BEGIN IMMEDIATE")  # nobody holds the lock
    assert store.apply([update(record, set={"cart": b"plums"})]) == [APPLIED]
    assert load(store, record).fields == {"cart": b"plums"}


@pytest.mark.promise("F-05", "F-14")
def test_a_call_that_is_interrupted_leaves_nothing_half_done_and_no_lock(store, faults, path):
    record = create(store, a_record())
    for moment, word in (
        (faults.after, "BEGIN"),
        (faults.before, "SELECT"),
        (faults.after, "UPDATE"),
        (faults.before, "COMMIT"),
    ):
        moment[word] = KeyboardInterrupt()
        with pytest.raises(KeyboardInterrupt):
            store.apply([update(record, set={"cart": b"pears"})])
        query(path, "BEGIN IMMEDIATE")
        assert load(store, record) == record
    assert store.apply([update(record)]) == [APPLIED]


def test_a_connection_is_used_again_after_a_wait_but_not_after_a_fault_of_the_file(store, faults):
    store.ping()
    made = faults.made
    faults.before["SELECT"] = error(sqlite3.SQLITE_LOCKED)
    with pytest.raises(StoreTimeout):
        store.ping()
    store.ping()
    assert faults.made == made
    faults.before["SELECT"] = error(sqlite3.SQLITE_CORRUPT)
    with pytest.raises(StoreUnavailable):
        store.ping()
    store.ping()
    assert faults.made == made + 1


@pytest.mark.promise("F-13")
def test_a_read_that_meets_another_process_recovering_the_log_waits_for_it(store, faults):
    record = create(store, a_record())
    for read, answer in ((lambda: store.count(NOW), 1), (lambda: load(store, record), record)):
        faults.before["SELECT"] = error(sqlite3.SQLITE_BUSY_RECOVERY)
        assert read() == answer


def test_a_connection_that_can_not_be_set_up_is_closed(path, faults):
    store = SQLiteStore(path, ballast=0)
    faults.before["PRAGMA"] = error(sqlite3.SQLITE_IOERR_READ)
    with pytest.raises(StoreUnavailable):
        store.ping()
    assert not store._connections._open
    store.close()


def test_a_file_that_can_not_have_a_log_is_refused(path, monkeypatch):
    class NoLog(sqlite3.Connection):
        def execute(self, statement, *parameters):
            return super().execute(statement.replace("= WAL", "= TRUNCATE"), *parameters)

    really_connect = sqlite3.connect
    monkeypatch.setattr(
        sqlite3, "connect", lambda *args, **kwargs: really_connect(*args, factory=NoLog, **kwargs)
    )
    with pytest.raises(ConfigurationError, match="can't keep a write-ahead log there"):
        SQLiteStore(path)
