"""The SQL store when the answer to a write is lost (security.md, F-03)."""

from contextlib import closing

import pytest

from coatcheck.errors import StoreTimeout, StoreUnavailable
from coatcheck.model.record import Create, Tombstone
from coatcheck.stores.sql import SQLStore
from tests.stores.engine import Engine
from tests.stores.sql.faults import ENDS, the_reply_is_lost_once
from tests.stores.sql.scene import (
    NOW,
    a_record,
    after,
    create,
    destroy,
    done,
    ending,
    fields,
    found,
    new,
    put,
    soon,
    update,
)

pytestmark = [pytest.mark.servers, pytest.mark.xdist_group("sql-faults"), pytest.mark.promise("F-16")]
BREAKS = True


@pytest.mark.promise("F-03", "L")
@pytest.mark.parametrize("change", ["create", "update", "end", "batch"])
def test_a_write_that_was_done_but_not_answered_is_told_to_be_ambiguous(place, proxy, monkeypatch, change):
    with closing(SQLStore(place.server.url(proxy.port), prefix=place.prefix)) as store:
        old, other = new(), new()
        put(store, old, other)
        writes = {
            "create": [new()],
            "update": [after(old)],
            "end": [ending(old)],
            "batch": [after(old), ending(other)],
        }[change]
        the_reply_is_lost_once(proxy, monkeypatch, ENDS[place.kind] if change == "batch" else "key")
        answers = store.write(writes, NOW, soon())
        assert all(isinstance(answer, StoreUnavailable) and answer.ambiguous for answer in answers)
        assert store.load([write.key for write in writes], NOW, soon()) == [*map(found, writes)]


@pytest.mark.promise("F-03", "L")
@pytest.mark.parametrize("place", ["postgresql"], indirect=True)
def test_of_a_batch_of_both_kinds_only_those_that_were_sent_are_ambiguous(place, proxy, monkeypatch):
    with closing(SQLStore(place.server.url(proxy.port), prefix=place.prefix)) as store:
        old = put(store, new())
        made, changed = new(), after(old)
        the_reply_is_lost_once(proxy, monkeypatch, "INSERT")
        answers = store.write([changed, made], NOW, soon())
        assert [answer.ambiguous for answer in answers] == [False, True]
        assert store.load([old.key, made.key], NOW, soon()) == [found(old), found(made)]


@pytest.mark.promise("F-03", "L")
@pytest.mark.parametrize("change", ["update", "take", "destroy", "create", "batch"])
def test_with_the_engine_on_top_a_write_that_was_not_answered_is_found_to_be_done(
    place, proxy, monkeypatch, change
):
    with closing(SQLStore(place.server.url(proxy.port), prefix=place.prefix)) as store:
        engine = Engine(store)
        record, other, fresh = create(engine), create(engine), a_record()
        changes = {
            "update": [update(record, set={"a": b"1"})],
            "take": [update(record, take=("theme",))],
            "destroy": [destroy(record)],
            "create": [Create(fresh)],
            "batch": [update(record, take=("theme",)), destroy(other), Create(fresh)],
        }[change]
        known = [engine.load(one.key, NOW) for one in changes]
        the_reply_is_lost_once(proxy, monkeypatch, ENDS[place.kind] if change == "batch" else "key")
        answers = done(engine.apply(changes, NOW, known))
        assert answers[0].taken == ({"theme": b"dark"} if change in {"take", "batch"} else {})
        if change in {"update", "take"}:
            there = fields(engine, record)
            assert there == ({"theme": b"dark", "a": b"1"} if change == "update" else {})
        if change == "batch":
            assert isinstance(engine.load(other.key, NOW).state, Tombstone)
            assert engine.load(fresh.key, NOW).state == fresh


@pytest.mark.promise("F-03", "L")
def test_a_write_that_was_lost_before_it_was_done_is_done_then(place, proxy, monkeypatch):
    with closing(SQLStore(place.server.url(proxy.port), prefix=place.prefix)) as store:
        engine = Engine(store)
        record, other = create(engine), create(engine)
        known = engine.load(record.key, NOW)
        the_reply_is_lost_once(proxy, monkeypatch, "", before=True)
        (answer,) = done(engine.apply([update(record, take=("theme",))], NOW, [known]))
        assert answer.taken == {"theme": b"dark"}
        the_reply_is_lost_once(proxy, monkeypatch, ENDS[place.kind], before=True)
        changes = [update(record, set={"a": b"1"}), update(other, take=("theme",))]
        answers = done(engine.apply(changes, NOW))
        assert [answer.taken for answer in answers] == [{}, {"theme": b"dark"}]
        assert fields(engine, record) == {"a": b"1"}


@pytest.mark.promise("F-03", "L")
@pytest.mark.parametrize("members", [1, 2])
def test_a_write_that_another_writer_has_followed_is_told_to_be_ambiguous(
    place, store, proxy, monkeypatch, members
):
    with closing(SQLStore(place.server.url(proxy.port), prefix=place.prefix)) as broken:
        engine, others = Engine(broken), Engine(store)
        records = [create(others) for _ in range(members)]
        known = [engine.load(record.key, NOW) for record in records]

        def others_write():
            for record in records:
                done(others.apply([update(record, set={"b": b"1"})], NOW))

        the_reply_is_lost_once(
            proxy, monkeypatch, ENDS[place.kind] if members > 1 else "key", then=others_write
        )
        changes = [update(record, take=("theme",)) for record in records]
        results = engine.apply(changes, NOW, known)
        assert all(isinstance(result, StoreTimeout) and result.ambiguous for result in results)
        assert all(fields(engine, record) == {"b": b"1"} for record in records)
