"""What a page of the express counter tells of its calls to the store."""

from __future__ import annotations

import asyncio
import re
from contextvars import Context, copy_context

import pytest

from coatcheck.demo.express_costs import Outer, note
from coatcheck.demo.express_pages import Pages
from coatcheck.demo.history import History
from coatcheck.demo.site import async_twin
from coatcheck.demo.steps import Step
from coatcheck.demo.trace import AsyncTracedStore, TracedStore
from coatcheck.errors import StoreUnavailable
from coatcheck.model.format import encode
from coatcheck.model.ports import Write
from coatcheck.stores.memory import AsyncMemoryStore, MemoryStore
from coatcheck.stores.sqlite import SQLiteStore
from coatcheck.testing import AsyncFailingStore, FailingStore
from tests.demo.test_happened import A_RECORD, every, requests_on

DOWN = StoreUnavailable("the store is down", ambiguous=False)


# What happened


def test_the_counters_requests_are_listed_beside_the_rails_with_what_they_cost(visitor):
    visitor.take("mac")
    visitor.add("scarf", "Moss")
    page = visitor.get("/what-happened")
    newest, post, look, *_, oldest = requests_on(page)
    assert newest.startswith("GET /express 200")
    assert "took a message away" in newest
    assert post.startswith("POST /express/basket/add 303")
    assert "set “basket:scarf”, a message" in post
    assert look.startswith("GET /express 200")
    assert "by FastAPI" in post
    assert "by Flask" in oldest


def test_a_session_that_begins_at_the_counter_is_told_without_its_token(visitor):
    visitor.add()
    page = visitor.get("/what-happened")
    oldest = requests_on(page)[-1]
    assert "began a session" in oldest
    assert "Set-Cookie: coatcheck=…; Path=/; HttpOnly; SameSite=Lax" in oldest
    assert visitor.token not in page.html


def test_looking_at_the_counter_is_one_round_trip_and_writes_nothing(visitor):
    assert visitor.get("/express").cost == "This page: no round trip to the store, nothing written."
    visitor.add()
    page = visitor.get("/express")
    assert re.fullmatch(
        r"This page: 1 round trip to the store \(\d+\.\d\d ms\), \d+ bytes loaded, nothing written\.",
        page.cost,
    )


@pytest.mark.parametrize("told_in", [Context, copy_context], ids=["a batch", "the request's own call"])
def test_a_page_tells_nothing_of_a_batch_that_carried_only_other_visitors(visitor, monkeypatch, told_in):
    visitor.add()
    step = Step(call="load", milliseconds=1.0, parts={b"of another": Step(call="load", milliseconds=1.0)})
    monkeypatch.setattr("coatcheck.demo.basket.total", lambda session: told_in().run(note, step) or 0)
    trips = "1 round trip " if told_in is Context else "2 round trips "
    assert trips in visitor.get("/express").cost
    note(step)  # while no request is under way


def test_a_page_tells_nothing_of_a_call_outside_any_request(visitor, monkeypatch):
    visitor.add()
    step = Step(call="sweep", milliseconds=1.0)
    monkeypatch.setattr("coatcheck.demo.basket.total", lambda session: Context().run(note, step) or 0)
    assert "1 round trip " in visitor.get("/express").cost


def test_a_session_that_is_used_again_after_a_while_is_noted_before_the_page_says_so(visitor, clock):
    visitor.add()
    clock.advance(2 * 60 * 60)
    assert visitor.get("/express").cost.endswith(" bytes written: noted that the session is in use.")


def test_who_signed_out_at_the_counter_leaves_no_history(visitor):
    visitor.sign_in()
    visitor.take("mac")
    visitor.get("/express")
    visitor.submit("/express/sign-out")
    assert "basket:mac" not in " ".join(requests_on(visitor.get("/what-happened")))


# The parts


def test_what_is_in_memory_is_shared_and_a_file_is_opened_twice(tmp_path):
    memory = MemoryStore()
    shared = async_twin(memory, "memory://")
    assert isinstance(shared, AsyncMemoryStore)
    url = f"sqlite:///{tmp_path}/a.db"
    store = SQLiteStore(tmp_path / "a.db")
    assert not isinstance(async_twin(store, url), AsyncMemoryStore)
    store.close()


def test_the_later_parts_of_a_body_are_sent_as_they_are():
    head = {"type": "http.response.start", "status": 200, "headers": []}
    parts = [
        {"type": "http.response.body", "body": body, "more_body": body != b"c"} for body in (b"a", b"b", b"c")
    ]
    sent = []

    async def app(_scope, _receive, send):
        for message in (head, *parts):
            await send(message)

    async def send(message):
        sent.append(message)

    outer = Outer(app, pages=Pages(str), history=History())
    asyncio.run(outer({"type": "http", "method": "GET", "path": "/express", "headers": []}, None, send))
    assert sent == [head, *parts]


def test_the_traced_async_store_tells_what_the_traced_store_tells():
    in_async, in_sync = [], []
    write = Write(key=bytes(16), data=encode(A_RECORD, bytes(8)), expires=2)

    async def every_call(store):
        return [await getattr(store, name)(*args) for name, *args in every(write)]

    inner = MemoryStore()
    traced = TracedStore(inner, in_sync.append)
    answers = [getattr(traced, name)(*args) for name, *args in every(write)]
    assert answers[:2] == [[None], [None]]
    assert asyncio.run(every_call(AsyncTracedStore(AsyncMemoryStore(), in_async.append))) == answers
    said = [[(step.call, step.told, step.wrote) for step in told] for told in (in_sync, in_async)]
    assert said[0] == said[1]
    assert [call for call, *_ in said[0]] == [name for name, *_ in every(write)[:-1]]


def test_a_store_that_fails_is_told_by_both_traced_stores():
    told = []
    failing, failing_async = FailingStore(MemoryStore()), AsyncFailingStore(AsyncMemoryStore())
    for store in (failing, failing_async):
        store.fail("load", "ping", error=DOWN)
    with pytest.raises(StoreUnavailable):
        TracedStore(failing, told.append).load([bytes(16)], 1, 0)
    with pytest.raises(StoreUnavailable):
        asyncio.run(AsyncTracedStore(failing_async, told.append).ping(0))
    assert [(step.call, step.told, len(step.parts)) for step in told] == [
        ("load", ("failed: StoreUnavailable",), 1),
        ("ping", ("failed: StoreUnavailable",), 0),
    ]
