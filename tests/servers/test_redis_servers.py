"""Each shape of Redis that the tests start is what it says."""

import pytest
import redis

from tests.servers.fixtures_redis import IN_A_CLUSTER, UNDER_SENTINEL
from tests.servers.process import HOST, until
from tests.servers.redis import STORE, single
from tests.servers.redis_sentinel import SERVICE

pytestmark = pytest.mark.servers


def test_one_server_answers_on_its_port_and_its_socket(redis_server, prefix):
    redis_server.ask("SET", f"{prefix}a", "1")
    with redis.Redis(unix_socket_path=str(redis_server.socket)) as client:
        assert client.get(f"{prefix}a") == b"1"


def test_one_server_takes_its_options():
    with single(maxmemory="5mb", maxmemory_policy="noeviction") as server:
        assert server.ask("CONFIG", "GET", "maxmemory")[b"maxmemory"] == b"5242880"
        directory = server.directory
    assert not directory.exists()


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"ssl_certfile": None, "ssl_keyfile": None}, redis.ConnectionError),  # no certificate of a client
        ({"ssl_ca_certs": None}, redis.ConnectionError),  # an authority that the client does not know
        ({"username": None, "password": None}, redis.AuthenticationError),
        ({"password": "wrong"}, redis.AuthenticationError),
    ],
)
def test_behind_tls_and_acl_nobody_gets_in_without_all_that_is_asked_for(redis_tls, options, error):
    with redis_tls.server.client(**options) as client, pytest.raises(error):
        client.ping()


def test_the_acl_allows_the_store_its_own_keys_and_commands_only(redis_tls, prefix):
    with redis_tls.server.client(username="store", password=STORE) as client:
        client.set(f"{prefix}a", "1", pxat=4_000_000_000_000)
        assert client.get(f"{prefix}a") == b"1"
        for forbidden in (("GET", "other"), ("FLUSHALL",), ("KEYS", "*"), ("CONFIG", "GET", "*")):
            with pytest.raises(redis.exceptions.NoPermissionError):
                client.execute_command(*forbidden)


@UNDER_SENTINEL
@pytest.mark.timeout(300)
def test_under_sentinel_a_replica_takes_over_from_a_dead_primary_and_all_is_whole_again(redis_sentinels):
    primary = redis_sentinels.primary
    hosts = [(HOST, sentinel.port) for sentinel in redis_sentinels.sentinels]
    finder = redis.Sentinel(hosts, socket_timeout=10)
    try:
        assert finder.discover_master(SERVICE) == (HOST, primary.port)
        with redis_sentinels.hasty():
            primary.kill()
            until(lambda: redis_sentinels.primary is not primary, "another takes over")
        assert finder.discover_master(SERVICE) == (HOST, redis_sentinels.primary.port)
        assert len(redis_sentinels.replicas) == 2
    finally:
        for sentinel in finder.sentinels:
            sentinel.close()


@IN_A_CLUSTER
@pytest.mark.timeout(300)
def test_in_a_cluster_a_replica_takes_over_from_a_dead_node_and_all_is_whole_again(redis_cluster, prefix):
    key = f"{prefix}{{a}}"
    holder = redis_cluster.holder(key.encode())
    holder.ask("SET", key, "1")
    until(lambda: holder.ask("WAIT", 1, 1_000) == 1, "the replica has it")
    with redis_cluster.hasty():
        holder.kill()
        until(lambda: redis_cluster.holder(key.encode()) is not holder, "another takes over")
    assert redis_cluster.holder(key.encode()).ask("GET", key) == b"1"
    assert len(redis_cluster.primaries) == 3
