"""The HTTP behaviours behind TLS, under Sentinel, and on a cluster over WSGI: for long runs."""

import pytest

from tests.servers.fixtures_redis import IN_A_CLUSTER, UNDER_SENTINEL
from tests.stores.redis.test_http import OverAsgi, OverWsgi

pytestmark = [pytest.mark.servers, pytest.mark.soak]


class TestTlsOverWsgi(OverWsgi):
    @pytest.fixture
    def target(self, redis_tls):
        return redis_tls


class TestTlsOverAsgi(OverAsgi):
    @pytest.fixture
    def target(self, redis_tls):
        return redis_tls


@UNDER_SENTINEL
class TestSentinelOverWsgi(OverWsgi):
    @pytest.fixture
    def target(self, redis_sentinels):
        return redis_sentinels


@UNDER_SENTINEL
class TestSentinelOverAsgi(OverAsgi):
    @pytest.fixture
    def target(self, redis_sentinels):
        return redis_sentinels


@IN_A_CLUSTER
class TestAClusterOverWsgi(OverWsgi):
    @pytest.fixture
    def target(self, redis_cluster):
        return redis_cluster
