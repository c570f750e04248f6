"""The SQL store keeps the contract, sync and async, on each kind of database."""

import pytest

from coatcheck.testing.contract import StoreContract
from tests.stores.sql.servers import (
    AsyncMariaDBHarness,
    AsyncPostgreSQLHarness,
    MariaDBHarness,
    PostgreSQLHarness,
    SQLiteThroughSQLAlchemyHarness,
)

pytestmark = pytest.mark.servers


class TestPostgreSQL(StoreContract):
    @pytest.fixture
    def harness(self):
        return PostgreSQLHarness()


class TestAsyncPostgreSQL(StoreContract):
    @pytest.fixture
    def harness(self):
        return AsyncPostgreSQLHarness()


class TestMariaDB(StoreContract):
    @pytest.fixture
    def harness(self):
        return MariaDBHarness()


class TestAsyncMariaDB(StoreContract):
    @pytest.fixture
    def harness(self):
        return AsyncMariaDBHarness()


class TestSQLiteThroughSQLAlchemy(StoreContract):
    @pytest.fixture
    def harness(self):
        return SQLiteThroughSQLAlchemyHarness()
