"""The first look of a manager at its store: by `ping`, as a context manager, and where an ASGI server starts."""

from __future__ import annotations

import asyncio

import pytest

from coatcheck import AsyncSessions, Sessions, StoreUnavailable
from coatcheck.core.start import NOTE
from coatcheck.frameworks.asgi import SessionMiddleware
from coatcheck.stores.memory import AsyncMemoryStore, MemoryStore
from coatcheck.testing import AsyncFailingStore, FailingStore
from tests.visitor import OLD_SECRET, SECRET, Visitor, stored_in

DOWN = StoreUnavailable("down")


class Late(MemoryStore):
    """A store whose server's clock stands still."""

    def ping(self, deadline):
        return 1_000


class Alone(MemoryStore):
    index = "beside"

    def note(self, *_):
        pass

    def index_may_be_incomplete(self, deadline):
        return "entries may be missing"


async def started_by_a_server(sessions):
    """What the server's start takes, and its stop."""
    sent = []

    async def application(_scope, _receive, send):
        await send({"type": "lifespan.startup.complete"})
        sent.append("started")
        await send({"type": "lifespan.shutdown.complete"})

    async def send(message):
        sent.append(message["type"])

    await SessionMiddleware(application, sessions)({"type": "lifespan"}, None, send)
    assert sent == ["lifespan.startup.complete", "started", "lifespan.shutdown.complete"]


async def entered(sessions):
    async with sessions:
        pass


async def pinged(sessions):
    await sessions.ping()


def enter(sessions):
    with sessions:
        pass


WAYS = [enter, Sessions.ping, entered, pinged, started_by_a_server]


def start(way, store, **options):
    """Start a manager on a store; the manager."""
    if way in (enter, Sessions.ping):
        sessions = Sessions(store, **{"secret": SECRET, **options})
        way(sessions)
        return sessions
    wrapped = AsyncMemoryStore(store) if isinstance(store, MemoryStore) else store
    if isinstance(store, MemoryStore):
        for method in ("ping", "index_may_be_incomplete"):
            setattr(wrapped, method, asynchronous(getattr(store, method)))
        wrapped.index = store.index
    sessions = AsyncSessions(wrapped, **{"secret": SECRET, **options})
    asyncio.run(way(sessions))
    return sessions


def asynchronous(method):
    async def call(*args):
        return method(*args)

    return call


def told(caplog):
    lines = [record.getMessage() for record in caplog.records if record.name == "coatcheck"]
    caplog.clear()
    return lines


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.promise("13", "17", "23")
def test_each_way_to_start_tells_what_is_wrong(way, caplog):
    assert told(caplog) == []
    start(way, MemoryStore())
    assert told(caplog) == []
    (clock,) = (start(way, Late()), told(caplog))[1]
    assert "ahead of that of the session store's server" in clock
    assert (start(way, Alone()), told(caplog))[1] == ["entries may be missing"]


@pytest.mark.parametrize("way", WAYS)
def test_a_second_site_on_the_same_store_and_prefix_is_told_and_the_first_again_when_it_restarts(way, caplog):
    store = MemoryStore()
    start(way, store)
    for secret in (OLD_SECRET, SECRET):
        start(way, store, secret=secret)
        (line,) = told(caplog)
        assert 'prefix="shop:"' in line
        start(way, store, secret=secret)
        assert told(caplog) == []
    assert list(stored_in(store)) == [NOTE]


def test_a_manager_looks_around_once_and_never_in_a_request(caplog):
    store = MemoryStore()
    start(enter, store, secret=OLD_SECRET)
    sessions = Sessions(store, secret=SECRET)
    visitor = Visitor(sessions).signed_in("ada", a=1)
    assert visitor.read() == {"a": 1}
    assert told(caplog) == []
    sessions.ping()
    assert len(told(caplog)) == 1
    start(enter, store, secret=OLD_SECRET)
    told(caplog)
    with sessions:
        sessions.ping()
    assert told(caplog) == []
    assert sessions.count() == 1


@pytest.mark.parametrize("way", [enter, entered, started_by_a_server])
@pytest.mark.promise("20")
def test_a_store_that_is_down_stops_no_start_and_is_told_of_by_then(way, caplog):
    store = FailingStore(MemoryStore()) if way is enter else AsyncFailingStore(AsyncMemoryStore())
    store.fail("ping", error=DOWN)
    start(way, store)
    assert told(caplog) == ["The session store fails: down"]


def test_threads_that_start_at_once_tell_once(caplog):
    class Slow(Late):
        sessions = None

        def ping(self, deadline):
            if self.sessions is not None:
                sessions, self.sessions = self.sessions, None
                sessions.ping()  # as another thread would
            return super().ping(deadline)

    store = Slow()
    store.sessions = sessions = Sessions(store, secret=SECRET)
    sessions.ping()
    assert len(told(caplog)) == 1
