"""The tables of the store, and the statements on them."""

# ruff: noqa: S608 - the only thing put into a statement is the checked name of a table
from __future__ import annotations

import sqlite3
from pathlib import Path

from coatcheck.errors import ConfigurationError

__all__ = ["Statements", "prepare"]

FORMAT = 2
"""The layout of the tables. It stands in a table of ours: `PRAGMA user_version` belongs to the application."""

# A table with rowids: against WITHOUT ROWID, data of 300 bytes is inserted in 2/3 of the time, and data of 2 KiB, which
# would not fit into the index any more, is also read in 2/5 and updated in 1/2 of it.
# The data stands last, so that the other columns of a large row are read without following its overflow pages.
_SCHEMA = (
    """
    CREATE TABLE "{0}sessions" (
        key BLOB NOT NULL PRIMARY KEY,
        user TEXT,
        signed_in INTEGER,
        until INTEGER,
        expires INTEGER NOT NULL,
        live INTEGER NOT NULL,
        data BLOB NOT NULL CHECK (typeof(data) = 'blob')
    )
    """,
    'CREATE INDEX "{0}sessions_user" ON "{0}sessions" (user, signed_in DESC, key) WHERE user IS NOT NULL',
    'CREATE INDEX "{0}sessions_expires" ON "{0}sessions" (expires, live)',
    'CREATE TABLE "{0}meta" (format INTEGER NOT NULL)',
    'INSERT INTO "{0}meta" VALUES ({1})',
)


class Statements:
    """The SQL of one store. Each is prepared once by each connection, which knows it by its text."""

    def __init__(self, prefix: str) -> None:
        table = f'"{prefix}sessions"'
        self.select: str = f"SELECT data FROM {table} WHERE key = ?"
        self.select_several: str = f"SELECT key, data FROM {table} WHERE key IN "
        self.insert: str = f"INSERT INTO {table} VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT (key) DO NOTHING"
        # The revision is compared where it lies, at the head of the data: a column of its own gained nothing.
        # SQLite's substr of empty data is NULL, which equals nothing.
        self.update: str = (
            f"UPDATE {table} SET user = ?, signed_in = ?, until = ?, expires = ?, live = ?, data = ?"
            " WHERE key = ? AND ifnull(substr(data, 1, 8), x'') = ?"
        )
        self.delete: str = f"DELETE FROM {table} WHERE key = ?"
        expired = f"SELECT rowid FROM {table} WHERE expires <= ? LIMIT ?"
        self.sweep: str = f"DELETE FROM {table} WHERE rowid IN ({expired})"
        page = f"SELECT key, signed_in, until FROM {table} WHERE user = ? AND until > ?"
        order = "ORDER BY signed_in DESC, key LIMIT ?"
        self.of_user: str = f"{page} {order}"
        self.of_user_after: str = f"{page} AND signed_in <= ? AND (signed_in < ? OR key > ?) {order}"
        self.count: str = f"SELECT count(*) FROM {table} WHERE expires > ? AND live"
        self.ping: str = f'SELECT format FROM "{prefix}meta"'


def prepare(connection: sqlite3.Connection, path: Path, prefix: str) -> None:
    """Find the tables, or make them. A file that holds others under these names is left as it is.

    Raises:
        ConfigurationError: The tables are another program's, or of another format, or the file can't have a log.
    """
    _has_tables(connection, path, prefix)
    (mode,) = connection.execute("PRAGMA journal_mode = WAL").fetchone()
    if mode != "wal":
        raise ConfigurationError(
            f"{path}: SQLite can't keep a write-ahead log there; use a disk of this machine"
        )
    if not _has_tables(connection, path, prefix):
        connection.execute("BEGIN IMMEDIATE")
        if not _has_tables(connection, path, prefix):
            for statement in _SCHEMA:
                connection.execute(statement.format(prefix, FORMAT))
        connection.execute("COMMIT")


def _has_tables(connection: sqlite3.Connection, path: Path, prefix: str) -> bool:
    ours = {f"{prefix}sessions", f"{prefix}meta"}
    # SQLite ignores the case of names, so "App:" would use the tables of "app:".
    names = "SELECT name FROM sqlite_master WHERE name COLLATE NOCASE IN (?, ?)"
    there = {name for (name,) in connection.execute(names, tuple(ours)).fetchall()}
    if not there:
        return False
    if there != ours:
        raise ConfigurationError(f"{path}: {min(there)} is not a table of this store; use another prefix")
    formats = connection.execute(f'SELECT format FROM "{prefix}meta"').fetchall()
    if formats != [(FORMAT,)]:
        raise ConfigurationError(
            f"{path} keeps the sessions of prefix {prefix!r} in a format that this release can't read"
            f" ({formats}, not {FORMAT}); run the release that made it, or use another file or prefix"
        )
    return True
