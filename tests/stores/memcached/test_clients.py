"""A pymemcache client that the application made: it is lent, kept within each deadline, and refused where it can't work."""

import os

import pytest
from pymemcache.client.base import Client, PooledClient
from pymemcache.client.hash import HashClient

from coatcheck.errors import ConfigurationError, StoreTimeout, StoreUnavailable
from tests.servers.memcached import prefix
from tests.servers.process import HOST, until
from tests.stores.memcached.scene import MODES, after, answer_to, get, new, opened, put, soon

pytestmark = pytest.mark.servers


@pytest.mark.promise("24")
def test_a_ready_client_is_used_and_stays_the_applications(mode, memcached):
    client = PooledClient((HOST, memcached.port), timeout=5, connect_timeout=5, max_pool_size=8)
    with opened(mode, client=client, prefix=prefix()) as store:
        write = put(store)
        assert get(store, write) == write.data
        write = put(store, after(write))
        assert get(store, write) == write.data
        store.ping(soon())
    assert len(client.client_pool.free) == 1
    assert client.version()  # it works as before
    assert client.set("theirs", b"1", expire=5, noreply=False)
    client.close()


@pytest.mark.promise("F-02", "20")
def test_a_ready_client_keeps_the_deadline_of_each_call(mode, proxy):
    client = PooledClient((HOST, proxy.port), timeout=60, connect_timeout=60)
    with opened(mode, client=client, prefix=prefix()) as store:
        write = put(store)
        proxy.silent = True
        with pytest.raises(StoreTimeout):
            get(store, write, 0.3)
        proxy.silent = False
        assert client.client_pool.free == ()
        assert get(store, write) == write.data
    client.close()


@pytest.mark.promise("20")
def test_a_ready_client_whose_connections_are_all_in_use_is_unavailable(memcached):
    client = PooledClient((HOST, memcached.port), timeout=5, connect_timeout=5, max_pool_size=1)
    with opened("sync", client=client) as store, client.client_pool.get_and_release():
        answer = answer_to(store, new())
        assert isinstance(answer, StoreUnavailable)
        assert "max_pool_size" in str(answer)
        assert not answer.ambiguous
    client.close()


@pytest.mark.promise("F-01", "20")
def test_a_ready_client_whose_server_is_down_is_unavailable(mode, proxy):
    client = PooledClient((HOST, proxy.port), timeout=5, connect_timeout=5)
    with opened(mode, client=client, prefix=prefix()) as store:
        write = put(store)
        proxy.down()
        for _ in range(3):
            answer = answer_to(store, new())
            assert isinstance(answer, StoreUnavailable)
        assert not answer.ambiguous
        assert client.client_pool.used == ()
        proxy.up()
        until(lambda: get(store, write) == write.data, "it is used again")
    client.close()


@pytest.mark.promise("F-18", "24")
def test_a_child_of_a_fork_makes_connections_of_its_own_with_a_ready_client(memcached):
    client = PooledClient((HOST, memcached.port), timeout=5, connect_timeout=5)
    with opened("sync", client=client, prefix=prefix()) as store:
        write = put(store)
        (before,) = client.client_pool.free
        child = os.fork()
        if child == 0:
            status = 1
            try:
                assert get(store, write) == write.data
                assert before not in client.client_pool.free
                status = 0
            finally:
                os._exit(status)
        _, status = os.waitpid(child, 0)
        assert status == 0
        assert get(store, write) == write.data
        assert client.client_pool.free == (before,)
    client.close()


class Changing:
    def serialize(self, key, value):
        return repr(value), 1

    def deserialize(self, key, value, flags):
        return value


@pytest.mark.promise("25")
@pytest.mark.parametrize(
    ("client", "told"),
    [
        (lambda: HashClient([(HOST, 1)], timeout=1), "move the sessions of a dead server"),
        (lambda: Client((HOST, 1), timeout=1, connect_timeout=1), "give a pymemcache.PooledClient"),
        (lambda: PooledClient((HOST, 1), timeout=1, connect_timeout=1, ignore_exc=True), "ignore_exc"),
        (lambda: PooledClient((HOST, 1), timeout=1), "wait for ever"),
        (lambda: PooledClient((HOST, 1), connect_timeout=1), "wait for ever"),
        (lambda: PooledClient((HOST, 1), timeout=1, connect_timeout=1, serde=Changing()), "changes bytes"),
        (lambda: PooledClient((HOST, 1), timeout=1, connect_timeout=1, key_prefix=b"x"), "prefix"),
        (object, "client=object: give a pymemcache.PooledClient"),
    ],
    ids=["hash", "client", "ignores", "waits", "waits-too", "serde", "prefix", "object"],
)
def test_a_client_that_would_break_a_promise_is_refused(mode, client, told):
    with pytest.raises(ConfigurationError, match=told):
        MODES[mode](client=client())


@pytest.mark.promise("25")
def test_servers_and_a_client_are_one_too_many(mode):
    with pytest.raises(ConfigurationError, match="not both"):
        MODES[mode]("one", client=PooledClient((HOST, 1), timeout=1, connect_timeout=1))
