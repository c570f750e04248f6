"""On databases, behind WSGI and ASGI: what of the shared list is about requests at once.

The rest of it is about what the framework does with what a store answers, whichever that is.
"""

import pytest

from tests.behaviours import AsyncHttpBehaviours, BlockingStore, HttpBehaviours
from tests.behaviours.races import Races
from tests.behaviours.rotation import Rotation
from tests.frameworks.test_asgi import build as build_asgi
from tests.frameworks.test_wsgi import build as build_wsgi
from tests.stores.sql.servers import a_place, databases_that_end  # noqa: F401 - a fixture

pytestmark = pytest.mark.servers


class _AtOnce(Races, Rotation):
    kind = "postgresql"
    open_site = HttpBehaviours.open_site
    site = HttpBehaviours.site


class _OnADatabase(_AtOnce):
    def build(self, sessions):
        return build_wsgi(sessions)

    @pytest.fixture
    def store(self):
        place = a_place(self.kind)
        store = place.store()
        yield store
        store.close()
        place.leave()


class _AsyncOnADatabase(_AtOnce):
    _run_a_loop = AsyncHttpBehaviours._run_a_loop
    build = AsyncHttpBehaviours.build

    def build_async(self, sessions, portal):
        return build_asgi(sessions, portal)

    @pytest.fixture
    def store(self):
        place = a_place(self.kind)
        store = BlockingStore(place.async_store)
        yield store
        store.close()
        place.leave()


class TestPostgreSQL(_OnADatabase):
    pass


class TestMariaDB(_OnADatabase):
    kind = "mysql"


class TestAsyncPostgreSQL(_AsyncOnADatabase):
    pass


class TestAsyncMariaDB(_AsyncOnADatabase):
    kind = "mysql"
