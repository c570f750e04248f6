"""The SQL store where transactions are in the way of each other (security.md, F-16)."""

import sqlite3
from contextlib import closing

import pytest
from sqlalchemy import create_engine, event

from coatcheck.errors import StoreError, StoreTimeout
from coatcheck.model.ports import Conflict
from coatcheck.stores.sql import SQLStore
from coatcheck.stores.sql.connection import Connection
from coatcheck.stores.sql.errors import Kind
from tests.awake import awake
from tests.servers.process import until
from tests.stores.engine import Engine
from tests.stores.sql.faults import InThread, locked, waiting
from tests.stores.sql.scene import (
    NOW,
    after,
    create,
    done,
    fields,
    found,
    get,
    new,
    put,
    soon,
    update,
)
from tests.stores.sql.servers import (
    TO_BREAK,
    a_place,
)

pytestmark = [pytest.mark.servers, pytest.mark.xdist_group("sql-faults"), pytest.mark.promise("F-16")]
BREAKS = True
SHORT = 1  # seconds


def test_a_lock_that_is_held_too_long_is_a_timeout(place, store):
    engine = Engine(store, patience=SHORT * 2)
    record = create(engine)
    other = locked(place, record.key)
    began = awake()
    (result,) = engine.apply([update(record, set={"a": b"1"})], NOW)
    assert awake() - began < SHORT * 2 + 1
    assert isinstance(result, StoreTimeout)
    other.rollback()
    other.close()
    done(engine.apply([update(record, set={"b": b"1"})], NOW))
    assert fields(engine, record)["b"] == b"1"


def test_a_write_that_postgresql_could_not_serialize_is_a_conflict(failures):
    place = a_place("postgresql", TO_BREAK["postgresql"]())
    place.execute(f"ALTER ROLE {place.server.user} SET default_transaction_isolation = 'repeatable read'")
    try:
        with closing(place.store()) as store:
            write = put(store, new())
            other = place.server.connect()
            other.execute("BEGIN")
            other.execute(f"UPDATE {place.sessions} SET expires = expires + 1 WHERE key = %s", (write.key,))
            writing = InThread(lambda: store.write([after(write)], NOW, soon()))
            until(lambda: waiting(place), "it waits for the row")
            other.execute("COMMIT")
            other.close()
            assert writing.answer() == [Conflict(found(write))]
            assert failures == [Kind.BUSY]
    finally:
        place.execute(f"ALTER ROLE {place.server.user} RESET default_transaction_isolation")
        place.leave()


def test_the_victim_of_a_deadlock_on_mariadb_is_tried_by_itself(failures):
    place = a_place("mysql", TO_BREAK["mysql"]())
    with closing(place.store()) as store:
        first, second = sorted([new(), new()], key=lambda write: write.key)
        put(store, first, second)
        other = locked(place, second.key)
        cursor = other.cursor()
        for number in range(50):  # InnoDB gives up the transaction that has changed less
            cursor.execute(
                f"INSERT INTO {place.sessions} VALUES (%s, '', '', NULL, NULL, NULL, 9999999999999, 1)",
                (number.to_bytes(16),),
            )
        changes = [after(second), after(first)]
        writing = InThread(lambda: store.write(changes, NOW, soon()))
        until(lambda: waiting(place), "it has the first row and waits for the second")
        cursor.execute(f"SELECT 1 FROM {place.sessions} WHERE `key` = %s FOR UPDATE", (first.key,))
        other.rollback()
        other.close()
        assert writing.answer() == [None, None]
        assert failures == [Kind.BUSY]
        assert [get(store, write) for write in changes] == [write.data for write in changes]
    place.leave()


def test_a_single_write_that_waited_too_long_for_a_lock_on_mariadb_is_a_conflict(failures):
    place = a_place("mysql", TO_BREAK["mysql"]())
    with closing(place.store()) as store:
        write = put(store, new())
        other = locked(place, write.key)
        assert store.write([after(write)], NOW, soon()) == [Conflict(found(write))]
        (answer,) = store.remove([write.key], NOW, soon())
        assert isinstance(answer, StoreTimeout)
        assert not answer.ambiguous
        assert failures == [Kind.BUSY] * 2
        other.rollback()
        other.close()
        put(store, after(write))
    place.leave()


def test_batches_of_the_same_rows_in_any_order_never_wait_for_each_other(place, failures):
    with closing(place.store()) as store:
        engine = Engine(store, patience=30)
        records = [create(engine, fields={}) for _ in range(12)]

        def write(number):
            turned = records[number:] + records[:number]
            for time_ in range(5):
                field = f"f{number}.{time_}"
                done(engine.apply([update(record, set={field: b"1"}) for record in turned], NOW))

        for thread in [InThread(lambda number=number: write(number)) for number in range(8)]:
            thread.answer()
        assert failures == []
        assert {len(fields(engine, record)) for record in records} == {40}


def test_a_batch_of_which_the_server_refuses_one_is_carried_out_but_for_that(place, store):
    old = [new() for _ in range(3)]
    put(store, *old)
    place.execute(f"ALTER TABLE {place.sessions} ADD CONSTRAINT no_13 CHECK (expires <> 13)")
    try:
        writes = [
            after(old[0]),
            after(old[1], expires=13),
            new(),
            new(expires=13),
            after(old[2], expected=bytes(8)),
        ]
        answers = store.write(writes, NOW, soon())
        assert [answer if answer is None else type(answer) for answer in answers] == [
            *(None, StoreError, None, StoreError, Conflict)
        ]
        there = store.load([write.key for write in writes], NOW, soon())
        assert there == [found(writes[0]), found(old[1]), found(writes[2]), None, found(old[2])]
    finally:
        place.execute(f"ALTER TABLE {place.sessions} DROP CONSTRAINT no_13")


# A database that is one file


@pytest.fixture
def file(tmp_path):
    return tmp_path / "sessions.db"


@pytest.fixture
def in_a_file(file):
    engine = create_engine(f"sqlite:///{file}", connect_args={"timeout": 0.05})
    store = SQLStore(engine)
    store.create_tables()
    yield store
    engine.dispose()


@pytest.fixture
def closed(in_a_file):
    """The connections that were closed."""
    closed = []
    event.listen(in_a_file._database.engine, "close", lambda connection, _: closed.append(connection))
    return closed


def test_a_batch_that_finds_the_file_locked_is_conflicts(file, in_a_file):
    writes = [new(), new()]
    put(in_a_file, *writes)
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        answers = in_a_file.write([*map(after, writes)], NOW, soon())
        assert answers == [Conflict(found(write)) for write in writes]
    put(in_a_file, *map(after, writes))


def test_a_batch_that_can_not_be_committed_is_not_stored_and_not_said_to_be(file, in_a_file):
    """SQLite keeps the transaction open where a reader is in the way of the commit."""
    writes = [new(), new()]
    put(in_a_file, *writes)
    with closing(sqlite3.connect(file, isolation_level=None)) as other:
        reading = other.execute("SELECT data FROM coatcheck_sessions")
        reading.fetchone()
        answers = in_a_file.write([*map(after, writes)], NOW, soon())
        reading.close()
    assert answers == [Conflict(found(write)) for write in writes]
    assert [get(in_a_file, write) for write in writes] == [write.data for write in writes]


def test_a_transaction_that_no_time_is_left_for_ends_with_its_connection(
    file, in_a_file, closed, monkeypatch
):
    writes, begin = [new(), new()], Connection.begin
    put(in_a_file, *writes)

    def beginning(connection):
        begin(connection)
        connection._until = 0.0

    with monkeypatch.context() as patch:
        patch.setattr(Connection, "begin", beginning)
        answers = in_a_file.write([*map(after, writes)], NOW, soon())
    assert [(type(answer), answer.ambiguous) for answer in answers] == [(StoreTimeout, False)] * 2
    assert len(closed) == 1
    with closing(sqlite3.connect(file, isolation_level=None, timeout=0)) as other:
        other.execute("BEGIN IMMEDIATE")


def test_an_error_that_is_none_of_the_database_s_is_raised_as_it_is_and_ends_the_connection(
    in_a_file, closed
):
    with pytest.raises(OverflowError):
        in_a_file.count(1 << 70, soon())
    assert len(closed) == 1
    assert in_a_file.count(NOW, soon()) == 0
