"""AsyncSessions: the same as Sessions but for the waiting, and what waiting brings with it."""

import asyncio
import inspect
import re
import subprocess
import sys
import threading
import typing
from contextlib import suppress
from datetime import timedelta

import pytest

from coatcheck import AsyncSessions, Sessions
from coatcheck.core.admin import Admin
from coatcheck.core.requests import Requests
from coatcheck.errors import ConfigurationError, NotLoaded, SessionGone, StoreUnavailable
from coatcheck.stores.memory import AsyncMemoryStore, MemoryStore
from coatcheck.stores.sqlite import AsyncSQLiteStore, SQLiteStore
from coatcheck.testing import (
    AsyncCountingStore,
    AsyncFailingStore,
    AsyncPausingStore,
    AwaitableStore,
    CountingStore,
    ManualClock,
)
from tests.loops import on_each_loop, run
from tests.visits import SECRET, look, visit

ONLY_ASYNC = {"preload"}  # what the middleware needs, since a mapping can't wait
IN_PLACE = {
    *("open", "from_url", "with_settings", "counts", "cookie_of", "preload"),
    *("agrees_with", "may_be_in", "share", "note_failure"),  # for framework modules
}


# The same as Sessions


def public(manager):
    return {name for name in dir(manager) if not name.startswith("_")}


def test_both_managers_have_the_same_public_names():
    assert public(AsyncSessions) - public(Sessions) <= ONLY_ASYNC
    assert public(Sessions) <= public(AsyncSessions)


def test_both_have_the_same_signatures_and_docstrings_and_all_that_may_wait_is_awaited():
    for name in public(Sessions) - {"counts"}:
        mine, twin = getattr(AsyncSessions, name), getattr(Sessions, name)
        ours, theirs = inspect.signature(mine), inspect.signature(twin)
        assert ours.parameters == theirs.parameters, name
        assert str(ours.return_annotation).replace("AsyncGenerator", "Generator") == theirs.return_annotation
        assert mine.__doc__ == twin.__doc__, name
        assert mine.__doc__
        function = inspect.unwrap(getattr(mine, "__func__", mine))
        waits = inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(function)
        assert waits == (name not in IN_PLACE), name
        assert not inspect.iscoroutinefunction(inspect.unwrap(getattr(twin, "__func__", twin)))


def test_the_overloads_of_open_are_the_same():
    both = [
        [inspect.signature(overload) for overload in typing.get_overloads(manager.open)]
        for manager in (Sessions, AsyncSessions)
    ]
    assert both[0] == both[1]
    assert len(both[0]) == 2


def test_every_flow_is_run_by_both():
    sync, asynchronous = (
        {
            name
            for part in inspect.getmro(manager)
            if part.__module__.startswith("coatcheck")
            for name in re.findall(r"\b(?:_?requests|Requests|_admin)\.(\w+)", inspect.getsource(part))
        }
        - {"nothing_is_due"}
        for manager in (Sessions, AsyncSessions)
    )
    assert sync == asynchronous
    flows = {
        name
        for owner in (Requests, Admin)
        for name, value in inspect.getmembers(owner, inspect.isgeneratorfunction)
        if not name.startswith("_")
    }
    assert sync == flows


@pytest.mark.parametrize(
    "program",
    [
        "import coatcheck",
        "import coatcheck; coatcheck.Sessions.from_url('memory://', secret=SECRET)",
        "import coatcheck.frameworks.wsgi",
    ],
)
def test_asyncio_is_imported_only_where_something_waits(program, tmp_path):
    program = f"import sys; SECRET = {SECRET!r}; {program}; assert 'asyncio' not in sys.modules"
    subprocess.run([sys.executable, "-c", program], check=True, cwd=tmp_path, timeout=60)


# Which store goes with which manager


@pytest.mark.promise("25")
@pytest.mark.parametrize(
    "store",
    [AsyncMemoryStore(), AwaitableStore(MemoryStore())],
    ids=lambda store: type(store).__name__,
)
def test_an_async_store_under_sessions_is_refused_and_told_what_to_use(store):
    with pytest.raises(ConfigurationError, match="is an async store: use AsyncSessions"):
        Sessions(store, secret=SECRET)


@pytest.mark.promise("25")
@pytest.mark.parametrize(
    "store", [MemoryStore(), CountingStore(MemoryStore())], ids=lambda store: type(store).__name__
)
def test_a_sync_store_under_async_sessions_is_refused_and_told_what_to_use(store):
    with pytest.raises(ConfigurationError, match="is a synchronous store: use Sessions"):
        AsyncSessions(store, secret=SECRET)


# The same work, by both


@pytest.fixture(params=["memory", "sqlite", "slow"])
def make_store(request, tmp_path):
    """Makes an async store."""

    def make():
        match request.param:
            case "memory":
                return AsyncMemoryStore()
            case "sqlite":
                return AsyncSQLiteStore(tmp_path / "a.db", ballast=0)
            case _:
                return AwaitableStore(SQLiteStore(tmp_path / "b.db", ballast=0), threads=True)

    return make


class Awaited:
    """`Sessions` as if it were to be awaited, so that one tour goes through both."""

    def __init__(self, sessions):
        self.sessions = sessions

    def open(self, *args, **kwargs):
        return self.sessions.open(*args, **kwargs)

    def edit(self, handle):
        inner = self.sessions.edit(handle)

        class Editing:
            async def __aenter__(self):
                return inner.__enter__()

            async def __aexit__(self, *error):
                return inner.__exit__(*error)

        return Editing()

    def __getattr__(self, name):
        async def call(*args, **kwargs):
            return getattr(self.sessions, name)(*args, **kwargs)

        return call


async def tour(sessions, clock, seen):
    """Every public method once, and what it said."""
    first = await visit(sessions, a=1, l=[1])
    session = await look(sessions, first)
    session["l"].append(2)
    session.flash("hello")
    await sessions.save(session)
    seen.append((dict(session), await sessions.is_live(session)))
    seen.append([tuple(flash) for flash in await sessions.take_flashes(session)])
    seen.append(await sessions.take(session, "a", "absent"))
    await sessions.close(session)
    second = await visit(sessions, first, user="ada")
    clock.advance(10)
    third = await visit(sessions, user="ada")
    session = await look(sessions, third)
    infos = await sessions.of_user("ada", current=session)
    seen.append([(info.user, info.current, info.signed_in_at) for info in infos])
    seen.append(await sessions.update_user("ada", {"role": "admin"}))
    async with sessions.edit(session.handle) as edited:
        edited["n"] = 1
    seen.append(dict(await look(sessions, third)))
    seen.append(await sessions.count())
    seen.append(await sessions.revoke(infos[1].handle))
    seen.append([(await look(sessions, old)).is_new for old in (first, second, third)])
    with pytest.raises(SessionGone):
        async with sessions.edit(infos[1].handle):
            pass
    await visit(sessions, user="ada")
    seen.append(await sessions.revoke_user("ada", keep=infos[0].handle))
    session = await look(sessions, third)
    session.sign_out()
    await sessions.fail(session)
    seen.append((await sessions.close(session)).set_cookie)
    seen.append([await sessions.is_live(session), await sessions.count(), await sessions.ping()])
    clock.advance(3600)
    seen.append(await sessions.sweep())
    await sessions.shutdown()


@on_each_loop
async def test_the_same_tour_gives_the_same_with_both_managers(make_store):
    by_both = []
    for make in (
        lambda **options: Awaited(Sessions(MemoryStore(), **options)),
        lambda **options: AsyncSessions(make_store(), **options),
    ):
        clock, events, seen = ManualClock(), [], []
        await tour(make(secret=SECRET, clock=clock, on_event=events.append), clock, seen)
        by_both.append((seen, [(event.kind, event.user, event.reason, event.at) for event in events]))
    assert by_both[0] == by_both[1]
    assert len(by_both[0][0]) == 13


# Loading


@on_each_loop
async def test_touching_what_is_not_loaded_names_both_ways():
    sessions = AsyncSessions(AsyncMemoryStore(), secret=SECRET)
    cookies = await visit(sessions, a=1)
    for header in (
        cookies,
        b"",
    ):  # also where there would be nothing to load: or it would show only in production
        with pytest.raises(NotLoaded, match=r'await sessions\.load\(session\).*load="eager"'):
            sessions.open(header)["a"]


@on_each_loop
async def test_loading_ahead_is_no_look_at_the_session():
    store = AsyncCountingStore(AsyncMemoryStore())
    clock = ManualClock()
    sessions = AsyncSessions(store, secret=SECRET, clock=clock)
    cookies = await visit(sessions, a=1)
    clock.advance(7_200)  # a slide would be due
    store.reset()
    session = sessions.open(cookies)
    await sessions.preload(session)
    await sessions.preload(session)
    outcome = await sessions.close(session)
    assert (outcome.set_cookie, outcome.vary, store.sequence) == (None, False, ["load"])


@pytest.mark.promise("6")
@on_each_loop
async def test_two_tasks_of_one_request_that_load_at_once_share_one_state_and_lose_no_change():
    store = AsyncPausingStore(AsyncMemoryStore())
    sessions = AsyncSessions(store, secret=SECRET)
    cookies = await visit(sessions, a=1)
    session = sessions.open(cookies)
    with store.hold("load", "after") as gate:
        late = asyncio.create_task(sessions.load(session))
        await gate.wait()
        await sessions.load(session)
        session["a"] = 2
        gate.open()
        await late
    assert session["a"] == 2
    await sessions.close(session)
    assert dict(await look(sessions, cookies)) == {"a": 2}


@on_each_loop
async def test_a_load_that_fails_beside_one_that_succeeded_spoils_nothing():
    pausing = AsyncPausingStore(AsyncFailingStore(AsyncMemoryStore()))
    sessions = AsyncSessions(pausing, secret=SECRET)
    cookies = await visit(sessions, a=1)
    session = sessions.open(cookies)
    with pausing.hold("load", "before") as gate:
        late = asyncio.create_task(sessions.load(session))
        await gate.wait()
        await sessions.load(session)
        session["a"] = 2
        pausing.store.fail("load", error=StoreUnavailable("down", ambiguous=False), times=1)
        gate.open()
        with suppress(StoreUnavailable):
            await late
    assert session["a"] == 2
    await sessions.close(session)
    assert dict(await look(sessions, cookies)) == {"a": 2}


# The end


@pytest.mark.promise("24")
@on_each_loop
async def test_leaving_the_block_shuts_down_once_all_accepted_work_is_done():
    inner = AsyncMemoryStore()
    counting = AsyncCountingStore(inner)
    store = AsyncPausingStore(counting)
    async with AsyncSessions(store, secret=SECRET) as sessions:
        session = await look(sessions, await visit(sessions, a=1))
        session.destroy()
        counting.reset()
        gate = store.hold("write")
        closing = asyncio.create_task(sessions.close(session))
        await gate.wait()
        closing.cancel()
        with suppress(asyncio.CancelledError):
            await closing
        leaving = asyncio.create_task(sessions.shutdown())
        for _ in range(20):
            await asyncio.sleep(0)
        assert counting.sequence == []
        gate.open()
        await leaving
        assert counting.sequence == ["write", "close"]
        assert not counting.calls[0].args[0][0].live  # the tombstone
    assert counting.sequence == ["write", "close", "close"]


@pytest.mark.promise("24")
@on_each_loop
async def test_shutting_down_ends_under_traffic_and_refuses_what_comes_meanwhile():
    store = AsyncPausingStore(AwaitableStore(MemoryStore()))
    sessions = AsyncSessions(store, secret=SECRET)
    for _ in range(250):  # more than one page
        await visit(sessions, user="ada")
    cookies = await visit(sessions, a=1)
    with store.hold("write") as gate:
        revoking = asyncio.create_task(sessions.revoke_user("ada"))
        await gate.wait()
        leaving = asyncio.create_task(sessions.shutdown())
        await asyncio.sleep(0)
        for use in (lambda: visit(sessions, b=1), lambda: look(sessions, cookies), sessions.count):
            with pytest.raises(StoreUnavailable, match="shut down"):
                await use()
        gate.open()
        await leaving
    assert await revoking == 250  # begun before, and carried out to its end
    assert dict(await look(sessions, cookies)) == {"a": 1}  # and it can be used again


@pytest.mark.promise("24")
@on_each_loop
async def test_shutting_down_twice_is_harmless(make_store):
    sessions = AsyncSessions(make_store(), secret=SECRET)
    await visit(sessions, a=1)
    await sessions.shutdown()
    await sessions.shutdown()


@on_each_loop
async def test_a_manager_with_other_settings_shares_the_store_and_waits_for_the_same_work():
    store = AsyncPausingStore(AsyncMemoryStore())
    sessions = AsyncSessions(store, secret=SECRET)
    other = sessions.with_settings(idle_timeout=timedelta(minutes=1))
    assert other.settings.idle_timeout == timedelta(minutes=1)
    assert other.store is store
    session = await look(other, await visit(sessions, a=1))
    session.sign_out()
    with store.hold("write") as gate:
        closing = asyncio.create_task(other.close(session))
        await gate.wait()
        closing.cancel()
        shutting = asyncio.create_task(sessions.shutdown())
        for _ in range(20):
            await asyncio.sleep(0)
        assert not shutting.done()
        gate.open()
        await shutting


@pytest.mark.promise("24")
def test_one_manager_serves_several_event_loops_and_each_waits_for_its_own_work_only():
    store = AwaitableStore(MemoryStore(), threads=True)
    sessions = AsyncSessions(store, secret=SECRET)
    held, go_on = threading.Event(), threading.Event()
    failures = []

    async def hold():
        """Work of this loop that is under way while the other loop shuts down."""
        session = await look(sessions, await visit(sessions, a=1))

        async def work():
            held.set()
            await asyncio.to_thread(go_on.wait, 10)

        await sessions._alone(work())
        assert not session.is_new

    def body():
        try:
            run(hold(), "uvloop")
        except BaseException as error:  # noqa: BLE001 - told below
            failures.append(error)

    thread = threading.Thread(target=body)
    thread.start()
    assert held.wait(60)

    async def serve_and_shut_down():
        cookies = await visit(sessions, b=1)
        assert dict(await look(sessions, cookies)) == {"b": 1}
        await sessions.shutdown()

    try:
        run(serve_and_shut_down())
    finally:
        go_on.set()
        thread.join(60)
    assert failures == []
