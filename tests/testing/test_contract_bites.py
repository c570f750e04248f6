"""The contract turns red on a store that breaks it, and green on one that doesn't."""

import threading

import pytest

from coatcheck.stores.memory import MemoryStore
from coatcheck.testing.contract import StoreContract
from tests.stores.harnesses import AsyncMemoryHarness, MemoryHarness
from tests.testing import twins_at_once, twins_of_bytes, twins_of_time, twins_of_users
from tests.testing.stores import SeparateIndexStore
from tests.testing.twin import AsyncTwin, BesideTwin, Twin

MODULES = twins_at_once, twins_of_bytes, twins_of_time, twins_of_users  # importing them is what counts
BITES = [
    pytest.param(twin, name, id=f"{twin.__name__}-{name}")
    for twin in Twin.twins
    for name in twin.bites.split()
]
TESTS = {name.removeprefix("test_") for name in dir(StoreContract) if name.startswith("test_")}


class Beside(StoreContract, index="beside"):
    pass


class Within(StoreContract, index="within"):
    pass


class TwinHarness(MemoryHarness):
    async def open(self):
        if self.memory is None:
            self.store = self.memory = self.twin()
        elif self.twin.opens != "the same store":
            first, self.store = self.memory, self.twin()
            copied = self.twin.opens == "a copy"
            for name, value in vars(first).items():
                setattr(self.store, name, value.copy() if copied and hasattr(value, "copy") else value)
            self.store._lock = threading.Lock()
        return self.store

    def __init__(self, twin):
        super().__init__(twin)
        self.twin, self.memory = twin, None


class AsyncTwinHarness(AsyncMemoryHarness):
    def __init__(self, twin):
        super().__init__(twin())


def run(twin, name):
    if issubclass(twin, AsyncTwin):
        suite, harness = Within(), AsyncTwinHarness(twin)
    else:
        suite = Beside() if issubclass(twin, SeparateIndexStore) else Within()
        harness = TwinHarness(twin)
    getattr(suite, f"test_{name}")(harness)


def names_in(suite):
    return sorted(name for name in TESTS if getattr(suite, f"test_{name}"))


@pytest.mark.parametrize(("twin", "name"), BITES)
def test_the_contract_turns_red_on_a_twin_that_breaks_it(twin, name):
    with pytest.raises(twin.error):
        run(twin, name)


@pytest.mark.parametrize(
    ("twin", "name"),
    [
        (twin, name)
        for twin, suite in ((Twin, Within), (BesideTwin, Beside), (AsyncTwin, Within))
        for name in names_in(suite)
    ],
)
def test_the_twins_are_sound_but_for_what_they_break(twin, name):
    run(twin, name)


def test_there_is_no_test_in_the_contract_that_can_not_fail():
    bitten = {name for twin in Twin.twins for name in twin.bites.split()}
    assert bitten == TESTS


def test_a_twin_is_built_like_the_store():
    assert issubclass(Twin, MemoryStore)
    assert len(Twin.twins) > 90
