"""A cluster: batches over all servers, slots that move, a server that dies, and clients of the application's own."""

import asyncio
import os
import subprocess
import time
from contextlib import ExitStack, contextmanager

import pytest
import redis
import redis.asyncio
from redis.crc import key_slot
from redis.exceptions import ClusterDownError, MovedError, ResponseError

from coatcheck.errors import StoreTimeout, StoreUnavailable
from coatcheck.model.ports import Conflict
from coatcheck.stores.redis import AsyncRedisStore, RedisStore, async_from_url
from coatcheck.stores.redis.calls import driven
from coatcheck.stores.redis.clusters import Cluster, Server
from coatcheck.stores.redis.scripts import Command, failed
from tests.behaviours import BlockingStore
from tests.servers.process import HOST, free_port, until
from tests.servers.redis import RedisServer, folder
from tests.stores.redis.harness import name_of
from tests.stores.redis.scene import DAY, SYNC_AND_ASYNC, Scene, item, now_ms, opened, soon

pytestmark = [
    pytest.mark.servers,
    pytest.mark.promise("F-09"),
    pytest.mark.xdist_group("redis-cluster-of-three"),
]


class Nodes:
    def __init__(self, servers):
        self.servers = servers
        self.url = "redis+cluster://" + ",".join(server.address for server in servers)

    def owner(self, name):
        """The server that has the slot of a key."""
        slot = key_slot(name)
        for server in self.servers:
            with server.client() as client:
                client.response_callbacks.clear()
                lines = client.execute_command("CLUSTER", "NODES").decode().splitlines()
            mine = next(line for line in lines if "myself" in line)
            for part in mine.split()[8:]:
                first, _, last = part.partition("-")
                if not part.startswith("[") and int(first) <= slot <= int(last or first):
                    return server
        raise AssertionError("no server has it")

    def are_well(self):
        return all(b"cluster_state:ok" in server.ask("CLUSTER", "INFO") for server in self.servers)


@pytest.fixture(scope="module")
def nodes():
    with folder() as directory, ExitStack() as stack:
        options = {"cluster_enabled": "yes", "cluster_node_timeout": 15_000}
        nodes = Nodes([stack.enter_context(RedisServer(directory, **options)) for _ in range(3)])
        addresses = [server.address for server in nodes.servers]
        create = ["redis-cli", "--cluster", "create", *addresses, "--cluster-yes"]
        subprocess.run(create, check=True, capture_output=True, timeout=60)
        until(nodes.are_well, "the cluster is well")
        yield nodes


@contextmanager
def scene_of(kind, nodes, prefix):
    with opened(kind, nodes.url, prefix=prefix) as store:
        yield Scene(None, store, store, 20)


@SYNC_AND_ASYNC
@pytest.mark.promise("B")
def test_a_batch_goes_to_each_server_and_comes_back_in_order(kind, nodes, prefix):
    with scene_of(kind, nodes, prefix) as scene:
        writes = [item(b"%d" % number, urgent=number % 3 == 0) for number in range(60)]
        assert scene.write(*writes) == [None] * 60
        assert {nodes.owner(name_of(prefix, write.key)) for write in writes} == set(nodes.servers)
        keys = [write.key for write in writes]
        assert scene.load(*keys, os.urandom(16)) == [*(write.data for write in writes), None]
        assert scene.store.count(scene.now, soon()) == 60
        conflicts = scene.write(*(item(key=key) for key in keys))
        assert [conflict.found.data for conflict in conflicts] == [write.data for write in writes]
        tombstones = [item(b"", over=write, live=False, urgent=True) for write in writes[:20]]
        assert scene.write(*tombstones) == [None] * 20
        assert scene.store.count(scene.now, soon()) == 40
        assert scene.store.remove([*keys, os.urandom(16)], scene.now, soon()) == [True] * 60 + [False]
        entries = [scene.entry(f"user{number % 5}") for number in range(50)]
        scene.store.note(entries, scene.now, soon())
        for number in range(5):
            his = [entry for entry in entries if entry.user == f"user{number}"]
            assert sorted(scene.entries(f"user{number}"), key=entries.index) == his
        scene.store.forget(entries[:25], soon())
        assert sum(len(scene.entries(f"user{number}")) for number in range(5)) == 25
        assert scene.store.sweep(scene.now + 2 * DAY, 10, soon()) == 10
        assert scene.store.sweep(scene.now + 2 * DAY, 100, soon()) == 15
        scene.store.ping(soon())


@SYNC_AND_ASYNC
def test_a_key_that_is_being_moved_and_one_that_was_are_found(kind, nodes, prefix):
    with scene_of(kind, nodes, prefix) as scene:
        write = scene.put()
        name, slot = name_of(prefix, write.key), key_slot(name_of(prefix, write.key))
        source = nodes.owner(name)
        target = next(server for server in nodes.servers if server is not source)
        ids = {server: server.ask("CLUSTER", "MYID").decode() for server in nodes.servers}
        target.ask("CLUSTER", "SETSLOT", slot, "IMPORTING", ids[source])
        source.ask("CLUSTER", "SETSLOT", slot, "MIGRATING", ids[target])
        # It lies at the source still.
        assert scene.load(write.key) == [write.data]
        source.ask("MIGRATE", HOST, target.port, name, 0, 5_000)
        # Now the source sends everybody to the target, each with leave to ask there.
        assert scene.load(write.key) == [write.data]
        second = item(b"second", over=write)
        other = item()
        assert scene.write(second, other) == [None, None]
        assert scene.load(write.key, other.key, os.urandom(16)) == [second.data, other.data, None]
        for server in (target, source, *nodes.servers):
            server.ask("CLUSTER", "SETSLOT", slot, "NODE", ids[target])
        # And now it has moved.
        third = item(b"third", over=second)
        assert scene.write(third, item()) == [None, None]
        (conflict,) = scene.write(item(b"late", over=second))
        assert isinstance(conflict, Conflict)
        assert scene.load(write.key) == [third.data]
        # It is known now: the next call goes to the target at once.
        assert servers_of(scene.store)._slots[slot].port == target.port


def servers_of(store):
    """The servers of a store; of an async one, in the loop that it is used in."""
    if not isinstance(store, BlockingStore):
        return store._servers
    (servers,) = store.store._loops._objects.values()
    return servers


class Scripted:
    """A pool whose server replies to each command as `reply` says."""

    def __init__(self, server, reply):
        self.server, self.reply, self.commands, self.is_open = server, reply, [], True

    def exchange(self, commands, deadline, *, pauses=False):
        yield from ()
        self.commands += commands
        return [self.reply(self.server, command) for command in commands]

    def close(self):
        yield from ()
        self.is_open = False


A, B = Server("a", 1), Server("b", 2)


def asked(reply, *commands, seeds=(A,)):
    """The replies to commands that an imagined cluster gives, and the servers that got them."""
    pools = {}
    cluster = Cluster(seeds, lambda server: pools.setdefault(server, Scripted(server, reply)))
    replies = driven(cluster.exchange(commands, soon()), soon())
    return replies, {
        server: [each for each in pool.commands if each in commands] for server, pool in pools.items()
    }


def asks_for_slots(command):
    return b"SLOTS" in command.data


def test_a_command_that_is_sent_round_in_circles_comes_to_an_end():
    def reply(server, command):
        other = {"a": "b:2", "b": "a:1"}[server.host]
        return [[0, 16_383, [b"a", 1]]] if asks_for_slots(command) else MovedError(f"7 {other}")

    (answer,), sent = asked(reply, Command(b"key", b"GET"))
    assert 2 < sum(map(len, sent.values())) < 10
    assert "redis+cluster" in str(failed(answer))


def test_a_key_that_no_server_has_is_unavailable_by_itself():
    def reply(server, command):
        return [[0, key_slot(b"key"), [b"a", 1]]] if asks_for_slots(command) else b"found"

    free = next(
        name for name in (b"%d" % number for number in range(99)) if key_slot(name) > key_slot(b"key")
    )
    (found, missing), _ = asked(reply, Command(b"key", b"GET"), Command(free, b"GET"))
    assert found == b"found"
    assert isinstance(missing, StoreUnavailable)
    assert not missing.ambiguous


@pytest.mark.parametrize("unknown", [None, b"", b"?"])
def test_a_server_that_does_not_know_its_host_is_the_one_that_was_asked(unknown):
    moved = []

    def reply(server, command):
        if asks_for_slots(command):
            return [[0, 16_383, [unknown, 2 if moved else 1]]]
        if server.port == 1:
            moved.append(server)
            return MovedError("7 :2")
        return b"found"

    replies, sent = asked(reply, Command(b"key", b"GET"))
    assert replies == [b"found"]
    assert sent.keys() == {A, Server("a", 2)}


def test_a_server_that_can_not_tell_where_keys_are_is_passed_over():
    def reply(server, command):
        if not asks_for_slots(command):
            return b"found"
        return [[0, 16_383, [b"c", 3]]] if server.host == "b" else ResponseError("LOADING")

    replies, _ = asked(reply, Command(b"key", b"GET"), seeds=(A, B))
    assert replies == [b"found"]


def test_a_server_that_knows_of_no_slots_is_passed_over_and_replaces_no_known_ones():
    empty = set()

    def reply(server, command):
        if asks_for_slots(command):
            return [] if server in empty else [[0, 16_383, [b"b", 2]]]
        return StoreUnavailable("it is down", ambiguous=False) if empty == {A, B} else b"found"

    empty.add(A)
    cluster = Cluster([A, B], lambda server: Scripted(server, reply))
    assert driven(cluster.exchange([Command(b"key", b"GET")], soon()), soon()) == [b"found"]
    empty.add(B)
    (answer,) = driven(cluster.exchange([Command(b"key", b"GET")], soon()), soon())
    assert str(answer) == "it is down"
    assert driven(cluster.servers(soon()), soon()) == [B]
    cluster = Cluster([A, B], lambda server: Scripted(server, reply))
    with pytest.raises(StoreUnavailable, match="no server of the cluster has any slots"):
        driven(cluster.servers(soon()), soon())


def test_the_slots_of_the_server_that_knows_the_most_are_taken():
    def reply(server, command):
        if not asks_for_slots(command):
            return b"found"
        return [[0, 99 if server == A else 9_999, [b"c", 3]]]

    cluster = Cluster([A, B], lambda server: Scripted(server, reply))
    assert driven(cluster.servers(soon()), soon()) == [Server("c", 3)]
    assert len([each for each in cluster._slots if each]) == 10_000


def test_a_cluster_that_is_down_is_asked_again_for_its_slots():
    moved = []

    def reply(server, command):
        if asks_for_slots(command):
            return [[0, 16_383, [b"b" if moved else b"a", 1]]]
        moved.append(server)
        return b"found" if server.host == "b" else ClusterDownError("Hash slot not served")

    cluster = Cluster([A], lambda server: Scripted(server, reply))
    driven(cluster.exchange([Command(b"key", b"GET")], soon()), soon())
    assert driven(cluster.exchange([Command(b"key", b"GET")], soon()), soon()) == [b"found"]


def test_where_the_time_is_over_the_cause_is_told_and_nothing_more_is_tried():
    tries = []

    def reply(server, command):
        if asks_for_slots(command) and len(tries) < 1:
            return [[0, 16_383, [b"a", 1]]]
        tries.append(server)
        time.sleep(0.06)
        return StoreTimeout("a did not answer", ambiguous=False)

    deadline = time.monotonic() + 0.05
    cluster = Cluster([A, B], lambda server: Scripted(server, reply))
    (answer,) = driven(cluster.exchange([Command(b"key", b"GET")], deadline), deadline)
    assert str(answer) == "a did not answer"
    assert len(tries) <= 2


def test_two_callers_may_take_out_a_server_that_has_left_at_the_same_time():
    servers = [Server("x", 1), Server("y", 2)]
    moved = []

    def reply(server, command):
        if asks_for_slots(command):
            return [[0, 16_383, [b"c", 3]]] if moved else [[0, 8_191, [b"x", 1]], [8_192, 16_383, [b"y", 2]]]
        if server.host != "c":
            moved.append(server)
            return MovedError("7 c:3")
        return b"found"

    class Twice(Scripted):
        def close(self):
            for other in servers:
                cluster._pools.pop(other, None)  # as another caller does meanwhile
            yield from super().close()

    cluster = Cluster([servers[0]], lambda server: Twice(server, reply))
    commands = [Command(b"%d" % number, b"GET") for number in range(8)]
    assert driven(cluster.exchange(commands, soon()), soon()) == [b"found"] * 8


def test_while_a_server_is_down_the_others_are_not_asked_for_the_slots_by_every_call():
    asked_for = []

    def reply(server, command):
        if asks_for_slots(command):
            asked_for.append(server)
            return [[0, 16_383, [b"b", 2]]]
        return StoreUnavailable("it is down", ambiguous=False)

    cluster = Cluster([A], lambda server: Scripted(server, reply))
    deadline = soon()
    for _ in range(20):
        (answer,) = driven(cluster.exchange([Command(b"key", b"GET")], deadline), deadline)
        assert isinstance(answer, StoreUnavailable)
    assert 2 <= len(asked_for) < 20  # the renewals of one call, unless the machine is very slow


def test_the_connections_to_a_server_that_has_left_are_closed():
    pools = {}

    def reply(server, command):
        if asks_for_slots(command):
            return [[0, 16_383, [b"c", 3]]] if B in pools else [[0, 16_383, [b"b", 2]]]
        return MovedError("7 c:3") if server == B else b"found"

    cluster = Cluster([A], lambda server: pools.setdefault(server, Scripted(server, reply)))
    assert driven(cluster.exchange([Command(b"key", b"GET")], soon()), soon()) == [b"found"]
    assert {server.host: pool.is_open for server, pool in pools.items()} == {
        "a": False,
        "b": False,
        "c": True,
    }


@SYNC_AND_ASYNC
def test_servers_of_the_url_that_are_down_are_passed_over(kind, nodes, prefix):
    url = nodes.url.replace("//", f"//{HOST}:{free_port()},")
    with opened(kind, url, prefix=prefix) as store:
        scene = Scene(None, store, store, 20)
        write = scene.put()
        assert scene.load(write.key) == [write.data]


@pytest.mark.promise("F-06")
def test_the_servers_of_a_batch_are_asked_in_one_order_so_that_no_two_callers_wait_for_each_other():
    order = []

    def reply(server, command):
        if asks_for_slots(command):
            return [[0, 8_191, [b"a", 1]], [8_192, 16_383, [b"b", 2]]]
        order.append(server)
        return b"found"

    commands = [Command(b"%d" % number, b"GET") for number in range(8)]
    for batch in (commands, commands[::-1]):
        asked(reply, *batch)
        assert order == sorted(order)
        assert {*order} == {A, B}
        order.clear()


@SYNC_AND_ASYNC
def test_a_wrong_password_is_no_outage(kind, nodes, prefix):
    url = nodes.url.replace("//", "//nobody:secret-word@")
    with opened(kind, url, prefix=prefix) as store:
        for _ in range(8):
            with pytest.raises(StoreUnavailable) as raised:
                store.load([bytes(16)], now_ms(), soon())
            assert "knows no such user" in str(raised.value)
            assert "secret-word" not in str(raised.value)


def test_closing_a_store_in_one_loop_closes_it_in_the_others(nodes, prefix):
    store = async_from_url(nodes.url, prefix=prefix)

    async def first():
        await store.ping(soon())
        pools = list(store._loops.here()._pools.values())
        assert all(pool.idle for pool in pools)
        await asyncio.get_running_loop().run_in_executor(None, asyncio.run, second())
        for _ in range(1_000):
            if not any(pool.idle for pool in pools):
                break
            await asyncio.sleep(0.01)
        assert store._loops._objects == {}
        await store.ping(soon())

    async def second():
        await store.ping(soon())
        await store.close()

    asyncio.run(first())


@SYNC_AND_ASYNC
def test_a_client_of_the_applications_may_be_that_of_a_cluster(kind, nodes, prefix):
    if kind == "sync":
        client = redis.RedisCluster(host=HOST, port=nodes.servers[0].port)
        store = RedisStore(client, prefix=prefix)
    else:
        store = BlockingStore(
            lambda: AsyncRedisStore(
                redis.asyncio.RedisCluster(host=HOST, port=nodes.servers[0].port), prefix=prefix
            )
        )
    scene = Scene(None, store, store, 20)
    writes = [scene.put() for _ in range(20)]
    assert scene.load(*(write.key for write in writes)) == [write.data for write in writes]
    assert store.count(scene.now, soon()) == 20
    store.close()
    if kind == "sync":
        assert client.ping()  # closing it stays with the application
        client.close()


@SYNC_AND_ASYNC
def test_one_server_of_a_cluster_is_no_server_by_itself_and_the_message_says_so(kind, nodes, prefix):
    server = nodes.servers[0]
    keys = (number.to_bytes(16, "big") for number in range(1_000))
    elsewhere = next(key for key in keys if nodes.owner(name_of(prefix, key)) is not server)
    with opened(kind, server.url, prefix=prefix) as store:
        (answer,) = store.load([elsewhere], now_ms(), soon())
        assert isinstance(answer, StoreUnavailable)
        assert "redis+cluster://" in str(answer)


@SYNC_AND_ASYNC
def test_a_server_that_is_down_fails_its_own_sessions_only(kind, nodes, prefix):
    with scene_of(kind, nodes, prefix) as scene:
        writes = [scene.put() for _ in range(40)]
        owners = {write.key: nodes.owner(name_of(prefix, write.key)) for write in writes}
        dead = nodes.servers[-1]
        dead.kill()
        try:
            loaded = scene.store.load([write.key for write in writes], scene.now, soon())
            written = scene.write(*(item(b"pears", over=write) for write in writes))
            for write, found, answer in zip(writes, loaded, written, strict=True):
                if owners[write.key] is dead:
                    for error in (found, answer):
                        assert isinstance(error, StoreUnavailable)
                        assert not error.ambiguous
                else:
                    assert found.data == write.data
                    assert answer is None
        finally:
            dead.start()
            until(nodes.are_well, "the cluster is well again")
