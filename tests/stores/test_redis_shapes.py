"""The Redis stores keep the contract in each shape of Redis: behind TLS and an ACL, under Sentinel, in a cluster."""

import pytest
from hypothesis import settings

from coatcheck.model.record import Applied
from coatcheck.testing.contract import StoreContract
from tests.machine.model import StoreMachine
from tests.servers.fixtures_redis import IN_A_CLUSTER, UNDER_SENTINEL
from tests.stores.redis_harness import AsyncRedisHarness, RedisHarness, name_of
from tests.stores.redis_scene import BOTH_COLOURS, Scene, opened

pytestmark = pytest.mark.servers


class OnTwoColours(StoreContract):
    @pytest.fixture(params=[RedisHarness, AsyncRedisHarness], ids=["sync", "async"])
    def harness(self, request, target):
        return request.param(target)


class TestBehindTlsAndAcl(StoreContract):
    # In one colour: each test shakes hands anew, which takes most of its time. The other is in test_redis_acl.
    @pytest.fixture
    def harness(self, redis_tls):
        return AsyncRedisHarness(redis_tls)


@UNDER_SENTINEL
class TestUnderSentinel(OnTwoColours):
    @pytest.fixture
    def target(self, redis_sentinels):
        return redis_sentinels


@IN_A_CLUSTER
class TestInACluster(OnTwoColours):
    @pytest.fixture
    def target(self, redis_cluster):
        return redis_cluster


@BOTH_COLOURS
def test_over_a_socket_file_it_is_the_same(colour, redis_server, prefix):
    with opened(colour, f"unix://{redis_server.socket}", prefix=prefix) as store:
        scene = Scene(None, store, store)
        record = scene.stored()
        changes = [scene.update(record, set={"c": b"3"}), scene.update(record, take=("a",))]
        assert store.apply(changes) == [Applied(), Applied({"a": b"1"})]
        assert scene.found(record).fields == {"b": b"2", "c": b"3"}
        assert redis_server.ask("EXISTS", name_of(prefix, record.key)) == 1


def machine(harness, target):
    class RedisMachine(StoreMachine):
        def harness(self):
            return harness(target)

    return RedisMachine.TestCase


HARNESSES = pytest.mark.parametrize("harness", [RedisHarness, AsyncRedisHarness], ids=["sync", "async"])


def run(case, examples, steps):
    case.settings = settings(max_examples=examples, stateful_step_count=steps, deadline=None)
    case().runTest()


@pytest.mark.promise("6", "12", "13", "16", "17")
@IN_A_CLUSTER
@HARNESSES
def test_a_cluster_holds_what_a_dict_would(harness, redis_cluster):
    run(machine(harness, redis_cluster), 8, 40)


@pytest.mark.promise("6", "12", "13", "16", "17")
@pytest.mark.soak
@IN_A_CLUSTER
@HARNESSES
def test_a_cluster_holds_what_a_dict_would_for_long(harness, redis_cluster):
    run(machine(harness, redis_cluster), 300, 60)
