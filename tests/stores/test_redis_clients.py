"""A client of the application's own, judged by what it can do. What can't work is refused, never replaced."""

import asyncio

import pytest
import redis
import redis.asyncio

from coatcheck import AsyncSessions, ConfigurationError, Sessions
from coatcheck.errors import StoreUnavailable
from coatcheck.model.record import APPLIED, Applied, Create
from coatcheck.stores.redis import RedisStore
from coatcheck.stores.redis_async import AsyncRedisStore
from coatcheck.testing.contract import StoreContract
from coatcheck.testing.contract.harness import Bench
from tests.servers.process import HOST, free_port
from tests.stores.redis_single import PATIENT, RedisHarness
from tests.visitor import SECRET, Visitor

pytestmark = pytest.mark.servers


class TheirClientHarness(RedisHarness):
    def __init__(self, port):
        super().__init__(port)
        self.clients = []

    async def open(self):
        client = redis.Redis(host=HOST, port=self.port, socket_timeout=30)
        self.clients.append(client)
        return RedisStore(client, prefix=self.prefix, deadline=PATIENT["deadline"])

    async def clean(self):
        await super().clean()
        for client in self.clients:
            client.close()


class TheirAsyncClientHarness(TheirClientHarness):
    async def open(self):
        client = redis.asyncio.Redis(host=HOST, port=self.port, protocol=2)
        self.clients.append(client)
        return AsyncRedisStore(client, prefix=self.prefix, deadline=PATIENT["deadline"])

    async def clean(self):
        await RedisHarness.clean(self)
        for client in self.clients:
            await client.aclose()


class TestTheirs(StoreContract):
    @pytest.fixture
    def harness(self, redis_port):
        return TheirClientHarness(redis_port)


class TestTheirsAsync(StoreContract):
    @pytest.fixture
    def harness(self, redis_port):
        return TheirAsyncClientHarness(redis_port)


def test_a_session_is_kept_by_a_ready_client_and_closing_it_is_theirs(redis_port):
    client = redis.Redis(host=HOST, port=redis_port, db=4, socket_timeout=30)
    with Sessions.from_url("redis://", secret=SECRET, client=client) as sessions:
        visitor = Visitor(sessions)
        with visitor.request() as session:
            session["a"] = [1]
    assert client.dbsize() == 1
    with Sessions(RedisStore(client), secret=SECRET) as sessions:
        assert Visitor(sessions, visitor.cookie).read() == {"a": [1]}
    client.flushdb()
    client.close()


def bad_clients(port):
    sync, asynchronous = redis.Redis(port=port), redis.asyncio.Redis(port=port)
    return {
        "the other colour": (asynchronous, sync, "Sessions"),
        "decoded": (redis.Redis(decode_responses=True), redis.asyncio.Redis(decode_responses=True), "decode"),
        "a pipeline": (sync.pipeline(), asynchronous.pipeline(), "pipeline"),
        "a class": (redis.Redis, redis.asyncio.Redis, "not Redis"),
        "a pool": (sync.connection_pool, asynchronous.connection_pool, "not a ConnectionPool"),
        "a URL": ("redis://localhost", "redis://localhost", "not a str"),
        "something": (object(), object(), "not a object"),
    }


@pytest.mark.promise("25")
@pytest.mark.parametrize("kind", bad_clients(1))
def test_a_client_that_can_not_work_is_refused(kind, redis_port):
    sync, asynchronous, message = bad_clients(redis_port)[kind]
    for manager, client in ((Sessions, sync), (AsyncSessions, asynchronous)):
        with pytest.raises(ConfigurationError, match=message):
            manager.from_url("redis://", secret=SECRET, client=client)


@pytest.mark.promise("25")
def test_a_client_that_would_wait_for_ever_is_refused():
    with pytest.raises(ConfigurationError, match="socket_timeout"):
        RedisStore(redis.Redis(socket_timeout=None))
    AsyncRedisStore(redis.asyncio.Redis(socket_timeout=None))  # there the deadline holds


@pytest.mark.promise("25")
@pytest.mark.parametrize("url", ["redis://localhost", "redis:///1", "redis+sentinel://a/shop"])
def test_a_client_beside_a_url_that_says_more_is_refused(url):
    for manager, client in ((Sessions, redis.Redis()), (AsyncSessions, redis.asyncio.Redis())):
        with pytest.raises(ConfigurationError, match="client"):
            manager.from_url(url, secret=SECRET, client=client)
    with pytest.raises(ConfigurationError, match="client"):
        Sessions.from_url("redis://", secret=SECRET, client=redis.Redis(), tls_ca="ca.pem")


@pytest.mark.promise("F-01", "20")
def test_a_client_whose_server_is_gone_is_unavailable():
    client = redis.Redis(port=free_port(), socket_timeout=1, retry=None)
    with pytest.raises(StoreUnavailable):
        RedisStore(client).ping()

    async def scenario():
        client = redis.asyncio.Redis(port=free_port(), retry=None)
        with pytest.raises(StoreUnavailable):
            await AsyncRedisStore(client).ping()
        await client.aclose()

    asyncio.run(scenario())


@pytest.mark.promise("F-06")
def test_a_pool_that_is_used_up_by_the_application_is_no_outage(redis_port):
    client = redis.Redis(host=HOST, port=redis_port, socket_timeout=30, max_connections=1)
    store = RedisStore(client)
    held = client.connection_pool.get_connection()
    for _ in range(7):
        with pytest.raises(StoreUnavailable, match="MaxConnectionsError"):
            store.load([bytes(16)], 0)
    client.connection_pool.release(held)
    assert store.load([bytes(16)], 0) == [None]
    client.close()


@pytest.mark.promise("24")
def test_an_async_client_serves_one_loop(redis_port):
    client = redis.asyncio.Redis(host=HOST, port=redis_port)
    store = AsyncRedisStore(client)

    async def first():
        await store.ping()

        def another():
            with pytest.raises(ConfigurationError, match="another event loop"):
                asyncio.run(store.ping())

        await asyncio.get_running_loop().run_in_executor(None, another)
        await client.aclose()

    asyncio.run(first())


class NoPool:
    """As valkey-py and early releases of redis-py: the name of the command must be given; errors of its own."""

    class ResponseError(Exception):
        pass

    class NoScriptError(ResponseError):
        pass

    class ConnectionError(Exception):  # noqa: A001
        pass

    def __init__(self, client):
        self._pool = client.connection_pool
        self.connection_kwargs = self._pool.connection_kwargs
        self.names = []

    def get_connection(self, command_name, *keys, **options):
        self.names.append(command_name)
        return Wrapped(self._pool.get_connection())

    def release(self, connection):
        self._pool.release(connection.inner)


class Wrapped:
    def __init__(self, inner):
        self.inner = inner

    def send_packed_command(self, data):
        self.inner.send_packed_command(data)

    def read_response(self):
        try:
            return self.inner.read_response()
        except redis.exceptions.NoScriptError as error:
            raise NoPool.NoScriptError(str(error)) from None
        except redis.exceptions.ResponseError as error:
            raise NoPool.ResponseError(str(error)) from None

    def disconnect(self):
        self.inner.disconnect()


class NotRedisPy:
    def __init__(self, client):
        self.inner, self.connection_pool = client, NoPool(client)

    def execute_command(self, *parts):
        raise AssertionError("not needed")

    def get_encoder(self):
        return self.inner.get_encoder()


def test_a_client_with_classes_of_its_own_is_understood(redis_port):
    harness = RedisHarness(redis_port)
    bench = Bench(harness)
    client = redis.Redis(host=HOST, port=redis_port, socket_timeout=30)
    store = RedisStore(NotRedisPy(client), prefix=harness.prefix)
    record, list_ = bench.record(), bench.record()
    client.script_flush()
    client.rpush(harness.name(list_.key), "x")
    assert store.apply([Create(record)]) == [APPLIED]
    assert store.apply([bench.update(record, take=("theme",))]) == [Applied({"theme": b"dark"})]
    (found,) = store.load([list_.key], bench.start)
    assert "no string" in found.reason
    assert set(store._servers.line._pool.names) == {"GET"}
    client.delete(harness.name(list_.key))
    client.close()
    harness.inspector.close()
