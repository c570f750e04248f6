"""The shared list on the embedded default of asynchronous applications: SQLite for an event loop."""

import pytest

from coatcheck.stores.sqlite import AsyncSQLiteStore
from tests.behaviours import AsyncHttpBehaviours, Portal
from tests.frameworks.test_asgi import build


class Blocking:
    """An async store for callers that can't await: it runs in a loop of its own."""

    def __init__(self, make):
        self.portal = Portal()
        self.store = self.portal.call(self._made(make))
        self.index = self.store.index

    async def _made(self, make):
        return make()

    def __getattr__(self, name):
        method = getattr(self.store, name)
        return lambda *arguments: self.portal.call(method(*arguments))

    def close(self):
        self.portal.call(self.store.close())
        self.portal.close()


class TestAsyncSQLite(AsyncHttpBehaviours):
    def build_async(self, sessions, portal):
        return build(sessions, portal)

    @pytest.fixture
    def store(self, tmp_path):
        store = Blocking(lambda: AsyncSQLiteStore(tmp_path / "sessions.db", ballast=0))
        yield store
        store.close()
