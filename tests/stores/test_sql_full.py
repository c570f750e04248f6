"""A database without room: MariaDB really has none left, PostgreSQL's answer is known by its code."""

import os
from contextlib import closing

import psycopg
import pymysql
import pytest

from benchmarks.sql_bench import a_record, create, load, update
from coatcheck.errors import StoreFull, StoreUnavailable
from coatcheck.model.record import Create
from coatcheck.stores._sql_errors import Kind, failure, is_definite, kind_of
from tests.servers.mariadb import MariaDB
from tests.stores.sql_servers import Place

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


def test_a_database_without_room_says_so_and_is_read_all_the_same(place):
    with closing(place.store()) as store:
        records = []
        with pytest.raises(StoreFull) as caught:
            fill(store, records)
        assert "1114" in str(caught.value)
        assert 0 < len(records) < 1000
        assert load(store, records[0]) == records[0]
        with pytest.raises(StoreFull):
            store.apply([update(records[0], set={"more": os.urandom(200_000)}), Create(a_record())])
        assert load(store, records[0]) == records[0]


def fill(store, records):
    for _ in range(1000):
        record = create(store, fields={"cart": os.urandom(100_000)})
        records.append(record)


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
        (Coded("XX000"), psycopg, Kind.OTHER),
        (Coded(None), psycopg, Kind.LOST),
        (pymysql.err.OperationalError(1021, "hunter2"), pymysql, Kind.FULL),
        (pymysql.err.OperationalError(2006, "hunter2"), pymysql, Kind.LOST),
        (pymysql.err.OperationalError(1290, "hunter2"), pymysql, Kind.READ_ONLY),
        (pymysql.err.IntegrityError(1062, "hunter2"), pymysql, Kind.EXISTS),
        (pymysql.err.DataError(1406, "hunter2"), pymysql, Kind.OTHER),
        (BrokenPipeError(32, "hunter2"), pymysql, Kind.LOST),
        (EOFError("hunter2"), pymysql, Kind.LOST),
        (KeyError("hunter2"), pymysql, None),
    ],
    ids=range(16),
)
def test_what_an_error_means_and_that_nothing_of_its_text_is_told(error, driver, kind):
    assert kind_of(error, driver) is kind
    if kind is not None:
        told = failure(kind, error, "mysql://host/db")
        assert "hunter2" not in str(told)
        assert "mysql://host/db" in str(told)
        assert isinstance(told, StoreFull) is (kind is Kind.FULL)
        assert isinstance(told, StoreUnavailable) is (kind in {Kind.LOST, Kind.BUSY, Kind.REFUSED})
        assert is_definite(kind, error) is (kind not in {Kind.LOST, Kind.REFUSED})
