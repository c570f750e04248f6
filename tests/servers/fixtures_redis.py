"""Redis for tests: the servers that each test process shares, and a prefix for each test.

What is large is started once for all tests: those that use `sentinels` or `cluster` belong into the xdist group of
that name (`UNDER_SENTINEL`, `IN_A_CLUSTER`). All tests load this module, so a fixture itself imports what it starts.
"""

import os

import pytest

UNDER_SENTINEL = pytest.mark.xdist_group("redis-sentinel")
IN_A_CLUSTER = pytest.mark.xdist_group("redis-cluster")


@pytest.fixture(scope="session")
def redis_server():
    """One server, which listens on a socket file too."""
    from tests.servers.redis import single

    with single(unixsocket=True) as server:
        yield server


@pytest.fixture(scope="session")
def redis_tls():
    """One server behind TLS and an ACL."""
    from tests.servers.redis import tls_acl

    with tls_acl() as server:
        yield server


@pytest.fixture(scope="session")
def redis_sentinels():
    """Three servers and three sentinels."""
    from tests.servers.redis_sentinel import sentinels

    with sentinels() as those:
        yield those


@pytest.fixture(scope="session")
def redis_cluster():
    """Three primaries with a replica each."""
    from tests.servers.redis_cluster import cluster

    with cluster() as those:
        yield those


@pytest.fixture
def prefix():
    """What the keys of this test begin with, and no others."""
    return new_prefix()


def new_prefix():
    return f"coatcheck:{os.urandom(6).hex()}:"
