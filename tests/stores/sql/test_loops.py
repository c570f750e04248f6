"""The SQL store in event loops that come and go: each loop's connections end with it."""

import asyncio
import gc
from datetime import timedelta

import pytest
import uvloop
from sqlalchemy.ext.asyncio import create_async_engine

from coatcheck import AsyncSessions
from coatcheck.stores.sql import AsyncSQLStore
from tests.servers.process import until
from tests.stores.sql.faults import DRIVERS
from tests.stores.sql.scene import NOW, found, new, soon
from tests.visitor import SECRET

pytestmark = pytest.mark.servers
LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


@pytest.fixture
def uncollected():
    """What only a garbage collection would free stays."""
    gc.collect()
    gc.disable()
    yield
    gc.enable()


def connections(place):
    """How many the server has, of stores and tests."""
    if place.kind == "postgresql":
        told = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend'"
    else:
        told = "SELECT count(*) FROM information_schema.processlist WHERE user = 'coatcheck'"
    return place.execute(told)[0][0]


@pytest.mark.usefixtures("uncollected")
def test_a_manager_in_a_loop_for_each_job_keeps_no_connection_of_any(place):
    manager = AsyncSessions.from_url(
        place.url, secret=SECRET, prefix=place.prefix, deadline=timedelta(seconds=20)
    )

    async def job():
        assert await manager.count() == 0

    async def busy_job():
        await asyncio.gather(*(manager.ping() for _ in range(5)))

    before = connections(place)
    asyncio.run(busy_job())
    for _ in range(160):  # the server has room for 150
        asyncio.run(job())
    until(lambda: connections(place) == before, "the server has no connection of theirs")


@pytest.mark.usefixtures("uncollected")
@pytest.mark.filterwarnings("ignore:loop is closed:ResourceWarning")
@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")  # by asyncio itself, of what it leaves open
@pytest.mark.parametrize("loop", LOOPS)
def test_a_loop_that_is_closed_without_notice_is_noticed_when_the_next_one_comes(place, loop):
    store = place.async_store()
    before = connections(place)
    for _ in range(5):
        running = LOOPS[loop]()
        running.run_until_complete(store.ping(soon()))
        running.close()
        until(lambda: connections(place) <= before + 1, "the server has those of one loop")
    asyncio.run(store.ping(soon()))
    until(lambda: connections(place) == before, "the server has no connection of theirs")
    gc.collect()  # asyncio's warnings come now, and not in the next test


def test_connections_that_a_loop_has_closed_itself_are_no_matter_to_the_next(place):
    store = place.async_store()
    running = asyncio.new_event_loop()
    running.run_until_complete(store.ping(soon()))
    (driver,) = store._inside.of_loops._objects[running]._drivers
    closing = driver.ensure_closed() if place.kind == "mysql" else driver.close()
    running.run_until_complete(closing)
    running.run_until_complete(asyncio.sleep(0))
    running.close()
    asyncio.run(store.ping(soon()))


def test_the_connections_of_an_application_s_engine_are_left_to_it(place):
    async def scenario():
        engine = create_async_engine(place.url.replace("://", f"+{DRIVERS[place.kind][1]}://"))
        store = AsyncSQLStore(engine, prefix=place.prefix)
        write = new()
        assert await store.write([write], NOW, soon()) == [None]
        await store.close()
        assert engine.pool.checkedin() == 1
        assert await store.load([write.key], NOW, soon()) == [found(write)]
        await engine.dispose()

    asyncio.run(scenario())
