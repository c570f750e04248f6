"""The statements of the SQLite store, and its rows. The tests for every store are in the contract suite."""

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest

from coatcheck.model.ports import Conflict, Entry, Found, Write
from coatcheck.stores.sqlite import SQLiteStore
from tests.stores.sqlite.scene import (
    DAY,
    NOW,
    after,
    data_of,
    ending,
    get,
    new,
    put,
    query,
    signed_in,
    soon,
    users,
)

# What it costs


@pytest.mark.promise("2")
def test_a_read_is_one_statement(store, connections):
    writes = [new(number) for number in range(5)]
    put(store, *writes)
    connections.verbs()
    assert get(store, writes[0]) == writes[0].data
    assert connections.verbs() == ["SELECT"]
    keys = [write.key for write in writes]
    found = [Found(write.data, write.data[:8]) for write in writes]
    assert store.load(keys, NOW, soon()) == found
    assert connections.verbs() == ["SELECT"]
    assert store.load([keys[4], bytes(16), keys[0]], NOW, soon()) == [found[4], None, found[0]]
    assert connections.verbs() == ["SELECT"]
    assert get(store, new()) is None
    assert connections.verbs() == ["SELECT"]


@pytest.mark.promise("3")
def test_a_write_is_one_statement_and_a_conflict_one_more(store, connections):
    store.ping(soon())
    connections.verbs()
    write = put(store, new())
    assert connections.verbs() == ["INSERT"]
    stored = Conflict(Found(write.data, write.data[:8]))
    assert store.write([new(key=write.key)], NOW, soon()) == [stored]
    assert connections.verbs() == ["INSERT", "SELECT"]
    changed = put(store, after(write))
    assert connections.verbs() == ["UPDATE"]
    there = Conflict(Found(changed.data, changed.data[:8]))
    assert store.write([after(write)], NOW, soon()) == [there]
    assert connections.verbs() == ["UPDATE", "SELECT"]
    assert store.write([after(new())], NOW, soon()) == [Conflict(None)]
    connections.verbs()
    put(store, ending(changed))
    assert connections.verbs() == ["UPDATE"]
    assert store.remove([write.key], NOW, soon()) == [True]
    assert store.remove([write.key], NOW, soon()) == [False]
    assert connections.verbs() == ["DELETE", "DELETE"]


@pytest.mark.promise("3")
def test_a_batch_of_writes_is_one_transaction_of_which_each_is_by_itself(store, connections):
    store.ping(soon())
    connections.verbs()
    one, other = new(), new()
    put(store, one, other)
    assert connections.statements[0] == "BEGIN IMMEDIATE"  # it waits for its turn before it does anything
    assert connections.verbs() == ["BEGIN", "INSERT", "INSERT", "COMMIT"]
    mine = after(other)
    answers = store.write([after(one, expected=bytes(8)), mine], NOW, soon())
    assert answers == [Conflict(Found(one.data, one.data[:8])), None]
    assert connections.verbs() == ["BEGIN", "UPDATE", "SELECT", "UPDATE", "COMMIT"]
    assert (get(store, one), get(store, other)) == (one.data, mine.data)
    connections.verbs()
    assert store.remove([one.key, bytes(16), other.key], NOW, soon()) == [True, False, True]
    assert connections.verbs() == ["BEGIN", "DELETE", "DELETE", "DELETE", "COMMIT"]
    assert store.load([], NOW, soon()) == store.write([], NOW, soon()) == store.remove([], NOW, soon()) == []


@pytest.mark.promise("3")
def test_the_rest_is_one_statement_each(store, connections):
    put(store, signed_in("ada"))
    connections.verbs()
    for read in (lambda: users(store, "ada"), lambda: store.count(NOW, soon()), lambda: store.ping(soon())):
        read()
        assert connections.verbs() == ["SELECT"]
    store.sweep(NOW, 10, soon())
    assert connections.verbs() == ["DELETE"]


def test_more_keys_than_every_sqlite_takes_in_one_statement_are_loaded_in_several(store, connections):
    writes = [new(number) for number in range(2_000)]
    put(store, *writes)
    connections.verbs()
    found = store.load([write.key for write in writes], NOW, soon())
    assert [each.data for each in found] == [write.data for write in writes]
    assert connections.verbs() == ["SELECT"] * 3


def test_no_statement_scans_the_whole_table_or_sorts(store, path):
    sql = store._statements
    plans = {
        statement: [
            step for *_, step in query(path, f"EXPLAIN QUERY PLAN {statement}", *([1] * statement.count("?")))
        ]
        for statement in (
            *(sql.select, f"{sql.select_several}(?, ?)", sql.of_user, sql.of_user_after, sql.count),
            *(sql.update, sql.delete, sql.sweep),
        )
    }
    for steps in plans.values():
        assert not [step for step in steps if "SCAN" in step or "TEMP B-TREE" in step]
    assert "COVERING INDEX coatcheck:sessions_expires" in plans[sql.count][0]
    assert "COVERING INDEX coatcheck:sessions_expires" in plans[sql.sweep][-1]
    for page in (sql.of_user, sql.of_user_after):
        assert "INDEX coatcheck:sessions_user" in plans[page][0]
    assert "signed_in<" in plans[sql.of_user_after][0]  # a later page begins where the one before it ended


# What it keeps


def test_the_entry_of_a_key_is_the_one_of_its_last_write(store, path):
    write = put(store, signed_in("ada"))
    assert users(store, "ada") == [write.entry]
    write = put(store, after(write))
    assert users(store, "ada") == [write.entry]
    theirs = Entry("grace", write.key, NOW + 1, NOW + DAY)
    write = put(store, after(write, entry=theirs))
    assert (users(store, "ada"), users(store, "grace")) == ([], [theirs])
    lost = after(write, entry=write.entry, expected=bytes(8))
    assert isinstance(store.write([lost], NOW, soon())[0], Conflict)
    assert users(store, "grace") == [theirs]
    put(store, after(write, entry=None))
    assert users(store, "grace") == []


@pytest.mark.promise("17")
def test_a_users_entries_come_in_pages_the_newest_sign_in_first_then_by_key(store):
    writes = [signed_in("ada", NOW + number % 7) for number in range(50)]
    put(store, *writes, signed_in("grace"))
    over = signed_in("ada")
    put(store, after(over, expected=None, entry=Entry("ada", over.key, NOW, NOW)))
    expected = sorted((write.entry for write in writes), key=lambda entry: (-entry.signed_in, entry.key))
    assert users(store, "ada") == expected
    pages, last = [], None
    while page := users(store, "ada", limit=8, after=last):
        assert len(page) <= 8
        pages += page
        last = page[-1]
        if len(pages) % 16:
            store.remove([last.key], NOW, soon())  # it need not exist any more
    assert pages == expected
    assert users(store, "nobody") == []


@pytest.mark.promise("12")
def test_a_tombstone_is_neither_counted_nor_listed_and_is_swept_like_any_record(store):
    stays, ends = signed_in("ada"), signed_in("ada", NOW + 1)
    put(store, stays, ends)
    assert store.count(NOW, soon()) == 2
    tombstone = put(store, ending(ends))
    assert store.count(NOW, soon()) == 1
    assert users(store, "ada") == [stays.entry]
    assert get(store, ends) == tombstone.data
    assert store.sweep(tombstone.expires - 1, 10, soon()) == 0
    assert store.sweep(tombstone.expires, 10, soon()) == 1
    assert get(store, ends) is None


@pytest.mark.promise("16")
def test_every_row_has_the_expiry_of_its_last_write(store, path):
    writes = [new(), signed_in("ada"), new()]
    put(store, *writes)
    last = [
        after(writes[0], expires=NOW + 5_000),
        after(writes[1], expires=NOW + 7_000),
        ending(writes[2]),
    ]
    put(store, *last)
    rows = dict(query(path, 'SELECT key, expires FROM "coatcheck:sessions"'))
    assert rows == {write.key: write.expires for write in last}
    assert [store.count(NOW + later, soon()) for later in (4_999, 5_000, 7_000)] == [2, 1, 0]


@pytest.mark.promise("F-19")
def test_a_sweep_removes_no_more_than_its_limit_and_no_live_record(store):
    dead = [new(expires=NOW - number) for number in range(25)]
    live = [new(expires=NOW + 1) for _ in range(5)]
    put(store, *dead, *live)
    assert store.sweep(NOW, 0, soon()) == 0
    assert store.sweep(NOW, -1, soon()) == 0
    assert [store.sweep(NOW, 10, soon()) for _ in range(4)] == [10, 10, 5, 0]
    assert [get(store, write) for write in live] == [write.data for write in live]


@pytest.mark.promise("F-19")
def test_two_sweeps_at_once_remove_everything_once(store, path):
    put(store, live := new(), *(new(number, expires=NOW) for number in range(10_000)))
    with closing(SQLiteStore(path, ballast=0)) as other, ThreadPoolExecutor(2) as threads:

        def sweep(mine):
            swept = 0
            while some := mine.sweep(NOW, 500, soon()):
                swept += some
            return swept

        assert sum(threads.map(sweep, (store, other))) == 10_000
    assert get(store, live) == live.data
    assert query(path, 'SELECT count(*) FROM "coatcheck:sessions"') == [(1,)]


@pytest.mark.promise("12")
@pytest.mark.parametrize("junk", [b"", b"junk", b"eight by", b"who knows what"])
def test_whatever_bytes_lie_there_can_be_replaced_or_removed_and_leave_the_index(store, path, junk):
    for end in (
        lambda found: put(store, after(Write(key=found[0], data=junk, expires=0), expected=found[1].version)),
        lambda found: store.remove([found[0]], NOW, soon()),
    ):
        write = put(store, signed_in("ada"))
        query(path, 'UPDATE "coatcheck:sessions" SET data = ?', junk)
        (found,) = store.load([write.key], NOW, soon())
        assert found.data == junk
        end((write.key, found))
        assert users(store, "ada") == []


def test_text_and_numbers_can_not_be_put_where_data_belongs(store, path):
    put(store, new())
    for wrong in ("text", 1, None):
        with pytest.raises(sqlite3.IntegrityError):
            query(path, 'UPDATE "coatcheck:sessions" SET data = ?', wrong)


def test_a_batch_that_raises_leaves_nothing_behind(store):
    kept = put(store, new())
    other = new()
    with pytest.raises(UnicodeEncodeError):
        store.write([after(kept), other, signed_in("\ud800")], NOW, soon())
    assert get(store, kept) == kept.data
    assert get(store, other) is None
    put(store, after(kept))


def test_the_version_after_a_write_is_the_head_of_the_data_that_was_written(store):
    write = new(data=data_of(b"") + bytes(60_000))
    for _ in range(3):
        put(store, write)
        (found,) = store.load([write.key], NOW, soon())
        assert found.version == write.data[:8]
        write = after(write)
