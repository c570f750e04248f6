"""Redis for tests: the servers that each test process shares, and a prefix for each test.

What is large is started once for all tests: those that use `sentinels` or `cluster` belong into the xdist group of
that name (`UNDER_SENTINEL`, `IN_A_CLUSTER`).
"""

import os

import pytest

from tests.servers.redis import single, tls_acl
from tests.servers.redis_cluster import cluster
from tests.servers.redis_sentinel import sentinels

UNDER_SENTINEL = pytest.mark.xdist_group("redis-sentinel")
IN_A_CLUSTER = pytest.mark.xdist_group("redis-cluster")


@pytest.fixture(scope="session")
def redis_server():
    """One server, which listens on a socket file too."""
    with single(unixsocket=True) as server:
        yield server


@pytest.fixture(scope="session")
def redis_tls():
    """One server behind TLS and an ACL."""
    with tls_acl() as server:
        yield server


@pytest.fixture(scope="session")
def redis_sentinels():
    """Three servers and three sentinels."""
    with sentinels() as those:
        yield those


@pytest.fixture(scope="session")
def redis_cluster():
    """Three primaries with a replica each."""
    with cluster() as those:
        yield those


@pytest.fixture
def prefix():
    """What the keys of this test begin with, and no others."""
    return new_prefix()


def new_prefix():
    return f"coatcheck:{os.urandom(6).hex()}:"
