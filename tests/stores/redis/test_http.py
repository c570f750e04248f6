"""The shared list of HTTP behaviours on Redis: WSGI on the sync store, ASGI on the async one."""

import pytest

from coatcheck.stores.redis import async_from_url, from_url
from tests.behaviours import AsyncHttpBehaviours, BlockingStore, HttpBehaviours
from tests.frameworks import test_asgi, test_wsgi
from tests.servers.fixtures_redis import IN_A_CLUSTER

pytestmark = pytest.mark.servers


def options_of(target, prefix):
    return {"prefix": prefix, **getattr(target, "options", {})}


class OverWsgi(HttpBehaviours):
    def build(self, sessions):
        return test_wsgi.build(sessions)

    @pytest.fixture
    def store(self, target, prefix):
        store = from_url(target.url, **options_of(target, prefix))
        yield store
        store.close()


class OverAsgi(AsyncHttpBehaviours):
    def build_async(self, sessions, portal):
        return test_asgi.build(sessions, portal)

    @pytest.fixture
    def store(self, target, prefix):
        options = options_of(target, prefix)
        store = BlockingStore(lambda: async_from_url(target.url, **options))
        yield store
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
