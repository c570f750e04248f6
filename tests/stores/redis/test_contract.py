"""The Redis stores keep the contract, and the promises about changes, in each shape of Redis."""

import pytest

from coatcheck.testing.contract import StoreContract
from tests.servers.fixtures_redis import IN_A_CLUSTER, UNDER_SENTINEL
from tests.stores.changes_indexed import IndexedChanges
from tests.stores.redis.harness import AsyncRedisHarness, RedisHarness

pytestmark = pytest.mark.servers

SYNC_AND_ASYNC = pytest.mark.parametrize("kind", [RedisHarness, AsyncRedisHarness], ids=["sync", "async"])


class _OneServer:
    @pytest.fixture(params=[RedisHarness, AsyncRedisHarness], ids=["sync", "async"])
    def harness(self, request, redis_server):
        return request.param(redis_server)


class TestOneServer(_OneServer, StoreContract, index="beside"):
    pass


class TestChangesOnOneServer(_OneServer, IndexedChanges):
    pass


class _BehindTlsAndAcl:
    # In async only: each test makes new connections, which takes most of its time. test_acl calls in sync too.
    @pytest.fixture
    def harness(self, redis_tls):
        return AsyncRedisHarness(redis_tls)


class TestBehindTlsAndAcl(_BehindTlsAndAcl, StoreContract, index="beside"):
    pass


class _UnderSentinel:
    @pytest.fixture(params=[RedisHarness, AsyncRedisHarness], ids=["sync", "async"])
    def harness(self, request, redis_sentinels):
        return request.param(redis_sentinels)


@UNDER_SENTINEL
class TestUnderSentinel(_UnderSentinel, StoreContract, index="beside"):
    pass


@UNDER_SENTINEL
class TestChangesUnderSentinel(_UnderSentinel, IndexedChanges):
    pass


class _InACluster:
    @pytest.fixture(params=[RedisHarness, AsyncRedisHarness], ids=["sync", "async"])
    def harness(self, request, redis_cluster):
        return request.param(redis_cluster)


@IN_A_CLUSTER
class TestInACluster(_InACluster, StoreContract, index="beside"):
    pass


@IN_A_CLUSTER
class TestChangesInACluster(_InACluster, IndexedChanges):
    pass
