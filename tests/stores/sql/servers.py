"""The databases that the SQL store is tested on, each started when a test first asks for it; tables per harness."""

import itertools
import os
import sqlite3
import tempfile
from contextlib import closing
from functools import cache
from pathlib import Path

import pytest
import sqlalchemy

from coatcheck.stores.sql import AsyncSQLStore, SQLStore
from coatcheck.stores.sql.table import dialect_named, making, tables
from coatcheck.testing.contract import Harness
from tests.servers.mariadb import MariaDB
from tests.servers.pgbouncer import PgBouncer
from tests.servers.postgres import PostgreSQL

_started = []
_numbers = itertools.count()
_left = {}


def _start(server):
    server.start()
    _started.append(server)
    return server


@cache
def postgresql():
    return _start(PostgreSQL())


@cache
def mariadb():
    return _start(MariaDB())


@cache
def pgbouncer():
    return _start(PgBouncer(postgresql()))


@pytest.fixture(scope="session", autouse=True)
def databases_that_end():
    """Import it where one of these servers is used."""
    yield
    for places in _left.values():
        for place in places:
            place.reconnect()
    _left.clear()
    while _started:
        _started.pop().__exit__()


@cache
def postgresql_to_break():
    """One that keeps what it acknowledged when it is killed, and that other tests don't use."""
    return _start(PostgreSQL(synchronous_commit="on"))


@cache
def mariadb_to_break():
    """The same."""
    return _start(MariaDB("--innodb-flush-log-at-trx-commit=2"))


SERVERS = {"postgresql": postgresql, "mysql": mariadb}
TO_BREAK = {"postgresql": postgresql_to_break, "mysql": mariadb_to_break}


def a_place(kind, server=None):
    """Tables of one's own, with nothing in them, until one leaves."""
    server = SERVERS[kind]() if server is None else server
    left = _left.get((kind, server))
    return left.pop() if left else Place(kind, server)


class Place:
    """Tables on a server."""

    def __init__(self, kind, server, *, make=True):
        self.kind = kind
        self.server = server
        self._connection = None
        self.prefix = f"t{os.getpid()}_{next(_numbers)}:"
        self.tables = tables(self.prefix)
        self.sessions, self.meta = self.tables.sessions.name, self.tables.meta.name
        for statement in making(self.tables) if make else ():
            self.execute(str(statement.compile(dialect=dialect_named(kind))))

    @property
    def url(self):
        return self.server.url()

    def execute(self, sql, parameters=None):
        """Its rows, past the store, on a connection that stays."""
        if self._connection is None:
            self._connection = self.server.connect()
        with closing(self._connection.cursor()) as cursor:
            cursor.execute(sql, parameters)
            return cursor.fetchall() if cursor.description else []

    def reconnect(self):
        """After the server's connections have ended."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None

    def rows(self):
        return self.execute(f"SELECT count(*) FROM {self.sessions}")[0][0]

    def indexes(self):
        if self.kind == "postgresql":
            return {
                name
                for (name,) in self.execute(
                    "SELECT indexname FROM pg_indexes WHERE tablename = %s", (self.sessions,)
                )
            }
        return {row[2] for row in self.execute(f"SHOW INDEX FROM {self.sessions}")}

    @property
    def key(self):
        """The column's name, as the database wants it."""
        return "`key`" if self.kind == "mysql" else "key"

    def leave(self):
        """Let another test have the tables: to make some takes longer than most tests."""
        self.execute(f"DELETE FROM {self.sessions}")
        _left.setdefault((self.kind, self.server), []).append(self)

    def store(self, **options):
        return SQLStore(self.url, prefix=self.prefix, **options)

    def async_store(self, **options):
        return AsyncSQLStore(self.url, prefix=self.prefix, **options)


class SQLHarness(Harness):
    kind = "postgresql"

    def __init__(self):
        super().__init__()
        self.place = a_place(self.kind)

    async def open(self):
        return self.place.store()

    async def plant(self, key, data):
        place = self.place
        place.execute(f"DELETE FROM {place.sessions} WHERE {place.key} = %s", (key,))
        place.execute(
            f"INSERT INTO {place.sessions} VALUES (%s, %s, %s, NULL, NULL, NULL, %s, 1)",
            (key, data, os.urandom(8), self.now + 86_400_000),
        )

    async def raw(self, key):
        place = self.place
        found = place.execute(f"SELECT data FROM {place.sessions} WHERE {place.key} = %s", (key,))
        return bytes(found[0][0]) if found else None

    async def clean(self):
        self.place.leave()


class PostgreSQLHarness(SQLHarness):
    pass


class PgBouncerHarness(SQLHarness):
    async def open(self):
        return SQLStore(pgbouncer().url(), prefix=self.place.prefix)


class AsyncPgBouncerHarness(SQLHarness):
    async def open(self):
        return AsyncSQLStore(pgbouncer().url(), prefix=self.place.prefix)


class MariaDBHarness(SQLHarness):
    kind = "mysql"


class AsyncPostgreSQLHarness(SQLHarness):
    async def open(self):
        return self.place.async_store()


class AsyncMariaDBHarness(MariaDBHarness):
    async def open(self):
        return self.place.async_store()


class SQLiteThroughSQLAlchemyHarness(Harness):
    """A file of its own, and an engine for each `open`."""

    def __init__(self):
        super().__init__()
        self.directory = tempfile.TemporaryDirectory(prefix="coatcheck-")
        self.path = Path(self.directory.name) / "sessions.db"
        self.engines = []

    async def open(self):
        engine = sqlalchemy.create_engine(f"sqlite:///{self.path}")
        self.engines.append(engine)
        store = SQLStore(engine)
        store.create_tables()
        return store

    async def plant(self, key, data):
        self._execute(
            "INSERT OR REPLACE INTO coatcheck_sessions VALUES (?, ?, ?, NULL, NULL, NULL, ?, 1)",
            (key, data, os.urandom(8), self.now + 86_400_000),
        )

    async def raw(self, key):
        rows = self._execute("SELECT data FROM coatcheck_sessions WHERE key = ?", (key,))
        return rows[0][0] if rows else None

    async def clean(self):
        for engine in self.engines:
            engine.dispose()
        self.directory.cleanup()

    def _execute(self, sql, parameters):
        with closing(sqlite3.connect(self.path, timeout=5)) as connection, connection:
            return connection.execute(sql, parameters).fetchall()
