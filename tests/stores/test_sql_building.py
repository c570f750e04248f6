"""How a SQL store is made: URLs, engines, prefixes, tables; and what is refused."""

import asyncio
import re
import subprocess
import sys
from contextlib import closing
from datetime import timedelta

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.ext.asyncio import create_async_engine

from benchmarks.sql_bench import NOW, a_record, create, load, update
from coatcheck import AsyncSessions, ConfigurationError, Sessions, StoreError
from coatcheck.errors import StoreUnavailable
from coatcheck.model.record import APPLIED, Create
from coatcheck.stores._sql_table import DIALECTS, ddl
from coatcheck.stores.coalesce import Coalesced
from coatcheck.stores.sql import SQLStore
from coatcheck.stores.sql_async import AsyncSQLStore
from tests.servers.process import free_port
from tests.stores.sql_servers import (
    SERVERS,
    Place,
    a_place,
    databases_that_end,  # noqa: F401 - a fixture
)
from tests.visitor import SECRET, Visitor

pytestmark = pytest.mark.servers
DRIVERS = {"postgresql": ("psycopg", "psycopg"), "mysql": ("pymysql", "aiomysql")}


@pytest.fixture(params=SERVERS)
def place(request):
    made = a_place(request.param)
    yield made
    made.leave()


@pytest.fixture
def empty(request, place):
    """A prefix without tables; what is made is removed."""
    made = Place(place.kind, place.server, make=False)
    yield made
    for name in (made.sessions, made.meta):
        made.execute(f"DROP TABLE IF EXISTS {name}")
    made.reconnect()


def url_for(place, colour):
    return place.url.replace("://", f"+{DRIVERS[place.kind][colour]}://")


# URLs


def test_a_url_gives_each_manager_its_store(place):
    with Sessions.from_url(place.url, secret=SECRET, prefix=place.prefix) as sessions:
        assert isinstance(sessions.store, SQLStore)
        visitor = Visitor(sessions)
        with visitor.request() as session:
            session["a"] = [1]

    async def scenario():
        async with AsyncSessions.from_url(place.url, secret=SECRET, prefix=place.prefix) as several:
            assert isinstance(several.store, Coalesced)
            assert await several.count() == 1

    asyncio.run(scenario())


def test_mariadb_is_another_name_of_mysql():
    place = a_place("mysql")
    with Sessions.from_url(
        place.url.replace("mysql", "mariadb"), secret=SECRET, prefix=place.prefix
    ) as sessions:
        assert sessions.count() == 0
    place.leave()


@pytest.mark.promise("18")
@pytest.mark.parametrize("manager", [Sessions, AsyncSessions])
@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("postgresql://host", "no database"),
        ("postgresql://ada:hunter2@host:port/db", "user:password@host/database"),
        ("mysql://ada:hunter2@host/", "no database"),
        ("postgresql://ada:hunter2@host/db?sslmode=require", "keyword arguments"),
    ],
)
def test_a_url_that_can_not_be_one_says_so_and_shows_no_password(manager, url, told):
    with pytest.raises(ConfigurationError, match=told) as caught:
        manager.from_url(url, secret=SECRET)
    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("prefix", ["", "x", "App:", "1:", "app", "a-b:", "a b:", "x" * 40 + ":", 'a";:'])
def test_a_prefix_that_no_table_can_have_is_refused(prefix):
    with pytest.raises(ConfigurationError, match="prefix"):
        SQLStore("postgresql://host/db", prefix=prefix)
    with pytest.raises(ConfigurationError, match="prefix"):
        ddl("postgresql", prefix)


def test_two_prefixes_are_two_stores_in_one_database(place):
    other = a_place(place.kind)
    with closing(place.store()) as one, closing(other.store()) as two:
        record = create(one)
        assert load(two, record) is None
        assert (one.count(NOW), two.count(NOW)) == (1, 0)
    other.leave()


def test_no_time_at_all_is_refused():
    for make in (SQLStore, AsyncSQLStore):
        with pytest.raises(ConfigurationError, match="deadline"):
            make("postgresql://host/db", deadline=timedelta())


@pytest.mark.parametrize(("kind", "module"), [("postgresql", "psycopg"), ("mysql", "pymysql")])
def test_a_driver_that_is_missing_is_told_with_its_extra(kind, module):
    program = (
        "import sys\n"
        f"sys.modules[{module!r}] = None\n"
        "from coatcheck import AsyncSessions, Sessions\n"
        "for manager in (Sessions, AsyncSessions):\n"
        "    try:\n"
        f"        manager.from_url('{kind}://host/db', secret={SECRET!r})\n"
        "    except ModuleNotFoundError as error:\n"
        "        print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    lines = done.stdout.splitlines()
    assert len(lines) == 2
    assert all(f"pip install 'coatcheck[{kind}]'" in line for line in lines)


def test_nobody_is_asked_before_the_first_request():
    port = free_port()
    store = SQLStore(f"postgresql://ada:hunter2@127.0.0.1:{port}/db")
    with closing(store), pytest.raises(StoreUnavailable) as caught:
        store.ping()
    assert f"127.0.0.1:{port}/db" in str(caught.value)
    assert "hunter2" not in str(caught.value)


@pytest.mark.promise("24")
def test_a_store_that_was_closed_says_so(place):
    store = place.store()
    store.ping()
    store.close()
    store.close()
    with pytest.raises(StoreUnavailable, match="closed"):
        store.ping()


# Engines


def test_an_engine_is_borrowed_from_and_left_as_it_was(place):
    engine = create_engine(url_for(place, 0), pool_size=1, max_overflow=0)
    with Sessions.from_url(f"{place.kind}://", secret=SECRET, prefix=place.prefix, client=engine) as sessions:
        store = sessions.store
        record = create(store)
        assert store.apply([update(record, set={"a": b"1"})]) == [APPLIED]
        assert load(store, record).fields["a"] == b"1"
    with engine.connect() as connection:  # open still, and its transactions are transactions
        connection.execute(text(f"DELETE FROM {place.sessions}"))
        connection.rollback()
        assert connection.execute(text(f"SELECT count(*) FROM {place.sessions}")).scalar() == 1
    assert engine.pool.checkedout() == 0
    engine.dispose()


def test_an_async_engine_is_borrowed_from_and_left_as_it_was(place):
    async def scenario():
        engine = create_async_engine(url_for(place, 1), pool_size=2, max_overflow=0)
        store = AsyncSQLStore(engine, prefix=place.prefix)
        record = a_record()
        assert await store.apply([Create(record)]) == [APPLIED]
        found = await asyncio.gather(*(store.load([record.key], NOW) for _ in range(10)))
        assert found == [[record]] * 10
        await store.close()
        async with engine.connect() as connection:
            await connection.execute(text(f"DELETE FROM {place.sessions}"))
            await connection.rollback()
            count = await connection.execute(text(f"SELECT count(*) FROM {place.sessions}"))
            assert count.scalar() == 1
        assert engine.pool.checkedout() == 0
        await engine.dispose()

    asyncio.run(scenario())


def test_the_application_s_transaction_is_none_of_ours(place):
    engine = create_engine(url_for(place, 0))
    with closing(SQLStore(engine, prefix=place.prefix)) as store:
        with engine.connect() as application, application.begin() as transaction:
            application.execute(text(f"SELECT count(*) FROM {place.sessions}"))
            record = create(store)
            transaction.rollback()
        assert load(store, record) == record
    engine.dispose()


@pytest.mark.promise("F-06")
def test_an_engine_whose_pool_is_empty_is_a_timeout(place):
    engine = create_engine(url_for(place, 0), pool_size=1, max_overflow=0, pool_timeout=0.05)
    store = SQLStore(engine, prefix=place.prefix)
    told = pytest.raises(StoreUnavailable, match="no connection of the pool came free")
    with closing(store), engine.connect(), told:
        store.load([bytes(16)], NOW)
    engine.dispose()


@pytest.mark.promise("25")
def test_an_engine_of_the_other_colour_is_refused_and_the_message_names_the_manager(place):
    sync, asynchronous = create_engine(url_for(place, 0)), create_async_engine(url_for(place, 1))
    with pytest.raises(ConfigurationError, match="AsyncSessions"):
        Sessions.from_url(place.url, secret=SECRET, client=asynchronous)
    with pytest.raises(ConfigurationError, match="for Sessions"):
        AsyncSessions.from_url(place.url, secret=SECRET, client=sync)


# Tables


@pytest.mark.promise("20")
@pytest.mark.parametrize("again", [False, True])
def test_tables_that_are_missing_are_told_with_the_commands_that_make_them(empty, again):
    with closing(empty.store()) as store:
        for ask in (store.ping, lambda: store.load([bytes(16)], NOW), lambda: create(store)):
            with pytest.raises(StoreError) as caught:
                ask()
            assert "coatcheck db create --store URL" in str(caught.value)
            assert f"coatcheck db ddl --dialect {empty.kind}" in str(caught.value)
        store.create_tables()
        if again:
            store.create_tables()
        record = create(store)
        assert load(store, record) == record
        assert empty.rows() == 1


@pytest.mark.promise("20")
def test_tables_that_vanish_are_told_too(empty):
    with closing(empty.store()) as store:
        store.create_tables()
        store.ping()
        empty.execute(f"DROP TABLE {empty.sessions}")
        with pytest.raises(StoreError, match="coatcheck db create"):
            store.load([bytes(16)], NOW)


def test_who_makes_the_tables_at_once_all_find_them(empty):
    async def scenario():
        stores = [empty.async_store() for _ in range(5)]
        await asyncio.gather(*(store.create_tables() for store in stores))
        for store in stores:
            await store.ping()
            await store.close()

    asyncio.run(scenario())
    assert empty.execute(f"SELECT format FROM {empty.meta}")[0] == (1,)


def test_tables_whose_making_was_interrupted_are_told_of_and_on_mysql_completed(empty):
    with closing(empty.store()) as store:
        store.create_tables()
    empty.execute(f"DELETE FROM {empty.meta}")
    with closing(empty.store()) as store:
        with pytest.raises(StoreError, match="not complete: run `coatcheck db create"):
            store.ping()
        if empty.kind == "mysql":
            store.create_tables()
            store.ping()
            assert load(store, record := create(store)) == record
        else:  # made in one transaction, so that somebody has taken it away
            with pytest.raises(StoreError, match="not complete"):
                store.create_tables()


@pytest.mark.promise("20")
def test_tables_of_another_format_are_left_alone_and_told_of(empty):
    with closing(empty.store()) as store:
        store.create_tables()
    empty.execute(f"UPDATE {empty.meta} SET format = 2")
    with closing(empty.store()) as store:
        for ask in (store.ping, store.create_tables, lambda: create(store)):
            with pytest.raises(StoreError, match=r"format that this release can't read \(\[2\], not \[1\]\)"):
                ask()
    assert empty.rows() == 0


def test_what_ddl_prints_is_what_is_needed(empty):
    for statement in re.split(r";\n", ddl(empty.kind, empty.prefix)):
        if statement:
            empty.execute(statement)
    with closing(empty.store()) as store:
        store.create_tables()  # there is nothing left to make
        record = create(store)
        assert load(store, record) == record
        indexes = empty.indexes()
        assert {f"{empty.sessions}_user", f"{empty.sessions}_expires"} <= indexes


@pytest.mark.parametrize("dialect", [*DIALECTS, "mariadb"])
def test_ddl_needs_no_driver(dialect):
    program = (
        "import sys\n"
        "sys.modules.update(psycopg=None, pymysql=None, aiomysql=None)\n"
        "from coatcheck.cli import main\n"
        f"main(['db', 'ddl', '--dialect', {dialect!r}, '--prefix', 'shop:'])\n"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program], capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout == ddl(dialect, "shop:")
    assert "CREATE TABLE shop_sessions" in done.stdout


def test_ddl_of_an_unknown_dialect_is_refused():
    with pytest.raises(ConfigurationError, match="postgresql, mysql, sqlite"):
        ddl("oracle")
