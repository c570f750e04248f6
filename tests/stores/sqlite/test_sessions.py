"""Sessions on an SQLite file: whatever runs in parallel, every edit is there in the end."""

import asyncio
import sqlite3
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest

from coatcheck import AsyncSessions, Sessions
from coatcheck.errors import StoreTimeout
from coatcheck.stores.sqlite import AsyncSQLiteStore, SQLiteStore
from tests.loops import on_each_loop

CHILDREN = Path(__file__).with_name("children_sessions.py")
SECRET = "t3Kq9VnWcX0bRz7uYh2LdPfJ8sMgA5eQoTiN1rBxGvE"
MANY = 100
PATIENCE = timedelta(seconds=60)

pytestmark = pytest.mark.promise("6", "M")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "sessions.db"


def begin(sessions):
    session = sessions.open(b"")
    session["list"], session["set"], session["dict"] = [], set(), {}
    sessions.save(session)
    return session.handle


def edit(session, number):
    session["list"].append(number)
    session["set"].add(number)
    session["dict"][str(number)] = number
    session[f"field {number}"] = number


def holds(session, numbers):
    assert sorted(session["list"]) == numbers
    assert session["set"] == set(numbers)
    assert session["dict"] == {str(number): number for number in numbers}
    assert all(session[f"field {number}"] == number for number in numbers)


def test_threads_of_two_stores(path):
    with (
        Sessions(SQLiteStore(path, ballast=0), secret=SECRET, deadline=PATIENCE) as one,
        Sessions(SQLiteStore(path, ballast=0), secret=SECRET, deadline=PATIENCE) as other,
    ):
        handle = begin(one)
        barrier = threading.Barrier(MANY)

        def request(number):
            with (one, other)[number % 2].edit(handle) as session:
                edit(session, number)
                barrier.wait(60)

        with ThreadPoolExecutor(MANY) as threads:
            list(threads.map(request, range(MANY)))
        with other.edit(handle) as session:
            holds(session, list(range(MANY)))


@on_each_loop
async def test_tasks_of_two_stores(path):
    async with (
        AsyncSessions(AsyncSQLiteStore(path, ballast=0), secret=SECRET, deadline=PATIENCE) as one,
        AsyncSessions(AsyncSQLiteStore(path, ballast=0), secret=SECRET, deadline=PATIENCE) as other,
    ):
        with Sessions(SQLiteStore(path, ballast=0), secret=SECRET, deadline=PATIENCE) as sync:
            handle = begin(sync)
        barrier = asyncio.Barrier(MANY)

        async def request(number):
            async with (one, other)[number % 2].edit(handle) as session:
                edit(session, number)
                await barrier.wait()

        await asyncio.gather(*map(request, range(MANY)))
        async with one.edit(handle) as session:
            holds(session, list(range(MANY)))


def test_two_processes(path):
    with Sessions(SQLiteStore(path, ballast=0), secret=SECRET, deadline=PATIENCE) as sessions:
        handle = begin(sessions)
        command = [sys.executable, "-W", "error", str(CHILDREN), str(path), SECRET, handle]
        children = [
            subprocess.Popen([*command, str(start), str(MANY)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            for start in (0, MANY)
        ]
        for child in children:
            assert child.stdout.readline() == b"ready\n"
        for child in children:
            child.stdin.write(b"go\n")
            child.stdin.flush()
        for child in children:
            with child:
                child.communicate(timeout=60)
            assert child.returncode == 0
        with sessions.edit(handle) as session:
            holds(session, list(range(2 * MANY)))


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
