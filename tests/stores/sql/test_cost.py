"""What the SQL store sends to the server: counted on the wire."""

import asyncio
from contextlib import closing

import pytest
from sqlalchemy import create_engine
from sqlalchemy.ext.asyncio import create_async_engine

from coatcheck import AsyncSessions, Sessions
from coatcheck.model.ports import Conflict
from coatcheck.stores.sql import AsyncSQLStore, SQLStore
from coatcheck.stores.sql.connection import Connection
from tests.servers.proxy import Proxy
from tests.stores.sql.scene import NOW, after, ending, found, get, new, put, signed_in, soon
from tests.stores.sql.servers import (
    a_place,
)
from tests.visitor import SECRET, Visitor

pytestmark = [pytest.mark.servers, pytest.mark.promise("2", "3")]


@pytest.fixture
def store(place, proxy):
    with closing(SQLStore(place.server.url(proxy.port), prefix=place.prefix)) as store:
        store.ping(soon())  # connects, and looks at the format
        yield store


@pytest.fixture
def said(monkeypatch):
    """The first word of each statement that is sent."""
    words, send = [], Connection._send

    def sending(connection, text, values=None, **how):
        words.append(text.split(None, 1)[0])
        return send(connection, text, values, **how)

    monkeypatch.setattr(Connection, "_send", sending)
    return words


def counted(proxy, work):
    with proxy.counting() as counted:
        work()
    assert counted.connections == 0
    return counted.round_trips


def test_the_first_call_looks_at_the_format_and_no_later_one_does(place, said):
    with closing(place.store()) as store:
        for _ in range(3):
            store.load([bytes(16)], NOW, soon())
    assert said == ["SELECT"] * 4


def test_a_read_is_one_statement_and_one_round_trip_however_often_it_is_sent(store, proxy, said):
    write = put(store, new())
    said.clear()
    # psycopg would prepare a statement at its sixth use.
    assert {counted(proxy, lambda: get(store, write)) for _ in range(12)} == {1}
    assert said == ["SELECT"] * 12


def test_a_write_is_one_statement_and_one_round_trip(store, proxy, said):
    write = new()
    assert counted(proxy, lambda: put(store, write)) == 1
    for change in (after, ending):
        write = change(write)
        assert counted(proxy, lambda write=write: put(store, write)) == 1
    assert counted(proxy, lambda: store.remove([write.key], NOW, soon())) == 1
    assert said == ["INSERT", "UPDATE", "UPDATE", "DELETE"]


def test_a_write_that_another_came_before_reads_what_is_there_by_one_more(store, proxy, said):
    write = put(store, new())
    there = put(store, after(write))
    said.clear()
    answers = []
    assert counted(proxy, lambda: answers.extend(store.write([after(write)], NOW, soon()))) == 2
    assert counted(proxy, lambda: answers.extend(store.write([new(key=write.key)], NOW, soon()))) == 2
    assert answers == [Conflict(found(there))] * 2
    assert said == ["UPDATE", "SELECT", "INSERT", "SELECT"]


def test_a_request_that_changes_what_it_read_is_two_round_trips(place, proxy, said):
    url = place.server.url(proxy.port)
    with Sessions.from_url(url, secret=SECRET, prefix=place.prefix) as sessions:
        visitor = Visitor(sessions)
        with visitor.request() as session:
            session["basket"] = ["apples"]
        said.clear()

        def request():
            with visitor.request() as session:
                session["basket"].append("pears")

        assert counted(proxy, request) == 2
        assert said == ["SELECT", "UPDATE"]


def test_several_keys_are_one_statement(store, proxy, said):
    writes = [new() for _ in range(30)]
    put(store, *writes)
    said.clear()
    answers = []
    keys = [write.key for write in writes]
    assert counted(proxy, lambda: answers.extend(store.load([*keys, bytes(16)], NOW, soon()))) == 1
    assert answers == [*map(found, writes), None]
    assert said == ["SELECT"]


def test_several_writes_are_few_statements_or_one_transaction(store, place, proxy, said):
    is_postgresql = place.kind == "postgresql"
    writes = [new() for _ in range(20)]
    trips = counted(proxy, lambda: put(store, *writes))
    assert said == (["INSERT"] if is_postgresql else ["START", *["INSERT"] * 20, "COMMIT"])
    assert trips == (1 if is_postgresql else 22)
    said.clear()
    mixed = [*map(after, writes), *[new() for _ in range(3)]]
    put(store, *mixed)
    if is_postgresql:
        assert said == ["INSERT", "UPDATE"]
    else:
        assert sorted(said) == ["START", "COMMIT", *["INSERT"] * 3, *["UPDATE"] * 20]
    said.clear()
    assert store.remove([write.key for write in mixed], NOW, soon()) == [True] * 23
    assert said == (["DELETE"] if is_postgresql else ["START", *["DELETE"] * 23, "COMMIT"])


def test_of_several_writes_those_that_meet_something_else_are_told_by_one_more_statement(store, said):
    writes = [new() for _ in range(10)]
    put(store, *writes)
    there = [put(store, after(write)) for write in writes[:4]]
    said.clear()
    answers = store.write([after(write) for write in writes], NOW, soon())
    assert answers == [*[Conflict(found(one)) for one in there], *[None] * 6]
    assert said.count("SELECT") == 1
    assert said[-1] == "SELECT"


def test_listing_counting_and_sweeping_are_what_they_need(store, place, proxy):
    write = put(store, signed_in("ada"))
    entry = write.entry
    assert counted(proxy, lambda: store.sessions_of("ada", NOW, 10, None, soon())) == 1
    assert counted(proxy, lambda: store.sessions_of("ada", NOW, 10, entry, soon())) == 1
    assert counted(proxy, lambda: store.count(NOW, soon())) == 1
    assert counted(proxy, lambda: store.sweep(NOW, 10, soon())) == (1 if place.kind == "postgresql" else 3)


@pytest.mark.promise("17")
@pytest.mark.parametrize("place", ["postgresql"], indirect=True)  # MariaDB has such indexes since 10.8 only
def test_a_page_of_a_user_s_sessions_begins_in_the_index(store, place):
    """However many there are before it: no statement sorts, or reads the rows that it passes over."""
    put(store, *(signed_in(f"user{number % 5}", at=NOW + number) for number in range(2_000)))
    place.execute(f"ANALYZE {place.sessions}")
    plan = "\n".join(
        row
        for (row,) in place.execute(
            f"EXPLAIN {store._database.statements.entries_after.text}",
            {
                "b_user_id": b"user1",
                "b_now": NOW,
                "b_signed_in": NOW + 900,
                "b_key": bytes(16),
                "b_limit": 5,
            },
        )
    )
    assert f"Index Scan using {place.sessions}_user" in plan
    assert "Sort" not in plan
    assert "signed_in <=" in plan.partition("Index Cond")[2].partition("\n")[0]


def test_in_async_requests_that_arrive_together_go_together(place, proxy, said):
    async def scenario():
        url = place.server.url(proxy.port)
        async with AsyncSessions.from_url(url, secret=SECRET, prefix=place.prefix) as sessions:
            store = sessions.store
            writes = [new() for _ in range(30)]
            assert await store.write(writes, NOW, soon()) == [None] * 30
            said.clear()
            with proxy.counting() as alone:
                await store.load([writes[0].key], NOW, soon())
                await store.write([after(writes[0])], NOW, soon())
            assert (alone.round_trips, said) == (2, ["SELECT", "UPDATE"])
            said.clear()
            found_each = await store.load([write.key for write in writes], NOW, soon())
            assert found_each[1:] == [found(write) for write in writes[1:]]
            assert said == ["SELECT"]

    asyncio.run(scenario())


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_an_engine_made_as_the_docs_say_costs_no_more_than_our_own(place, proxy, kind):
    url = place.server.url(proxy.port)
    settings = {"isolation_level": "AUTOCOMMIT", "pool_reset_on_return": None}
    if kind == "async":
        driver = {"postgresql": "psycopg", "mysql": "aiomysql"}[place.kind]

        async def scenario():
            engine = create_async_engine(url.replace("://", f"+{driver}://"), **settings)
            store = AsyncSQLStore(engine, prefix=place.prefix)
            write = new()
            await store.write([write], NOW, soon())
            with proxy.counting() as counted:
                await store.load([write.key], NOW, soon())
                await store.write([after(write)], NOW, soon())
            await engine.dispose()
            return counted.round_trips

        assert asyncio.run(scenario()) == 2
        return
    driver = {"postgresql": "psycopg", "mysql": "pymysql"}[place.kind]
    engine = create_engine(url.replace("://", f"+{driver}://"), **settings)
    plain = create_engine(url.replace("://", f"+{driver}://"))
    trips = []
    for one in (engine, plain):
        with closing(SQLStore(one, prefix=place.prefix)) as store:
            write = put(store, new())
            trips.append(counted(proxy, lambda store=store, write=write: get(store, write)))
    assert trips == ([1, 1] if place.kind == "postgresql" else [1, 6])
    engine.dispose()
    plain.dispose()


# Behind PgBouncer in transaction mode: each statement may go to another connection of the server's


@pytest.mark.parametrize("kind", ["sync", "async"])
def test_nothing_is_sent_to_postgresql_that_a_pooler_refuses_or_that_outlives_a_transaction(kind):
    place = a_place("postgresql")
    writes = [signed_in("ada") for _ in range(12)]
    with Proxy(place.server.port) as proxy, proxy.recording() as transcript:
        url = place.server.url(proxy.port)
        if kind == "sync":
            with closing(SQLStore(url, prefix=place.prefix)) as store:
                for write in writes:
                    put(store, write)
                    get(store, write)
                put(store, *map(after, writes))
                store.write([after(writes[0])], NOW, soon())
                store.remove([writes[0].key], NOW, soon())
                store.sweep(NOW, 10, soon())
                store.sessions_of("ada", NOW, 10, None, soon())
                store.count(NOW, soon())
        else:

            async def scenario():
                store = AsyncSQLStore(url, prefix=place.prefix)
                for write in writes:
                    await store.write([write], NOW, soon())
                    await store.load([write.key], NOW, soon())
                await store.write([*map(after, writes)], NOW, soon())
                await store.close()

            asyncio.run(scenario())
    place.leave()
    sent = b"".join(data for way, data in transcript if way == "sent")
    start = next(data for way, data in transcript if way == "sent" and b"user\0" in data)
    names = set(start[8:].rstrip(b"\0").split(b"\0")[::2])
    assert names <= {b"user", b"database", b"application_name", b"client_encoding"}
    messages = list(messages_of(sent[sent.index(start) + int.from_bytes(start[:4]) :]))
    kinds = {kind for kind, _ in messages}
    assert {b"P", b"B", b"E", b"S"} <= kinds
    assert all(
        body.startswith(b"\0") for kind, body in messages if kind == b"P"
    )  # no prepared statement has a name
    texts = [body.strip(b"\0").upper() for kind, body in messages if kind in {b"P", b"Q"}]
    forbidden = (b"SET ", b"RESET", b"LISTEN", b"PREPARE", b"DECLARE", b"LOAD", b"DISCARD")
    assert [text for text in texts if text.startswith(forbidden)] == []


def messages_of(data):
    """The messages of PostgreSQL's protocol in `data`: kind, and body."""
    while data:
        size = int.from_bytes(data[1:5])
        yield data[:1], data[5 : 1 + size]
        data = data[1 + size :]
