"""What the SQL store says to the server: counted on the wire."""

import asyncio
from contextlib import closing

import pytest
from sqlalchemy import create_engine
from sqlalchemy.ext.asyncio import create_async_engine

from benchmarks.sql_bench import NOW, a_record, create, destroy, load, update
from coatcheck.model.record import APPLIED, Create, Refused, SignIn
from coatcheck.stores import _sql_calls
from coatcheck.stores.coalesce import Coalesced
from coatcheck.stores.sql import SQLStore
from coatcheck.stores.sql_async import AsyncSQLStore
from tests.servers.proxy import Proxy
from tests.stores.sql_servers import (
    SERVERS,
    a_place,
    databases_that_end,  # noqa: F401 - a fixture
)

pytestmark = [pytest.mark.servers, pytest.mark.promise("2", "3")]


@pytest.fixture(params=SERVERS)
def place(request):
    made = a_place(request.param)
    yield made
    made.leave()


@pytest.fixture
def proxy(place):
    with Proxy(place.server.port) as proxy:
        yield proxy


@pytest.fixture
def store(place, proxy):
    with closing(SQLStore(place.server.url(proxy.port), prefix=place.prefix)) as store:
        store.ping()  # connects, and looks at the format
        yield store


@pytest.fixture
def said(monkeypatch):
    """The first words of each statement that is sent."""
    words, send, each = [], _sql_calls.Wire._send, _sql_calls.Wire.change_each

    def sending(wire, text, values=None):
        words.append(text.split(None, 1)[0])
        return send(wire, text, values)

    def sending_each(wire, statement, values):
        words.append(f"{statement.text.split(None, 1)[0]}*{len(values)}")
        return each(wire, statement, values)

    monkeypatch.setattr(_sql_calls.Wire, "_send", sending)
    monkeypatch.setattr(_sql_calls.Wire, "change_each", sending_each)
    return words


def counted(proxy, work):
    with proxy.counting() as counted:
        work()
    assert counted.connections == 0
    return counted.round_trips


def test_the_first_call_looks_at_the_format_and_no_later_one_does(place, said):
    with closing(place.store()) as store:
        for _ in range(3):
            store.load([bytes(16)], NOW)
    assert said == ["SELECT"] * 4


def test_a_read_is_one_statement_and_one_round_trip_however_often_it_is_sent(store, proxy, said):
    record = create(store)
    said.clear()
    # psycopg would prepare a statement at its sixth use.
    assert {counted(proxy, lambda: load(store, record)) for _ in range(12)} == {1}
    assert said == ["SELECT"] * 12


def test_a_change_of_what_was_just_read_is_one_more(store, proxy, said):
    record = create(store)
    for parts in ({"set": {"a": b"1"}}, {"take": ("theme",)}, {"sign_in": SignIn("ada")}, {"clear": True}):
        load(store, record)
        said.clear()
        assert counted(proxy, lambda parts=parts: store.apply([update(record, **parts)])) == 1
        assert said == ["UPDATE"]
    load(store, record)
    assert counted(proxy, lambda: store.apply([destroy(record)])) == 1
    assert counted(proxy, lambda: store.apply([Create(a_record())])) == 1


def test_a_change_of_what_was_not_read_here_reads_it_first(store, place, proxy, said):
    with closing(place.store()) as other:
        record = create(other)
    said.clear()
    assert counted(proxy, lambda: store.apply([update(record, set={"a": b"1"})])) == 2
    assert said == ["SELECT", "UPDATE"]


def test_a_change_of_what_another_has_changed_since_is_found_out_by_the_update(store, place, proxy, said):
    with closing(place.store()) as other:
        record = create(other)
        load(store, record)
        other.apply([update(record, set={"b": b"1"})])
    said.clear()
    assert counted(proxy, lambda: store.apply([update(record, set={"a": b"1"})])) == 3
    assert said == ["UPDATE", "SELECT", "UPDATE"]
    assert dict(load(store, record).fields) == {"theme": b"dark", "a": b"1", "b": b"1"}


def test_after_two_misses_the_row_is_locked(store, place, said, monkeypatch):
    with closing(place.store()) as other:
        record = create(other)
        load(store, record)
        changed, meddling = _sql_calls.Wire.changed, [True]

        def meddle(wire, statement, values):
            if meddling[0] and statement.text.startswith("UPDATE"):
                meddling[0] = False
                other.apply([update(record, set={"b": b"1"})])
                meddling[0] = True
            return changed(wire, statement, values)

        monkeypatch.setattr(_sql_calls.Wire, "changed", meddle)
        begin = _sql_calls.Wire.begin

        def begin_alone(wire):
            meddling[0] = False
            begin(wire)

        monkeypatch.setattr(_sql_calls.Wire, "begin", begin_alone)
        said.clear()
        assert store.apply([update(record, set={"a": b"1"})]) == [APPLIED]
    assert said[-4:] == ["BEGIN", "SELECT", "UPDATE", "COMMIT"]
    assert said.count("BEGIN") == 1


def test_what_lies_there_refuses_and_not_what_was_remembered(store, place):
    with closing(place.store()) as other:
        record = create(other)
        other.apply([destroy(record)])
        load(store, record)  # a tombstone is remembered
        place.execute(f"DELETE FROM {place.sessions}")
        create(other, record)
        assert store.apply([update(record, set={"a": b"1"})]) == [APPLIED]


def test_several_keys_are_one_statement(store, proxy, said):
    records = [create(store) for _ in range(30)]
    said.clear()
    found = []
    assert counted(proxy, lambda: found.extend(store.load([one.key for one in records], NOW))) == 1
    assert (found, said) == (records, ["SELECT"])


def test_several_changes_are_one_transaction(store, place, proxy, said):
    records = [create(store) for _ in range(20)]
    said.clear()
    trips = counted(proxy, lambda: store.apply([update(one, set={"a": b"1"}) for one in records]))
    assert said == ["BEGIN", "SELECT", "UPDATE*20", "COMMIT"]
    if place.kind == "postgresql":  # it takes them all at once; MySQL one by one
        assert trips <= 6


def test_listing_counting_and_sweeping_are_what_they_need(store, place, proxy):
    create(store, user="ada", signed_in=NOW)
    assert counted(proxy, lambda: store.lives_of("ada", NOW)) == 1
    assert counted(proxy, lambda: store.count(NOW)) == 1
    assert counted(proxy, lambda: store.sweep(NOW, 10)) == (1 if place.kind == "postgresql" else 3)


def test_in_async_what_arrives_together_goes_together(place, proxy, said):
    async def scenario():
        store = Coalesced(AsyncSQLStore(place.server.url(proxy.port), prefix=place.prefix))
        records = [a_record() for _ in range(40)]
        assert await store.apply([Create(record) for record in records]) == [APPLIED] * 40
        await asyncio.gather(*(store.load([record.key], NOW) for record in records[:4]))
        said.clear()
        found = await asyncio.gather(*(store.load([record.key], NOW) for record in records))
        assert [one for (one,) in found] == records
        assert len(said) <= 3
        said.clear()
        answers = await asyncio.gather(
            *(store.apply([update(record, set={"a": b"1"})]) for record in records)
        )
        assert answers == [[APPLIED]] * 40
        assert said.count("COMMIT") <= 3
        said.clear()
        with proxy.counting() as alone:
            await store.load([records[0].key], NOW)
            await store.apply([update(records[0], set={"b": b"1"})])
        assert (alone.round_trips, said) == (2, ["SELECT", "UPDATE"])
        await store.close()

    asyncio.run(scenario())


@pytest.mark.parametrize("colour", ["sync", "async"])
def test_an_engine_made_as_the_docs_say_costs_no_more_than_our_own(place, proxy, colour):
    url = place.server.url(proxy.port)
    settings = {"isolation_level": "AUTOCOMMIT", "pool_reset_on_return": None}
    if colour == "async":
        driver = {"postgresql": "psycopg", "mysql": "aiomysql"}[place.kind]

        async def scenario():
            engine = create_async_engine(url.replace("://", f"+{driver}://"), **settings)
            store = AsyncSQLStore(engine, prefix=place.prefix)
            record = a_record()
            await store.apply([Create(record)])
            with proxy.counting() as counted:
                await store.load([record.key], NOW)
                await store.apply([update(record, set={"a": b"1"})])
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
            record = create(store)
            trips.append(counted(proxy, lambda store=store, record=record: load(store, record)))
    assert trips == ([1, 1] if place.kind == "postgresql" else [1, 6])
    engine.dispose()
    plain.dispose()


def test_several_that_are_made_at_once_are_few_round_trips(store, place, proxy, said):
    records = [a_record() for _ in range(20)]
    answers = []
    trips = counted(proxy, lambda: answers.extend(store.apply([Create(record) for record in records])))
    assert (answers, said[-4:]) == ([APPLIED] * 20, ["BEGIN", "SELECT", "INSERT*20", "COMMIT"])
    assert trips <= 6
    assert list(store.load([record.key for record in records], NOW)) == records


def test_a_row_that_another_makes_at_that_moment_is_found_there(store, place, monkeypatch):
    with closing(place.store()) as other:
        records = [a_record(fields={"by": b"me"}) for _ in range(3)]
        rival = a_record(key=records[1].key, fields={"by": b"another"})
        change_each, meddling = _sql_calls.Wire.change_each, [True]

        def meddle(wire, statement, values):
            if meddling:
                meddling.pop()
                create(other, rival)
            return change_each(wire, statement, values)

        monkeypatch.setattr(_sql_calls.Wire, "change_each", meddle)
        answers = store.apply([Create(record) for record in records])
        assert answers == [APPLIED, Refused.EXISTS, APPLIED]
        assert [load(store, record) for record in records] == [records[0], rival, records[2]]
