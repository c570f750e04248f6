"""Which files and settings the SQLite store takes, and whose tables it finds there."""

import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path

import pytest

from coatcheck.errors import ConfigurationError
from coatcheck.stores.sqlite import SQLiteStore, async_from_url, from_url
from tests.stores.sqlite.scene import NOW, ending, get, new, put, query, signed_in, soon, users

# Building


@pytest.mark.parametrize("path", ["", ":memory:"])
def test_a_store_in_memory_is_refused_and_told_the_way(path):
    with pytest.raises(ConfigurationError, match="memory://"):
        SQLiteStore(path)


@pytest.mark.promise("25")
def test_a_directory_that_is_not_there_is_named_when_the_store_is_built(tmp_path):
    with pytest.raises(ConfigurationError, match=r"missing/sessions\.db: its directory does not exist"):
        SQLiteStore(tmp_path / "missing" / "sessions.db")


def test_a_directory_is_no_file(tmp_path):
    with pytest.raises(ConfigurationError, match="is a directory; name a file in it"):
        SQLiteStore(tmp_path)


@pytest.mark.parametrize("prefix", ["", "a b", 'a"b', "a\0", "sqlite_", "SQLite_x", "x" * 65, "é:"])
def test_a_prefix_that_is_no_good_name_is_refused(path, prefix):
    with pytest.raises(ConfigurationError, match="prefix must be"):
        SQLiteStore(path, prefix=prefix)
    assert not path.exists()


@pytest.mark.promise("25")
@pytest.mark.parametrize("settings", [{"synchronous": "OFF"}, {"ballast": -1}], ids=str)
def test_settings_that_can_not_work_are_refused_by_name(path, settings):
    with pytest.raises(ConfigurationError, match=f"^{next(iter(settings))} must be"):
        SQLiteStore(path, **settings)


def test_a_relative_path_is_resolved_when_the_store_is_built(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    with closing(SQLiteStore("sessions.db", ballast=0)) as store:
        monkeypatch.chdir("elsewhere")
        put(store, new())
        assert not Path("sessions.db").exists()


@pytest.mark.parametrize("name", ["50%20 off?mode=memory#.db", "séssion 名.db", "file:a.db"])
def test_every_name_of_a_file_is_taken_as_it_is(tmp_path, name):
    with closing(SQLiteStore(tmp_path / name, ballast=0)) as store:
        write = put(store, new())
    assert [file.name for file in tmp_path.iterdir()] == [name]
    with closing(SQLiteStore(tmp_path / name, ballast=0)) as store:
        assert get(store, write) == write.data


def test_a_new_file_is_its_owners_alone_and_an_old_one_keeps_its_mode(path):
    SQLiteStore(path, ballast=0).close()
    assert path.stat().st_mode & 0o777 == 0o600
    path.chmod(0o660)
    with closing(SQLiteStore(path, ballast=0)) as store:
        put(store, new())
        modes = {file.name: file.stat().st_mode & 0o777 for file in path.parent.iterdir()}
    assert modes == {"sessions.db": 0o660, "sessions.db-wal": 0o660, "sessions.db-shm": 0o660}


def test_a_store_that_was_only_built_has_no_connection_open(path, connections):
    # A server may fork then, even one whose forks run no hooks of Python.
    store = SQLiteStore(path, ballast=0)
    assert connections.made == 1
    assert not connections.open
    store.close()


def test_the_log_is_written_ahead_and_synchronous_is_as_was_asked(path, connections):
    for synchronous, number in (("NORMAL", 1), ("FULL", 2)):
        with closing(SQLiteStore(path, synchronous=synchronous, ballast=0)) as store:
            store.ping(soon())
            (connection,) = connections.open
            assert connection.execute("PRAGMA journal_mode").fetchall() == [("wal",)]
            assert connection.execute("PRAGMA synchronous").fetchall() == [(number,)]


@pytest.mark.promise("25")
@pytest.mark.parametrize("make", [from_url, async_from_url])
def test_the_url_names_the_file_and_the_options_are_the_stores(tmp_path, monkeypatch, make):
    monkeypatch.chdir(tmp_path)
    make("sqlite:///a%20b.db", ballast=10)
    make(f"sqlite:///{tmp_path}/c.db", prefix="mine:", synchronous="FULL", ballast=0)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a b.db", "a b.db-ballast", "c.db"]
    assert query(tmp_path / "c.db", 'SELECT * FROM "mine:meta"') == [(2,)]
    with pytest.raises(ConfigurationError, match="has no host: write sqlite:///relative"):
        make("sqlite://a.db")


# Whose tables they are


def test_the_applications_own_database_keeps_what_is_the_applications(path):
    query(path, "CREATE TABLE sessions (mine)")
    query(path, "PRAGMA user_version = 7")
    with closing(SQLiteStore(path, ballast=0)) as store:
        put(store, new())
    assert query(path, "PRAGMA user_version") == [(7,)]
    assert query(path, "SELECT * FROM sessions") == []


def test_stores_of_different_prefixes_share_a_file_and_nothing_else(path):
    with (
        closing(SQLiteStore(path, ballast=0)) as one,
        closing(SQLiteStore(path, prefix="b.", ballast=0)) as other,
    ):
        write = put(one, signed_in("ada"))
        assert get(other, write) is None
        assert users(other, "ada") == []
        assert other.count(NOW, soon()) == 0
        put(other, write)
        put(one, ending(write))
        assert get(other, write) == write.data


@pytest.mark.promise("F-21")
@pytest.mark.parametrize(
    "change",
    [
        'UPDATE "coatcheck:meta" SET format = 1',
        'INSERT INTO "coatcheck:meta" VALUES (1)',
        'DELETE FROM "coatcheck:meta"',
    ],
)
def test_tables_of_another_format_are_refused_and_left_as_they_are(path, change):
    SQLiteStore(path, ballast=0).close()
    query(path, change)
    before = path.read_bytes()
    with pytest.raises(ConfigurationError, match="in a format that this release can't read"):
        SQLiteStore(path)
    assert [file.name for file in path.parent.iterdir()] == ["sessions.db"]
    assert path.read_bytes() == before


@pytest.mark.parametrize("name", ["coatcheck:sessions", "coatcheck:meta", "Coatcheck:META"])
def test_a_table_of_our_name_that_is_not_ours_is_refused_and_left_as_it_is(path, name):
    query(path, f'CREATE TABLE "{name}" (mine)')
    before = path.read_bytes()
    with pytest.raises(ConfigurationError, match=f"{name} is not a table of this store"):
        SQLiteStore(path)
    assert path.read_bytes() == before


def test_a_prefix_that_differs_only_in_case_is_refused_since_sqlite_knows_no_case(path):
    SQLiteStore(path, ballast=0).close()
    with pytest.raises(ConfigurationError, match="use another prefix"):
        SQLiteStore(path, prefix="Coatcheck:")


def test_threads_that_build_the_store_at_once_all_get_one(path):
    barrier = threading.Barrier(8)

    def build(_):
        barrier.wait()
        with closing(SQLiteStore(path, ballast=0)) as store:
            put(store, new())

    with ThreadPoolExecutor(8) as threads:
        list(threads.map(build, range(8)))
    assert query(path, 'SELECT count(*) FROM "coatcheck:sessions"') == [(8,)]
    assert query(path, 'SELECT * FROM "coatcheck:meta"') == [(2,)]


def test_one_who_is_overtaken_while_building_uses_the_tables_of_the_other(path, monkeypatch):
    really_connect = sqlite3.connect
    others = []

    class Overtaken(sqlite3.Connection):
        def execute(self, statement, *parameters):
            if statement == "BEGIN IMMEDIATE" and not others:
                others.append("under way")
                others[0] = SQLiteStore(path, ballast=0)
            return super().execute(statement, *parameters)

    monkeypatch.setattr(
        sqlite3, "connect", lambda *args, **kwargs: really_connect(*args, factory=Overtaken, **kwargs)
    )
    with closing(SQLiteStore(path, ballast=0)) as store, closing(others[0]) as other:
        write = put(other, new())
        assert get(store, write) == write.data
    assert query(path, 'SELECT * FROM "coatcheck:meta"') == [(2,)]
