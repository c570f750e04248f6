"""One Redis for the tests of what was on Redis: a server of the worker's own, and a database of its own per test."""

import itertools
import os
import tempfile

import pytest
import redis

from tests.servers.process import HOST, Server, free_port

_DATABASES = 4096


class OneRedis:
    """A Redis without persistence. `shutdown` ends it, so that a page of the docs may use one as well."""

    def __init__(self):
        self.port = free_port()
        self._folder = tempfile.TemporaryDirectory()
        self._databases = itertools.count()
        command = ["redis-server", "--port", self.port, "--bind", HOST, "--save", "", "--appendonly", "no"]
        self.server = Server(
            [*command, "--databases", _DATABASES],
            directory=self._folder.name,
            ready=self._answers,
            name="redis",
        )
        self.server.start()

    def _answers(self):
        with redis.Redis(HOST, self.port) as client:
            return client.ping()

    def database(self):
        """The number of a database that nobody used before."""
        return next(self._databases)

    def shutdown(self):
        self.server.stop()
        self._folder.cleanup()


class PageRedis(OneRedis):
    """One for a page of the docs, whose blocks find it by `REDIS_PORT`."""

    def __init__(self):
        super().__init__()
        self._before = os.environ.get("REDIS_PORT")
        os.environ["REDIS_PORT"] = str(self.port)

    def shutdown(self):
        super().shutdown()
        if self._before is None:
            os.environ.pop("REDIS_PORT", None)
        else:
            os.environ["REDIS_PORT"] = self._before


@pytest.fixture(scope="session")
def one_redis():
    server = OneRedis()
    yield server
    server.shutdown()


@pytest.fixture
def database(one_redis):
    return one_redis.database()


@pytest.fixture
def raw(one_redis, database):
    """Redis itself, as the tests look at it."""
    with redis.Redis(HOST, one_redis.port, database) as client:
        yield client
