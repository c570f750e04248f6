"""What the tests of Flask's own ways begin with."""

import pytest

from coatcheck import Sessions
from coatcheck.stores.memory import MemoryStore
from coatcheck.testing import CountingStore, FailingStore, ManualClock
from tests.behaviours.site import SECRET
from tests.frameworks.flask_apps import new_app


@pytest.fixture
def clock():
    return ManualClock()


@pytest.fixture
def store():
    return FailingStore(CountingStore(MemoryStore()))


@pytest.fixture
def sessions(store, clock):
    return Sessions(store, secret=SECRET, clock=clock)


@pytest.fixture
def app(sessions):
    return new_app(sessions)


@pytest.fixture
def client(app):
    return app.test_client()
