"""Changes of sessions on the SQL store: what the compare-and-swap loop and the store promise together."""

import pytest

from tests.stores.changes_indexed import IndexedChanges
from tests.stores.sql.servers import (
    AsyncMariaDBHarness,
    AsyncPostgreSQLHarness,
    MariaDBHarness,
    PostgreSQLHarness,
    SQLiteThroughSQLAlchemyHarness,
)

pytestmark = pytest.mark.servers


class TestPostgreSQL(IndexedChanges):
    @pytest.fixture
    def harness(self):
        return PostgreSQLHarness()


class TestAsyncPostgreSQL(IndexedChanges):
    @pytest.fixture
    def harness(self):
        return AsyncPostgreSQLHarness()


class TestMariaDB(IndexedChanges):
    @pytest.fixture
    def harness(self):
        return MariaDBHarness()


class TestAsyncMariaDB(IndexedChanges):
    @pytest.fixture
    def harness(self):
        return AsyncMariaDBHarness()


class TestSQLiteThroughSQLAlchemy(IndexedChanges):
    @pytest.fixture
    def harness(self):
        return SQLiteThroughSQLAlchemyHarness()
