"""A Redis server for the tests of one worker."""

import pytest

from tests.stores.redis_single import redis_server


@pytest.fixture(scope="session")
def redis_port():
    with redis_server() as server:
        yield server.port
