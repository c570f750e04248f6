"""Each shape of Redis that the tests start is what it says."""

import pytest
import redis

from tests.servers.redis import STORE, single

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
