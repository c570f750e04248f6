"""The drivers: clients, pools, what they write, and what happens when the store is not there."""

import os
import pickle
import socket
import threading
from datetime import timedelta

import pytest
import redis
from pymemcache.exceptions import MemcacheIllegalInputError

from coatcheck.compat.pycket import _memcached, driver
from coatcheck.compat.pycket.driver import Driver, DriverFactory, MemcachedDriver, RedisDriver
from coatcheck.errors import StoreError, StoreFull, StoreTimeout, StoreUnavailable, TooLarge
from tests.compat.pycket.conftest import settings_for
from tests.compat.pycket.site import StubHandler
from tests.servers.process import HOST, free_port

pytestmark = pytest.mark.servers


@pytest.fixture
def made(redis_port, memcached_port):
    """A driver for an engine's name."""

    def make(engine, category="db_sessions", **options):
        port = redis_port if engine == "redis" else memcached_port
        return DriverFactory().create(engine, settings_for(engine, port)["storage"], category, **options)

    return make


ENGINES = pytest.mark.parametrize("engine", ["redis", "memcached"])


@ENGINES
def test_get_and_set_a_dict(engine, made, request):
    """[3.4 Driver.get(id) -> dict ({} if none), Driver.set(id, dict)]"""
    name = request.node.nodeid.rpartition("/")[2]
    one = made(engine)
    assert one.get(name) == {}
    one.set(name, {"foo": "bar"})
    assert one.get(name) == {"foo": "bar"}
    assert pickle.loads(one.load(name).raw) == {"foo": "bar"}
    one.set(name, "any value")
    assert one.get(name) == "any value"


@ENGINES
def test_the_client_is_made_when_it_is_needed(engine, made):
    """[3.4 the client is made lazily in .client (None before)]"""
    one = made(engine)
    assert one.client is None
    one.get("client-is-lazy-loaded")
    assert one.client is not None


def test_redis_is_asked_as_the_old_tests_look_at_it(redis_port):
    """[3.4 max_connections] [3.4 _available_connections[0].db] [3.4 DEFAULT_STORAGE_IDENTIFIERS]"""
    one = RedisDriver({"host": HOST, "port": redis_port, "db": 0, "max_connections": 123})
    one.get("some session")
    assert one.client.connection_pool.max_connections == 123
    assert one.client.connection_pool._available_connections[0].db == 0
    assert RedisDriver.DEFAULT_STORAGE_IDENTIFIERS == {"db_sessions": 0, "db_notifications": 1}


def test_memcached_tells_its_statistics(made):
    """[3.4 client.get_stats() is not None] [7.8]"""
    one = made("memcached")
    one.get("lazy")
    assert one.client.get("lazy") is None
    ((name, stats),) = one.client.get_stats()
    assert name.endswith("(1)")
    assert int(stats["curr_connections"]) > 0


def test_a_port_that_there_is_not_is_an_overflow_error():
    """[3.4 server '255.255.255.255:99999' -> OverflowError on set] [7.8]"""
    one = MemcachedDriver({"servers": ("255.255.255.255:99999",)})
    with pytest.raises(OverflowError):
        one.set("session-id", "foo")


def test_clients_without_atomic_commands_get_the_plain_ones(redis_settings):
    """[7.3 StubClient with only set(id, data) and expire(id, seconds)] [3.4 86400]"""
    calls = []

    class StubClient:
        def get(self, session_id):
            return None

        def set(self, session_id, pickled_session):
            calls.append(("set", session_id, pickle.loads(pickled_session)))

        def expire(self, session_id, expiration):
            calls.append(("expire", session_id, expiration))

    one = RedisDriver({"db": 0})
    one.client = StubClient()
    one.set("session-id", {"foo": "bar"})
    handler = StubHandler(redis_settings, "session-id")
    handler.session.driver.client = StubClient()
    handler.session["foo"] = "bar"
    assert calls == [("set", "session-id", {"foo": "bar"}), ("expire", "session-id", 86400)] * 2


def test_a_stand_in_for_memcached_gets_the_expiry_as_the_third_argument(memcached_settings):
    """[3.4 client.set(id, pickle, 86400)]"""
    calls = []

    class StubClient:
        def get(self, session_id):
            return None

        def set(self, session_id, pickled_session, expiration):
            calls.append((session_id, expiration))

    handler = StubHandler(memcached_settings, "session-id")
    handler.session.driver.client = StubClient()
    handler.session.driver.set("session-id", {})
    handler.session["foo"] = "bar"
    assert calls == [("session-id", MemcachedDriver.EXPIRE_SECONDS)] * 2


def test_the_expiry_of_memcached_may_be_more_than_30_days(memcached, made):
    """Memcached takes more than 30 days for a date."""
    one = made("memcached")
    for expire in (timedelta(days=40), 40 * 86400, 86400):
        one.EXPIRE_SECONDS = expire
        one.set("far", {"a": 1})
        assert one.get("far") == {"a": 1}


def test_other_engines_there_are_not():
    """[3.4 ValueError for an unknown name] [3.4 STORAGE_CATEGORIES]"""
    assert DriverFactory.STORAGE_CATEGORIES == ("db_sessions", "db_notifications")
    with pytest.raises(ValueError, match='Engine "cassette-tape" is not supported'):
        DriverFactory().create("cassette-tape", storage_settings={}, storage_category="db_sessions")


def test_the_defaults_are_localhost(monkeypatch):
    """[3.1 default host/port] [3.1 default servers ('localhost:11211',)]"""
    kwargs = (
        DriverFactory()
        .create("redis", {}, "db_notifications")
        .setup_client()
        .connection_pool.connection_kwargs
    )
    assert (kwargs["host"], kwargs["port"], kwargs["db"]) == ("localhost", 6379, 1)
    (server,) = DriverFactory().create("memcached", {}, "db_sessions").setup_client()._servers
    assert server.client.server == ("localhost", 11211)


@ENGINES
def test_one_pool_for_all_drivers_of_the_same_settings(engine, made, monkeypatch):
    """[FIX 3.4 a client is made per manager: one pool per (engine, storage, category) for the process]"""
    clients = {id(made(engine).setup_client()) for _ in range(3)}
    assert len(clients) == 1
    if engine == "redis":
        assert id(made(engine, "db_notifications").setup_client()) not in clients
    monkeypatch.setattr(os, "getpid", lambda: -1)  # in the child of a fork
    child = made(engine).setup_client()
    assert id(child) not in clients


def test_settings_of_any_kind_tell_clients_apart():
    unhashable = bytearray(b"x")
    first = driver._hashable({"a": [1, {"b": unhashable}]})
    assert first == driver._hashable({"a": (1, {"b": unhashable})})
    assert first != driver._hashable({"a": [1, {"b": bytearray(b"x")}]})


def test_a_connection_that_redis_closed_is_made_anew(made, dbs):
    """[FIX pooled connections]"""
    one = made("redis")
    one.set("kept", {"a": 1})
    dbs(3).client_kill_filter(_type="normal", skipme=True)
    assert one.get("kept") == {"a": 1}


def test_a_command_is_not_sent_again_after_a_lost_reply(redis_proxy):
    """[FIX no lost notification: its second sending would find it gone]"""
    handler = StubHandler(settings_for("redis", redis_proxy.port))
    handler.notifications["note"] = "hi"
    redis_proxy.drop_replies()
    with redis_proxy.counting() as counted, pytest.raises(redis.ConnectionError):
        handler.notifications.get("note")
    assert counted.connections <= 1
    redis_proxy.heal()
    assert handler.notifications.get("note") == "hi"


def test_memcached_that_was_started_anew_is_asked_again(memcached_proxy):
    one = MemcachedDriver(settings_for("memcached", memcached_proxy.port)["storage"])
    one.set("kept", {"a": 1})
    memcached_proxy.reset()
    assert one.get("kept") == {"a": 1}


def test_a_swap_is_not_asked_again(memcached_proxy):
    """[FIX no lost notification]"""
    handler = StubHandler(settings_for("memcached", memcached_proxy.port))
    handler.notifications["note"] = "hi"
    one = handler.notifications.driver
    before = one.load(handler.session_id)
    memcached_proxy.drop_replies()
    with (
        memcached_proxy.counting() as counted,
        pytest.raises(StoreUnavailable, match=str(memcached_proxy.port)),
    ):
        one.swap(handler.session_id, before, pickle.dumps({}))
    assert counted.connections == 0


def test_memcached_out_of_reach_is_an_error_and_never_an_empty_session():
    """[FIX the old client took a dead server for an empty session]"""
    one = MemcachedDriver({"servers": f"{HOST}:{free_port()}"})
    with pytest.raises(StoreUnavailable):
        one.get("any")
    with pytest.raises(StoreUnavailable):
        one.set("any", {})


def test_memcached_that_does_not_answer_is_given_up(memcached_proxy):
    storage = {**settings_for("memcached", memcached_proxy.port)["storage"], "socket_timeout": 2}
    one = MemcachedDriver(storage)
    one.get("warm")
    memcached_proxy.silent = True
    with pytest.raises(StoreTimeout) as caught:
        one.get("any")
    assert caught.value.ambiguous
    memcached_proxy.heal()


def test_memcached_takes_no_session_of_2_mib(made):
    with pytest.raises(TooLarge) as caught:
        made("memcached").set("large", {"much": "x" * (2 << 20)})
    assert caught.value.size > 2 << 20


@pytest.mark.parametrize(
    ("reply", "error"),
    [(b"SERVER_ERROR out of memory storing object\r\n", StoreFull), (b"SERVER_ERROR busy\r\n", StoreError)],
)
def test_what_memcached_refuses_is_an_error(reply, error):
    with socket.create_server((HOST, 0)) as listener:

        def serve():
            connection, _ = listener.accept()
            with connection:
                connection.recv(1 << 16)
                connection.sendall(reply)

        thread = threading.Thread(target=serve)
        thread.start()
        one = MemcachedDriver({"servers": f"{HOST}:{listener.getsockname()[1]}"})
        with pytest.raises(error):
            one.set("any", {})
        thread.join()
        one.client.close()


def test_a_key_that_memcached_does_not_take_is_told(made):
    with pytest.raises(MemcacheIllegalInputError):
        made("memcached").get("with a space")


class TestServers:
    def test_their_names_are_read_as_python_memcached_read_them(self):
        """[3.1 servers]"""
        client = _memcached.MemcachedClient(
            [("one:1111", 2), "inet:two", "inet6:[::1]:3333", "unix:/run/memcached.sock"],
            debug=1,
            dead_retry=30,
        )
        assert [server.client.server for server in client._servers] == [
            ("one", 1111),
            ("two", 11211),
            ("::1", 3333),
            "/run/memcached.sock",
        ]
        assert [client._servers.index(server) for server in client._buckets] == [0, 0, 1, 2, 3]
        for wrong in ("", "a:b", "a:1:2"):
            with pytest.raises(ValueError, match="Unable to parse connection string"):
                _memcached.MemcachedClient([wrong])

    def test_several_in_one_text(self):
        """[README: ('localhost:11211') is no tuple]"""
        client = _memcached.MemcachedClient("one:1, two:2 three:3")
        assert [server.name for server in client._servers] == ["one:1", "two:2", "three:3"]

    def test_a_key_lies_where_python_memcached_put_it(self, memcached_port):
        """[KEEP: running sessions are found on the server that has them]: computed by python-memcached 1.62"""
        client = _memcached.MemcachedClient(["one:1", ("two:2", 2), "three:3"])
        places = {}
        for key in (
            "session-id",
            "5f0a7c52-6a7e-4b9c-9c53-0d8f6f3f5f11",
            "a",
            "b",
            "c",
            "some-generated-cookie",
        ):
            asked = []
            for server in client._servers:
                server.client.get_name = server.name

            def note(inner, asked=asked):
                asked.append(inner.get_name)

            client._ask(key, note)
            places[key] = asked
        assert places == PLACES


PLACES = {
    "session-id": ["two:2"],
    "5f0a7c52-6a7e-4b9c-9c53-0d8f6f3f5f11": ["three:3"],
    "a": ["three:3"],
    "b": ["two:2"],
    "c": ["two:2"],
    "some-generated-cookie": ["one:1"],
}


def test_the_base_of_drivers_does_nothing_by_itself():
    one = Driver({})
    for call in (
        lambda: one.load("id"),
        lambda: one.swap("id", driver.NOTHING, b""),
        lambda: one.delete("id"),
        lambda: one.move("id", "new"),
        one.setup_client,
        lambda: one._put("id", b""),
    ):
        with pytest.raises(NotImplementedError):
            call()


def test_a_new_id_that_redis_refuses_is_an_error_and_the_old_one_stays(redis_settings, monkeypatch):
    def refuse(*_):
        raise redis.ResponseError("READONLY You can't write against a read only replica.")

    handler = StubHandler(redis_settings)
    session = handler.session
    session["a"] = 1
    monkeypatch.setattr(session.driver.client, "rename", refuse)
    with pytest.raises(redis.ResponseError):
        session.rotate()
    assert session["a"] == 1


def test_what_a_function_takes_that_does_not_tell():
    assert not driver.takes(dict, "ex")
    assert not driver.takes(lambda ex_: ex_, "ex")
    assert driver.takes(lambda **_: None, "ex")
