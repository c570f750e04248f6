"""What the tests of `AsyncSQLiteStore` run in processes of their own.

Run as a script: a function's name, then its arguments.
"""

import asyncio
import os
import signal
import sqlite3
import sys
import time
from contextlib import closing

from coatcheck.model.record import APPLIED, Create, Lifetimes, Record, Update
from coatcheck.stores.coalesce import Coalesced
from coatcheck.stores.sqlite_async import AsyncSQLiteStore

NOW = 1_700_000_000_000
DAY = 86_400_000
KEY = bytes(16)
PATIENCE = 60  # seconds


def say(word):
    print(word, flush=True)


def hold_the_write_lock(path, seconds):
    """Keep others from writing, again and again, until told to stop."""
    with closing(sqlite3.connect(path, isolation_level=None, timeout=30)) as connection:
        os.set_blocking(0, False)
        say("ready")
        while not sys.stdin.buffer.read(1):
            connection.execute("BEGIN IMMEDIATE")
            time.sleep(float(seconds))
            connection.execute("ROLLBACK")
            time.sleep(0.01)


def write_without_a_pause(path):
    """Large transactions, one after the other, until told to stop."""
    with closing(sqlite3.connect(path, isolation_level=None, timeout=30)) as connection:
        os.set_blocking(0, False)
        connection.execute("CREATE TABLE IF NOT EXISTS noise (data BLOB)")
        say("ready")
        while not sys.stdin.buffer.read(1):
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany("INSERT INTO noise VALUES (?)", ((os.urandom(2_000),) for _ in range(400)))
            connection.execute("DELETE FROM noise")
            connection.execute("COMMIT")
            time.sleep(0.002)


def fork_after_use(path):
    """Use the store, and with it its thread, then fork: parent and child go on with it, each in a new loop."""
    store = Coalesced(AsyncSQLiteStore(path, ballast=0))

    async def create():
        record = Record(
            key=KEY, secret=bytes(32), secret_at=NOW, created=NOW, last_used=NOW, expires=NOW + DAY
        )
        assert list(await store.apply([Create(record)])) == [APPLIED]

    async def use(who):
        for number in range(20):
            lifetimes = Lifetimes(DAY, DAY, DAY, DAY)
            change = Update(key=KEY, at=NOW, lifetimes=lifetimes, set={f"{who}{number}": b"1"})
            assert list(await store.apply([change])) == [APPLIED]
            (found,) = await store.load([KEY], NOW)
            assert f"{who}{number}" in found.fields
        await store.close()

    asyncio.run(create())
    child = os.fork()
    if not child:
        code = 1
        try:
            asyncio.run(use("child"))
            code = 0
        except BaseException:  # noqa: BLE001 - whatever it is, the parent must hear of it
            sys.excepthook(*sys.exc_info())
        finally:
            sys.stderr.flush()
            os._exit(code)
    asyncio.run(use("parent"))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


if __name__ == "__main__":
    signal.alarm(PATIENCE)
    globals()[sys.argv[1]](*sys.argv[2:])
