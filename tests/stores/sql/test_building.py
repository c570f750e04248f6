"""How a SQL store is made: URLs, engines, prefixes; and what is refused."""

import asyncio
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import pytest
from sqlalchemy import create_engine, text
from sqlalchemy.ext.asyncio import create_async_engine

from coatcheck import AsyncSessions, ConfigurationError, Sessions
from coatcheck.errors import StoreTimeout, StoreUnavailable
from coatcheck.stores.sql import AsyncSQLStore, SQLStore
from coatcheck.stores.sql.connection import Connection
from coatcheck.stores.sql.engines import CONNECTIONS
from coatcheck.stores.sql.table import ddl
from tests.servers.process import free_port
from tests.stores.sql.scene import NOW, after, found, get, new, put, soon
from tests.stores.sql.servers import (
    a_place,
)
from tests.visitor import SECRET, Visitor

pytestmark = pytest.mark.servers
DRIVERS = {"postgresql": ("psycopg", "psycopg"), "mysql": ("pymysql", "aiomysql")}


def url_for(place, which):
    return place.url.replace("://", f"+{DRIVERS[place.kind][which]}://")


# URLs


def test_a_url_gives_each_manager_its_store(place):
    with Sessions.from_url(place.url, secret=SECRET, prefix=place.prefix) as sessions:
        assert isinstance(sessions.store, SQLStore)
        visitor = Visitor(sessions)
        with visitor.request() as session:
            session["a"] = [1]

    async def scenario():
        async with AsyncSessions.from_url(place.url, secret=SECRET, prefix=place.prefix) as several:
            assert isinstance(several.store, AsyncSQLStore)
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


@pytest.mark.parametrize(
    ("prefix", "instead"),
    [
        ("shop_", "shop:"),
        ("app:shop:", "app_shop:"),
        ("a:b_", "a_b:"),
        ("shop", "shop:"),
        ("shop::", "shop:"),
    ],
)
def test_a_prefix_whose_tables_could_be_another_s_is_refused_with_the_one_to_write(prefix, instead):
    with pytest.raises(ConfigurationError, match=f"Write '{instead}'") as caught:
        SQLStore("postgresql://host/db", prefix=prefix)
    assert repr(prefix) in str(caught.value)
    SQLStore("postgresql://host/db", prefix=instead).close()


def test_two_prefixes_are_two_stores_in_one_database(place):
    other = a_place(place.kind)
    with closing(place.store()) as one, closing(other.store()) as two:
        write = put(one, new())
        assert get(two, write) is None
        assert (one.count(NOW, soon()), two.count(NOW, soon())) == (1, 0)
    other.leave()


@pytest.mark.parametrize("make", [SQLStore, AsyncSQLStore])
def test_a_query_that_is_not_understood_is_refused(make):
    store = make("postgresql://host/db?sslmode=verify-full&sslrootcert=/etc/ca.pem")
    database = store._database if make is SQLStore else store._inside._spare
    assert database.name == "postgresql://host/db"
    for url in ("postgresql://host/db?sslmode=require&schema=shop", "mysql://host/db?read_timeout=5"):
        with pytest.raises(ConfigurationError, match=r"client=create_engine"):
            make(url)


@pytest.mark.parametrize(
    ("kind", "module"),
    [
        ("postgresql", "psycopg"),
        ("postgresql", "greenlet"),
        ("postgresql", "sqlalchemy"),
        ("mysql", "pymysql"),
        ("mysql", "greenlet"),
    ],
)
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
    assert all(module in line and f"pip install 'coatcheck[{kind}]'" in line for line in lines)


@pytest.mark.promise("18", "20")
def test_no_server_is_asked_before_the_first_call(place):
    port = free_port()
    store = SQLStore(f"{place.kind}://ada:hunter2@127.0.0.1:{port}/db")
    with closing(store), pytest.raises(StoreUnavailable, match="is the server running") as caught:
        store.ping(soon())
    assert f"127.0.0.1:{port}/db" in str(caught.value)
    assert "hunter2" not in str(caught.value)


@pytest.mark.promise("18", "20")
@pytest.mark.parametrize("wrong", ["password", "database"])
def test_a_login_that_is_refused_is_told_with_what_to_check(wrong):
    place = a_place("mysql")
    before, now = {
        "password": (":coatcheck@", ":hunter2@"),
        "database": ("/coatcheck", "/hunter2"),
    }[wrong]
    store = SQLStore(place.url.replace(before, now), prefix=place.prefix)
    with closing(store), pytest.raises(StoreUnavailable, match="check user, password, database") as caught:
        store.ping(soon())
    assert not caught.value.ambiguous
    assert ("hunter2" in str(caught.value)) is (wrong == "database")
    place.leave()


@pytest.mark.promise("20")
def test_a_database_that_postgresql_does_not_have_is_told_with_what_to_check():
    place = a_place("postgresql")
    store = SQLStore(place.url.replace("/postgres", "/nowhere"), prefix=place.prefix)
    with closing(store), pytest.raises(StoreUnavailable, match="check user, password, database"):
        store.ping(soon())
    place.leave()


@pytest.mark.promise("24")
def test_a_store_can_be_used_again_after_it_was_closed(place):
    store = place.store()
    write = put(store, new())
    store.close()
    store.close()
    assert get(store, write) == write.data
    store.close()


@pytest.mark.promise("24")
def test_a_connection_that_is_in_use_when_the_store_is_closed_is_closed_when_it_comes_back(
    place, monkeypatch
):
    store = place.store()
    write = put(store, new())
    inside, leave, used = threading.Event(), threading.Event(), []
    rows = Connection.rows

    def lingering(connection, *args):
        used.append(connection._pooled.driver_connection)
        inside.set()
        assert leave.wait(30)
        return rows(connection, *args)

    with monkeypatch.context() as patch, ThreadPoolExecutor(1) as threads:
        patch.setattr(Connection, "rows", lingering)
        reading = threads.submit(get, store, write)
        assert inside.wait(30)
        store.close()
        leave.set()
        assert reading.result(30) == write.data
    assert used[0].closed if place.kind == "postgresql" else not used[0].open
    assert get(store, write) == write.data
    store.close()


def test_a_thread_that_is_interrupted_while_it_connects_leaves_room_for_others(place, monkeypatch):
    store = place.store()

    def interrupt():
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(store._database.engine, "raw_connection", interrupt)
        for _ in range(CONNECTIONS):
            with pytest.raises(KeyboardInterrupt):
                store.ping(soon())
    store.ping(soon())
    store.close()


@pytest.mark.promise("24")
def test_an_async_store_can_be_used_again_after_it_was_closed(place):
    async def scenario():
        store = place.async_store()
        write = new()
        for answers in ([None], [None]):
            assert await store.write([write], NOW, soon()) == answers
            await store.close()
            await store.close()
            write = after(write)
        await store.close()

    asyncio.run(scenario())


# Engines


def test_an_engine_is_borrowed_from_and_left_as_it_was(place):
    engine = create_engine(url_for(place, 0), pool_size=1, max_overflow=0)
    with engine.connect() as connection:
        before = as_it_is(connection.connection.driver_connection)
    with Sessions.from_url(f"{place.kind}://", secret=SECRET, prefix=place.prefix, client=engine) as sessions:
        store = sessions.store
        write = put(store, new())
        changed = put(store, after(write))
        assert get(store, write) == changed.data
    with engine.connect() as connection:  # open still, and its transactions are transactions
        assert as_it_is(connection.connection.driver_connection) == before
        rows = text(f"SELECT count(*) FROM {place.sessions}")
        stored = connection.execute(rows).scalar()
        connection.execute(text(f"DELETE FROM {place.sessions}"))
        connection.rollback()
        assert connection.execute(rows).scalar() == stored > 0
    assert engine.pool.checkedout() == 0
    engine.dispose()


def as_it_is(driver):
    """What the store changes on a driver's connection while it has it."""
    return vars(driver).get("wait"), *(vars(driver).get(f"_{name}_timeout") for name in ("read", "write"))


def test_an_async_engine_is_borrowed_from_and_left_as_it_was(place):
    async def scenario():
        engine = create_async_engine(url_for(place, 1), pool_size=2, max_overflow=0)
        store = AsyncSQLStore(engine, prefix=place.prefix)
        write = new()
        assert await store.write([write], NOW, soon()) == [None]
        answers = await asyncio.gather(*(store.load([write.key], NOW, soon()) for _ in range(10)))
        assert answers == [[found(write)]] * 10
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
            write = put(store, new())
            transaction.rollback()
        assert get(store, write) == write.data
    engine.dispose()


@pytest.mark.promise("F-06")
def test_a_pool_that_is_empty_is_a_timeout(place):
    engine = create_engine(url_for(place, 0), pool_size=1, max_overflow=0, pool_timeout=0.05)
    store = SQLStore(engine, prefix=place.prefix)
    told = pytest.raises(StoreTimeout, match="no connection of the pool came free")
    with closing(store), engine.connect(), told as caught:
        store.load([bytes(16)], NOW, soon())
    assert not caught.value.ambiguous
    engine.dispose()


@pytest.mark.promise("25")
def test_an_engine_of_the_other_kind_is_refused_and_the_message_names_the_manager(place):
    sync, asynchronous = create_engine(url_for(place, 0)), create_async_engine(url_for(place, 1))
    with pytest.raises(ConfigurationError, match="AsyncSessions"):
        Sessions.from_url(place.url, secret=SECRET, client=asynchronous)
    with pytest.raises(ConfigurationError, match="for Sessions"):
        AsyncSessions.from_url(place.url, secret=SECRET, client=sync)
