"""The shared list of HTTP behaviours, on Redis, in both colours."""

import pytest

from coatcheck.stores.redis import from_url
from coatcheck.stores.redis_async import from_url as async_from_url
from coatcheck.testing.http import AsyncHttpBehaviours, HttpBehaviours
from tests.frameworks.test_asgi import build as build_asgi
from tests.frameworks.test_asgi_sqlite import Blocking
from tests.frameworks.test_wsgi import build as build_wsgi
from tests.servers.process import HOST
from tests.stores.redis_single import PATIENT, new_prefix

pytestmark = pytest.mark.servers


class TestWSGI(HttpBehaviours):
    def build(self, sessions):
        return build_wsgi(sessions)

    @pytest.fixture
    def store(self, redis_port):
        store = from_url(f"redis://{HOST}:{redis_port}", prefix=new_prefix(), **PATIENT)
        yield store
        store.close()


class TestASGI(AsyncHttpBehaviours):
    def build_async(self, sessions, portal):
        return build_asgi(sessions, portal)

    @pytest.fixture
    def store(self, redis_port):
        url = f"redis://{HOST}:{redis_port}"
        store = Blocking(lambda: async_from_url(url, prefix=new_prefix(), **PATIENT))
        yield store
        store.close()
