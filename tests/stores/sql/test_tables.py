"""The tables of a SQL store: made, missing, of another format; and the statements that make them."""

import asyncio
import re
import subprocess
import sys
from contextlib import closing

import pytest
from sqlalchemy import create_engine, text

from coatcheck import ConfigurationError, StoreError
from coatcheck.errors import StoreReadOnly, StoreUnavailable
from coatcheck.stores.sql import SQLStore
from coatcheck.stores.sql.connection import Connection
from coatcheck.stores.sql.errors import Kind
from coatcheck.stores.sql.table import DIALECTS, ddl
from tests.stores.sql.scene import NOW, get, new, put, soon
from tests.stores.sql.servers import Place

pytestmark = pytest.mark.servers


@pytest.fixture
def empty(request, place):
    """A prefix without tables; what is made is removed."""
    made = Place(place.kind, place.server, make=False)
    yield made
    for name in (made.sessions, made.meta):
        made.execute(f"DROP TABLE IF EXISTS {name}")
    made.reconnect()


@pytest.mark.promise("20")
@pytest.mark.parametrize("again", [False, True])
def test_tables_that_are_missing_are_told_with_the_commands_that_make_them(empty, again):
    with closing(empty.store()) as store:
        answers = [store.write([new(), new()], NOW, soon())[1], store.remove([bytes(16)], NOW, soon())[0]]
        for ask in (lambda: store.ping(soon()), lambda: store.load([bytes(16)], NOW, soon())):
            with pytest.raises(StoreUnavailable) as caught:
                ask()
            answers.append(caught.value)
        for answer in answers:
            assert isinstance(answer, StoreUnavailable)
            assert not answer.ambiguous
            assert "coatcheck db create --store URL" in str(answer)
            assert f"coatcheck db ddl --dialect {empty.kind}" in str(answer)
        store.create_tables()
        if again:
            store.create_tables()
        write = put(store, new())
        assert get(store, write) == write.data
        assert empty.rows() == 1


@pytest.mark.promise("20")
def test_tables_that_vanish_are_told_too(empty):
    with closing(empty.store()) as store:
        store.create_tables()
        store.ping(soon())
        empty.execute(f"DROP TABLE {empty.sessions}")
        with pytest.raises(StoreError, match="coatcheck db create"):
            store.load([bytes(16)], NOW, soon())


def test_processes_that_make_the_tables_at_once_all_find_them(empty):
    async def scenario():
        stores = [empty.async_store() for _ in range(5)]
        await asyncio.gather(*(store.create_tables() for store in stores))
        for store in stores:
            await store.ping(soon())
            await store.close()

    asyncio.run(scenario())
    assert empty.execute(f"SELECT format FROM {empty.meta}")[0] == (1,)


def made_meanwhile(monkeypatch, make):
    """Let another process make the tables when it was seen that there are none."""
    run = Connection.run

    def running(connection, statement):
        monkeypatch.setattr(Connection, "run", run)
        make()
        run(connection, statement)

    monkeypatch.setattr(Connection, "run", running)


def test_tables_that_another_process_makes_meanwhile_are_taken_as_they_are(empty, failures, monkeypatch):
    with closing(empty.store()) as store, closing(empty.store()) as other:
        made_meanwhile(monkeypatch, other.create_tables)
        store.create_tables()
        # Each part is asked for, since there may be some of them only.
        assert failures.count(Kind.EXISTS) == 4
        assert get(store, write := put(store, new())) == write.data
    assert empty.execute(f"SELECT format FROM {empty.meta}")[0] == (1,)


def test_tables_that_another_release_makes_meanwhile_are_told_of(tmp_path, monkeypatch):
    store, other = (SQLStore(create_engine(f"sqlite:///{tmp_path}/one.db")) for _ in range(2))

    def make():
        other.create_tables()
        with other._database.engine.begin() as connection:
            connection.execute(text("UPDATE coatcheck_meta SET format = 2"))

    made_meanwhile(monkeypatch, make)
    with pytest.raises(StoreError, match=r"can't read \(\[2\]"):
        store.create_tables()
    for one in (store, other):
        one._database.engine.dispose()


def test_a_database_that_takes_no_tables_says_why(tmp_path):
    path = tmp_path / "one.db"
    path.touch()
    engine = create_engine(f"sqlite:///file:{path}?mode=ro&uri=true")
    with pytest.raises(StoreReadOnly):
        SQLStore(engine).create_tables()
    engine.dispose()


def test_tables_that_can_not_be_looked_at_are_told_to_every_caller_and_none_is_made(tmp_path, failures):
    engine = create_engine(f"sqlite:///{tmp_path}/one.db")
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE coatcheck_meta (name TEXT)"))
    store = SQLStore(engine)
    with pytest.raises(StoreError, match="the database refused"):
        store.create_tables()
    assert failures == [Kind.OTHER]
    one, other = store.write([new(), new()], NOW, soon())
    assert type(one) is type(other) is StoreError
    assert one is not other
    engine.dispose()


def test_tables_whose_making_was_interrupted_are_told_of_and_completed(empty):
    with closing(empty.store()) as store:
        store.create_tables()
    empty.execute(f"DELETE FROM {empty.meta}")
    index = f"{empty.sessions}_expires"
    empty.execute(f"DROP INDEX {index}{f' ON {empty.sessions}' if empty.kind == 'mysql' else ''}")
    with closing(empty.store()) as store:
        with pytest.raises(StoreError, match="not complete: run `coatcheck db create"):
            store.ping(soon())
        store.create_tables()
        store.ping(soon())
        assert get(store, write := put(store, new())) == write.data
    assert index in empty.indexes()


@pytest.mark.promise("20")
def test_tables_of_another_format_are_left_alone_and_told_of(empty):
    with closing(empty.store()) as store:
        store.create_tables()
    empty.execute(f"UPDATE {empty.meta} SET format = 2")
    with closing(empty.store()) as store:
        told = r"format that this release can't read \(\[2\], not \[1\]\)"
        for ask in (lambda: store.ping(soon()), store.create_tables):
            with pytest.raises(StoreError, match=told):
                ask()
        (answer,) = store.write([new()], NOW, soon())
        assert "format" in str(answer)
    assert empty.rows() == 0


def test_what_ddl_prints_is_what_is_needed(empty):
    for statement in re.split(r";\n", ddl(empty.kind, empty.prefix)):
        if statement:
            empty.execute(statement)
    with closing(empty.store()) as store:
        store.create_tables()  # there is nothing left to make
        write = put(store, new())
        assert get(store, write) == write.data
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
