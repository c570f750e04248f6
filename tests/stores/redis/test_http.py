"""The shared list of HTTP behaviours on Redis: WSGI on the sync store, ASGI on the async one."""

import pytest

from coatcheck.stores.redis import async_from_url, from_url
from coatcheck.testing.clock import ManualClock
from tests.behaviours import AsyncHttpBehaviours, BlockingStore, HttpBehaviours
from tests.frameworks import test_asgi, test_wsgi
from tests.servers.fixtures_redis import IN_A_CLUSTER

pytestmark = pytest.mark.servers


class OnTheTestsClock:
    """A store whose server keeps time: whenever it is swept, as much has gone by there as on the clock of the test."""

    def __init__(self, store, target, prefix):
        self._store, self._target, self._prefix = store, target, prefix
        self._swept = ManualClock().now_ms

    def __getattr__(self, name):
        return getattr(self._store, name)

    def sweep(self, now, limit, deadline):
        passed, self._swept = now - self._swept, now
        with self._target.client() as client:
            for name in client.scan_iter(match=f"{self._prefix}*", count=1_000):
                if (life := client.pttl(name)) > 0:
                    client.pexpire(name, life - passed)
        return self._store.sweep(now, limit, deadline)


def options_of(target, prefix):
    return {"prefix": prefix, **getattr(target, "options", {})}


class OverWsgi(HttpBehaviours):
    def build(self, sessions):
        return test_wsgi.build(sessions)

    @pytest.fixture
    def store(self, target, prefix):
        store = from_url(target.url, **options_of(target, prefix))
        yield OnTheTestsClock(store, target, prefix)
        store.close()


class OverAsgi(AsyncHttpBehaviours):
    def build_async(self, sessions, portal):
        return test_asgi.build(sessions, portal)

    @pytest.fixture
    def store(self, target, prefix):
        options = options_of(target, prefix)
        store = BlockingStore(lambda: async_from_url(target.url, **options))
        yield OnTheTestsClock(store, target, prefix)
        store.close()


class TestOneServerOverWsgi(OverWsgi):
    @pytest.fixture
    def target(self, redis_server):
        return redis_server


class TestOneServerOverAsgi(OverAsgi):
    @pytest.fixture
    def target(self, redis_server):
        return redis_server


@IN_A_CLUSTER
class TestAClusterOverAsgi(OverAsgi):
    @pytest.fixture
    def target(self, redis_cluster):
        return redis_cluster
