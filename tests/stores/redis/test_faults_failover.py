"""A primary dies under a site that is in use: under Sentinel (F-07), in a cluster (F-09), and what that may lose (F-08).

The history of all visitors is held to the invariants of `tests.stores.history`. Redis replicates after it has answered:
what it acknowledged in the moments before its death may be lost, and only that is forgiven.
"""

import time
from datetime import timedelta

import pytest

from coatcheck.errors import StoreReadOnly
from tests.servers.fixtures_redis import IN_A_CLUSTER, UNDER_SENTINEL
from tests.servers.process import HOST, until
from tests.servers.proxy import Proxy
from tests.servers.redis import RedisServer, folder
from tests.stores.redis.harness import name_of
from tests.stores.redis.load import Load
from tests.stores.redis.scene import SYNC_AND_ASYNC, Scene, item, opened, soon, staged
from tests.stores.redis.site import RedisSite

pytestmark = [pytest.mark.servers, pytest.mark.timeout(300)]

SETTINGS = {"deadline": timedelta(seconds=1)}
BACK = 30  # seconds within which everybody is served again; only a test that is about to fail waits so long


def without_expiry(target, prefix):
    with target.client() as client:
        return [
            name
            for name in client.scan_iter(match=f"{prefix}*", count=10_000)
            if client.pttl(name) == -1 and not name.startswith(f"{prefix}users:".encode())
        ]


def all_replicated(primary):
    """Wait until the replicas have what was acknowledged up to this call, and say when it began."""
    began = time.monotonic()
    wanted = primary.told("replication")["master_repl_offset"]

    def arrived():
        told = primary.told("replication")
        replicas = [told[f"slave{number}"]["offset"] for number in range(told["connected_slaves"])]
        return replicas and min(replicas) >= wanted

    until(arrived, "the replicas have it")
    return began


def die_under_load(target, prefix, victim, succeeded):
    """Kill `victim` under load; the history must be possible, and everybody served again."""
    with (
        RedisSite("wsgi", target.url, prefix, settings=SETTINGS) as one,
        RedisSite("asgi", target.url, prefix, settings=SETTINGS) as other,
    ):
        load = Load([one, other])
        with target.hasty(), load:
            load.all_served()
            replicated = all_replicated(victim)
            victim.kill()
            until(succeeded, "another takes over")
            over = time.monotonic()
            assert load.all_served() < BACK
            load.all_served()
        verdict = load.verdict(forgiven=[(replicated, over)], immortal=without_expiry(target, prefix))
        assert verdict.violations == []
        counts = load.history.counts()
        assert counts["write", "ok"] > 50
        assert counts["read", "ok"] > 50
        assert counts["end", "ok"] > 0
        failed = [reply for reply in load.replies if reply.status == 503]
        assert failed  # it was seen, and said
        assert max(reply.seconds for reply in load.replies) < 15
        return verdict


@pytest.mark.promise("F-07")
@UNDER_SENTINEL
def test_when_the_primary_dies_sentinel_names_another_and_the_site_goes_on(redis_sentinels, prefix):
    primary = redis_sentinels.primary
    die_under_load(redis_sentinels, prefix, primary, lambda: redis_sentinels.primary is not primary)


@pytest.mark.promise("F-09")
@IN_A_CLUSTER
def test_when_a_node_dies_its_replica_takes_over_and_the_site_goes_on(redis_cluster, prefix):
    victim = redis_cluster.holder(prefix.encode())
    die_under_load(redis_cluster, prefix, victim, lambda: redis_cluster.holder(prefix.encode()) is not victim)


@pytest.mark.promise("F-07")
@IN_A_CLUSTER
@SYNC_AND_ASYNC
@pytest.mark.promise("F-09")
def test_once_a_replica_has_taken_over_the_first_call_finds_it(kind, redis_cluster, prefix):
    with redis_cluster.hasty(), opened(kind, redis_cluster.url, prefix=prefix) as store:
        scene = Scene(None, store, store, 10)
        writes = [scene.put() for _ in range(30)]
        name = name_of(prefix, writes[0].key)
        victim = redis_cluster.holder(name)
        all_replicated(victim)
        victim.kill()
        until(lambda: redis_cluster.holder(name) is not victim, "another takes over")
        until(
            lambda: all(
                node.ask("CLUSTER", "INFO").startswith(b"cluster_state:ok")
                for node in redis_cluster.primaries
            ),
            "all know it",
        )
        assert scene.load(*(write.key for write in writes)) == [write.data for write in writes]
        assert scene.write(*(item(b"pears", over=write) for write in writes)) == [None] * 30


@pytest.mark.soak
@UNDER_SENTINEL
@pytest.mark.timeout(3_600)
def test_ten_primaries_die_one_after_the_other(redis_sentinels, prefix):
    for turn in range(10):
        primary = redis_sentinels.primary
        die_under_load(
            redis_sentinels,
            f"{prefix}{turn}:",
            primary,
            lambda dead=primary: redis_sentinels.primary is not dead,
        )


@pytest.mark.promise("F-09")
@pytest.mark.soak
@IN_A_CLUSTER
@pytest.mark.timeout(3_600)
def test_ten_nodes_die_one_after_the_other(redis_cluster, prefix):
    for turn in range(10):
        key = f"{prefix}{turn}".encode()
        victim = redis_cluster.holder(key)
        die_under_load(
            redis_cluster,
            f"{prefix}{turn}:",
            victim,
            lambda key=key, dead=victim: redis_cluster.holder(key) is not dead,
        )


# F-08: what was acknowledged, and is lost


@pytest.fixture
def pair():
    """A primary, and a replica of it behind a proxy."""
    with (
        folder() as directory,
        RedisServer(directory) as primary,
        Proxy(primary.port) as link,
        RedisServer(directory) as replica,
    ):
        replica.ask("REPLICAOF", HOST, link.port)
        until(lambda: replica.told("replication")["master_link_status"] == "up", "it follows")
        yield primary, replica, link


@pytest.mark.promise("F-08")
def test_a_logout_that_was_acknowledged_is_lost_where_the_replica_that_takes_over_had_not_got_it(
    pair, prefix
):
    """Redis answers before it replicates. `min-replicas-to-write` is for those who can't accept that: see the next test."""
    primary, replica, link = pair
    with staged("sync", primary, prefix) as scene, opened("sync", replica.url, prefix=prefix) as successor:
        write = scene.put()
        data = lambda: [found and found.data for found in successor.load([write.key], scene.now, soon())]
        until(lambda: data() == [write.data], "it is replicated")
        link.silent = True
        tombstone = item(b"", over=write, live=False, urgent=True)
        assert scene.write(tombstone) == [None]
        assert scene.data(write.key) == tombstone.data
        primary.kill()
        replica.ask("REPLICAOF", "NO", "ONE")
        assert data() == [write.data]  # it lives again


@pytest.mark.promise("F-08")
def test_with_min_replicas_to_write_a_primary_that_is_alone_refuses_the_logout(pair, prefix):
    primary, _, link = pair
    primary.ask("CONFIG", "SET", "min-replicas-max-lag", 1)
    primary.ask("CONFIG", "SET", "min-replicas-to-write", 1)
    with staged("sync", primary, prefix) as scene:
        until(scene.put, "the replica is there")
        write = scene.put()
        link.silent = True
        until(lambda: primary.told("replication")["min_slaves_good_slaves"] == 0, "it is alone")
        (refused,) = scene.write(item(b"", over=write, live=False, urgent=True))
        assert isinstance(refused, StoreReadOnly)
        assert scene.load(write.key) == [write.data]
