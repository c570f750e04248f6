"""A cluster of three: batches over all servers, slots that move, and a server that dies."""

import asyncio
import subprocess
from contextlib import ExitStack

import pytest
import redis
import redis.asyncio
from redis.crc import key_slot

from coatcheck.errors import StoreUnavailable
from coatcheck.model.record import APPLIED, Applied, Create, Record, SignIn
from coatcheck.stores._redis_words import Words
from coatcheck.stores.redis import from_url
from coatcheck.stores.redis_async import from_url as async_from_url
from coatcheck.testing.contract.harness import Bench
from coatcheck.testing.shim import awaitable
from tests.servers.process import HOST, until
from tests.stores.redis_single import PATIENT, RedisHarness, ask, new_prefix, redis_server

pytestmark = [
    pytest.mark.servers,
    pytest.mark.xdist_group("redis-cluster-of-three"),
    pytest.mark.promise("F-09"),
]


class Nodes:
    def __init__(self, servers):
        self.servers = servers
        self.ports = [server.port for server in servers]
        self.url = "redis+cluster://" + ",".join(f"{HOST}:{port}" for port in self.ports)

    def identity(self, port):
        return ask(port, "CLUSTER", "MYID").split(b"\r\n")[1]

    def owner(self, name):
        """The port of the server that has the slot of a key."""
        slot = key_slot(name)
        for port in self.ports:
            mine = next(line for line in ask(port, "CLUSTER", "NODES").split(b"\n") if b"myself" in line)
            for part in mine.split()[8:]:
                first, _, last = part.partition(b"-")
                if not part.startswith(b"[") and int(first) <= slot <= int(last or first):
                    return port
        raise AssertionError("nobody has it")

    def are_well(self):
        return all(b"cluster_state:ok" in ask(port, "CLUSTER", "INFO") for port in self.ports)


@pytest.fixture(scope="module")
def nodes():
    with ExitStack() as stack:
        options = ("--cluster-enabled", "yes", "--cluster-node-timeout", "2000")
        nodes = Nodes([stack.enter_context(redis_server(*options)) for _ in range(3)])
        addresses = [f"{HOST}:{port}" for port in nodes.ports]
        create = ["redis-cli", "--cluster", "create", *addresses, "--cluster-yes"]
        subprocess.run(create, check=True, capture_output=True, timeout=60)
        until(nodes.are_well, "the cluster is well")
        yield nodes


@pytest.fixture(params=[from_url, async_from_url], ids=["sync", "async"])
def at(request, nodes):
    def run(scenario):
        async def with_store():
            harness = RedisHarness(nodes.ports[0])
            bench = Bench(harness)
            prefix = new_prefix()
            bench.store = awaitable(request.param(nodes.url, prefix=prefix, **PATIENT))
            bench.name = lambda record: Words(prefix).name(record.key)
            try:
                await scenario(bench)
            finally:
                await bench.store.close()
                harness.inspector.close()

        asyncio.run(with_store())

    return run


@pytest.mark.promise("B")
def test_a_batch_goes_to_each_server_and_comes_back_in_order(at, nodes):
    async def scenario(bench):
        records = [bench.signed_in("ada", signed_in=bench.start + number) for number in range(60)]
        assert await bench.store.apply([Create(record) for record in records]) == [APPLIED] * 60
        assert {nodes.owner(bench.name(record)) for record in records} == set(nodes.ports)
        keys = [record.key for record in records]
        assert list(await bench.store.load(keys, bench.start)) == records
        assert await bench.store.count(bench.start) == 60
        for record in records[:30]:
            change = bench.update(record, at=bench.start + 100, sign_in=SignIn("ada"))
            assert await bench.apply(change) == APPLIED
        assert set(await bench.keys_of("ada")) == {record.key for record in records[:30]}
        ended = await bench.store.apply([bench.destroy(record, user="ada") for record in records[:20]])
        assert ended == [APPLIED] * 20
        assert len(await bench.keys_of("ada")) == 10
        await bench.store.ping()

    at(scenario)


def test_a_key_that_is_being_moved_and_one_that_was_are_found(at, nodes):
    async def scenario(bench):
        record = await bench.create()
        name, slot = bench.name(record), key_slot(bench.name(record))
        source = nodes.owner(name)
        target = next(port for port in nodes.ports if port != source)
        ids = {port: nodes.identity(port) for port in nodes.ports}
        assert ask(target, "CLUSTER", "SETSLOT", slot, "IMPORTING", ids[source]) == b"+OK\r\n"
        assert ask(source, "CLUSTER", "SETSLOT", slot, "MIGRATING", ids[target]) == b"+OK\r\n"
        # It lies at the source still.
        assert await bench.load(record) == record
        assert ask(source, "MIGRATE", HOST, target, name, 0, 5_000) == b"+OK\r\n"
        # Now the source sends everybody to the target, each with leave to ask there.
        assert await bench.load(record) == record
        change = bench.update(record, set={"a": b"1"}, take=("theme",))
        assert await bench.apply(change) == Applied({"theme": b"dark"})
        keys = [record.key, bench.record().key]
        found, nothing = await bench.store.load(keys, bench.start)
        assert (found.fields["a"], nothing) == (b"1", None)
        for port in (target, source, *nodes.ports):
            assert ask(port, "CLUSTER", "SETSLOT", slot, "NODE", ids[target]) == b"+OK\r\n"
        # And now it has moved.
        assert isinstance(await bench.load(record), Record)
        assert await bench.apply(bench.destroy(record)) == APPLIED

    at(scenario)


def test_a_client_of_their_own_may_be_that_of_a_cluster(nodes):
    sync = redis.RedisCluster(host=HOST, port=nodes.ports[0], socket_timeout=30)
    store = from_url("redis://", client=sync, prefix=new_prefix(), **PATIENT)
    bench = Bench(RedisHarness(nodes.ports[0]))
    records = [bench.record() for _ in range(20)]
    assert store.apply([Create(record) for record in records]) == [APPLIED] * 20
    assert list(store.load([record.key for record in records], bench.start)) == records
    assert store.count(bench.start) == 20
    store.close()
    sync.close()

    async def scenario():
        client = redis.asyncio.RedisCluster(host=HOST, port=nodes.ports[0])
        front = async_from_url("redis://", client=client, prefix=new_prefix(), **PATIENT)
        assert await front.apply([Create(record) for record in records]) == [APPLIED] * 20
        assert list(await front.load([record.key for record in records], bench.start)) == records
        await front.close()
        await client.aclose()

    asyncio.run(scenario())
    bench.harness.inspector.close()


def test_one_server_of_a_cluster_is_no_server_by_itself_and_the_message_says_so(nodes):
    store = from_url(f"redis://{HOST}:{nodes.ports[0]}", **PATIENT)
    keys = (number.to_bytes(16, "big") for number in range(1_000))
    elsewhere = next(key for key in keys if nodes.owner(store._words.name(key)) != nodes.ports[0])
    with pytest.raises(StoreUnavailable, match=r"redis\+cluster://"):
        store.load([elsewhere], 0)
    store.close()


def test_a_server_that_is_down_fails_its_own_sessions_only(at, nodes):
    async def scenario(bench):
        records = [await bench.create() for _ in range(40)]
        owners = {record.key: nodes.owner(bench.name(record)) for record in records}
        dead = nodes.servers[-1]
        dead.kill()
        try:
            if hasattr(bench.store, "_desk"):
                # As of forty callers, whose reads leave together.
                answers = await asyncio.gather(
                    *(bench.store.load([record.key], bench.start) for record in records),
                    return_exceptions=True,
                )
                found = [answer if isinstance(answer, Exception) else answer[0] for answer in answers]
            else:
                with pytest.raises(StoreUnavailable) as raised:
                    await bench.store.load(list(owners), bench.start)
                found = raised.value.answers
            for record, answer in zip(records, found, strict=True):
                if owners[record.key] == dead.port:
                    assert isinstance(answer, StoreUnavailable)
                else:
                    assert answer == record
        finally:
            dead.start()
            until(nodes.are_well, "the cluster is well again")

    at(scenario)
