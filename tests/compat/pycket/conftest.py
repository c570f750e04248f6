"""A Redis and a Memcached of our own, one of each per test process, and the applications that use them."""

import socket
from types import SimpleNamespace

import pytest
import redis
from pymemcache.client.base import Client

from coatcheck.compat.pycket import driver
from coatcheck.compat.pycket.notification import NotificationManager
from coatcheck.compat.pycket.session import SessionManager
from coatcheck.compat.pycket01.notification import NotificationManager as NotificationManager01
from coatcheck.compat.pycket01.session import SessionManager as SessionManager01
from tests.compat.pycket.site import StubHandler
from tests.servers.process import HOST, Server, free_port
from tests.servers.proxy import Proxy


@pytest.fixture(scope="session")
def redis_port(tmp_path_factory):
    directory, port = tmp_path_factory.mktemp("redis"), free_port()
    command = ["redis-server", "--port", port, "--bind", HOST, "--save", "", "--dir", directory]
    with redis.Redis(HOST, port) as client, Server(command, directory=directory, ready=client.ping):
        yield port


@pytest.fixture(scope="session")
def memcached_port(tmp_path_factory):
    directory, port = tmp_path_factory.mktemp("memcached"), free_port()
    command = ["memcached", "-u", "nobody", "-l", HOST, "-p", port, "-U", 0]
    with Server(command, directory=directory, ready=lambda: _answers(port)):
        yield port


def _answers(port):
    with socket.create_connection((HOST, port), timeout=5) as connection:
        connection.sendall(b"version\r\n")
        return connection.recv(100).startswith(b"VERSION")


@pytest.fixture(scope="session", autouse=True)
def _let_go_of_connections():
    yield
    for client, _ in driver._clients.values():
        getattr(client, "connection_pool", client).close()
    driver._clients.clear()


@pytest.fixture
def dbs(redis_port):
    """What lies in Redis, by the number of its database."""
    clients = {}

    def of(number):
        if number not in clients:
            clients[number] = redis.Redis(HOST, redis_port, db=number)
        return clients[number]

    yield of
    for client in clients.values():
        client.close()


@pytest.fixture
def memcached(memcached_port):
    """What lies in Memcached."""
    client = Client((HOST, memcached_port), default_noreply=False)
    yield client
    client.close()


@pytest.fixture
def redis_proxy(redis_port):
    with Proxy(redis_port) as proxy:
        yield proxy


@pytest.fixture
def memcached_proxy(memcached_port):
    with Proxy(memcached_port) as proxy:
        yield proxy


@pytest.fixture(params=["redis", "memcached"])
def settings(request, redis_port, memcached_port):
    """Settings of pycket 0.3, for each of its engines."""
    return settings_for(request.param, redis_port if request.param == "redis" else memcached_port)


@pytest.fixture(params=["redis", "memcached", "0.1"])
def each_settings(request, redis_port, memcached_port):
    """Each generation on each of its engines."""
    if request.param == "0.1":
        return {"pycket_redis": {"host": HOST, "port": redis_port}}
    return settings_for(request.param, redis_port if request.param == "redis" else memcached_port)


@pytest.fixture
def redis_settings(redis_port):
    return settings_for("redis", redis_port)


@pytest.fixture
def memcached_settings(memcached_port):
    return settings_for("memcached", memcached_port)


@pytest.fixture
def kind(each_settings):
    """The managers of a generation, settings for one of its engines, and the name of the session's attribute."""
    if "pycket_redis" in each_settings:
        managers = {"session": SessionManager01, "notifications": NotificationManager01, "name": "dataset"}
    else:
        managers = {"session": SessionManager, "notifications": NotificationManager, "name": "session"}
    return SimpleNamespace(settings=each_settings, **managers)


@pytest.fixture
def handler(kind):
    return StubHandler(kind.settings)


@pytest.fixture
def session(kind, handler):
    return kind.session(handler)


@pytest.fixture
def notifications(kind, handler):
    return kind.notifications(handler)


def settings_for(engine, port, **more):
    storage = {"host": HOST, "port": port} if engine == "redis" else {"servers": (f"{HOST}:{port}",)}
    return {"engine": engine, "storage": storage, **more}
