"""What goes over the wire: one round trip to read, one to write, however many fields, and which commands these are."""

import asyncio
import re

import pytest

from coatcheck.model.ports import Life
from coatcheck.model.record import APPLIED, Applied, Create, Refused
from coatcheck.stores.redis import RedisStore, from_url
from coatcheck.stores.redis_async import from_url as async_from_url
from coatcheck.testing.contract.harness import LIFETIMES, Bench
from coatcheck.testing.shim import awaitable
from tests.servers.process import HOST
from tests.servers.proxy import Proxy
from tests.stores.redis_single import PATIENT, RedisHarness, ask, new_prefix

pytestmark = pytest.mark.servers


@pytest.fixture(scope="module")
def proxy(redis_port):
    with Proxy(redis_port) as proxy:
        yield proxy


@pytest.fixture(params=[from_url, async_from_url], ids=["sync", "async"])
def on_the_wire(request, redis_port, proxy):
    """Runs a scenario with a store whose connection is warm, and a bench that makes records for it."""

    def run(scenario):
        async def at_the_wire():
            store = awaitable(request.param(f"redis://{HOST}:{proxy.port}", prefix=new_prefix(), **PATIENT))
            bench = Bench(RedisHarness(redis_port))
            warm = bench.record()
            await store.apply([Create(warm)])
            await store.apply([bench.update(warm, set={"a": b"1"}), bench.update(warm), bench.destroy(warm)])
            try:
                await scenario(store, bench)
            finally:
                await store.close()
                bench.harness.inspector.close()

        asyncio.run(at_the_wire())

    return run


async def watched(proxy, work):
    """What came of `work`, the commands that it sent, and in how many round trips."""
    with proxy.counting() as counted, proxy.recording() as transcript:
        result = await work
    assert counted.connections == 0
    sent = b"".join(data for way, data in transcript if way == "sent")
    return result, re.findall(rb"\*\d+\r\n\$\d+\r\n([A-Z]+)\r\n", sent), counted.round_trips


@pytest.mark.promise("2", "3")
@pytest.mark.parametrize("fields", [1, 10])
def test_a_read_is_one_round_trip_and_a_write_another(on_the_wire, proxy, fields):
    async def scenario(store, bench):
        record = bench.record(fields={f"field {number}": b"value" for number in range(fields)})
        _, commands, trips = await watched(proxy, store.apply([Create(record)]))
        assert (commands, trips) == ([b"SET"], 1)
        found, commands, trips = await watched(proxy, store.load([record.key], bench.start))
        assert (found, commands, trips) == ([record], [b"GET"], 1)
        change = bench.update(record, set={f"field {number}": b"other" for number in range(fields)})
        _, commands, trips = await watched(proxy, store.apply([change]))
        assert (commands, trips) == ([b"EVALSHA"], 1)
        _, commands, trips = await watched(proxy, store.apply([bench.destroy(record)]))
        assert (commands, trips) == ([b"EVALSHA"], 1)

    on_the_wire(scenario)


@pytest.mark.promise("3")
def test_a_batch_is_one_round_trip(on_the_wire, proxy):
    async def scenario(store, bench):
        records = [bench.record() for _ in range(20)]
        _, commands, trips = await watched(proxy, store.apply([Create(record) for record in records]))
        assert (commands, trips) == ([b"SET"] * 20, 1)
        keys = [record.key for record in records] + [bench.record().key]
        found, commands, trips = await watched(proxy, store.load(keys, bench.start))
        assert (found, commands, trips) == ([*records, None], [b"MGET", b"EXISTS"], 1)
        changes = [bench.update(record, set={"a": b"1"}) for record in records]
        _, commands, trips = await watched(proxy, store.apply(changes))
        assert (commands, trips) == ([b"EVALSHA"] * 20, 1)

    on_the_wire(scenario)


@pytest.mark.promise("3")
def test_a_sign_in_costs_one_more(on_the_wire, proxy):
    async def scenario(store, bench):
        life = Life(bench.record().key, bench.start)
        await store.enroll("warm", life, bench.start + 1_000)
        _, commands, trips = await watched(proxy, store.enroll("ada", life, bench.start + 1_000))
        assert (commands, trips) == ([b"EVALSHA"], 1)

    on_the_wire(scenario)


def test_a_change_is_all_that_is_sent_not_the_record(on_the_wire, proxy):
    async def scenario(store, bench):
        record = bench.record(fields={"large": bytes(100_000)})
        await store.apply([Create(record)])
        with proxy.counting() as counted:
            await store.apply([bench.update(record, set={"small": b"1"})])
        assert counted.sent < 500
        assert counted.received < 100

    on_the_wire(scenario)


def test_connecting_tells_the_server_nothing_that_it_need_not_know(redis_port, proxy):
    store = from_url(f"redis://{HOST}:{proxy.port}", prefix=new_prefix(), **PATIENT)
    with proxy.recording() as transcript:
        store.ping()
    assert b"".join(data for way, data in transcript if way == "sent") == b"*1\r\n$4\r\nPING\r\n"
    store.close()
    store = from_url(f"redis://{HOST}:{proxy.port}/3", prefix=new_prefix(), **PATIENT)
    with proxy.counting() as counted:
        store.ping()
    assert counted.round_trips == 2
    store.close()


def test_nothing_is_connected_before_it_is_needed(proxy):
    with proxy.counting() as counted:
        store = from_url(f"redis://{HOST}:{proxy.port}")
        store.close()
    assert counted.connections == 0
    assert isinstance(store, RedisStore)


def test_what_a_script_does_not_know_is_sent_again_in_full(on_the_wire, proxy, redis_port):
    async def scenario(store, bench):
        records = [bench.record() for _ in range(3)]
        await store.apply([Create(record) for record in records])
        ask(redis_port, "SCRIPT", "FLUSH")
        changes = [
            bench.update(records[0], set={"a": b"1"}),
            Create(bench.record()),
            bench.destroy(records[1]),
        ]
        answers, commands, trips = await watched(proxy, store.apply(changes))
        assert [str(answer) for answer in answers] == ["<Applied, 0 fields taken>"] * 3
        assert (commands, trips) == ([b"EVALSHA", b"SET", b"EVALSHA", b"EVAL", b"EVAL"], 2)
        _, commands, trips = await watched(proxy, store.apply(changes[:1]))
        assert (commands, trips) == ([b"EVALSHA"], 1)
        ask(redis_port, "SCRIPT", "FLUSH")
        await store.enroll("ada", Life(records[0].key, bench.start), bench.start + 1_000)

    on_the_wire(scenario)


def test_changes_of_one_record_keep_their_order_on_a_server_that_knows_no_script(
    on_the_wire, proxy, redis_port
):
    async def scenario(store, bench):
        record, other = bench.record(), bench.record()
        await store.apply([Create(other)])
        changes = [
            bench.update(record, set={"early": b"yes"}),
            Create(record),
            bench.update(other, set={"a": b"1"}),
            bench.update(record, set={"n": b"1"}),
            bench.update(record, take=("n", "early")),
            bench.destroy(record),
            bench.update(record, set={"late": b"yes"}),
        ]
        ask(redis_port, "SCRIPT", "FLUSH")
        answers, commands, trips = await watched(proxy, store.apply(changes))
        taken = Applied({"n": b"1"})
        assert answers == [Refused.GONE, APPLIED, APPLIED, APPLIED, taken, APPLIED, Refused.GONE]
        assert commands.count(b"EVAL") >= 2
        assert trips <= 2

    on_the_wire(scenario)


@pytest.mark.promise("F-14", "16")
def test_a_record_never_lies_there_without_an_end_and_is_let_go_in_time(redis_port):
    harness = RedisHarness(redis_port)

    async def scenario():
        async with Bench(harness) as bench:
            record = await bench.create()
            name = harness.name(record.key)

            async def left(change=None):
                if change is not None:
                    await bench.apply(change)
                return harness.command("PTTL", name)

            near = lambda ms, wanted: wanted - 60_000 < ms <= wanted
            assert near(await left(), LIFETIMES.idle)
            assert near(await left(bench.update(record, permanent=True)), LIFETIMES.remember_idle)
            # By the clock of the change, not of the server.
            later = bench.start + 3_600_000
            assert near(await left(bench.update(record, at=later)), LIFETIMES.remember_idle)
            assert near(
                await left(bench.update(record, at=later, touch=False, permanent=False)), LIFETIMES.idle
            )
            assert near(await left(bench.destroy(record)), 30_000)
            late = await bench.create(expires=bench.start + 10)
            assert 0 < harness.command("PTTL", harness.name(late.key)) <= 1_000

    asyncio.run(scenario())
