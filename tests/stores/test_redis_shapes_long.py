"""What the shapes of Redis share with those that every run looks at: the rest of the lists, for long runs only."""

import pytest

from coatcheck.testing.contract import StoreContract
from tests.servers.fixtures_redis import IN_A_CLUSTER, UNDER_SENTINEL
from tests.stores.redis_harness import RedisHarness
from tests.stores.test_redis_http import OverAsgi, OverWsgi
from tests.stores.test_redis_shapes import HARNESSES, machine, run

pytestmark = [pytest.mark.servers, pytest.mark.soak]


class TestTheContractBehindTlsInSync(StoreContract):
    @pytest.fixture
    def harness(self, redis_tls):
        return RedisHarness(redis_tls)


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


@pytest.mark.promise("6", "12", "13", "16", "17")
@HARNESSES
def test_behind_tls_it_holds_what_a_dict_would(harness, redis_tls):
    run(machine(harness, redis_tls), 20, 40)


@pytest.mark.promise("6", "12", "13", "16", "17")
@UNDER_SENTINEL
@HARNESSES
def test_under_sentinel_it_holds_what_a_dict_would(harness, redis_sentinels):
    run(machine(harness, redis_sentinels), 20, 40)
