"""A damaged file, and every fault that SQLite can answer."""

import sqlite3
from contextlib import closing
from itertools import repeat

import pytest

from coatcheck.errors import (
    ConfigurationError,
    StoreError,
    StoreFull,
    StoreReadOnly,
    StoreTimeout,
    StoreUnavailable,
)
from coatcheck.stores.sqlite import SQLiteStore
from tests.stores.sqlite.scene import NOW, after, ending, get, new, put, query, signed_in, soon

KIB = 1 << 10


# A file that holds something else than it should


@pytest.mark.promise("20")
def test_a_file_that_is_not_a_database_is_refused_and_left_as_it_is(path):
    path.write_bytes(b"no database" * 100)
    with pytest.raises(StoreUnavailable, match=r"sessions\.db: it is damaged, or not a database") as raised:
        SQLiteStore(path)
    assert not raised.value.ambiguous
    assert path.read_bytes() == b"no database" * 100


def test_an_empty_file_is_a_new_database(path):
    path.touch()
    with closing(SQLiteStore(path, ballast=0)) as store:
        assert store.count(NOW, soon()) == 0


@pytest.mark.promise("20")
def test_a_file_that_is_gone_is_unavailable_and_not_made_anew(path):
    with closing(SQLiteStore(path, ballast=0)) as store:
        path.unlink()
        for use in (
            lambda: store.ping(soon()),
            lambda: store.count(NOW, soon()),
            lambda: store.write([new()], NOW, soon()),
        ):
            with pytest.raises(
                StoreUnavailable, match=r"sessions\.db: it can't be opened; put the file"
            ) as raised:
                use()
            assert not raised.value.ambiguous  # surely nothing was written
        assert not path.exists()


@pytest.mark.promise("20")
def test_a_damaged_file_is_unavailable_until_it_is_put_right(path):
    with closing(SQLiteStore(path, ballast=0)) as store:
        put(store, *(new(number, bytes(1 * KIB)) for number in range(200)))
        written = get(store, new(7))
    good = path.read_bytes()
    with closing(SQLiteStore(path, ballast=0)) as store:
        path.write_bytes(good[: 8 * KIB] + b"\xff" * (len(good) - 8 * KIB))
        for use in (
            lambda: get(store, new(7)),
            lambda: store.write([after(new(7))], NOW, soon()),
            lambda: store.remove([new(7).key], NOW, soon()),
        ):
            with pytest.raises(StoreUnavailable, match=r"sessions\.db: it is damaged.* \(SQLITE_CORRUPT"):
                use()
        path.write_bytes(good)
        assert get(store, new(7)) == written
        put(store, after(new(7), expected=written[:8]))


# Faults that are made, one statement at a time


class Faults:
    """The errors that the next statements which begin with a word raise, before or after they are done."""

    def __init__(self, monkeypatch):
        self.before = {}
        self.after = {}
        self.made = 0
        mine = self

        class Faulty(sqlite3.Connection):
            def execute(self, statement, *parameters):
                word = statement.split()[0]
                if fault := next(mine.before.get(word, iter(())), None):
                    raise fault
                cursor = super().execute(statement, *parameters)
                if fault := next(mine.after.get(word, iter(())), None):
                    raise fault
                return cursor

        really_connect = sqlite3.connect

        def connect(*args, **kwargs):
            self.made += 1
            return really_connect(*args, factory=Faulty, **kwargs)

        monkeypatch.setattr(sqlite3, "connect", connect)

    def clear(self):
        self.before.clear()
        self.after.clear()


@pytest.fixture
def faults(monkeypatch):
    return Faults(monkeypatch)


@pytest.fixture
def store(path, faults):
    with closing(SQLiteStore(path, ballast=0)) as store:
        yield store


def once(fault):
    return iter([fault])


def error(code, name="SQLITE_SOMETHING"):
    fault = sqlite3.OperationalError("words of SQLite's")
    fault.sqlite_errorcode, fault.sqlite_errorname = code, name
    return fault


@pytest.mark.promise("18", "20")
@pytest.mark.parametrize(
    ("code", "expected", "words"),
    [
        (sqlite3.SQLITE_BUSY_SNAPSHOT, StoreTimeout, "locked"),
        (sqlite3.SQLITE_LOCKED, StoreTimeout, "locked"),
        (sqlite3.SQLITE_FULL, StoreFull, "coatcheck sweep"),
        (sqlite3.SQLITE_IOERR_SHMSIZE, StoreFull, "-shm"),
        (sqlite3.SQLITE_READONLY_DBMOVED, StoreReadOnly, "must be able to write"),
        (sqlite3.SQLITE_IOERR_WRITE, StoreUnavailable, "disk failed"),
        (sqlite3.SQLITE_CORRUPT_INDEX, StoreUnavailable, "damaged"),
        (sqlite3.SQLITE_NOTADB, StoreUnavailable, "damaged"),
        (sqlite3.SQLITE_CANTOPEN_ISDIR, StoreUnavailable, "can't be opened"),
        (sqlite3.SQLITE_ERROR, StoreUnavailable, "refused a statement"),
    ],
)
def test_each_fault_of_sqlite_is_an_error_of_ours_with_the_file_and_the_cause(
    store, faults, code, expected, words
):
    write = put(store, signed_in("ada", body=b"sesame"))

    def answer(call):
        (only,) = call()
        raise only

    for word, use in (
        ("SELECT", lambda: store.load([write.key], NOW, soon(0.02))),
        ("SELECT", lambda: store.count(NOW, soon(0.02))),
        ("UPDATE", lambda: answer(lambda: store.write([after(write)], NOW, soon(0.02)))),
        ("DELETE", lambda: answer(lambda: store.remove([write.key], NOW, soon(0.02)))),
    ):
        fault = error(code)
        faults.before[word] = repeat(fault)
        with pytest.raises(StoreError, match=r"sessions\.db: .*\(SQLITE_SOMETHING\)") as raised:
            use()
        faults.clear()
        assert type(raised.value) is expected
        assert words in str(raised.value)
        assert raised.value.__cause__ is fault
        if expected is StoreUnavailable:
            assert raised.value.ambiguous == (word != "SELECT")
        if expected is StoreTimeout:
            assert not raised.value.ambiguous
        for secret in ("ada", "sesame", write.key.hex(), repr(write.key)):
            assert secret not in str(raised.value)
    assert get(store, write) == write.data
    put(store, after(write))


def test_a_fault_that_python_found_has_no_code_and_is_wrapped_all_the_same(store, faults):
    faults.before["SELECT"] = once(sqlite3.OperationalError("Could not decode to UTF-8"))
    with pytest.raises(StoreUnavailable, match=r"\(OperationalError\)"):
        store.ping(soon())


@pytest.mark.promise("9")
@pytest.mark.parametrize("code", [sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_FSYNC, sqlite3.SQLITE_BUSY])
def test_a_commit_that_fails_is_rolled_back_and_not_answered(store, faults, path, code):
    writes = [new(), new()]
    put(store, *writes)
    made = faults.made
    faults.before["COMMIT"] = repeat(error(code))
    if code == sqlite3.SQLITE_FULL:
        # First in one transaction, then each alone.
        faults.before["UPDATE"] = iter([None, None, error(code), error(code)])
        full = store.write([after(write) for write in writes], NOW, soon(0.02))
        assert [type(answer) for answer in full] == [StoreFull, StoreFull]
        # Closing the last connection would delete the log, whose room is all that is left.
        assert faults.made == made
    else:
        with pytest.raises(StoreUnavailable) as raised:
            store.write([after(write) for write in writes], NOW, soon(0.02))
        assert raised.value.ambiguous == (code != sqlite3.SQLITE_BUSY)
    faults.clear()
    assert [get(store, write) for write in writes] == [write.data for write in writes]
    query(path, "BEGIN IMMEDIATE")  # nothing holds the lock
    put(store, after(writes[0]), ending(writes[1]))


@pytest.mark.promise("F-05", "F-14")
def test_a_batch_that_is_interrupted_leaves_nothing_half_done_and_no_lock(store, faults, path):
    write, other = new(), new()
    put(store, write, other)
    for moment, word in (
        (faults.after, "BEGIN"),
        (faults.before, "UPDATE"),
        (faults.after, "UPDATE"),
        (faults.before, "COMMIT"),
        (faults.before, "ROLLBACK"),
    ):
        if word == "ROLLBACK":
            faults.before["COMMIT"] = once(KeyboardInterrupt())
        moment[word] = once(KeyboardInterrupt())
        with pytest.raises(KeyboardInterrupt):
            store.write([after(write), ending(other)], NOW, soon())
        faults.clear()
        query(path, "BEGIN IMMEDIATE")
        assert (get(store, write), get(store, other)) == (write.data, other.data)
    put(store, after(write), ending(other))


def test_a_connection_is_used_again_after_a_wait_but_not_after_a_fault_of_the_file(store, faults):
    store.ping(soon())
    made = faults.made
    faults.before["SELECT"] = repeat(error(sqlite3.SQLITE_LOCKED))
    with pytest.raises(StoreTimeout):
        store.ping(soon(0.01))
    faults.clear()
    store.ping(soon())
    assert faults.made == made
    faults.before["SELECT"] = once(error(sqlite3.SQLITE_CORRUPT))
    with pytest.raises(StoreUnavailable):
        store.ping(soon())
    store.ping(soon())
    assert faults.made == made + 1


@pytest.mark.promise("F-13")
def test_a_read_that_meets_another_process_recovering_the_log_waits_for_it(store, faults):
    write = put(store, new())
    for read, answer in ((lambda: store.count(NOW, soon()), 1), (lambda: get(store, write), write.data)):
        faults.before["SELECT"] = iter([error(sqlite3.SQLITE_BUSY_RECOVERY)] * 3)
        assert read() == answer


@pytest.mark.promise("F-13")
def test_with_a_deadline_in_the_past_a_call_tries_once(store, faults):
    assert store.load([bytes(16)], NOW, 0) == [None]
    faults.before["SELECT"] = once(error(sqlite3.SQLITE_BUSY))
    with pytest.raises(StoreTimeout):
        store.load([bytes(16)], NOW, 0)
    assert store.load([bytes(16)], NOW, 0) == [None]


@pytest.mark.promise("24")
def test_a_connection_that_can_not_be_set_up_is_closed(path, faults):
    store = SQLiteStore(path, ballast=0)
    faults.before["PRAGMA"] = once(error(sqlite3.SQLITE_IOERR_READ))
    with pytest.raises(StoreUnavailable):
        store.ping(soon())
    assert not store._connections._open
    store.close()


@pytest.mark.promise("25")
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
