"""How the contract suite gets at the bytes behind an SQLite store."""

import tempfile
from pathlib import Path

from coatcheck.stores.sqlite import AsyncSQLiteStore, SQLiteStore
from coatcheck.testing.contract import Harness
from tests.stores.sqlite.scene import DAY, SELECT_DATA, query


class SQLiteHarness(Harness):
    """A file of its own; each `open` is a store as another process has it."""

    make = SQLiteStore

    def __init__(self):
        super().__init__()
        self.directory = tempfile.TemporaryDirectory(prefix="coatcheck-")
        self.path = Path(self.directory.name) / "sessions.db"

    async def open(self):
        return self.make(self.path, ballast=0)

    async def plant(self, key, data):
        sql = (
            'INSERT INTO "coatcheck:sessions" VALUES (?, NULL, NULL, NULL, ?, 1, ?)'
            " ON CONFLICT (key) DO UPDATE SET data = excluded.data"
        )
        query(self.path, sql, key, self.now + DAY, data)

    async def raw(self, key):
        rows = query(self.path, SELECT_DATA, key)
        return rows[0][0] if rows else None

    async def clean(self):
        self.directory.cleanup()


class AsyncSQLiteHarness(SQLiteHarness):
    make = AsyncSQLiteStore
