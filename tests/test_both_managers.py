"""One session under both managers of a store, and handlers that run in threads of an async application."""

from __future__ import annotations

import asyncio
import threading
from datetime import timedelta

import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import JSONResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from coatcheck import AsyncSessions, NotLoaded, Sessions, StoreTimeout, StoreUnavailable, WouldBlock
from coatcheck import sessions as module
from coatcheck.frameworks.starlette import SessionMiddleware
from coatcheck.stores.memory import MemoryStore
from coatcheck.testing import FailingStore, PausingStore
from coatcheck.testing.shim import awaitable
from tests.loops import on_each_loop, run
from tests.visits import SECRET, cookie_of, visit


class Both:
    """Two managers on one store, one of each kind."""

    def __init__(self, store=None, *, threads=False, **options):
        self.store = store or MemoryStore()
        self.sync = Sessions(self.store, secret=SECRET, **options)
        self.asynchronous = AsyncSessions(awaitable(self.store, threads=threads), secret=SECRET, **options)


# A session of the async manager


@on_each_loop
async def test_a_thread_that_looks_at_a_session_loads_it_through_the_loop():
    both = Both()
    cookie = await visit(both.asynchronous, a=1)
    session = both.asynchronous.open(cookie)
    assert await asyncio.to_thread(lambda: (session["a"], session.is_new)) == (1, False)
    assert session["a"] == 1


@on_each_loop
async def test_in_the_loops_own_thread_it_is_refused_with_what_to_write():
    both = Both()
    session = both.asynchronous.open(await visit(both.asynchronous, a=1))
    with pytest.raises(NotLoaded, match=r"await sessions\.load\(session\)"):
        session.get("a")
    with pytest.raises(NotLoaded):
        both.sync.save(session)
    await both.asynchronous.load(session)
    session["a"] = 2
    for call in (
        lambda: both.sync.save(session),
        lambda: both.sync.take(session, "a"),
        lambda: both.sync.take_flashes(session),
        lambda: both.sync.reload(session),
        lambda: both.sync.is_live(session),
    ):
        with pytest.raises(WouldBlock, match="await"):
            call()
    assert session["a"] == 2
    await both.asynchronous.save(session)


def test_a_session_that_was_opened_outside_of_a_loop_can_not_be_loaded_by_looking():
    session = Both().asynchronous.open(b"")
    with pytest.raises(NotLoaded):
        session.get("a")


def test_a_session_whose_loop_has_ended_is_refused_too():
    both = Both()

    async def opened():
        return both.asynchronous.open(await visit(both.asynchronous, a=1))

    session = run(opened())
    with pytest.raises(NotLoaded):
        session.get("a")


@pytest.mark.promise("6")
@on_each_loop
async def test_from_a_thread_the_synchronous_manager_saves_takes_and_reads_again():
    both = Both()
    cookie = await visit(both.asynchronous, a=1, cart=["hat"])
    session = both.asynchronous.open(cookie)
    await both.asynchronous.load(session)
    session.flash("hello")

    def handler():
        session["b"] = 2
        assert both.sync.save(session) is True
        assert both.sync.take(session, "cart") == {"cart": ["hat"]}
        assert [flash.message for flash in both.sync.take_flashes(session)] == ["hello"]
        assert both.sync.is_live(session)
        other = both.sync.open(cookie)
        other["c"] = 3
        both.sync.close(other)
        assert both.sync.reload(session) is True
        return dict(session)

    assert await asyncio.to_thread(handler) == {"a": 1, "b": 2, "c": 3}
    session["d"] = 4
    await both.asynchronous.close(session)
    assert dict(both.sync.open(cookie)) == {"a": 1, "b": 2, "c": 3, "d": 4}


@pytest.mark.promise("6")
@on_each_loop
async def test_a_thread_and_the_loop_that_store_at_once_begin_one_session_and_lose_nothing():
    """The first of them is held in the store while the other wants to store, too."""
    for first in ("thread", "loop"):
        store = PausingStore(MemoryStore())
        both = Both(store, threads=True)
        session = both.asynchronous.open(b"")
        await both.asynchronous.load(session)
        session["a"] = 1
        with store.hold("write") as gate:
            saving = [
                asyncio.create_task(asyncio.to_thread(both.sync.save, session)),
                asyncio.create_task(both.asynchronous.save(session)),
            ]
            if first == "loop":
                saving.reverse()
            await asyncio.to_thread(gate.wait)
            session["b"] = 2
            gate.open()
            await asyncio.gather(*saving)
        cookie = cookie_of(await both.asynchronous.close(session))
        assert dict(both.sync.open(cookie)) == {"a": 1, "b": 2}
        assert both.sync.count() == 1


@pytest.mark.promise("6")
@on_each_loop
async def test_many_threads_and_tasks_of_one_request_lose_nothing():
    both = Both()
    session = both.asynchronous.open(b"")
    await both.asynchronous.load(session)
    session["n"] = 0

    def in_a_thread(number):
        session[f"thread {number}"] = number
        both.sync.save(session)

    async def in_a_task(number):
        session[f"task {number}"] = number
        await both.asynchronous.save(session)

    work = [asyncio.to_thread(in_a_thread, number) for number in range(20)]
    work += [in_a_task(number) for number in range(20)]
    await asyncio.gather(*work)
    cookie = cookie_of(await both.asynchronous.close(session))
    assert len(both.sync.open(cookie)) == 41
    assert both.sync.count() == 1


@pytest.mark.promise("20")
@on_each_loop
async def test_an_outage_is_met_in_the_thread():
    both = Both(FailingStore(MemoryStore()))
    cookie = await visit(both.asynchronous, a=1)
    session = both.asynchronous.open(cookie)
    both.store.fail("load", error=StoreUnavailable("the test says so"))
    with pytest.raises(StoreUnavailable):
        await asyncio.to_thread(session.get, "a")
    both.store.recover()
    session = both.asynchronous.open(cookie)
    await asyncio.to_thread(session.update, a=2)
    both.store.fail("write", error=StoreUnavailable("the test says so"))
    with pytest.raises(StoreUnavailable):
        await asyncio.to_thread(both.sync.save, session)
    both.store.recover()
    await both.asynchronous.close(session)
    assert dict(both.sync.open(cookie)) == {"a": 2}


@pytest.mark.promise("20")
def test_a_thread_does_not_wait_for_ever_for_a_loop_that_is_blocked(monkeypatch):
    monkeypatch.setattr(module, "_LOOP_PATIENCE", 0.0)
    both = Both(deadline=timedelta(milliseconds=50))
    blocked, told = threading.Event(), []

    async def scenario():
        session = both.asynchronous.open(await visit(both.asynchronous, a=1))

        def handler():
            try:
                session.get("a")
            except StoreTimeout as error:
                told.append(error)
            blocked.set()

        thread = threading.Thread(target=handler)
        thread.start()
        blocked.wait(30)  # the loop does nothing else meanwhile
        thread.join()

    run(scenario())
    assert [error.ambiguous for error in told] == [True]


# A session of the synchronous manager


@on_each_loop
async def test_the_async_manager_takes_what_the_synchronous_one_opened_without_blocking_the_loop():
    both = Both()
    cookie = await visit(both.asynchronous, a=1, cart=["hat"])
    session = both.sync.open(cookie)
    await both.asynchronous.load(session)
    session["b"] = 2
    assert await both.asynchronous.save(session) is True
    assert await both.asynchronous.take(session, "cart") == {"cart": ["hat"]}
    assert await both.asynchronous.is_live(session)
    assert await both.asynchronous.reload(session) is True
    session["c"] = 3
    await asyncio.to_thread(both.sync.close, session)
    assert dict(both.sync.open(cookie)) == {"a": 1, "b": 2, "c": 3}


@on_each_loop
async def test_loading_it_so_is_not_using_it():
    both = Both()
    session = both.sync.open(await visit(both.asynchronous, a=1))
    await both.asynchronous.preload(session)
    assert not (await asyncio.to_thread(both.sync.close, session)).vary
    assert session["a"] == 1


# Starlette runs `def` endpoints in threads


@pytest.mark.parametrize("load", ["eager", "on_demand"])
def test_a_def_endpoint_of_starlette_reads_and_writes_its_session(load):
    both = Both(insecure_http=True)

    def endpoint(request):
        session = request.session
        session["n"] = session.get("n", 0) + 1
        if "save" in request.url.query:
            both.sync.save(session)
            assert session.handle
        return JSONResponse(dict(session))

    async def waiting(request):
        await both.asynchronous.load(request.session)
        return JSONResponse(dict(request.session))

    app = Starlette(
        routes=[Route("/", endpoint), Route("/async", waiting)],
        middleware=[Middleware(SessionMiddleware, sessions=both.asynchronous, load=load)],
    )
    with TestClient(app) as client:
        assert [client.get("/").json() for _ in range(2)] == [{"n": 1}, {"n": 2}]
        assert client.get("/?save").json() == {"n": 3}
        assert client.get("/async").json() == {"n": 3}
