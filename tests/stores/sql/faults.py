"""What the tests of faults have in common (security.md, F-16)."""

import threading
import time
from pathlib import Path

import pytest

from coatcheck.stores.sql.connection import Connection
from tests.stores.sql.scene import (
    get,
)
from tests.stores.sql.servers import (
    databases_that_end,  # noqa: F401 - a fixture
)

SHORT = 1  # seconds
DRIVERS = {"postgresql": ("psycopg", "psycopg"), "mysql": ("pymysql", "aiomysql")}


ENDS = {"postgresql": "UPDATE", "mysql": "COMMIT"}
"""The statement by which a batch is done."""


def idle_in_transaction(place):
    if place.kind == "postgresql":
        told = "SELECT count(*) FROM pg_stat_activity WHERE state LIKE 'idle in transaction%'"
        return place.execute(told)[0][0]
    time.sleep(0.15)  # as in `waiting`
    return place.execute(
        "SELECT count(*) FROM information_schema.innodb_trx"
        " JOIN information_schema.processlist ON id = trx_mysql_thread_id WHERE command = 'Sleep'"
    )[0][0]


def kill_connections(place):
    if place.kind == "postgresql":
        place.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'coatcheck'"
        )
        return
    for (number,) in place.execute(
        "SELECT id FROM information_schema.processlist WHERE id <> connection_id() AND user = 'coatcheck'"
    ):
        place.execute(f"KILL {number}")


def waiting(place):
    """How many connections wait for a lock."""
    if place.kind == "postgresql":
        return place.execute("SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'")[0][0]
    time.sleep(0.15)  # who asks this table more often is told what it held the last time
    told = "SELECT count(*) FROM information_schema.innodb_trx WHERE trx_state = 'LOCK WAIT'"
    return place.execute(told)[0][0]


def locked(place, key):
    """A connection of another program, whose transaction has the row."""
    connection = place.server.connect()
    cursor = connection.cursor()
    cursor.execute("BEGIN")
    cursor.execute(f"SELECT 1 FROM {place.sessions} WHERE {place.key} = %s FOR UPDATE", (key,))
    cursor.fetchall()
    return connection


def stands_still(place):
    """Whether all threads of the server's processes are stopped; a signal takes a moment."""
    pids = [place.server.pid, *place.server.children()] if place.kind == "postgresql" else [place.server.pid]
    stats = [path.read_text() for pid in pids for path in Path(f"/proc/{pid}/task").glob("*/stat")]
    return {stat.rpartition(")")[2].split()[0] for stat in stats} == {"T"}


class InThread:
    """Something that runs meanwhile."""

    def __init__(self, work):
        self._work = work
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self):
        try:
            self._answer, self._error = self._work(), None
        except BaseException as error:  # noqa: BLE001 - raised in `answer`
            self._answer, self._error = None, error

    def answer(self):
        self._thread.join(30)
        assert not self._thread.is_alive()
        if self._error is not None:
            raise self._error
        return self._answer


def several_connections(store, write, number=6):
    """Let the pool have so many."""
    barrier, rows = threading.Barrier(number), Connection.rows

    def together(*args):
        there = rows(*args)
        barrier.wait(60)
        return there

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Connection, "rows", together)
        for thread in [InThread(lambda: get(store, write)) for _ in range(number)]:
            thread.answer()


def break_connections(place, how):
    place.server.restart() if how == "restart" else kill_connections(place)
    place.reconnect()


def the_reply_is_lost_once(proxy, monkeypatch, statement, *, before=False, then=lambda: None):
    """To the next statement with these words; with `before`, so is the statement itself."""
    send, state = Connection._send, {"armed": True}
    make = Connection.__init__

    def sending(connection, text, values=None, **how):
        if state["armed"] and statement in text:
            state["armed"] = False
            if before:
                proxy.reset()
            else:
                proxy.drop_replies()
        return send(connection, text, values, **how)

    def making(connection, *args):
        if not state["armed"] and not state.get("healed"):
            state["healed"] = True
            proxy.heal()
            then()
        make(connection, *args)

    monkeypatch.setattr(Connection, "_send", sending)
    monkeypatch.setattr(Connection, "__init__", making)
