"""Servers of Memcached, a proxy in front of the one that is shared, and both kinds of store."""

import pytest

from tests.servers.memcached import a_memcached, memcached
from tests.servers.proxy import Proxy

__all__ = ["a_memcached", "memcached"]


@pytest.fixture(params=["sync", "async"])
def mode(request):
    return request.param


@pytest.fixture
def proxy(memcached):
    with Proxy(memcached.port) as proxy:
        yield proxy
