"""The functions that the tests of `AsyncSQLiteStore` run in processes of their own.

Run as a script: a function's name, then its arguments.
"""

import asyncio
import os
import signal
import sqlite3
import sys
import time
from contextlib import closing
from pathlib import Path

from coatcheck.stores.sqlite import AsyncSQLiteStore

sys.path.insert(0, str(Path(__file__).parents[3]))  # the tests, of which this script is one
from tests.stores.sqlite.scene import NOW, data_of, new, soon

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
    store = AsyncSQLiteStore(path, ballast=0)

    async def create():
        assert await store.write([new(key=KEY, body=b"")], NOW, soon()) == [None]

    async def use(name):
        for number in range(20):
            word = f"{name}{number} ".encode()
            (found,) = await store.load([KEY], NOW, soon())
            while True:
                write = new(key=KEY, data=data_of(found.data[8:] + word), expected=found.version)
                (answer,) = await store.write([write], NOW, soon())
                if answer is None:
                    break
                found = answer.found
            (found,) = await store.load([KEY], NOW, soon())
            assert word in found.data
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
