"""The harness of each store: how the contract suite gets at the bytes behind it."""

import sqlite3
import tempfile
from contextlib import closing
from pathlib import Path

from coatcheck.stores.memory import MemoryStore
from coatcheck.stores.sqlite import SQLiteStore
from coatcheck.testing.contract import Harness


class MemoryHarness(Harness):
    def __init__(self, store=None):
        super().__init__()
        self.store = MemoryStore() if store is None else store

    async def open(self):
        return self.store

    async def plant(self, key, data):
        self.store._data[key] = data

    async def raw(self, key):
        return self.store._data.get(key)


class SQLiteHarness(Harness):
    """A file of its own; each `open` is a store as another process has it."""

    def __init__(self):
        super().__init__()
        self.directory = tempfile.TemporaryDirectory(prefix="coatcheck-")
        self.path = Path(self.directory.name) / "sessions.db"

    async def open(self):
        return SQLiteStore(self.path, ballast=0)

    async def plant(self, key, data):
        self._execute(
            'INSERT INTO "coatcheck:sessions" VALUES (?, ?, NULL, NULL, ?, 1)'
            " ON CONFLICT (key) DO UPDATE SET data = excluded.data",
            (key, data, self.now + 86_400_000),
        )

    async def raw(self, key):
        rows = self._execute('SELECT data FROM "coatcheck:sessions" WHERE key = ?', (key,))
        return rows[0][0] if rows else None

    async def clean(self):
        self.directory.cleanup()

    def _execute(self, sql, parameters):
        with closing(sqlite3.connect(self.path, timeout=5)) as connection, connection:
            return connection.execute(sql, parameters).fetchall()
