"""The WSGI middleware: the shared list."""

import pytest

from coatcheck.frameworks.wsgi import SessionMiddleware
from coatcheck.stores.sqlite import SQLiteStore
from tests.behaviours import HttpBehaviours, WsgiClient, perform
from tests.behaviours.served import OnWaitress


def build(sessions):
    def handler(environ, start_response):
        answer = perform(environ["QUERY_STRING"], environ["coatcheck.session"], sessions)
        start_response(f"{answer.status} -", answer.headers)
        return answer.body

    return WsgiClient(SessionMiddleware(handler, sessions))


class TestInMemory(HttpBehaviours):
    def build(self, sessions):
        return build(sessions)


class TestServed(OnWaitress, TestInMemory):
    pass


class TestOnSQLite(HttpBehaviours):
    def build(self, sessions):
        return build(sessions)

    @pytest.fixture
    def store(self, tmp_path):
        store = SQLiteStore(tmp_path / "sessions.db")
        yield store
        store.close()
