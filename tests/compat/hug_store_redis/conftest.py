import pytest

import tests.compat.hug_store_redis.quietly  # noqa: F401 - before anything else imports hug
from coatcheck.compat.hug_store_redis import RedisStore
from tests.compat.hug_store_redis.site import Site
from tests.compat.one_redis import database, one_redis, raw

__all__ = ["database", "one_redis", "raw"]


@pytest.fixture
def store(raw):
    return RedisStore(raw, namespace="test")


@pytest.fixture
def serve():
    """Serve an API of hug, or an application, until the test ends."""
    sites = []

    def serve(application):
        sites.append(Site(application))
        return sites[-1]

    yield serve
    for site in sites:
        site.close()
