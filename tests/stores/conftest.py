"""A Redis server for the tests of one worker."""

import pytest


@pytest.fixture(scope="session")
def redis_port():
    from tests.stores.redis_single import (
        redis_server,  # here, so that other stores' tests run without redis-py
    )

    with redis_server() as server:
        yield server.port
