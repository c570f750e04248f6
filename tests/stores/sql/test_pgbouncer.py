"""PostgreSQL behind PgBouncer in transaction mode, as it comes: each transaction may run on another connection."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from datetime import timedelta

import pytest
from sqlalchemy import create_engine
from sqlalchemy.ext.asyncio import create_async_engine

from coatcheck import AsyncSessions, Sessions
from coatcheck.errors import StoreTimeout, StoreUnavailable
from coatcheck.stores.sql import AsyncSQLStore, SQLStore
from coatcheck.testing.contract import StoreContract
from tests.servers.pgbouncer import PgBouncer
from tests.stores.sql.faults import locked
from tests.stores.sql.scene import NOW, after, found, get, new, put, soon
from tests.stores.sql.servers import (
    AsyncPgBouncerHarness,
    PgBouncerHarness,
    Place,
    a_place,
    pgbouncer,
    postgresql,
)
from tests.visitor import SECRET, Visitor

pytestmark = pytest.mark.servers
TIMES = 8
"""More often than psycopg sends a statement before it prepares it."""


class TestPgBouncer(StoreContract):
    @pytest.fixture
    def harness(self):
        return PgBouncerHarness()


class TestAsyncPgBouncer(StoreContract):
    @pytest.fixture
    def harness(self):
        return AsyncPgBouncerHarness()


@pytest.fixture
def place():
    made = a_place("postgresql")
    yield made
    made.leave()


@pytest.fixture
def pooler(place):
    """One whose connections to the server are fewer than its clients."""
    with PgBouncer(place.server, connections=3) as pooler:
        yield pooler


def test_many_threads_and_tasks_share_few_connections_and_lose_nothing(place, pooler):
    options = {"secret": SECRET, "prefix": place.prefix, "deadline": timedelta(seconds=20)}
    with Sessions.from_url(pooler.url(), **options) as sessions:
        visitor = Visitor(sessions)
        with visitor.request() as session:
            session["basket"] = []

        def request(number):
            with Visitor(sessions, visitor.cookie).request() as session:
                session["basket"].append(number)

        with ThreadPoolExecutor(12) as threads:
            list(threads.map(request, range(60)))
        asyncio.run(append(pooler.url(), options, visitor.cookie, range(60, 120)))
        with visitor.request() as session:
            assert sorted(session["basket"]) == [*range(120)]
    servers = [row for row in pooler.show("SERVERS") if row["database"] == "postgres"]
    assert 1 < len(servers) <= 3


async def append(url, options, cookie, numbers):
    async with AsyncSessions.from_url(url, **options) as sessions:

        async def request(number):
            session = sessions.open(cookie.encode())
            await sessions.load(session)
            session["basket"].append(number)
            await sessions.close(session)

        await asyncio.gather(*(request(number) for number in numbers))


def engine_url():
    return pgbouncer().url().replace("://", "+psycopg://")


def test_an_engine_that_prepares_statements_works_behind_it_too(place):
    """It is left as it was: the application may have its reasons."""
    engine = create_engine(engine_url())
    with closing(SQLStore(engine, prefix=place.prefix)) as store:
        write = put(store, new())
        for _ in range(TIMES):
            write = put(store, after(write))
            assert get(store, write) == write.data
    with engine.connect() as connection:
        driver = connection.connection.driver_connection
        assert driver.prepare_threshold == 5
        assert not driver._prepared._names
    engine.dispose()


def test_an_async_engine_that_prepares_statements_works_behind_it_too(place):
    async def scenario():
        engine = create_async_engine(engine_url())
        store = AsyncSQLStore(engine, prefix=place.prefix)
        write = new()
        assert await store.write([write], NOW, soon()) == [None]
        for _ in range(TIMES):
            write = after(write)
            assert await store.write([write], NOW, soon()) == [None]
            assert await store.load([write.key], NOW, soon()) == [found(write)]
        async with engine.connect() as connection:
            raw = await connection.get_raw_connection()
            assert raw.driver_connection.prepare_threshold == 5
            assert not raw.driver_connection._prepared._names
        await engine.dispose()

    asyncio.run(scenario())


def test_the_tables_are_made_through_it():
    made = Place("postgresql", postgresql(), make=False)
    with closing(SQLStore(pgbouncer().url(), prefix=made.prefix)) as store:
        store.create_tables()
        put(store, new())
    assert made.rows() == 1
    made.execute(f"DROP TABLE {made.sessions}, {made.meta}")
    made.reconnect()


def test_a_role_s_lock_timeout_holds_behind_it(place, pooler):
    user = place.server.user
    place.execute(f"ALTER ROLE {user} SET lock_timeout = '50ms'")
    try:
        with closing(SQLStore(pooler.url(), prefix=place.prefix)) as store:
            write = put(store, new())
            with closing(locked(place, write.key)):
                (answer,) = store.write([after(write)], NOW, soon())
            # The row is read again, since the lock says that another is writing it.
            assert answer.found == found(write)
    finally:
        place.execute(f"ALTER ROLE {user} RESET lock_timeout")
    assert not isinstance(answer, StoreTimeout)


def test_an_option_that_a_pooler_refuses_is_among_the_causes(place, pooler):
    url = f"{pooler.url()}?options=-csearch_path%3Dsessions"
    with (
        Sessions.from_url(url, secret=SECRET, prefix=place.prefix) as sessions,
        pytest.raises(StoreUnavailable, match="a pooler also refuses options in the URL"),
    ):
        sessions.ping()
