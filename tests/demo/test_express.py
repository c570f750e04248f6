"""The express counter, and that it and the rail are one shop with one session."""

from __future__ import annotations

import asyncio
import re
import secrets
from contextvars import Context, copy_context

import pytest
from starlette.testclient import TestClient

from coatcheck.demo.express_costs import Outer, note
from coatcheck.demo.express_pages import Pages
from coatcheck.demo.goods import GOODS
from coatcheck.demo.history import History
from coatcheck.demo.site import Site, async_twin
from coatcheck.demo.steps import Step
from coatcheck.demo.trace import AsyncTracedStore, TracedStore
from coatcheck.errors import StoreFull, StoreUnavailable
from coatcheck.model.format import encode
from coatcheck.model.ports import Write
from coatcheck.stores.memory import AsyncMemoryStore, MemoryStore
from coatcheck.stores.sqlite import SQLiteStore
from coatcheck.testing import AsyncFailingStore, FailingStore, awaitable
from tests.demo.halves import SiteVisitor
from tests.demo.test_happened import A_RECORD, every, requests_on
from tests.demo.visitor import Visitor

HALVES = ("/", "/express")
FORMS = ("/express/basket/add", "/express/basket/change", "/express/sign-in", "/express/sign-out")
DOWN = StoreUnavailable("the store is down", ambiguous=False)


@pytest.fixture
def site(store, clock, compiled):
    """The whole shop, served by one event loop."""
    options = {"secret": secrets.token_urlsafe(32), "insecure_http": True, "clock": clock}
    site = Site(store, awaitable(store, threads=True), compiled=compiled, **options)
    with TestClient(site) as portal:
        yield portal


@pytest.fixture
def visitor(site):
    return SiteVisitor(site)


@pytest.fixture
def other(site):
    return SiteVisitor(site)


# One session


def test_each_page_says_which_framework_served_it_and_leads_to_the_other_half(visitor):
    rail, counter = visitor.get("/"), visitor.get("/express")
    assert rail.text("half") == "Served by Flask"
    assert counter.text("half") == "Served by FastAPI"
    assert 'href="/express"' in rail.html
    assert 'href="/"' in counter.html


def test_what_is_taken_in_one_half_is_in_the_basket_of_the_other(visitor):
    visitor.take("mac", "L")
    page = visitor.get("/express")
    assert (page.text("pieces"), page.text("total")) == ("1", "€160")
    visitor.submit("/express/basket/change", {"good": "mac"}, quantity="3")
    visitor.add("scarf", "Moss")
    page = visitor.get("/basket")
    assert (page.text("pieces"), page.text("total")) == ("4", "€528")
    visitor.submit("/basket/change", {"good": "mac"}, remove="yes")
    assert visitor.basket == {
        "user": None,
        "lines": [{"good": "scarf", "choice": "Moss", "quantity": 1, "price": 48}],
        "pieces": 1,
        "total": 48,
    }


def test_who_signs_in_at_the_rail_is_signed_in_at_the_counter_and_the_other_way_round(visitor, other):
    visitor.sign_in("Ada")
    assert visitor.get("/express").text("user") == "Ada"
    page = other.sign_in_there("  Bob \u00a0 Brown ", remember="yes")
    assert page.messages == ["Welcome, Bob Brown."]
    page = other.get("/devices")
    assert page.text("user") == "Bob Brown"
    assert "stays signed in" in page.html


def test_who_signs_out_in_one_half_is_signed_out_in_the_other(visitor):
    visitor.sign_in()
    visitor.take()
    visitor.get("/express")
    page = visitor.submit("/express/sign-out")
    assert page.messages == ["You are signed out. See you soon."]
    page = visitor.get("/")
    assert (page.text("user"), page.text("pieces"), page.messages) == (None, "0", [])
    visitor.sign_in_there()
    visitor.get("/")
    visitor.submit("/sign-out")
    assert visitor.get("/express").text("user") is None


def test_signing_in_and_out_at_the_counter_changes_the_cookie(visitor):
    tokens = [visitor.token]
    for step in (visitor.add, visitor.sign_in_there, lambda: visitor.submit("/express/sign-out")):
        step()
        tokens.append(visitor.token)
    assert len(set(tokens)) == 4


def test_signing_out_at_the_counter_leaves_the_lights_as_they_were(visitor):
    visitor.sign_in()
    visitor.submit("/theme", theme="dark")
    visitor.get("/express")
    assert visitor.submit("/express/sign-out").theme == "dark"


def test_signing_out_twice_is_no_trouble(visitor):
    visitor.sign_in_there()
    page = visitor.submit("/express/sign-out")
    token = page.form("/theme")["csrf"]
    page = visitor.post("/express/sign-out", {"csrf": token})
    assert (page.status, page.messages) == (200, [])


@pytest.mark.parametrize(("there", "here"), [HALVES, HALVES[::-1]], ids=["from Flask", "from FastAPI"])
def test_a_message_that_one_half_leaves_is_shown_once_by_the_other(visitor, there, here):
    visitor.get(there)
    action = "/basket/add" if there == "/" else "/express/basket/add"
    visitor.submit(action, {"good": "mac"}, choice="M", follow=False)
    assert visitor.get(here).messages == ["Matinée mac (M) is in your basket."]
    assert visitor.get(here).messages == []
    assert visitor.get(there).messages == []


def test_the_lights_can_be_changed_from_the_counter_and_lead_back_to_it(visitor):
    visitor.get("/express")
    page = visitor.submit("/theme", theme="dark")
    assert page.response.request.path == "/express"
    assert (page.theme, page.messages) == ("dark", ["The lights are down."])


def test_a_device_that_is_ended_elsewhere_hears_of_it_at_the_counter(visitor, other):
    visitor.sign_in_there()
    other.sign_in()
    other.get("/devices")
    other.submit("/devices/end-others")
    assert "has ended" in visitor.get("/express/sign-in").text("ended")
    assert visitor.get("/express").text("user") is None


# The counter itself


def test_an_anonymous_visit_of_the_counter_asks_the_store_nothing_and_gets_no_cookie(visitor, store):
    for path in ("/express", "/express/sign-in", "/express/api/basket", "/express/docs", "/express/nowhere"):
        assert "Set-Cookie" not in visitor.get(path).response.headers
    assert store.calls == []


def test_every_good_is_at_the_counter_with_its_own_form(visitor):
    page = visitor.get("/express")
    for good in GOODS:
        assert page.form("/express/basket/add", good=good.id)
    assert "Nothing in it yet" in page.html


def test_putting_back_at_the_counter_what_the_rail_put_back_says_so(visitor):
    visitor.take()
    stale = visitor.get("/express").form("/express/basket/change", good="mac")
    visitor.get("/basket")
    visitor.submit("/basket/change", {"good": "mac"}, remove="yes")
    page = visitor.post("/express/basket/change", stale | {"remove": "yes"})
    assert page.messages == ["Matinée mac (M) was not in your basket any more."]


@pytest.mark.parametrize("name", ["", "   ", "x" * 41, "Ada\x00"])
def test_a_name_that_is_none_is_refused_where_it_was_typed(visitor, name):
    page = visitor.sign_in_there(name)
    assert page.status == 422
    assert "Please type a name" in page.text("problem")


def test_the_documentation_is_switched_on_and_names_the_cookie(visitor):
    page = visitor.get("/express/docs")
    assert page.status == 200
    assert "/express/openapi.json" in page.html
    assert "cdn.jsdelivr.net" in page.response.headers["Content-Security-Policy"]
    described = visitor.client.raw.get("/express/openapi.json").json()
    assert described["components"]["securitySchemes"]["Session"]["name"] == "session"
    assert set(described["paths"]) == {"/express", "/express/api/basket", *FORMS}


def test_pages_of_the_counter_run_no_script_and_sit_in_no_frame(visitor):
    for path in ("/express", "/express/sign-in", "/express/nowhere"):
        page = visitor.get(path)
        assert "default-src 'none'" in page.response.headers["Content-Security-Policy"]
        assert "<script" not in page.html


# Forms


@pytest.mark.parametrize("csrf", [None, "", "wrong", "é" * 43], ids=["none", "empty", "wrong", "not ASCII"])
@pytest.mark.parametrize("path", FORMS)
def test_every_form_is_refused_without_the_sessions_token(visitor, store, path, csrf):
    visitor.sign_in()
    store.reset()
    fields = {"name": "Eve", "good": "mac", "choice": "M"}
    page = visitor.post(path, fields | ({} if csrf is None else {"csrf": csrf}))
    assert page.status == 400
    assert "That form is out of date" in page.html
    assert "write" not in store.sequence
    assert page.text("user") == "Ada"


def test_a_form_from_before_signing_in_at_the_rail_is_refused_at_the_counter(visitor):
    before = visitor.add().form("/express/basket/add", good="mac")
    visitor.sign_in()
    assert visitor.post("/express/basket/add", before | {"choice": "M"}).status == 400
    assert visitor.basket["pieces"] == 1


def test_a_form_of_one_half_carries_the_token_of_the_other(visitor):
    visitor.take()
    tokens = {fields["csrf"] for path in HALVES for _, fields in visitor.get(path).forms}
    assert len(tokens) == 1


@pytest.mark.parametrize(
    "headers",
    [{"Sec_Fetch_Site": "cross-site"}, {"Origin": "https://evil.example"}, {"Origin": "null"}],
)
def test_another_site_can_not_begin_a_session_for_a_stranger(visitor, store, headers):
    page = visitor.post("/express/sign-in", {"name": "Eve"}, **headers)
    assert page.status == 400
    assert "That form is not ours" in page.html
    assert store.calls == []


def test_our_own_pages_may(visitor):
    page = visitor.post("/express/sign-in", {"name": "Ada"}, Origin="http://shop.test")
    assert page.text("user") == "Ada"


def test_a_form_of_a_session_that_has_ended_says_so(visitor):
    page = visitor.post("/express/basket/add", {"good": "mac", "choice": "M", "csrf": "old"})
    assert "Your session has ended" in page.html


def test_what_is_not_to_be_had_is_refused_on_a_page(visitor):
    fields = visitor.add().form("/express/basket/add", good="mac")
    for wrong in ({"good": "crown"}, {"choice": "XXL"}):
        assert visitor.post("/express/basket/add", fields | {"choice": "M"} | wrong).status == 400
    for quantity in ("-1", "10", "many", ""):
        sent = fields | {"choice": "M", "quantity": quantity}
        page = visitor.post("/express/basket/change", sent)
        assert (page.status, "A quantity is a number" in page.html) == (400, True)
    assert visitor.basket["pieces"] == 1


def test_a_file_where_a_text_belongs_is_refused_on_a_page(visitor):
    response = visitor.client.raw.post("/express/basket/add", files={"good": ("mac.txt", b"mac")})
    assert response.status_code == 400
    assert "can’t be read" in response.text


def test_a_form_that_is_too_large_is_refused(visitor):
    assert visitor.post("/express/sign-in", {"name": "x" * 20_000}).status == 413
    assert visitor.post("/sign-in", {"name": "x" * 20_000}).status == 413


# What goes wrong


def test_what_is_not_there_is_a_page_of_the_shops_own(visitor):
    visitor.sign_in()
    page = visitor.get("/express/nowhere")
    assert (page.status, page.text("user")) == (404, "Ada")
    assert "no such page at the express counter" in page.html
    page = visitor.get("/express/sign-out")
    assert (page.status, page.response.headers["Allow"]) == (405, "POST")
    assert visitor.get("/expression").text("half") == "Served by Flask"


@pytest.mark.parametrize("path", ["/express", "/express/sign-in", "/express/nowhere", "/"])
def test_while_the_store_is_down_every_page_says_so_and_signs_nobody_out(visitor, failing, path):
    visitor.sign_in()
    failing.fail("load", error=DOWN)
    page = visitor.get(path)
    assert page.status == 503
    assert "The cloakroom is locked" in page.html
    assert page.response.headers["Retry-After"] == "1"
    assert page.response.headers["Cache-Control"] == "no-store"
    assert page.response.headers["Content-Type"] == "text/html; charset=utf-8"
    assert "Set-Cookie" not in page.response.headers
    failing.recover()
    assert visitor.get("/express").text("user") == "Ada"


def test_a_program_is_told_in_plain_text_that_the_store_is_down(visitor, failing):
    visitor.take()
    failing.fail("load", error=DOWN)
    response = visitor.client.raw.get("/express/api/basket", headers={"Accept": "application/json"})
    assert response.status_code == 503
    assert response.headers["Content-Type"].startswith("text/plain")


@pytest.mark.parametrize("error", [DOWN, StoreFull("no room")])
def test_what_can_not_be_stored_is_not_said_to_be(visitor, failing, store, error):
    visitor.add("mac")
    failing.fail("write", error=error)
    store.reset()
    page = visitor.submit("/express/basket/add", {"good": "scarf"}, choice="Moss")
    assert (page.status, store.counts["write"]) == (503, 1)
    assert "The cloakroom is locked" in page.html
    failing.recover()
    page = visitor.get("/express")
    assert (page.text("pieces"), page.messages) == ("1", [])
    assert "failed: " in requests_on(visitor.get("/what-happened"))[1]


def test_a_fault_of_our_own_is_a_500_in_the_shops_layout(visitor, monkeypatch):
    visitor.sign_in()
    monkeypatch.setattr("coatcheck.demo.basket.total", lambda session: 1 / 0)
    page = visitor.get("/express")
    assert page.status == 500
    assert "Something fell off its hanger" in page.html
    assert visitor.get("/").text("user") == "Ada"


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
    assert "Set-Cookie: session=…; Path=/; HttpOnly; SameSite=Lax" in oldest
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

    outer = Outer(app, pages=Pages(str), history=History(), policies={})
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


def test_the_rail_alone_knows_the_way_to_the_counter(app):
    assert 'href="/express"' in Visitor(app).get("/").html
