"""The contract turns red on a store that breaks it, and green on one that doesn't."""

import pytest

from coatcheck.stores.memory import MemoryStore
from coatcheck.testing.contract import StoreContract
from tests.stores.harnesses import MemoryHarness
from tests.testing import twins_of_bytes, twins_of_changes, twins_of_time, twins_of_users
from tests.testing.twin import Twin

MODULES = twins_of_bytes, twins_of_changes, twins_of_time, twins_of_users  # importing them is what counts
BITES = [
    pytest.param(twin, name, id=f"{twin.__name__}-{name}")
    for twin in Twin.twins
    for name in twin.bites.split()
]
TESTS = {name.removeprefix("test_") for name in dir(StoreContract) if name.startswith("test_")}


class OwnCopies(MemoryHarness):
    """A further store knows nothing of what the first one wrote."""

    async def open(self):
        first, self.store = self.store, type(self.store)()
        self.store._data.update(first._data)
        return self.store


def run(twin, name):
    harness = OwnCopies(twin()) if getattr(twin, "shared", False) else MemoryHarness(twin())
    getattr(StoreContract(), f"test_{name}")(harness)


@pytest.mark.parametrize(("twin", "name"), BITES)
def test_the_contract_turns_red_on_a_twin_that_breaks_it(twin, name):
    with pytest.raises(twin.error):
        run(twin, name)


@pytest.mark.parametrize("name", sorted(TESTS))
def test_the_twins_are_sound_but_for_what_they_break(name):
    run(Twin, name)


def test_there_is_no_test_in_the_contract_that_can_not_fail():
    bitten = {name for twin in Twin.twins for name in twin.bites.split()}
    assert bitten == TESTS


def test_a_twin_is_built_like_the_store():
    assert issubclass(Twin, MemoryStore)
    assert len(Twin.twins) > 60
