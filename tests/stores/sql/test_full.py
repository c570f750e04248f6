"""A database without room: MariaDB really has none left, PostgreSQL's answer is known by its code."""

import os
from contextlib import closing

import psycopg
import pymysql
import pytest

from coatcheck.errors import StoreFull, StoreReadOnly, StoreTimeout, StoreUnavailable
from coatcheck.stores.sql.errors import Kind, failed, failure
from tests.servers.mariadb import MariaDB
from tests.stores.engine import Engine
from tests.stores.sql.scene import NOW, after, create, done, ending, fields, get, new, put, soon, update
from tests.stores.sql.servers import Place

pytestmark = [pytest.mark.servers, pytest.mark.promise("F-15")]


@pytest.fixture(scope="module")
def place():
    """All tables in one file, which may not grow beyond 16 MiB."""
    with MariaDB(
        "--innodb-data-file-path=ibdata1:12M:autoextend:max:16M", "--innodb-file-per-table=0"
    ) as server:
        made = Place("mysql", server)
        yield made
        made.reconnect()


@pytest.mark.promise("F-15")
def test_a_database_without_room_says_so_and_is_read_all_the_same(place):
    with closing(place.store()) as store:
        engine = Engine(store, max_bytes=1 << 24)
        record = create(engine, fields={"hat": b"1"})
        small, other = put(store, new()), put(store, new())
        put(store, new(os.urandom(5_000_000)))
        # Of a batch, each is answered by itself: what finds room is stored.
        grown, ended = after(small, os.urandom(7_000_000)), ending(other)
        answers = store.write([grown, ended], NOW, soon())
        assert isinstance(answers[0], StoreFull)
        assert answers[1] is None
        assert [get(store, write) for write in (small, other)] == [small.data, ended.data]
        # With the engine on top, a change that grows can't refuse another that takes from the same record.
        grows, takes = update(record, set={"more": os.urandom(7_000_000)}), update(record, take=("hat",))
        refused, taken = engine.apply([grows, takes], NOW)
        assert isinstance(refused, StoreFull)
        assert done([taken])[0].taken == {"hat": b"1"}
        assert fields(engine, record) == {}
        # Once there is no room at all, InnoDB refuses endings and removals, too; and says so.
        writes, answers = [], [None]
        while answers == [None]:
            writes.append(new(os.urandom(100_000)))
            answers = store.write(writes[-1:], NOW, soon())
        assert isinstance(answers[0], StoreFull)
        assert "1114" in str(answers[0])
        assert 1 < len(writes) < 1000
        assert get(store, writes[0]) == writes[0].data


class Coded(psycopg.OperationalError):
    def __init__(self, code):
        super().__init__("what was to be written: hunter2")
        self.sqlstate = code


@pytest.mark.promise("18")
@pytest.mark.parametrize(
    ("error", "driver", "kind"),
    [
        (Coded("53100"), psycopg, Kind.FULL),
        (Coded("25006"), psycopg, Kind.READ_ONLY),
        (Coded("40P01"), psycopg, Kind.BUSY),
        (Coded("57P01"), psycopg, Kind.LOST),
        (Coded("08006"), psycopg, Kind.LOST),
        (Coded("28P01"), psycopg, Kind.REFUSED),
        (Coded("57014"), psycopg, Kind.OVERDUE),
        (Coded("XX000"), psycopg, Kind.OTHER),
        (Coded(None), psycopg, Kind.LOST),
        (psycopg.OperationalError("connection failed: FATAL: no, hunter2"), psycopg, Kind.REFUSED),
        (pymysql.err.OperationalError(1045, "hunter2"), pymysql, Kind.REFUSED),
        (pymysql.err.OperationalError(1205, "hunter2"), pymysql, Kind.BUSY),
        (pymysql.err.OperationalError(1021, "hunter2"), pymysql, Kind.FULL),
        (pymysql.err.OperationalError(2006, "hunter2"), pymysql, Kind.LOST),
        (pymysql.err.OperationalError(1290, "hunter2"), pymysql, Kind.READ_ONLY),
        (pymysql.err.IntegrityError(1062, "hunter2"), pymysql, Kind.EXISTS),
        (pymysql.err.DataError(1406, "hunter2"), pymysql, Kind.OTHER),
        (BrokenPipeError(32, "hunter2"), pymysql, Kind.LOST),
        (EOFError("hunter2"), pymysql, Kind.LOST),
        (psycopg.DataError("hunter2"), psycopg, Kind.OTHER),
        (KeyError("hunter2"), pymysql, None),
    ],
    ids=range(21),
)
def test_what_an_error_means_and_that_nothing_of_its_text_is_told(error, driver, kind):
    met = failed(error, driver)
    if kind is None:
        assert met is None
        return
    assert met.kind is kind
    met.__cause__ = error
    told = failure(met, "mysql://host/db", ambiguous=True)
    assert "hunter2" not in str(told)
    assert "mysql://host/db" in str(told)
    assert told.__cause__ is error
    assert isinstance(told, StoreFull) is (kind is Kind.FULL)
    assert isinstance(told, StoreReadOnly) is (kind is Kind.READ_ONLY)
    assert isinstance(told, StoreTimeout) is (kind in {Kind.BUSY, Kind.OVERDUE})
    assert isinstance(told, StoreUnavailable) is (kind in {Kind.LOST, Kind.BUSY, Kind.REFUSED, Kind.OVERDUE})
    assert getattr(told, "ambiguous", False) is (kind in {Kind.LOST, Kind.REFUSED})
    assert met.definite is (kind not in {Kind.LOST, Kind.REFUSED})
