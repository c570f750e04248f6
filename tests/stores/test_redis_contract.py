"""The Redis store keeps the contract, in both colours, and holds what a plain dict would."""

import pytest
from hypothesis import settings

from coatcheck.testing.contract import StoreContract
from tests.machine.model import StoreMachine
from tests.stores.redis_single import AsyncRedisHarness, CoalescedRedisHarness, RedisHarness

pytestmark = pytest.mark.servers


class TestRedis(StoreContract):
    @pytest.fixture
    def harness(self, redis_port):
        return RedisHarness(redis_port)


class TestAsyncRedis(StoreContract):
    @pytest.fixture
    def harness(self, redis_port):
        return AsyncRedisHarness(redis_port)


class TestCoalescedRedis(StoreContract):
    @pytest.fixture
    def harness(self, redis_port):
        return CoalescedRedisHarness(redis_port)


def machine_of(kind, port):
    class Machine(StoreMachine):
        def harness(self):
            return kind(port)

    return Machine


HARNESSES = [RedisHarness, AsyncRedisHarness, CoalescedRedisHarness]


@pytest.mark.promise("6", "12", "13", "16", "17")
@pytest.mark.parametrize("kind", HARNESSES)
def test_a_redis_store_holds_what_a_dict_would(kind, redis_port):
    machine = machine_of(kind, redis_port)
    machine.TestCase.settings = settings(max_examples=12, stateful_step_count=40, deadline=None)
    machine.TestCase().runTest()


@pytest.mark.promise("6", "12", "13", "16", "17")
@pytest.mark.soak
@pytest.mark.parametrize("kind", HARNESSES)
def test_a_redis_store_holds_what_a_dict_would_for_long(kind, redis_port):
    machine = machine_of(kind, redis_port)
    machine.TestCase.settings = settings(max_examples=2_000, stateful_step_count=60, deadline=None)
    machine.TestCase().runTest()
