"""The SQL store when the server restarts, stands still, refuses, or is in the way of itself (security.md, F-16)."""

import asyncio
import threading
import time
from contextlib import closing

import pytest
from sqlalchemy import create_engine

from coatcheck.core.calls import Done
from coatcheck.errors import StoreReadOnly, StoreTimeout, StoreUnavailable
from coatcheck.model.record import Create
from coatcheck.stores.sql import SQLStore
from coatcheck.stores.sql.connection import Connection
from tests.awake import awake
from tests.servers.process import until
from tests.stores.engine import AsyncEngine, Engine
from tests.stores.sql.faults import (
    DRIVERS,
    InThread,
    break_connections,
    kill_connections,
    locked,
    several_connections,
    waiting,
)
from tests.stores.sql.scene import (
    NOW,
    SLACK,
    a_record,
    after,
    create,
    done,
    ending,
    fields,
    get,
    new,
    put,
    soon,
    update,
)

pytestmark = [pytest.mark.servers, pytest.mark.xdist_group("sql-faults"), pytest.mark.promise("F-16")]
BREAKS = True


# Connections that are no more


@pytest.mark.parametrize("how", ["restart", "kill"])
def test_a_read_on_a_connection_that_died_in_the_pool_goes_on_with_another(place, store, how):
    write = put(store, new())
    several_connections(store, write)
    break_connections(place, how)
    for _ in range(8):
        assert get(store, write) == write.data
        write = put(store, after(write))


@pytest.mark.parametrize("how", ["restart", "kill"])
def test_a_write_on_a_connection_that_died_in_the_pool_is_never_repeated_by_the_store(place, store, how):
    write = put(store, new())
    several_connections(store, write)
    break_connections(place, how)
    (answer,) = store.write([after(write)], NOW, soon())
    assert isinstance(answer, StoreUnavailable)
    assert answer.ambiguous
    put(store, after(write))  # and no other connection of that time is used


@pytest.mark.parametrize("how", ["restart", "kill"])
def test_with_the_engine_on_top_no_caller_is_told(place, store, how):
    engine = Engine(store)
    record = create(engine)
    held = engine.load(record.key, NOW)
    several_connections(store, record)
    break_connections(place, how)
    done(engine.apply([update(record, set={"first": b"1"})], NOW, [held]))
    for number in range(8):
        done(engine.apply([update(record, set={f"f{number}": b"1"})], NOW))
    assert len(fields(engine, record)) == 10


def test_in_a_pool_that_hands_out_the_oldest_first_as_well(place):
    engine = create_engine(place.url.replace("://", f"+{DRIVERS[place.kind][0]}://"), pool_size=6)
    with closing(SQLStore(engine, prefix=place.prefix)) as store:
        write = put(store, new())
        several_connections(store, write)
        assert engine.pool.checkedin() == 6
        break_connections(place, "restart")
        for _ in range(8):
            assert get(store, write) == write.data
    engine.dispose()


def test_in_async_as_well(place):
    async def scenario():
        store = place.async_store()
        engine = AsyncEngine(store)
        record = a_record()
        done(await engine.apply([Create(record)], NOW))
        held = await engine.load(record.key, NOW)
        await asyncio.gather(*(store.load([record.key], NOW, soon()) for _ in range(6)))
        kill_connections(place)
        place.reconnect()
        done(await engine.apply([update(record, set={"first": b"1"})], NOW, [held]))
        for number in range(8):
            done(await engine.apply([update(record, set={f"f{number}": b"1"})], NOW))
        assert len((await engine.load(record.key, NOW)).state.fields) == 10
        await store.close()

    asyncio.run(scenario())


def test_a_write_whose_connection_is_terminated_is_done_once(place, store):
    engine = Engine(store)
    record = create(engine)
    other = locked(place, record.key)
    writing = InThread(lambda: engine.apply([update(record, take=("theme",))], NOW))
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
    (answer,) = done(writing.answer())
    assert answer.taken == {"theme": b"dark"}
    assert fields(engine, record) == {}


# Databases that take no writes


@pytest.mark.promise("F-11")
def test_a_database_that_takes_no_writes_says_so_and_is_read_all_the_same(place, store, monkeypatch):
    write, other = new(), new()
    put(store, write, other)
    thrown, throw_away = [], Connection.throw_away
    monkeypatch.setattr(Connection, "throw_away", lambda one: (thrown.append(one), throw_away(one)))
    with ReadOnly(place, store) as narrow:
        for writes in ([after(write)], [ending(write)], [new()], [after(write), ending(other)]):
            assert {type(answer) for answer in narrow.write(writes, NOW, soon())} == {StoreReadOnly}
        assert {type(answer) for answer in narrow.remove([write.key], NOW, soon())} == {StoreReadOnly}
        assert len(thrown) == 5  # another connection may lead to the primary
        assert get(narrow, write) == write.data
    put(store, after(write))


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
            engine = Engine(store)
            record = create(engine)
            until(lambda: connections(place) == 0, "the server has closed the connection")
            assert engine.load(record.key, NOW).state == record
            until(lambda: connections(place) == 0, "the server has closed the connection")
            known = engine.load(record.key, NOW)
            until(lambda: connections(place) == 0, "the server has closed the connection")
            (answer,) = done(engine.apply([update(record, take=("theme",))], NOW, [known]))
            assert answer.taken == {"theme": b"dark"}
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


@pytest.mark.parametrize("kind", ["threads", "async"])
def test_a_restart_under_load_loses_nothing_that_was_acknowledged(place, store, kind):
    engine = Engine(store)
    records = [create(engine, fields={}) for _ in range(4)]
    stop, acknowledged, slowest, errors = threading.Event(), [], [], []

    def note(number, began, result, field):
        slowest.append(awake() - began)
        if isinstance(result, Done):
            acknowledged.append((number, field))
        else:
            errors.append(result)

    def in_threads():
        def write(worker):
            record, written = records[worker % 4], 0
            while not stop.is_set():
                field, began = f"{worker}.{written}", awake()
                (result,) = engine.apply([update(record, set={field: b"1"})], NOW)
                note(worker % 4, began, result, field)
                written += 1
                time.sleep(0.002)

        for thread in [InThread(lambda worker=worker: write(worker)) for worker in range(8)]:
            thread.answer()

    async def in_a_loop():
        several = place.async_store()
        async_engine = AsyncEngine(several)

        async def write(worker):
            record, written = records[worker % 4], 0
            while not stop.is_set():
                field, began = f"{worker}.{written}", awake()
                (result,) = await async_engine.apply([update(record, set={field: b"1"})], NOW)
                note(worker % 4, began, result, field)
                written += 1
                await asyncio.sleep(0.002)

        await asyncio.gather(*(write(worker) for worker in range(8)))
        await several.close()

    load = InThread(in_threads if kind == "threads" else lambda: asyncio.run(in_a_loop()))
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
    load.answer()
    assert {type(error) for error in errors} <= {StoreUnavailable, StoreTimeout}
    assert max(slowest) < engine.patience + 2 + SLACK
    there = [fields(engine, record) for record in records]
    assert [(number, field) for number, field in acknowledged if field not in there[number]] == []
