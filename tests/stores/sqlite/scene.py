"""What the tests of the SQLite store have in common."""

import hashlib
import os
import sqlite3
import subprocess
import sys
import time
from contextlib import closing, contextmanager
from pathlib import Path

import msgspec

from coatcheck.model.ports import Conflict, Entry, Write
from coatcheck.stores.sqlite import SQLiteStore

NOW = 1_700_000_000_000
DAY = 86_400_000
SELECT_DATA = 'SELECT data FROM "coatcheck:sessions" WHERE key = ?'


def soon(seconds=20.0):
    """A deadline."""
    return time.monotonic() + seconds


def data_of(body):
    return os.urandom(8) + body


def new(number=None, body=b"apples", **parts):
    """A write under a key of its own, or the one of that number, where nothing lies yet."""
    key = os.urandom(16) if number is None else hashlib.md5(b"%d" % number).digest()
    return Write(**({"key": key, "data": data_of(body), "expires": NOW + DAY} | parts))


def signed_in(user, at=NOW, **parts):
    write = new(**parts)
    return msgspec.structs.replace(write, entry=Entry(user, write.key, at, NOW + 30 * DAY))


def after(write, body=b"pears", **parts):
    """A write that replaces what `write` stored; its entry stays."""
    changed = {"expected": write.data[:8], "data": data_of(body), "urgent": False} | parts
    return msgspec.structs.replace(write, **changed)


def ending(write):
    return after(write, b"", expires=NOW + 30_000, live=False, entry=None, urgent=True)


def put(store, *writes):
    assert store.write(writes, NOW, soon()) == [None] * len(writes)
    return writes[0]


def get(store, write):
    """The data under the write's key."""
    (found,) = store.load([write.key], NOW, soon())
    return None if found is None else found.data


def users(store, user, **page):
    return store.sessions_of(user, NOW, page.get("limit", 100), page.get("after"), soon())


def append(store, key, word):
    """Add a word to the data, by compare-and-swap."""
    (found,) = store.load([key], NOW, soon())
    while True:
        data = data_of(found.data[8:] + word + b" ")
        write = Write(key=key, expected=found.version, data=data, expires=NOW + DAY)
        (answer,) = store.write([write], NOW, soon())
        if answer is None:
            return
        assert isinstance(answer, Conflict)
        found = answer.found


def words(path, key):
    """The words of the data, as a store that was just opened sees them."""
    with closing(SQLiteStore(path, ballast=0)) as store:
        (found,) = store.load([key], NOW, soon())
        return found.data[8:].split()


def query(path, sql, *parameters):
    """The rows of a statement, past the store; its changes are committed."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        return connection.execute(sql, parameters).fetchall()


@contextmanager
def a_writer(path):
    """Another process, which stores new sessions without a pause."""
    command = [sys.executable, str(Path(__file__).with_name("children_disk.py")), str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as writer:
        try:
            assert writer.stdout.readline() == "ready\n"
            yield writer
        finally:
            writer.kill()


class Connections:
    """The connections that stores make from now on, and the statements on them."""

    def __init__(self, monkeypatch):
        self.statements = []
        self.open = set()
        self.made = 0
        really_connect = sqlite3.connect
        mine = self

        class Counted(sqlite3.Connection):
            def close(self):
                super().close()
                mine.open.discard(self)

        def connect(*args, **kwargs):
            connection = really_connect(*args, factory=Counted, **kwargs)
            connection.set_trace_callback(self.statements.append)
            self.open.add(connection)
            self.made += 1
            return connection

        monkeypatch.setattr(sqlite3, "connect", connect)

    def verbs(self):
        """The first word of each statement since the last call."""
        verbs = [statement.split()[0] for statement in self.statements]
        self.statements.clear()
        return verbs
