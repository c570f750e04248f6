"""A network that is slow, silent, or cuts: bounded time, no half-read connection, recovery by itself."""

import asyncio
import time
from datetime import timedelta

import pytest

from coatcheck.errors import StoreError, StoreTimeout, StoreUnavailable
from coatcheck.model.record import APPLIED, Applied, Create, Refused, Rotation, SignIn
from coatcheck.stores._redis_lines import _window
from coatcheck.stores.redis import from_url
from coatcheck.stores.redis_async import from_url as async_from_url
from coatcheck.testing.contract.harness import Bench, hashed
from coatcheck.testing.shim import awaitable
from tests.servers.process import HOST, free_port
from tests.servers.proxy import Proxy
from tests.stores.redis_single import PATIENT, RedisHarness, redis_server

pytestmark = [pytest.mark.servers, pytest.mark.promise("F-02", "20")]
SHORT = {"deadline": timedelta(milliseconds=300), "connect_deadline": timedelta(milliseconds=200)}
LONG = 10  # seconds; ever so much more than any deadline here


@pytest.fixture
def proxy(redis_port):
    with Proxy(redis_port) as proxy:
        yield proxy


@pytest.fixture(params=[from_url, async_from_url], ids=["sync", "async"])
def behind(request, redis_port, proxy):
    """Runs a scenario at a bench, with a store that is reached through the proxy."""

    def run(scenario, **options):
        async def with_store():
            harness = RedisHarness(redis_port)
            bench = Bench(harness)
            url = f"redis://{HOST}:{proxy.port}"
            store = request.param(url, prefix=harness.prefix, **{**PATIENT, **options})
            bench.store, bench.parallel = awaitable(store), awaitable(store, threads=True)
            bench.past_the_proxy = awaitable(harness.inspector)
            try:
                await scenario(bench)
            finally:
                proxy.heal()
                await bench.store.close()
                harness.inspector.close()

        asyncio.run(with_store())

    return run


async def timed(work, error):
    """The error that `work` raises, within bounded time."""
    start = time.monotonic()
    with pytest.raises(error) as raised:
        await work
    assert time.monotonic() - start < LONG
    return raised.value


async def eventually(bench, record):
    """What lies there, once the network is well again and the machine has a moment."""
    end = time.monotonic() + LONG
    while True:
        try:
            return await bench.load(record)
        except StoreUnavailable:
            assert time.monotonic() < end
            await asyncio.sleep(0.01)


@pytest.mark.promise("F-03", "L")
def test_a_silent_server_is_a_timeout_that_says_whether_it_may_have_been_done(behind, proxy):
    async def scenario(bench):
        record = bench.record()
        await bench.past_the_proxy.apply([Create(record)])
        proxy.silent = True
        error = await timed(bench.load(record), StoreTimeout)
        assert not error.ambiguous
        error = await timed(bench.apply(bench.update(record, set={"a": b"1"})), StoreTimeout)
        assert error.ambiguous
        error = await timed(bench.apply(bench.destroy(record)), StoreTimeout)
        assert error.ambiguous
        proxy.silent = False
        await eventually(bench, record)

    behind(scenario, **SHORT)


def test_a_server_that_trickles_is_a_timeout_all_the_same(behind, proxy):
    async def scenario(bench):
        record = bench.record(fields={"large": bytes(1_000_000)})
        await bench.past_the_proxy.apply([Create(record)])
        proxy.slice = 1  # something arrives all the time
        await timed(bench.load(record), StoreTimeout)

    behind(scenario, **SHORT)


@pytest.mark.promise("F-04")
def test_a_connection_that_timed_out_is_never_used_again(behind, proxy):
    async def scenario(bench):
        one, other = bench.record(), bench.record()
        await bench.past_the_proxy.apply([Create(one), Create(other)])
        proxy.silent = True
        await timed(bench.load(one), StoreTimeout)
        proxy.silent = False
        for _ in range(3):
            assert await eventually(bench, other) == other

    behind(scenario, **SHORT)


def test_a_call_is_tried_again_on_another_connection(behind, proxy, monkeypatch):
    async def scenario(bench):
        record = await bench.create()
        proxy.reset()
        assert await bench.load(record) == record
        pauses = []

        class Pauses:
            def compute(self, failures):
                pauses.append(failures)
                proxy.up()
                return 0.0

        monkeypatch.setattr("coatcheck.stores._redis_exchange._PAUSES", Pauses())
        proxy.down()
        assert await bench.load(record) == record
        proxy.down()
        assert await bench.apply(bench.update(record, take=("theme",))) == Applied({"theme": b"dark"})
        assert pauses == [1, 1]

    behind(scenario, **PATIENT)


@pytest.mark.promise("F-04")
def test_connections_may_break_as_often_as_they_like(behind, proxy):
    async def scenario(bench):
        record = await bench.create()
        for _ in range(130):  # the drivers' pools count to a hundred
            proxy.reset()
            assert await bench.load(record) == record

    behind(scenario, **PATIENT)


@pytest.mark.promise("F-03", "L")
def test_what_may_have_been_done_is_done_again_only_where_twice_is_the_same(behind, proxy):
    async def scenario(bench):
        record = await bench.create()

        async def dropped(change):
            """The answer, where what is asked arrives but the first answer gets lost."""
            proxy.drop_replies()
            try:
                return await bench.apply(change)
            finally:
                proxy.heal()

        for change in (
            Create(bench.record()),
            bench.update(record, take=("theme",)),
            bench.update(record, sign_in=SignIn("ada")),
            bench.update(record, rotate=Rotation(hashed("new"))),
        ):
            await bench.store.ping()  # its connection is warm
            with proxy.counting() as counted:
                await timed(dropped(change), StoreUnavailable)
            assert counted.connections == 0, "it was sent again"
            (found,) = await bench.past_the_proxy.load([change.key], bench.start)
            assert found is not None

    behind(scenario)


def test_a_reset_before_it_is_sent_is_not_noticed(behind, proxy):
    async def scenario(bench):
        record = await bench.create()
        proxy.reset()
        taken = await bench.apply(bench.update(record, take=("theme",)))
        assert taken == Applied({"theme": b"dark"})
        proxy.reset()
        assert await bench.apply(bench.destroy(record)) == APPLIED
        assert await bench.apply(bench.destroy(record)) is Refused.GONE

    behind(scenario, **PATIENT)


@pytest.mark.parametrize("make", [from_url, async_from_url], ids=["sync", "async"])
def test_a_connection_that_the_server_has_ended_is_noticed_before_anything_is_sent(redis_port, make):
    async def scenario():
        harness = RedisHarness(redis_port)
        bench = Bench(harness)
        bench.store = awaitable(make(harness.url, prefix=harness.prefix, **PATIENT))
        record = await bench.create()
        harness.command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        await asyncio.sleep(0)  # an event loop hears of it in its next turn
        # Sent on that connection, nobody could tell whether it was done.
        assert await bench.apply(bench.update(record, take=("theme",))) == Applied({"theme": b"dark"})
        await bench.store.close()
        harness.inspector.close()

    asyncio.run(scenario())


@pytest.mark.promise("F-04")
def test_replies_in_slices_and_cut_anywhere_are_never_half_a_record(behind, proxy):
    async def scenario(bench):
        record = await bench.create(bench.rich())
        proxy.slice = 1
        assert await bench.load(record) == record
        assert await bench.apply(bench.update(record, take=("theme",))) == Applied({"theme": b"dark"})
        proxy.slice = None
        whole = await bench.load(record)
        for size in range(0, 120, 7):
            proxy.cut_reply_after(size)
            error = None
            try:
                assert await bench.load(record) == whole
            except StoreError as raised:
                error = raised
            proxy.heal()
            assert error is None or isinstance(error, StoreUnavailable)

    behind(scenario)


@pytest.mark.promise("F-01")
def test_a_server_that_is_gone_is_unavailable_at_once_and_the_breaker_opens_and_closes(behind, proxy):
    async def scenario(bench):
        record = await bench.create()
        proxy.down()
        for _ in range(5):
            await timed(bench.load(record), StoreUnavailable)
        start = time.monotonic()
        for _ in range(200):
            with pytest.raises(StoreUnavailable, match="left alone"):
                await bench.load(record)
            if time.monotonic() - start > 0.2:
                break
        proxy.up()
        end = time.monotonic() + LONG
        while True:
            try:
                assert await bench.load(record) == record
                break
            except StoreUnavailable:
                assert time.monotonic() < end
                await asyncio.sleep(0.02)

    behind(scenario, **PATIENT)


@pytest.mark.promise("F-06")
def test_who_finds_all_connections_taken_waits_for_one(behind, proxy):
    async def scenario(bench):
        record = await bench.create()
        many = awaitable(bench.store._store) if hasattr(bench.store, "_desk") else bench.parallel
        proxy.latency = 0.01
        found = await asyncio.gather(*(many.load([record.key], bench.start) for _ in range(12)))
        assert found == [[record]] * 12

    with proxy.counting() as counted:
        behind(scenario, max_connections=2)
    assert counted.connections == 2


@pytest.mark.promise("F-06")
def test_who_waits_for_a_connection_in_vain_gets_a_timeout(redis_port):
    url = f"redis://{HOST}:{redis_port}"
    store = from_url(url, max_connections=2, **SHORT)
    line = store._servers.line
    _window.until = time.monotonic() + LONG
    held = [line._take(_window.until) for _ in range(2)]
    with pytest.raises(StoreTimeout, match="max_connections") as raised:
        store.load([bytes(16)], 0)
    assert not raised.value.ambiguous
    assert not line.breaker.is_open
    for connection in held:
        line._drop(connection)
    store.close()

    async def scenario():
        front = async_from_url(url, max_connections=2, **SHORT)
        line = await front._store._loops.here().line_of(b"", None, 0.0)
        for _ in range(2):
            await line._turns.acquire()
        with pytest.raises(StoreTimeout, match="max_connections"):
            await front.ping()
        await front.close()

    asyncio.run(scenario())


@pytest.mark.promise("F-01")
def test_no_server_at_all_is_unavailable_and_names_it_without_its_password():
    port = free_port()
    store = from_url(f"redis://shop:secret-word@{HOST}:{port}", **SHORT)
    with pytest.raises(StoreUnavailable, match=f"{HOST}:{port}") as raised:
        store.ping()
    assert "secret-word" not in f"{raised.value} {raised.value!r} {raised.value.__cause__!r}"
    store.close()


@pytest.mark.promise("F-05")
def test_cancelled_callers_leave_the_connections_whole(redis_port, proxy):
    async def scenario():
        harness = RedisHarness(redis_port)
        bench = Bench(harness)
        url = f"redis://{HOST}:{proxy.port}"
        front = async_from_url(url, prefix=harness.prefix, max_connections=1, **PATIENT)
        store = front._store  # without coalescing, whose batches are never cancelled
        records = [bench.record(fields={"marker": b"%d" % number}) for number in range(20)]
        await store.apply([Create(record) for record in records])
        proxy.latency = 0.003
        pending = []
        for number in range(200):
            task = asyncio.create_task(store.load([records[number % 20].key], bench.start))
            asyncio.get_running_loop().call_later((number % 23) * 0.0007, task.cancel)
            pending.append(task)
            if number % 10 == 9:
                answers = await asyncio.gather(*pending, return_exceptions=True)
                for offset, answer in enumerate(answers):
                    record = records[(number - 9 + offset) % 20]
                    assert isinstance(answer, asyncio.CancelledError | StoreError) or answer == [record]
                pending = []
        proxy.latency = 0.0
        for record in records:
            assert await store.load([record.key], bench.start) == [record]
        await front.close()
        harness.inspector.close()

    asyncio.run(scenario())


@pytest.mark.promise("F-01")
def test_a_server_that_was_restarted_is_used_again(redis_port):
    with redis_server() as server:
        store = from_url(f"redis://{HOST}:{server.port}", **PATIENT)
        store.ping()
        server.restart()
        store.ping()
        assert store.load([bytes(16)], 0) == [None]
        store.close()


@pytest.mark.promise("F-01")
@pytest.mark.parametrize("make", [from_url, async_from_url], ids=["sync", "async"])
def test_a_cluster_that_is_not_there_is_unavailable_in_every_way(make):
    async def scenario():
        store = awaitable(make(f"redis+cluster://{HOST}:{free_port()}", **PATIENT))
        key = bytes(16)
        for _ in range(2):
            for work in (
                store.ping(),
                store.count(0),
                store.load([key], 0),
                store.load([key, bytes(15) + b"1"], 0),
                store.lives_of("ada", 0),
            ):
                await timed(work, StoreUnavailable)
        await store.close()

    asyncio.run(scenario())


@pytest.mark.parametrize("make", [from_url, async_from_url], ids=["sync", "async"])
def test_a_store_that_is_closed_says_so(redis_port, make):
    async def scenario():
        store = awaitable(make(f"redis://{HOST}:{redis_port}", **PATIENT))
        await store.ping()
        await store.close()
        await store.close()
        with pytest.raises(StoreUnavailable, match="closed"):
            await store.ping()

    asyncio.run(scenario())
