"""What the SQLite store says to SQLite, and what its rows hold. What every store does is in the contract suite."""

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from benchmarks.sqlite_bench import (
    DAY,
    NOW,
    Connections,
    a_record,
    create,
    destroy,
    load,
    query,
    signed_in,
    update,
)
from coatcheck.model.ports import Unreadable
from coatcheck.model.record import APPLIED, Create, Record, Refused, SignIn, Tombstone
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


# What it costs


@pytest.mark.promise("2")
def test_a_read_is_one_statement(store, connections):
    records = [a_record(number) for number in range(5)]
    create(store, *records)
    connections.verbs()
    assert load(store, records[0]) == records[0]
    assert connections.verbs() == ["SELECT"]
    assert store.load([record.key for record in records], NOW) == records
    assert connections.verbs() == ["SELECT"]
    assert load(store, a_record()) is None
    assert connections.verbs() == ["SELECT"]


@pytest.mark.promise("3")
def test_a_write_is_one_transaction_of_as_few_statements_as_can_be(store, connections):
    store.ping()
    connections.verbs()
    record = create(store, a_record())
    assert connections.verbs() == ["BEGIN", "INSERT", "COMMIT"]
    assert store.apply([Create(a_record(key=record.key, fields={}))]) == [Refused.EXISTS]
    assert connections.verbs() == ["BEGIN", "INSERT", "COMMIT"]
    assert load(store, record) == record
    assert connections.verbs() == ["SELECT"]
    assert store.apply([update(record, set={"cart": b"pears"})]) == [APPLIED]
    assert connections.verbs() == ["BEGIN", "SELECT", "UPDATE", "COMMIT"]
    assert store.apply([update(record, sign_in=SignIn("ada"))]) == [APPLIED]
    assert connections.verbs() == ["BEGIN", "SELECT", "UPDATE", "COMMIT"]
    assert store.apply([destroy(record)]) == [APPLIED]
    assert connections.verbs() == ["BEGIN", "SELECT", "UPDATE", "COMMIT"]
    assert store.apply([destroy(record)]) == [Refused.GONE]
    assert connections.verbs() == ["BEGIN", "SELECT", "COMMIT"]


@pytest.mark.promise("3")
def test_a_batch_of_changes_is_one_transaction(store, connections):
    store.ping()
    connections.verbs()
    one, other = a_record(), a_record()
    create(store, one, other)
    assert connections.verbs() == ["BEGIN", "INSERT", "INSERT", "COMMIT"]
    store.apply([update(one), destroy(other)])
    assert connections.verbs() == ["BEGIN", "SELECT", "UPDATE", "SELECT", "UPDATE", "COMMIT"]
    assert store.apply([]) == []
    assert store.load([], NOW) == []


def test_the_rest_is_one_statement_each(store, connections):
    create(store, signed_in("ada"))
    connections.verbs()
    for read in (lambda: store.lives_of("ada", NOW), lambda: store.count(NOW), store.ping):
        read()
        assert connections.verbs() == ["SELECT"]
    store.sweep(NOW, 10)
    assert connections.verbs() == ["BEGIN", "DELETE", "COMMIT"]


def test_more_keys_than_every_sqlite_takes_in_one_statement_are_loaded_in_several(store, connections):
    records = [a_record(number) for number in range(2_000)]
    create(store, *records)
    connections.verbs()
    assert store.load([record.key for record in records], NOW) == records
    assert connections.verbs() == ["SELECT"] * 3


def test_no_statement_scans_the_whole_table_or_sorts(store, path):
    plans = {
        statement: [
            step for *_, step in query(path, f"EXPLAIN QUERY PLAN {statement}", *([1] * statement.count("?")))
        ]
        for statement in (
            *(store._select, f"{store._select_several}(?, ?)", store._of_user, store._count),
            *(store._update, store._replace, store._delete),
        )
    }
    for steps in plans.values():
        assert not [step for step in steps if "SCAN" in step or "TEMP B-TREE" in step]
    assert "COVERING INDEX coatcheck:sessions_expires" in plans[store._count][0]
    assert "COVERING INDEX coatcheck:sessions_expires" in plans[store._delete][-1]
    assert "INDEX coatcheck:sessions_user" in plans[store._of_user][0]


# What it keeps


def test_a_tombstone_is_neither_counted_nor_listed_and_is_swept_like_any_record(store, path):
    stays, ends = signed_in("ada", NOW), signed_in("ada", NOW + 1)
    create(store, stays, ends)
    assert store.count(NOW) == 2
    store.apply([destroy(ends)])
    assert store.count(NOW) == 1
    assert [life.key for life in store.lives_of("ada", NOW)] == [stays.key]
    assert query(path, 'SELECT user FROM "coatcheck:sessions" WHERE key = ?', ends.key) == [(None,)]
    tombstone = load(store, ends)
    assert isinstance(tombstone, Tombstone)
    assert store.sweep(tombstone.expires - 1, 10) == 0
    assert store.sweep(tombstone.expires, 10) == 1
    assert load(store, ends) is None


def test_every_row_says_of_its_record_when_it_expires_and_whose_it_is(store, path):
    records = [a_record(), signed_in("ada"), a_record()]
    create(store, *records)
    store.apply(
        [
            update(records[0], at=NOW + 5_000),
            update(records[1], at=NOW + 7_000, sign_in=SignIn("grace")),
            destroy(records[2]),
        ]
    )
    rows = dict(query(path, 'SELECT key, expires FROM "coatcheck:sessions"'))
    assert rows == {record.key: load(store, record).expires for record in records}
    assert len(set(rows.values())) == 3
    assert store.lives_of("ada", NOW) == []
    assert [life.key for life in store.lives_of("grace", NOW)] == [records[1].key]


@pytest.mark.promise("F-19")
def test_a_sweep_removes_no_more_than_its_limit_and_no_live_record(store):
    dead = [a_record(expires=NOW - number) for number in range(25)]
    live = [a_record(expires=NOW + 1) for _ in range(5)]
    create(store, *dead, *live)
    assert store.sweep(NOW, 0) == 0
    assert store.sweep(NOW, -1) == 0
    assert [store.sweep(NOW, 10) for _ in range(4)] == [10, 10, 5, 0]
    assert store.load([record.key for record in live], NOW) == live


@pytest.mark.promise("F-19")
def test_two_who_sweep_at_once_remove_everything_once(store, path):
    create(store, *(a_record(number, expires=NOW) for number in range(10_000)), live := a_record())
    with closing(SQLiteStore(path, ballast=0)) as other, ThreadPoolExecutor(2) as threads:

        def sweep(mine):
            swept = 0
            while some := mine.sweep(NOW, 500):
                swept += some
            return swept

        assert sum(threads.map(sweep, (store, other))) == 10_000
    assert load(store, live) == live
    assert query(path, 'SELECT count(*) FROM "coatcheck:sessions"') == [(1,)]


@pytest.mark.promise("12")
def test_logging_out_works_on_a_row_that_can_not_be_read_and_takes_it_from_the_index(store, path):
    record = create(store, signed_in("ada"))
    query(path, 'UPDATE "coatcheck:sessions" SET data = ?', b"who knows what")
    assert isinstance(load(store, record), Unreadable)
    assert store.apply([update(record), destroy(record)]) == [Refused.UNREADABLE, APPLIED]
    assert isinstance(load(store, record), Tombstone)
    assert store.lives_of("ada", NOW) == []


def test_what_is_no_bytes_can_not_be_put_where_a_record_belongs(store, path):
    create(store, a_record())
    for wrong in ("text", 1, None):
        with pytest.raises(sqlite3.IntegrityError):
            query(path, 'UPDATE "coatcheck:sessions" SET data = ?', wrong)


def test_a_batch_that_raises_leaves_nothing_behind(store):
    kept = create(store, a_record())
    new = a_record()
    with pytest.raises(UnicodeEncodeError):
        store.apply([update(kept), destroy(kept), Create(new), Create(signed_in("\ud800"))])
    assert load(store, kept) == kept
    assert load(store, new) is None
    assert store.apply([update(kept)]) == [APPLIED]


def test_enrolling_is_nothing_since_the_index_is_the_table(store):
    record = create(store, signed_in("ada"))
    before = store.lives_of("ada", NOW)
    store.enroll("grace", before[0], NOW + DAY)
    assert store.lives_of("grace", NOW) == []
    assert isinstance(load(store, record), Record)
