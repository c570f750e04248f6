"""How long the write-ahead log becomes, in bytes."""

import os
import sqlite3
from contextlib import closing
from pathlib import Path

from coatcheck.stores.sqlite import SQLiteStore
from tests.stores.sqlite.scene import NOW, a_writer, new, put, signed_in, soon

MIB = 1 << 20


def size_of(path):
    return path.stat().st_size


def test_a_sweep_beside_a_writer_leaves_a_short_log(path):
    log = Path(f"{path}-wal")
    with closing(SQLiteStore(path, ballast=0)) as store:
        for start in range(0, 10_000, 1000):
            users = range(start, start + 1000)
            put(store, *(signed_in(f"u{user}", body=os.urandom(500), expires=NOW - 1) for user in users))
        longest = swept = 0
        with a_writer(path):
            while swept < 10_000:
                swept += store.sweep(NOW, 1000, soon())
                longest = max(longest, size_of(log))
        assert swept == 10_000
        assert longest < size_of(path)


def test_a_sweep_empties_the_log(path):
    with closing(SQLiteStore(path, ballast=0)) as store:
        put(store, *(new(expires=NOW - 1) for _ in range(600)))
        assert store.sweep(NOW, 1000, soon()) == 600
        assert size_of(Path(f"{path}-wal")) == 0


def test_a_sweep_does_not_wait_for_a_reader_to_empty_the_log(path):
    with closing(SQLiteStore(path, ballast=0)) as store, closing(sqlite3.connect(path)) as reader:
        put(store, *(new(expires=NOW - 1) for _ in range(10)))
        reader.execute("BEGIN")
        reader.execute('SELECT count(*) FROM "coatcheck:sessions"').fetchone()
        assert store.sweep(NOW, 1000, soon()) == 10
        assert size_of(Path(f"{path}-wal")) > 0


def test_a_log_that_was_long_because_of_a_reader_becomes_short_again(path):
    log = Path(f"{path}-wal")
    with closing(SQLiteStore(path, ballast=0)) as store, closing(sqlite3.connect(path)) as reader:
        reader.execute("BEGIN")
        reader.execute('SELECT count(*) FROM "coatcheck:sessions"').fetchone()
        for _ in range(12):
            put(store, new(body=bytes(MIB)))
        assert size_of(log) > 12 * MIB
        reader.execute("COMMIT")
        for _ in range(3):
            put(store, new())
        assert size_of(log) <= 4 * MIB
