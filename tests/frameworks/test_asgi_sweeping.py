"""Expired records are removed while the server runs, where it was asked for."""

import asyncio
import logging
import time
from datetime import timedelta

import pytest

from coatcheck import AsyncSessions, ConfigurationError, StoreUnavailable
from coatcheck.frameworks import asgi_lifespan
from coatcheck.frameworks.asgi import SessionMiddleware
from coatcheck.stores.memory import AsyncMemoryStore
from tests.loops import run
from tests.visitor import SECRET


class Swept(AsyncMemoryStore):
    """Notes each sweep, which may fail."""

    def __init__(self, *failures):
        super().__init__()
        self.failures = list(failures)
        self.sweeps = asyncio.Queue()
        self.closed = False

    async def sweep(self, now, limit, deadline):
        assert not self.closed
        self.sweeps.put_nowait(abs(now - time.time() * 1000) < 60_000)
        if self.failures:
            raise self.failures.pop()
        return 0

    async def close(self):
        self.closed = True


@pytest.fixture
def hurry(monkeypatch):
    """The shares of the time after which it sweeps are so small that nobody need wait."""
    asked = []

    def uniform(low, high):
        asked.append((low, high))
        return 0.0

    monkeypatch.setattr(asgi_lifespan.random, "uniform", uniform)
    return asked


async def lifespan(middleware, meanwhile):
    """What a server does, while something else is done in between."""
    said, answers = asyncio.Queue(), asyncio.Queue()
    serving = asyncio.create_task(middleware({"type": "lifespan"}, said.get, answers.put))
    said.put_nowait({"type": "lifespan.startup"})
    assert (await answers.get())["type"] == "lifespan.startup.complete"
    await meanwhile()
    said.put_nowait({"type": "lifespan.shutdown"})
    assert (await answers.get())["type"] == "lifespan.shutdown.complete"
    await serving


async def app(scope, receive, send):
    for phase in ("startup", "shutdown"):
        assert (await receive())["type"] == f"lifespan.{phase}"
        await send({"type": f"lifespan.{phase}.complete"})


@pytest.mark.parametrize("shutdown", [True, False])
def test_it_sweeps_from_the_start_of_the_server_to_its_end(hurry, shutdown):
    async def scenario():
        store = Swept()
        middleware = SessionMiddleware(
            app, AsyncSessions(store, secret=SECRET), shutdown=shutdown, sweep_every=timedelta(minutes=10)
        )

        async def meanwhile():
            assert [await store.sweeps.get() for _ in range(3)] == [True] * 3

        await lifespan(middleware, meanwhile)
        assert store.closed is shutdown
        assert set(hurry) == {(0.5, 1.5)}

    run(scenario())


def test_a_sweep_that_fails_is_told_of_and_not_the_last(hurry, caplog):
    async def scenario():
        store = Swept(StoreUnavailable("nobody there"))
        middleware = SessionMiddleware(
            app, AsyncSessions(store, secret=SECRET), sweep_every=timedelta(minutes=10)
        )

        async def meanwhile():
            for _ in range(3):
                await store.sweeps.get()

        await lifespan(middleware, meanwhile)

    with caplog.at_level(logging.WARNING, "coatcheck"):
        run(scenario())
    assert [record.getMessage() for record in caplog.records] == [
        "The session store fails: nobody there",
        "expired sessions could not be removed: nobody there",
    ]


def test_who_does_not_ask_for_it_has_no_task(hurry):
    async def scenario():
        store = Swept()
        before = asyncio.all_tasks()

        async def meanwhile():
            assert len(asyncio.all_tasks() - before) == 1  # the lifespan itself
            await asyncio.sleep(0)

        await lifespan(SessionMiddleware(app, AsyncSessions(store, secret=SECRET)), meanwhile)
        assert (store.sweeps.qsize(), hurry) == (0, [])

    run(scenario())


def test_less_than_a_second_is_refused():
    with pytest.raises(ConfigurationError, match="sweep_every"):
        SessionMiddleware(
            app, AsyncSessions(AsyncMemoryStore(), secret=SECRET), sweep_every=timedelta(milliseconds=1)
        )
