"""The SQL store when the server restarts, stands still, refuses, or is in the way of itself (security.md, F-16)."""

import asyncio
import threading
import time
from contextlib import closing
from datetime import timedelta
from pathlib import Path

import pytest
from sqlalchemy import create_engine

from benchmarks.sql_bench import NOW, a_record, create, destroy, fields, load, update
from coatcheck.errors import StoreError, StoreReadOnly, StoreTimeout, StoreUnavailable
from coatcheck.model.record import APPLIED, Applied, Create, Tombstone
from coatcheck.stores import _sql_calls
from coatcheck.stores._sql_errors import Kind
from coatcheck.stores.sql import SQLStore
from coatcheck.stores.sql_async import AsyncSQLStore
from tests.servers.process import until
from tests.servers.proxy import Proxy
from tests.stores.sql_servers import (
    TO_BREAK,
    a_place,
    databases_that_end,  # noqa: F401 - a fixture
)

pytestmark = [pytest.mark.servers, pytest.mark.xdist_group("sql-faults"), pytest.mark.promise("F-16")]
SHORT = timedelta(seconds=1)
SLACK = 8  # seconds over a deadline, on a machine that is busy with other things


@pytest.fixture(params=TO_BREAK)
def place(request):
    made = a_place(request.param, TO_BREAK[request.param]())
    try:
        yield made
        until(lambda: idle_in_transaction(made) == 0, "no connection is left in a transaction")
    finally:
        made.leave()


@pytest.fixture
def proxy(place):
    with Proxy(place.server.port) as proxy:
        yield proxy


@pytest.fixture
def store(place):
    with closing(place.store()) as store:
        yield store


@pytest.fixture
def attempts(monkeypatch):
    """What each attempt that failed was found to have met."""
    met, kind_of = [], _sql_calls.kind_of

    def noting(error, driver):
        met.append(kind_of(error, driver))
        return met[-1]

    monkeypatch.setattr(_sql_calls, "kind_of", noting)
    return met


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


def locked(place, record):
    """A connection of somebody else's, whose transaction has the row."""
    connection = place.server.connect()
    cursor = connection.cursor()
    cursor.execute("BEGIN")
    key = "`key`" if place.kind == "mysql" else "key"
    cursor.execute(f"SELECT 1 FROM {place.sessions} WHERE {key} = %s FOR UPDATE", (record.key,))
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


def several_connections(store, record, number=6):
    """Let the pool have so many."""
    barrier, work = threading.Barrier(number), _sql_calls.Wire.rows

    def together(*args):
        found = work(*args)
        barrier.wait(10)
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_sql_calls.Wire, "rows", together)
        for thread in [InThread(lambda: load(store, record)) for _ in range(number)]:
            thread.answer()


# Connections that are no more


@pytest.mark.parametrize("how", ["restart", "kill"])
def test_connections_that_died_in_the_pool_are_noticed_and_nobody_is_told(place, store, how):
    record = create(store)
    several_connections(store, record)
    place.server.restart() if how == "restart" else kill_connections(place)
    place.reconnect()
    for number in range(8):
        assert load(store, record).key == record.key
        assert store.apply([update(record, set={f"f{number}": b"1"})]) == [APPLIED]
    assert len(fields(store, record)) == 9


def test_in_a_pool_that_hands_out_the_oldest_first_as_well(place):
    driver = {"postgresql": "psycopg", "mysql": "pymysql"}[place.kind]
    engine = create_engine(place.url.replace("://", f"+{driver}://"), pool_size=6)
    with closing(SQLStore(engine, prefix=place.prefix)) as store:
        record = create(store)
        several_connections(store, record)
        assert engine.pool.checkedin() == 6
        place.server.restart()
        place.reconnect()
        for _ in range(8):
            assert load(store, record) == record
    engine.dispose()


def test_in_async_as_well(place):
    async def scenario():
        store = place.async_store()
        record = a_record()
        assert await store.apply([Create(record)]) == [APPLIED]
        await asyncio.gather(*(store.load([record.key], NOW) for _ in range(6)))
        kill_connections(place)
        place.reconnect()
        for number in range(8):
            assert [found.key for found in await store.load([record.key], NOW)] == [record.key]
            assert await store.apply([update(record, set={f"f{number}": b"1"})]) == [APPLIED]
        await store.close()

    asyncio.run(scenario())


@pytest.mark.promise("F-03", "L")
def test_a_write_whose_connection_is_terminated_is_done_once(place, store):
    record = create(store)
    load(store, record)
    other = locked(place, record)
    writing = InThread(lambda: store.apply([update(record, take=("theme",))]))
    until(lambda: waiting(place), "it waits for the row")
    if place.kind == "postgresql":
        kill_connections(place)
    else:
        ((number,),) = place.execute(
            "SELECT trx_mysql_thread_id FROM information_schema.innodb_trx WHERE trx_state = 'LOCK WAIT'"
        )
        place.execute(f"KILL {number}")
    other.rollback()
    other.close()
    assert writing.answer() == [Applied({"theme": b"dark"})]
    assert fields(store, record) == {}


# Answers that never came


@pytest.mark.promise("F-03", "L")
@pytest.mark.parametrize("change", ["update", "take", "destroy", "create", "batch"])
def test_a_write_that_was_done_but_not_answered_is_found_to_be_done(place, proxy, monkeypatch, change):
    with closing(SQLStore(place.server.url(proxy.port), prefix=place.prefix)) as store:
        record, other, new = create(store), create(store), a_record()
        load(store, record)
        changes = {
            "update": [update(record, set={"a": b"1"})],
            "take": [update(record, take=("theme",))],
            "destroy": [destroy(record)],
            "create": [Create(new)],
            "batch": [update(record, take=("theme",)), destroy(other), Create(new)],
        }[change]
        versions = place.versions()
        the_reply_is_lost_once(proxy, monkeypatch, "COMMIT" if change == "batch" else "key")
        answers = store.apply(changes)
        taken = {"theme": b"dark"} if change in {"take", "batch"} else {}
        assert answers == [Applied(taken), APPLIED, APPLIED][: len(changes)]
        assert len(set(place.versions()) ^ set(versions)) == {"create": 1, "batch": 5}.get(change, 2)
        if change in {"update", "take"}:
            assert fields(store, record) == ({"theme": b"dark", "a": b"1"} if change == "update" else {})
        if change == "batch":
            assert isinstance(load(store, other), Tombstone)
            assert load(store, new) == new


@pytest.mark.promise("F-03", "L")
def test_a_write_that_was_lost_before_it_was_done_is_done_then(place, proxy, monkeypatch):
    with closing(SQLStore(place.server.url(proxy.port), prefix=place.prefix)) as store:
        record, other = create(store), create(store)
        load(store, record)
        the_reply_is_lost_once(proxy, monkeypatch, "", before=True)
        assert store.apply([update(record, take=("theme",))]) == [Applied({"theme": b"dark"})]
        the_reply_is_lost_once(proxy, monkeypatch, "COMMIT", before=True)
        answers = store.apply([update(record, set={"a": b"1"}), update(other, take=("theme",))])
        assert answers == [APPLIED, Applied({"theme": b"dark"})]
        assert fields(store, record) == {"a": b"1"}


@pytest.mark.promise("F-03", "L")
@pytest.mark.parametrize("members", [1, 2])
def test_a_write_of_which_nobody_can_say_whether_it_was_done_is_told_to_be_so(
    place, store, proxy, monkeypatch, members
):
    with closing(SQLStore(place.server.url(proxy.port), prefix=place.prefix)) as broken:
        records = [create(store) for _ in range(members)]
        for record in records:
            load(broken, record)

        def others_write():
            for record in records:
                assert store.apply([update(record, set={"b": b"1"})]) == [APPLIED]

        the_reply_is_lost_once(proxy, monkeypatch, "COMMIT" if members > 1 else "key", then=others_write)
        with pytest.raises(StoreTimeout) as caught:
            broken.apply([update(record, take=("theme",)) for record in records])
        assert caught.value.ambiguous


def the_reply_is_lost_once(proxy, monkeypatch, statement, *, before=False, then=lambda: None):
    """To the next statement with these words; with `before`, so is the statement itself."""
    send, state = _sql_calls.Wire._send, {"armed": True}
    make = _sql_calls.Wire.__init__

    def sending(wire, text, values=None):
        if state["armed"] and statement in text:
            state["armed"] = False
            if before:
                proxy.reset()
            else:
                proxy.drop_replies()
        return send(wire, text, values)

    def making(wire, *args, **kwargs):
        if not state["armed"] and not state.get("healed"):
            state["healed"] = True
            proxy.heal()
            then()
        make(wire, *args, **kwargs)

    monkeypatch.setattr(_sql_calls.Wire, "_send", sending)
    monkeypatch.setattr(_sql_calls.Wire, "__init__", making)


# Silence


@pytest.mark.promise("F-02", "20")
def test_a_network_that_swallows_everything_is_a_timeout_within_the_deadline(place, proxy):
    with closing(SQLStore(place.server.url(proxy.port), prefix=place.prefix, deadline=SHORT)) as store:
        record, other = create(store), create(store)
        load(store, record)
        for ask, ambiguous in (
            (lambda: load(store, record), False),
            (lambda: store.apply([update(record, set={"a": b"1"})]), True),
        ):
            load(store, record)
            proxy.silent = True
            began = time.monotonic()
            with pytest.raises(StoreTimeout) as caught:
                ask()
            assert time.monotonic() - began < SHORT.total_seconds() + SLACK
            assert caught.value.ambiguous is ambiguous
            proxy.silent = False
            # What was asked before is not taken for the answer.
            assert load(store, other) == other


@pytest.mark.promise("F-02", "20")
def test_in_async_a_network_that_swallows_everything_is_a_timeout_too(place, proxy):
    async def scenario():
        store = AsyncSQLStore(place.server.url(proxy.port), prefix=place.prefix, deadline=SHORT)
        record, other = a_record(), a_record()
        assert await store.apply([Create(record), Create(other)]) == [APPLIED, APPLIED]
        for ask, ambiguous in (
            (lambda: store.load([record.key], NOW), False),
            (lambda: store.apply([update(record, set={"a": b"1"})]), True),
        ):
            await store.load([record.key], NOW)
            proxy.silent = True
            began = time.monotonic()
            with pytest.raises(StoreTimeout) as caught:
                await ask()
            assert time.monotonic() - began < SHORT.total_seconds() + SLACK
            assert caught.value.ambiguous is ambiguous
            proxy.silent = False
            assert await store.load([other.key], NOW) == [other]
        await store.close()

    asyncio.run(scenario())


@pytest.mark.promise("F-02", "20")
def test_a_server_that_stands_still_is_a_timeout_and_goes_on_afterwards(place):
    with closing(place.store(deadline=SHORT)) as store:
        record = create(store)
        load(store, record)
        place.server.pause()
        try:
            until(lambda: stands_still(place), "it stands still")
            stopped = time.monotonic()
            while time.monotonic() - stopped < 3:
                began = time.monotonic()
                with pytest.raises(StoreUnavailable):
                    store.apply([update(record, set={"a": b"1"})])
                assert time.monotonic() - began < 2 * SHORT.total_seconds() + 2 + SLACK
        finally:
            place.server.resume()
        until(lambda: load(store, record), "it answers again")
        assert store.apply([update(record, set={"b": b"1"})]) == [APPLIED]
        assert fields(store, record)["b"] == b"1"


@pytest.mark.promise("F-01", "20")
def test_a_server_that_is_not_there_is_unavailable_at_once_and_soon_left_alone(place):
    place.server.stop()
    try:
        with closing(place.store()) as store:
            for _ in range(6):
                with pytest.raises(StoreUnavailable):
                    store.ping()
            with pytest.raises(StoreUnavailable, match="left alone"):
                store.ping()
    finally:
        place.server.start()
        place.reconnect()


# In the way of each other


@pytest.mark.promise("20")
def test_a_lock_that_is_held_too_long_is_a_timeout(place):
    with closing(place.store(deadline=SHORT)) as store:
        record = create(store)
        load(store, record)
        other = locked(place, record)
        began = time.monotonic()
        with pytest.raises(StoreTimeout):
            store.apply([update(record, set={"a": b"1"})])
        assert time.monotonic() - began < SHORT.total_seconds() + SLACK
        other.rollback()
        other.close()
        assert store.apply([update(record, set={"b": b"1"})]) == [APPLIED]


def test_a_write_that_could_not_be_serialized_is_tried_again(place, attempts):
    if place.kind == "postgresql":
        place.execute(f"ALTER ROLE {place.server.user} SET default_transaction_isolation = 'repeatable read'")
    try:
        with closing(place.store(deadline=timedelta(seconds=10))) as store:
            first, second = sorted([create(store), create(store)], key=lambda record: record.key)
            if place.kind == "postgresql":
                in_the_way_on_postgresql(place, store, first)
                assert attempts == [Kind.BUSY]
            else:
                in_the_way_on_mariadb(place, store, first, second)
                assert Kind.BUSY in attempts
            assert fields(store, first)["a"] == b"1"
    finally:
        if place.kind == "postgresql":
            place.execute(f"ALTER ROLE {place.server.user} RESET default_transaction_isolation")


def in_the_way_on_postgresql(place, store, record):
    load(store, record)
    other = place.server.connect()
    other.execute("BEGIN")
    other.execute(f"UPDATE {place.sessions} SET expires = expires + 1 WHERE key = %s", (record.key,))
    writing = InThread(lambda: store.apply([update(record, set={"a": b"1"})]))
    until(lambda: waiting(place), "it waits for the row")
    other.execute("COMMIT")
    other.close()
    assert writing.answer() == [APPLIED]


def in_the_way_on_mariadb(place, store, first, second):
    other = locked(place, second)
    cursor = other.cursor()
    for number in range(50):  # InnoDB gives up whoever has changed less
        cursor.execute(
            f"INSERT INTO {place.sessions} VALUES (%s, '', NULL, NULL, 9999999999999, 1, 1)",
            (number.to_bytes(16),),
        )
    writing = InThread(lambda: store.apply([update(one, set={"a": b"1"}) for one in (second, first)]))
    until(lambda: waiting(place), "it has the first row and waits for the second")
    cursor.execute(f"SELECT 1 FROM {place.sessions} WHERE `key` = %s FOR UPDATE", (first.key,))
    other.rollback()
    other.close()
    assert writing.answer() == [APPLIED, APPLIED]


def test_batches_of_the_same_rows_in_any_order_never_wait_for_each_other(place, attempts):
    with closing(place.store(deadline=timedelta(seconds=20))) as store:
        records = [create(store, fields={}) for _ in range(12)]

        def write(number):
            turned = records[number:] + records[:number]
            changes = [update(record, set={f"f{number}": b"1"}) for record in turned]
            for _ in range(5):
                assert store.apply(changes) == [APPLIED] * len(changes)

        for thread in [InThread(lambda number=number: write(number)) for number in range(8)]:
            thread.answer()
        assert attempts == []
        assert {len(fields(store, record)) for record in records} == {8}


# Databases that take no writes


def test_a_database_that_takes_no_writes_says_so_and_is_read_all_the_same(place, store):
    record = create(store)
    with ReadOnly(place, store) as narrow:
        load(narrow, record)
        for changes in (
            [update(record, set={"a": b"1"})],
            [destroy(record)],
            [Create(a_record())],
            [update(record, set={"a": b"1"}), destroy(record)],
        ):
            with pytest.raises(StoreReadOnly):
                narrow.apply(changes)
        assert load(narrow, record) == record
    assert store.apply([update(record, set={"a": b"1"})]) == [APPLIED]


class ReadOnly:
    """The database takes no writes while the block runs; a store for one to whom that applies."""

    def __init__(self, place, store):
        self.place, self.store = place, store

    def __enter__(self):
        if self.place.kind == "postgresql":
            self._set("ALTER SYSTEM SET default_transaction_read_only = on")
            self.narrow = self.store
            until(self._is_read_only, "the server has read its settings")
            return self.narrow
        self._set("CREATE USER IF NOT EXISTS clerk@'%' IDENTIFIED BY 'clerk'")
        self._set("GRANT SELECT, INSERT, UPDATE, DELETE ON coatcheck.* TO clerk@'%'")
        self._set("SET GLOBAL read_only = 1")
        url = self.place.url.replace("coatcheck:coatcheck@", "clerk:clerk@")
        self.narrow = SQLStore(url, prefix=self.place.prefix)
        return self.narrow

    def __exit__(self, *_):
        if self.place.kind == "postgresql":
            self._set("ALTER SYSTEM RESET default_transaction_read_only")
            until(lambda: not self._is_read_only(), "the server has read its settings")
        else:
            self.narrow.close()
            self._set("SET GLOBAL read_only = 0")

    def _is_read_only(self):
        connections = [self.place.server.connect()]
        try:
            return connections[0].execute("SHOW default_transaction_read_only").fetchone()[0] == "on"
        finally:
            connections[0].close()

    def _set(self, sql):
        self.place.execute(sql)
        if self.place.kind == "postgresql":
            self.place.execute("SELECT pg_reload_conf()")


def test_a_connection_that_the_server_closed_for_being_idle_is_made_anew(place):
    if place.kind == "postgresql":
        place.execute(f"ALTER ROLE {place.server.user} SET idle_session_timeout = '300ms'")
    else:
        place.execute("SET GLOBAL wait_timeout = 1")
    try:
        with closing(place.store()) as store:
            record = create(store)
            until(lambda: connections(place) == 0, "the server has closed the connection")
            assert load(store, record) == record
            until(lambda: connections(place) == 0, "the server has closed the connection")
            assert store.apply([update(record, take=("theme",))]) == [Applied({"theme": b"dark"})]
    finally:
        if place.kind == "postgresql":
            place.execute(f"ALTER ROLE {place.server.user} RESET idle_session_timeout")
        else:
            place.execute("SET GLOBAL wait_timeout = 28800")


def connections(place):
    if place.kind == "postgresql":
        told = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'coatcheck'"
        return place.execute(told)[0][0]
    told = "SELECT count(*) FROM information_schema.processlist WHERE id <> connection_id() AND user = 'coatcheck'"
    return place.execute(told)[0][0]


# Under load


@pytest.mark.parametrize("colour", ["threads", "async"])
def test_a_restart_under_load_loses_nothing_that_was_acknowledged(place, store, colour):
    records = [create(store, fields={}) for _ in range(4)]
    stop, acknowledged, slowest, errors = threading.Event(), [], [], []

    def note(number, began, error=None, field=None):
        slowest.append(time.monotonic() - began)
        if error is None:
            acknowledged.append((number, field))
        else:
            errors.append(error)

    def in_threads():
        def write(worker):
            record, written = records[worker % 4], 0
            while not stop.is_set():
                field, began = f"{worker}.{written}", time.monotonic()
                try:
                    assert store.apply([update(record, set={field: b"1"})]) == [APPLIED]
                    note(worker % 4, began, field=field)
                    written += 1
                except StoreError as error:
                    note(worker % 4, began, error)
                time.sleep(0.002)

        for thread in [InThread(lambda worker=worker: write(worker)) for worker in range(8)]:
            thread.answer()

    async def in_a_loop():
        from coatcheck.stores.coalesce import Coalesced

        several = Coalesced(place.async_store())

        async def write(worker):
            record, written = records[worker % 4], 0
            while not stop.is_set():
                field, began = f"{worker}.{written}", time.monotonic()
                try:
                    assert await several.apply([update(record, set={field: b"1"})]) == [APPLIED]
                    note(worker % 4, began, field=field)
                    written += 1
                except StoreError as error:
                    note(worker % 4, began, error)
                await asyncio.sleep(0.002)

        await asyncio.gather(*(write(worker) for worker in range(8)))
        await several.close()

    load_ = InThread(in_threads if colour == "threads" else lambda: asyncio.run(in_a_loop()))
    for _ in range(2):
        before = len(acknowledged)
        until(lambda before=before: len(acknowledged) > before + 40, "there is load")
        if place.kind == "postgresql":
            place.server.restart_immediately()
        else:
            place.server.kill()
            place.server.start()
    place.reconnect()
    before = len(acknowledged)
    until(lambda: len(acknowledged) > before + 40, "it goes on by itself")
    stop.set()
    load_.answer()
    assert all(isinstance(error, StoreUnavailable) for error in errors)
    assert max(slowest) < 2 + 2 + SLACK
    there = [fields(store, record) for record in records]
    assert [(number, field) for number, field in acknowledged if field not in there[number]] == []
