import itertools
import os
import tempfile
import warnings
from contextlib import closing

import pytest

from coatcheck.compat.gimlet.backends.memcache import MemcacheBackend
from coatcheck.compat.gimlet.backends.pyredis import RedisBackend
from coatcheck.compat.gimlet.backends.sql import SQLBackend
from coatcheck.compat.gimlet.factories import SideBySideWarning, session_factory_factory
from coatcheck.testing import ManualClock
from tests.compat.gimlet.browser import SECRET
from tests.compat.gimlet.quiet import Request, Response
from tests.compat.one_redis import database, one_redis, raw
from tests.servers.mariadb import MariaDB
from tests.servers.memcached import Memcached
from tests.servers.postgres import PostgreSQL
from tests.servers.process import HOST

__all__ = ["database", "one_redis", "raw"]

_numbers = itertools.count()


@pytest.fixture
def redis_backend(one_redis, database):
    backend = RedisBackend(HOST, one_redis.port, database)
    yield backend
    backend.client.close()


@pytest.fixture(scope="session")
def one_memcached():
    with tempfile.TemporaryDirectory() as folder, Memcached(folder) as server:
        yield server


@pytest.fixture(scope="session")
def one_postgresql():
    with PostgreSQL() as server:
        yield server


@pytest.fixture(scope="session")
def one_mariadb():
    with MariaDB() as server:
        yield server


KINDS = ("redis", "memcached", "sqlite", "postgresql", "mariadb")


def new_backend(request, kind, table, **options):
    """A backend of this kind on a real server; SQLite in a file."""
    match kind:
        case "redis":
            port, number = request.getfixturevalue("one_redis").port, request.getfixturevalue("database")
            return RedisBackend(HOST, port, number, **options)
        case "memcached":
            return MemcacheBackend([request.getfixturevalue("one_memcached").address], **options)
    return SQLBackend(url_of(request, kind), table, **options)


def url_of(request, kind):
    match kind:
        case "sqlite":
            return f"sqlite:///{request.getfixturevalue('tmp_path')}/gimlet.db"
        case "postgresql":
            url = request.getfixturevalue("one_postgresql").url()
            return url.replace("postgresql://", "postgresql+psycopg://")
        case "mariadb":
            return request.getfixturevalue("one_mariadb").url().replace("mysql://", "mysql+pymysql://")


@pytest.fixture(params=KINDS)
def stored(request, table):
    """A backend of each kind."""
    with closing(new_backend(request, request.param, table)) as backend:
        yield backend


@pytest.fixture
def table():
    return f"gimlet_{os.getpid()}_{next(_numbers)}"


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def make():
    """Makes a session for a request with these cookies."""

    def make(cookies="", scheme="http", **options):
        request = Request.blank("/", base_url=f"{scheme}://localhost")
        if cookies:
            request.headers["Cookie"] = cookies
        return factory(**options)(request)

    return make


def factory(secret=SECRET, **options):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SideBySideWarning)
        return session_factory_factory(secret, **options)


@pytest.fixture
def visits():
    """A visitor of a site with these settings."""
    return Visitor


class Visitor:
    """Comes again and again; each visit gives his session, and writes it at the end."""

    def __init__(self, cookies=None, **options):
        self.options = options
        self.cookies = dict(cookies or {})
        self.factory = factory(**options)

    def again(self, **options):
        """The same visitor after the settings changed."""
        return Visitor(self.cookies, **{**self.options, **options})

    def copy(self):
        return Visitor(self.cookies, **self.options)

    def arrive(self, scheme="http"):
        request = Request.blank("/", base_url=f"{scheme}://localhost")
        if self.cookies:
            request.headers["Cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        return self.factory(request)

    def leave(self, session):
        response = Response()
        session.write_callback(session.request, response)
        for line in response.headers.getall("Set-Cookie"):
            name, _, value = line.partition(";")[0].partition("=")
            self.cookies[name] = value
        return response

    def visit(self, action=lambda session: None, **options):
        session = self.arrive(**options)
        self.told = action(session)
        self.response = self.leave(session)
        self.sent = {line.partition("=")[0] for line in self.response.headers.getall("Set-Cookie")}
        return self.told


@pytest.fixture
def backend():
    return {}


@pytest.fixture
def visitor(backend):
    return Visitor(backend=backend)


def put(**values):
    """A visit that sets these."""
    return lambda session: session.update(values)
