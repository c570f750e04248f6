"""The shared list on the embedded default of asynchronous applications: SQLite for an event loop."""

import pytest

from coatcheck.stores.sqlite import AsyncSQLiteStore
from tests.behaviours import AsyncHttpBehaviours, BlockingStore
from tests.frameworks.test_asgi import build


class TestAsyncSQLite(AsyncHttpBehaviours):
    def build_async(self, sessions, portal):
        return build(sessions, portal)

    @pytest.fixture
    def store(self, tmp_path):
        store = BlockingStore(lambda: AsyncSQLiteStore(tmp_path / "sessions.db", ballast=0))
        yield store
        store.close()
