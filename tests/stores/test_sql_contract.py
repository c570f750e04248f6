"""The SQL store keeps the contract, and holds what a plain dict would: both colours, on each kind of database."""

import pytest
from hypothesis import settings

from coatcheck.stores.sql import SQLStore
from coatcheck.stores.sql_async import AsyncSQLStore
from coatcheck.testing.contract import StoreContract
from tests.machine.model import StoreMachine
from tests.stores.sql_servers import (
    CoalescedMariaDBHarness,
    CoalescedPostgreSQLHarness,
    MariaDBHarness,
    PostgreSQLHarness,
    SQLiteThroughSQLAlchemyHarness,
    databases_that_end,  # noqa: F401 - a fixture
)

pytestmark = pytest.mark.servers


class TestPostgreSQL(StoreContract):
    @pytest.fixture
    def harness(self):
        return PostgreSQLHarness()


class TestCoalescedPostgreSQL(StoreContract):
    @pytest.fixture
    def harness(self):
        return CoalescedPostgreSQLHarness()


class TestMariaDB(StoreContract):
    @pytest.fixture
    def harness(self):
        return MariaDBHarness()


class TestCoalescedMariaDB(StoreContract):
    @pytest.fixture
    def harness(self):
        return CoalescedMariaDBHarness()


class TestSQLiteThroughSQLAlchemy(StoreContract):
    @pytest.fixture
    def harness(self):
        return SQLiteThroughSQLAlchemyHarness()


@pytest.mark.parametrize("store", [SQLStore, AsyncSQLStore])
def test_the_sql_stores_can_do_everything_so_that_no_test_is_skipped(store):
    capabilities = store.capabilities
    assert (capabilities.users, capabilities.tombstones, capabilities.count) == (True, True, True)


class PostgreSQLMachine(StoreMachine):
    def harness(self):
        return PostgreSQLHarness()


class CoalescedPostgreSQLMachine(StoreMachine):
    def harness(self):
        return CoalescedPostgreSQLHarness()


class MariaDBMachine(StoreMachine):
    def harness(self):
        return MariaDBHarness()


class CoalescedMariaDBMachine(StoreMachine):
    def harness(self):
        return CoalescedMariaDBHarness()


class SQLiteThroughSQLAlchemyMachine(StoreMachine):
    def harness(self):
        return SQLiteThroughSQLAlchemyHarness()


MACHINES = [
    PostgreSQLMachine,
    CoalescedPostgreSQLMachine,
    MariaDBMachine,
    CoalescedMariaDBMachine,
    SQLiteThroughSQLAlchemyMachine,
]
SHORT = settings(max_examples=10, stateful_step_count=40, deadline=None)
LONG = settings(max_examples=1_000, stateful_step_count=60, deadline=None)


@pytest.mark.promise("6", "12", "13", "16", "17")
@pytest.mark.parametrize("machine", MACHINES)
def test_a_sql_store_holds_what_a_dict_would(machine):
    machine.TestCase.settings = SHORT
    machine.TestCase().runTest()


@pytest.mark.promise("6", "12", "13", "16", "17")
@pytest.mark.soak
@pytest.mark.parametrize("machine", MACHINES)
def test_a_sql_store_holds_what_a_dict_would_for_long(machine):
    machine.TestCase.settings = LONG
    machine.TestCase().runTest()
