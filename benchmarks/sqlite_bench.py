"""What the tests of `SQLiteStore` have in common."""

import hashlib
import os
import sqlite3
from contextlib import closing

from coatcheck.model.record import Create, Destroy, Lifetimes, Record, Update
from coatcheck.stores.sqlite import SQLiteStore

NOW = 1_700_000_000_000
DAY = 86_400_000
LIFETIMES = Lifetimes(DAY, 30 * DAY, 30 * DAY, 90 * DAY)


def a_record(number=None, **parts):
    """A record of an anonymous visitor, under a key of its own or the one of that number."""
    key = os.urandom(16) if number is None else hashlib.md5(b"%d" % number).digest()
    plain = {
        "key": key,
        "secret": bytes(32),
        "secret_at": NOW,
        "created": NOW,
        "last_used": NOW,
        "expires": NOW + DAY,
        "fields": {"cart": b"apples"},
    }
    return Record(**(plain | parts))


def signed_in(user, at=NOW, **parts):
    return a_record(user=user, signed_in=at, **parts)


def update(record, at=NOW + 1, **parts):
    return Update(key=record.key, at=at, lifetimes=LIFETIMES, **parts)


def destroy(record, at=NOW + 1, **parts):
    return Destroy(key=record.key, at=at, **parts)


def create(store, *records):
    store.apply([Create(record) for record in records])
    return records[0]


def load(store, record, now=NOW):
    (found,) = store.load([record.key], now)
    return found


def fields(path, record):
    """The record's fields, as a store that was just opened sees them."""
    with closing(SQLiteStore(path, ballast=0)) as store:
        return dict(load(store, record).fields)


def query(path, sql, *parameters):
    """What the statement gives, past the store; its changes are committed."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        return connection.execute(sql, parameters).fetchall()


class Connections:
    """The connections that stores make from now on, and what is said on them."""

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
