"""The backend for SQLite, PostgreSQL and MariaDB, on real servers."""

import pickle
import threading
from contextlib import closing

import pytest
import sqlalchemy

from coatcheck.compat.gimlet.backends.base import Renewal, Write
from coatcheck.compat.gimlet.backends.sql import SQLBackend
from coatcheck.errors import TooLarge
from tests.compat.gimlet.conftest import new_backend, url_of

pytestmark = pytest.mark.xdist_group("gimlet")


KEY, OTHER = b"ab" * 16, b"cd" * 16
SQL = ["sqlite", "postgresql", "mariadb"]


@pytest.fixture(params=SQL)
def url(request):
    return url_of(request, request.param)


class TestSQL:
    def test_the_table_is_gimlets_with_a_column_for_the_expiry(self, url, table):
        """[KEEP] 1.9: id, key, data; created if it is missing; .table."""
        with closing(SQLBackend(url, table)) as backend:
            assert backend.table.name == table
            columns = {
                column["name"]: column for column in sqlalchemy.inspect(backend.engine).get_columns(table)
            }
            assert columns.keys() == {"id", "key", "data", "expires"}
            assert not columns["key"]["nullable"]
            assert columns["expires"]["nullable"], "an old server's INSERT does not name it"
            backend[KEY] = {"a": 1}
            with closing(SQLBackend(url, table)) as second:
                assert second[KEY] == {"a": 1}

    def test_the_name_of_the_table_is_gimlets_by_default(self, tmp_path):
        with closing(SQLBackend(f"sqlite:///{tmp_path}/a.db")) as backend:
            assert backend.table.name == "gimlet_channels"

    def test_fix_no_table_is_made_unasked(self, url, table):
        with pytest.raises(sqlalchemy.exc.NoSuchTableError):
            SQLBackend(url, table, create=False)

    def test_a_table_that_can_not_be_made_is_the_error_of_the_database(self, tmp_path):
        (tmp_path / "empty.db").touch()
        with pytest.raises(sqlalchemy.exc.OperationalError, match="readonly"):
            SQLBackend(f"sqlite:///file:{tmp_path}/empty.db?mode=ro&uri=true")

    def test_a_deadlock_is_retried_once(self, tmp_path):
        """Simulated: which of two transactions a server ends is its own choice."""
        failures, tried = [], []

        def fail(*_):
            tried.append(True)
            if failures:
                raise sqlalchemy.exc.OperationalError("SELECT", {}, failures.pop())

        with closing(SQLBackend(f"sqlite:///{tmp_path}/a.db")) as backend:
            backend[KEY] = {"a": 1}
            sqlalchemy.event.listen(backend.engine, "before_cursor_execute", fail)
            failures += [Exception(1213, "Deadlock found")]
            assert backend[KEY] == {"a": 1}
            assert len(tried) == 2
            failures += [Exception(1213, "Deadlock found")] * 2
            with pytest.raises(sqlalchemy.exc.OperationalError, match="Deadlock"):
                backend[KEY]
            assert len(tried) == 4

    def test_any_other_error_of_the_database_is_raised_at_once(self, url, table):
        with closing(SQLBackend(url, table)) as backend:
            tried = []
            backend.table.drop(backend.engine)
            sqlalchemy.event.listen(backend.engine, "before_cursor_execute", lambda *_: tried.append(True))
            with pytest.raises(sqlalchemy.exc.DBAPIError, match=table):
                backend[KEY]
            assert len(tried) == 1

    def test_engine_arguments_are_passed_on(self, tmp_path):
        with closing(SQLBackend(f"sqlite:///{tmp_path}/a.db", "t", echo=False, pool_size=3)) as backend:
            assert backend.engine.pool.size() == 3

    def test_sqlite_in_memory_works_from_several_threads(self):
        """[TEST] 1.9: `sqlite://` must work with the pool."""
        for url in ("sqlite://", "sqlite:///:memory:"):
            with closing(SQLBackend(url)) as backend:
                backend[KEY] = {"a": 1}
                found = []
                thread = threading.Thread(
                    target=lambda backend=backend, found=found: found.append(backend[KEY])
                )
                thread.start()
                thread.join()
                assert found == [{"a": 1}]

    def test_sweep_removes_what_has_expired(self, url, table):
        with closing(SQLBackend(url, table)) as backend:
            backend.write_many([Write(KEY, {}, -1, there=False), Write(OTHER, {}, 600, there=False)], [], [])
            backend[b"ef" * 16] = {}
            assert backend.sweep() == 1
            assert backend.sweep() == 0
            assert backend.read_many([OTHER, b"ef" * 16]) == {OTHER: {}, b"ef" * 16: {}}

    def test_fix_a_connection_that_the_server_closed_is_replaced(self, request, table):
        for kind, kill in (
            (
                "postgresql",
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND query LIKE '%{}%'",
            ),
            ("mariadb", None),
        ):
            server = request.getfixturevalue(f"one_{kind}")
            with closing(new_backend(request, kind, table)) as backend:
                backend[KEY] = {"a": 1}
                if kill is not None:
                    server.execute(kill.format(table))
                else:
                    for row in server.execute("SHOW PROCESSLIST"):
                        if row[4] == "Sleep":
                            server.execute(f"KILL {row[0]}")
                assert backend[KEY] == {"a": 1}

    def test_a_table_that_gimlet_made_in_mariadb_takes_64_kib_and_the_error_says_what_to_do(
        self, request, table, caplog
    ):
        server = request.getfixturevalue("one_mariadb")
        server.execute(
            f"CREATE TABLE {table} (id INTEGER NOT NULL AUTO_INCREMENT, `key` CHAR(32) NOT NULL, data BLOB NOT NULL, "
            "PRIMARY KEY (id), UNIQUE (`key`))"
        )
        server.execute(
            f"INSERT INTO {table} (`key`, data) VALUES (%s, %s)", (KEY, pickle.dumps({"old": 1}, 3))
        )
        with closing(new_backend(request, "mariadb", table)) as backend:
            assert "expires" in caplog.text
            assert backend[KEY] == {"old": 1}
            assert (
                backend.write_many([Write(KEY, {"new": 1}, 60, there=True)], [], [Renewal(KEY, 60)]) == set()
            )
            assert backend[KEY] == {"new": 1}
            for there in (True, False):
                with pytest.raises(TooLarge, match="MODIFY data LONGBLOB"):
                    backend.write_many([Write(KEY, {"a": "x" * 70_000}, 60, there=there)], [], [])
            assert backend[KEY] == {"new": 1}
        server.execute(f"ALTER TABLE {table} MODIFY data LONGBLOB NOT NULL")
        server.execute(f"ALTER TABLE {table} ADD COLUMN expires BIGINT NULL")
        with closing(new_backend(request, "mariadb", table)) as backend:
            backend.write_many([Write(KEY, {"a": "x" * 70_000}, 60, there=True)], [], [])
            assert backend.sweep() == 0

    def test_two_processes_may_make_the_table_at_once(self, url, table):
        failed, start = [], threading.Barrier(4)

        def make():
            start.wait()
            try:
                SQLBackend(url, table).close()
            except BaseException as error:  # noqa: BLE001 - told below
                failed.append(error)

        threads = [threading.Thread(target=make) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert failed == []
