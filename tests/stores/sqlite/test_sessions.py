"""Sessions on an SQLite file: whatever runs in parallel, every edit is there in the end."""

import sqlite3
from contextlib import closing
from datetime import timedelta

import pytest

from coatcheck import AsyncSessions, Sessions
from coatcheck.errors import StoreTimeout
from coatcheck.stores.sqlite import AsyncSQLiteStore, SQLiteStore
from tests.loops import on_each_loop
from tests.stores.editing import (
    OPTIONS,
    SECRET,
    begin,
    processes_keep_all_their_edits,
    tasks_keep_all_their_edits,
    threads_keep_all_their_edits,
)

pytestmark = pytest.mark.promise("6", "M")


def test_a_hundred_threads_of_two_stores_keep_all_their_edits(path):
    with (
        Sessions(SQLiteStore(path, ballast=0), **OPTIONS) as one,
        Sessions(SQLiteStore(path, ballast=0), **OPTIONS) as other,
    ):
        threads_keep_all_their_edits(one, other)


@on_each_loop
async def test_a_hundred_tasks_of_two_stores_keep_all_their_edits(path):
    async with (
        AsyncSessions(AsyncSQLiteStore(path, ballast=0), **OPTIONS) as one,
        AsyncSessions(AsyncSQLiteStore(path, ballast=0), **OPTIONS) as other,
    ):
        await tasks_keep_all_their_edits(one, other, SQLiteStore(path, ballast=0))


def test_a_hundred_requests_in_each_of_two_processes_keep_all_their_edits(path):
    store = SQLiteStore(path, ballast=0)
    processes_keep_all_their_edits(store, "tests.stores.sqlite.children_sessions", path)


@pytest.mark.promise("F-13", "20")
def test_a_request_that_is_locked_out_until_the_deadline_is_told_and_nothing_is_stored(path):
    with (
        Sessions(SQLiteStore(path, ballast=0), secret=SECRET, deadline=timedelta(seconds=0.1)) as sessions,
        closing(sqlite3.connect(path, isolation_level=None)) as other,
    ):
        handle = begin(sessions)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StoreTimeout) as raised, sessions.edit(handle) as session:
            session["list"].append(1)
        assert not raised.value.ambiguous
        other.execute("ROLLBACK")
        with sessions.edit(handle) as session:
            assert session["list"] == []
