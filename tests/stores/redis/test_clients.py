"""A client of the application's own: its servers and settings are used, its pool and its retries are not."""

import asyncio
import inspect
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import pytest
import redis
import redis.asyncio
import redis.sentinel
from redis._parsers import _RESP2Parser
from redis.backoff import ConstantBackoff
from redis.retry import Retry

from coatcheck import AsyncSessions, ConfigurationError, Sessions
from coatcheck.errors import StoreUnavailable
from coatcheck.stores.redis import AsyncRedisStore, RedisStore
from coatcheck.stores.redis.clients import _Sentinels
from coatcheck.testing.contract import StoreContract
from tests.servers.fixtures_redis import UNDER_SENTINEL
from tests.servers.process import HOST, free_port
from tests.servers.proxy import Proxy
from tests.servers.redis import ADMIN
from tests.servers.redis_sentinel import SERVICE
from tests.stores.redis.harness import RedisHarness
from tests.stores.redis.scene import SYNC_AND_ASYNC, Scene, item, now_ms, opened, soon
from tests.visitor import SECRET, Visitor

pytestmark = pytest.mark.servers


class ClientHarness(RedisHarness):
    """Each store is made of a client."""

    def __init__(self, target, make):
        super().__init__(target)
        self.make = make

    async def open(self):
        return self.make(self.prefix)


class TestAClient(StoreContract, index="beside"):
    @pytest.fixture
    def harness(self, redis_server):
        client = redis.Redis(host=HOST, port=redis_server.port, decode_responses=True, protocol=3)
        yield ClientHarness(redis_server, lambda prefix: RedisStore(client, prefix=prefix))
        client.close()


class TestAClientWithTheParserInPython(StoreContract, index="beside"):
    @pytest.fixture
    def harness(self, redis_server):
        pool = redis.ConnectionPool(host=HOST, port=redis_server.port, parser_class=_RESP2Parser)
        return ClientHarness(
            redis_server, lambda prefix: RedisStore(redis.Redis(connection_pool=pool), prefix=prefix)
        )


class TestAnAsyncClient(StoreContract, index="beside"):
    @pytest.fixture
    def harness(self, redis_server):
        client = redis.asyncio.Redis(host=HOST, port=redis_server.port, max_connections=2)
        return ClientHarness(redis_server, lambda prefix: AsyncRedisStore(client, prefix=prefix))


def sentinel(target, module, **options):
    hosts = [(HOST, each.port) for each in target.sentinels]
    return module.sentinel.Sentinel(hosts, **options).master_for(SERVICE)


@UNDER_SENTINEL
@pytest.mark.parametrize("module", [redis, redis.asyncio])
def test_a_client_of_a_sentinel(module, redis_sentinels, prefix):
    async def scenario():
        client = sentinel(redis_sentinels, module)
        now, write = now_ms(), item()
        if module is redis:
            store = RedisStore(client, prefix=prefix)
            assert list(store.write([write], now, soon())) == [None]
            assert store.load([write.key], now, soon())[0].data == write.data
            store.close()
        else:
            store = AsyncRedisStore(client, prefix=prefix)
            assert list(await store.write([write], now, soon())) == [None]
            assert (await store.load([write.key], now, soon()))[0].data == write.data
            await store.close()

    asyncio.run(scenario())


@UNDER_SENTINEL
@SYNC_AND_ASYNC
def test_a_sentinel_that_was_silent_for_many_callers_at_once_is_asked_again(kind, redis_sentinels, prefix):
    """redis-py puts the Sentinel that answers in front. Each caller did so, and the silent one was lost for good."""
    write = item()
    with ExitStack() as stack:
        first, *others = [stack.enter_context(Proxy(each.port)) for each in redis_sentinels.sentinels]
        hosts = ",".join(f"{HOST}:{each.port}" for each in (first, *others))
        url = f"redis+sentinel://{hosts}/{SERVICE}/0"
        store = stack.enter_context(opened(kind, url, prefix=prefix))
        threads = stack.enter_context(ThreadPoolExecutor(20))
        first.silent = True
        everybody = threading.Barrier(20)

        def asked(_):
            everybody.wait()
            return store.load([write.key], now_ms(), soon())

        assert list(threads.map(asked, range(20))) == [[None]] * 20
        first.heal()
        for other in others:
            other.down()
        redis_sentinels.primary.ask("CLIENT", "KILL", "TYPE", "normal")
        assert store.write([write], now_ms(), soon()) == [None]


def test_a_caller_asks_each_sentinel_once_while_others_change_their_order():
    first, second, third = object(), object(), object()
    sentinels, asked = _Sentinels([first, second, third]), []
    for each in sentinels:
        asked.append(each)
        sentinels[0], sentinels[2] = third, sentinels[0]  # as redis-py does it
    assert asked == [first, second, third]
    assert list(sentinels) == [third, first, second]


def test_tls_a_user_and_a_database_are_those_of_the_client(redis_tls, redis_server):
    client = redis.Redis(
        host=HOST,
        port=redis_tls.server.port,
        username="admin",
        password=ADMIN,
        **redis_tls.server.tls.client_options,
    )
    store = RedisStore(client)
    store.ping(soon())
    store.close()
    client.close()
    client = redis.Redis(host=HOST, port=redis_server.port, db=4)
    with Sessions.from_url("redis://", secret=SECRET, client=client) as sessions:
        before = client.dbsize()
        visitor = Visitor(sessions)
        with visitor.request() as session:
            session["a"] = [1]
    assert client.dbsize() == before + 1
    with Sessions(RedisStore(client), secret=SECRET) as sessions:
        assert Visitor(sessions, visitor.cookie).read() == {"a": [1]}
    client.delete(*client.scan_iter())
    client.close()


def test_a_socket_is_that_of_the_client(redis_server):
    client = redis.Redis(unix_socket_path=str(redis_server.socket))
    store = RedisStore(client)
    store.ping(soon())
    store.close()
    client.close()


@pytest.mark.promise("L", "F-03")
@pytest.mark.parametrize("module", [redis, redis.asyncio])
def test_the_retries_of_the_client_never_repeat_a_write(module, redis_server, prefix):
    retry = (
        Retry(ConstantBackoff(0.01), 20)
        if module is redis
        else redis.asyncio.retry.Retry(ConstantBackoff(0.01), 20)
    )

    async def scenario():
        with Proxy(redis_server.port) as proxy:
            client = module.Redis(
                host=HOST, port=proxy.port, retry=retry, retry_on_error=[redis.ConnectionError]
            )
            store = (RedisStore if module is redis else AsyncRedisStore)(client, prefix=prefix)
            scene = Scene(proxy, store, store, 5)

            async def write(write):
                answers = store.write([write], scene.now, soon())
                return list(answers if module is redis else await answers)

            first = item()
            assert await write(first) == [None]
            proxy.drop_replies()
            with proxy.counting() as counted:
                with pytest.raises(StoreUnavailable) as raised:
                    await write(item(over=first))
                assert raised.value.ambiguous
            assert counted.connections == 0
            proxy.heal()
            if module is redis:
                store.close()
            else:
                await store.close()

    asyncio.run(scenario())


@pytest.mark.promise("F-02", "20")
@pytest.mark.parametrize("module", [redis, redis.asyncio])
def test_nor_do_they_repeat_connecting(module, redis_server):
    retry = (Retry if module is redis else redis.asyncio.retry.Retry)(ConstantBackoff(0.01), 20)

    async def scenario():
        with Proxy(redis_server.port) as proxy:
            # Choosing the database is part of connecting.
            client = module.Redis(host=HOST, port=proxy.port, db=3, retry=retry)
            store = (RedisStore if module is redis else AsyncRedisStore)(client)
            proxy.drop_replies()
            with proxy.counting() as counted, pytest.raises(StoreUnavailable):
                await called(store.ping, soon())
            assert counted.connections == 1
            await called(store.close)

    asyncio.run(scenario())


async def called(method, *arguments):
    result = method(*arguments)
    return await result if inspect.isawaitable(result) else result


class EarlierConnection(redis.asyncio.Connection):
    """As before redis-py 8: to look whether something can be read may take a moment."""

    can_read = None

    async def can_read_destructive(self):
        await asyncio.sleep(0.05)
        return False


@pytest.mark.promise("F-05")
def test_a_caller_that_is_cancelled_while_its_connection_is_looked_at_leaves_none_behind(redis_server):
    async def scenario():
        pool = redis.asyncio.ConnectionPool(
            connection_class=EarlierConnection, host=HOST, port=redis_server.port
        )
        store = AsyncRedisStore(redis.asyncio.Redis(connection_pool=pool), max_connections=1)
        await store.ping(soon())
        for _ in range(3):
            task = asyncio.create_task(store.ping(soon()))
            await asyncio.sleep(0.01)
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert store._loops.here().turns._value == 1
            await store.ping(soon())
        await store.close()

    asyncio.run(scenario())


def bad_clients(port):
    sync, asynchronous = redis.Redis(port=port), redis.asyncio.Redis(port=port)
    return {
        "the other kind": (asynchronous, sync, "Sessions"),
        "a pipeline": (sync.pipeline(), asynchronous.pipeline(), "pipeline"),
        "a class": (redis.Redis, redis.asyncio.Redis, "not Redis"),
        "a pool": (sync.connection_pool, asynchronous.connection_pool, "not a ConnectionPool"),
        "a URL": ("redis://localhost", "redis://localhost", "not a str"),
        "something": (object(), object(), "not a object"),
    }


@pytest.mark.promise("25")
@pytest.mark.parametrize("kind", bad_clients(1))
def test_a_client_that_can_not_work_is_refused(kind, redis_server):
    sync, asynchronous, message = bad_clients(redis_server.port)[kind]
    for manager, client in ((Sessions, sync), (AsyncSessions, asynchronous)):
        with pytest.raises(ConfigurationError, match=message):
            manager.from_url("redis://", secret=SECRET, client=client)


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
    with pytest.raises(StoreUnavailable):
        RedisStore(redis.Redis(port=free_port())).ping(soon(1))

    async def scenario():
        with pytest.raises(StoreUnavailable):
            await AsyncRedisStore(redis.asyncio.Redis(port=free_port())).ping(soon(1))

    asyncio.run(scenario())


@pytest.mark.promise("F-06")
def test_a_pool_that_is_used_up_by_the_application_is_no_hindrance(redis_server, prefix):
    client = redis.Redis(host=HOST, port=redis_server.port, max_connections=1)
    held = client.connection_pool.get_connection()
    store = RedisStore(client, prefix=prefix)
    assert list(store.load([bytes(16)], 0, soon())) == [None]
    client.connection_pool.release(held)
    store.close()
    assert client.ping()  # closing it stays with the application
    client.close()


@pytest.mark.promise("24")
def test_an_async_client_serves_every_loop(redis_server, prefix):
    store = AsyncRedisStore(redis.asyncio.Redis(host=HOST, port=redis_server.port), prefix=prefix)

    async def first():
        await store.ping(soon())
        await asyncio.get_running_loop().run_in_executor(None, lambda: asyncio.run(store.ping(soon())))
        await store.ping(soon())

    asyncio.run(first())
    asyncio.run(first())


class OtherResponseError(Exception):
    """As a driver calls it that is not redis-py."""


OtherResponseError.__name__ = "ResponseError"


class OtherNoScriptError(OtherResponseError):
    pass


OtherNoScriptError.__name__ = "NoScriptError"


class OtherConnection(redis.Connection):
    """As of valkey-py: errors of its own."""

    def read_response(self, *arguments, **options):
        try:
            return super().read_response(*arguments, **options)
        except redis.exceptions.NoScriptError as error:
            raise OtherNoScriptError(str(error)) from None
        except redis.exceptions.ResponseError as error:
            raise OtherResponseError(str(error)) from None


class CutConnection(redis.Connection):
    """Its network fails when a part of what is sent may have arrived."""

    def send_packed_command(self, command, check_health=True):
        super().send_packed_command(command, check_health)
        raise redis.ConnectionError("cut")


@pytest.mark.promise("L", "F-03")
def test_of_several_commands_that_were_sent_in_part_the_first_may_be_run_and_of_one_nothing(
    redis_server, prefix
):
    pool = redis.ConnectionPool(connection_class=CutConnection, host=HOST, port=redis_server.port)
    store = RedisStore(redis.Redis(connection_pool=pool), prefix=prefix)
    for writes, ambiguous in (([item()], False), ([item(), item(urgent=True)], True)):
        with pytest.raises(StoreUnavailable) as raised:
            store.write(writes, now_ms(), soon())
        assert raised.value.ambiguous == ambiguous
    store.close()


class NamelessConnection:
    """As of valkey-py: it has another way to leave the driver's name out."""

    def __init__(self, *, lib_name="valkey-py", lib_version="6", **options):
        self.told = [lib_name, lib_version]
        self.options = options

    def can_read(self):
        return False


def test_the_driver_s_name_is_left_out_in_the_way_of_the_driver():
    pool = redis.ConnectionPool(connection_class=NamelessConnection)
    settings = RedisStore(redis.Redis(connection_pool=pool))._servers._settings
    connection = settings.connection_class(**settings.connection_kwargs)
    assert connection.told == [None, None]
    assert "driver_info" not in connection.options


def test_a_client_with_classes_of_its_own_is_understood(redis_server, prefix):
    pool = redis.ConnectionPool(connection_class=OtherConnection, host=HOST, port=redis_server.port)
    client = redis.Redis(connection_pool=pool)
    store = RedisStore(client, prefix=prefix)
    scene = Scene(None, store, store, 5)
    redis_server.ask("SCRIPT", "FLUSH")
    write, entry = scene.put(), scene.entry()
    assert scene.write(item(b"pears", over=write)) == [None]
    redis_server.ask("LPUSH", store._index.name("bob"), "x")
    with pytest.raises(StoreUnavailable, match="refused"):
        store.note([scene.entry("bob")], scene.now, soon())
    redis_server.ask("DEL", store._index.name("bob"))
    store.note([entry], scene.now, soon())
    assert scene.entries() == [entry]
    store.close()
    client.close()
