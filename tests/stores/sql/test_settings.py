"""Databases with settings of their own: encodings, SQL modes, a limit for the size of a statement."""

import asyncio
from contextlib import closing

import pytest
from sqlalchemy import create_engine

from coatcheck import Sessions
from coatcheck.errors import StoreError, StoreUnavailable, TooLarge
from coatcheck.stores.sql import AsyncSQLStore, SQLStore
from tests.stores.sql.scene import DAY, NOW, after, found, get, new, put, signed_in, soon
from tests.stores.sql.servers import Place, postgresql
from tests.visitor import SECRET, Visitor

pytestmark = [pytest.mark.servers, pytest.mark.xdist_group("sql-faults")]
BREAKS = True  # other tests don't see the settings
on_mysql = pytest.mark.parametrize("place", ["mysql"], indirect=True)
AWKWARD = b"\\'\"\x00\n\x1a;%s\xff"
USER = "ädä\\'\"\U0001f600"
MEBIBYTE = 1 << 20


@pytest.fixture
def setting(place):
    """Sets a variable of MariaDB for new connections, until the test ends."""
    before = {}

    def set_(name, value):
        before.setdefault(name, place.execute(f"SELECT @@GLOBAL.{name}")[0][0])
        place.execute(f"SET GLOBAL {name} = %s", (value,))

    yield set_
    for name, value in before.items():
        place.execute(f"SET GLOBAL {name} = %s", (value,))


def works(url, prefix):
    """Whether the sync and the async store do on it what they are for."""
    write, others = signed_in(USER, body=AWKWARD), [new(AWKWARD), new(AWKWARD)]
    with closing(SQLStore(url, prefix=prefix)) as store:
        store.create_tables()
        put(store, write, *others)
        write = put(store, after(write, AWKWARD * 2, entry=write.entry))
        assert [entry.key for entry in store.sessions_of(USER, NOW, 10, None, soon())] == [write.key]
        assert store.count(NOW, soon()) == 3
        assert store.remove([others[0].key], NOW, soon()) == [True]

    async def in_a_loop():
        store = AsyncSQLStore(url, prefix=prefix)
        assert await store.load([write.key], NOW, soon()) == [found(write)]
        changed = after(write, AWKWARD * 3, expires=NOW)
        assert await store.write([changed, new(AWKWARD)], NOW, soon()) == [None, None]
        assert await store.load([write.key], NOW, soon()) == [found(changed)]
        assert await store.sweep(NOW + 1, 10, soon()) == 1
        assert await store.sweep(NOW + 2 * DAY, 10, soon()) == 2
        await store.close()

    asyncio.run(in_a_loop())


@pytest.mark.parametrize("encoding", ["SQL_ASCII", "LATIN1", "UTF8"])
def test_the_encoding_of_a_database_does_not_matter(encoding):
    server, name = postgresql(), f"in_{encoding.lower()}"
    server.execute(f"CREATE DATABASE {name} ENCODING '{encoding}' TEMPLATE template0")
    try:
        works(f"{server.url().rpartition('/')[0]}/{name}", "coatcheck:")
    finally:
        server.execute(f"DROP DATABASE {name}")


@pytest.mark.parametrize(
    "setting",
    [
        "standard_conforming_strings = off",
        "bytea_output = 'escape'",
        "client_encoding = 'latin1'",
        "default_transaction_isolation = 'serializable'",
    ],
)
def test_the_defaults_of_a_database_do_not_matter(setting):
    server, name = postgresql(), "set_otherwise"
    server.execute(f"CREATE DATABASE {name}")
    try:
        server.execute(f"ALTER DATABASE {name} SET {setting}")
        works(f"{server.url().rpartition('/')[0]}/{name}", "coatcheck:")
    finally:
        server.execute(f"DROP DATABASE {name}")


def test_an_engine_for_a_database_in_ascii_says_its_encoding_as_the_page_tells():
    server = postgresql()
    server.execute("CREATE DATABASE ascii ENCODING 'SQL_ASCII' TEMPLATE template0")
    url = f"{server.url().rpartition('/')[0]}/ascii?client_encoding=utf8"
    engine = create_engine(url.replace("://", "+psycopg://", 1))
    with closing(SQLStore(engine)) as store:
        store.create_tables()
        write = put(store, signed_in(USER))
        assert [entry.key for entry in store.sessions_of(USER, NOW, 10, None, soon())] == [write.key]
    engine.dispose()
    server.execute("DROP DATABASE ascii")


@on_mysql
@pytest.mark.parametrize(
    "mode",
    [
        "",
        "ORACLE",
        "ANSI",
        "ANSI_QUOTES",
        "NO_BACKSLASH_ESCAPES",
        "TRADITIONAL",
        "MSSQL",
        "PAD_CHAR_TO_FULL_LENGTH",
    ],
)
def test_the_sql_mode_does_not_matter(place, setting, mode):
    setting("sql_mode", mode)
    works(place.url, place.prefix)


@on_mysql
@pytest.mark.promise("20")
def test_a_record_above_max_allowed_packet_is_too_large_and_no_outage(place, setting):
    setting("max_allowed_packet", MEBIBYTE)
    with closing(place.store()) as store:
        small = put(store, new(), new(bytes(500_000)))
        for _ in range(6):
            (answer,) = store.write([new(bytes(3 * MEBIBYTE))], NOW, soon())
            assert isinstance(answer, TooLarge)
            assert "max_allowed_packet" in str(answer)
            assert answer.size > answer.limit > 500_000
        # Of a batch, the others are stored.
        changed = after(small)
        answers = store.write([new(bytes(600_000)), changed], NOW, soon())
        assert isinstance(answers[0], TooLarge)
        assert answers[1] is None
        assert get(store, small) == changed.data
    options = {"secret": SECRET, "prefix": place.prefix, "max_bytes": 8 * MEBIBYTE}
    with Sessions.from_url(place.url, **options) as sessions:
        for _ in range(6):
            with pytest.raises(TooLarge), Visitor(sessions).request() as session:
                session["photo"] = bytes(2 * MEBIBYTE)
        sessions.ping()


@on_mysql
@pytest.mark.parametrize("body", [bytes(520_000), b"'" * 520_000], ids=["zeros", "quotes"])
def test_a_record_just_below_the_limit_is_stored_though_all_of_it_is_escaped(place, setting, body):
    setting("max_allowed_packet", MEBIBYTE)
    write = signed_in("ä" * 255, body=body)
    with closing(place.store()) as store:
        assert get(store, put(store, write)) == write.data

    async def in_a_loop():
        several = place.async_store()
        changed = after(write, body)
        assert await several.write([changed], NOW, soon()) == [None]
        assert await several.load([write.key], NOW, soon()) == [found(changed)]
        await several.close()

    asyncio.run(in_a_loop())


@on_mysql
def test_a_limit_that_is_lowered_meanwhile_is_found_out_by_the_first_failure(place, setting):
    with closing(place.store()) as store:
        put(store, new())
        setting("max_allowed_packet", MEBIBYTE)
        store.close()  # so that its next connection has the new value
        answers = [store.write([new(bytes(3 * MEBIBYTE))], NOW, soon())[0] for _ in range(6)]
        assert isinstance(answers[-1], TooLarge)
        first = answers[0]
        assert isinstance(first, StoreError | TooLarge)
        assert not isinstance(first, StoreUnavailable) or first.ambiguous
        put(store, new())


def test_a_place_without_a_limit_has_none():
    made = Place("postgresql", postgresql())
    with closing(made.store()) as store:
        store.ping(soon())
        assert store._database.packet is None
    made.leave()
