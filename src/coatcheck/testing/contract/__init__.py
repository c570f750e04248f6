"""The contract of a store, as a suite for pytest.

Give it a harness, in a fixture; that is all::

    class MyHarness(Harness):
        async def open(self):
            return MyStore(...)

        async def plant(self, key, data): ...
        async def raw(self, key): ...


    class TestMyStore(StoreContract):
        @pytest.fixture
        def harness(self):
            return MyHarness()

A sync and an async store run the same tests, each in an event loop of its own; no plugin for pytest is needed. Which
tests there are depends on the store's index, ``"within"`` unless the class says another:
``class TestMyStore(StoreContract, index="none")``.
"""

from __future__ import annotations

try:
    import pytest
except ImportError as _error:  # pragma: no cover - the tests have it
    raise ImportError(
        "coatcheck.testing.contract runs on pytest: pip install 'coatcheck[testing]'"
    ) from _error

# So that a failing assertion shows its values in other people's projects, too.
for _part in (
    *("batches", "expiry", "harness", "parallel", "service", "suite", "users", "values", "writing"),
):
    pytest.register_assert_rewrite(f"{__name__}.{_part}")

from coatcheck.testing.contract.harness import Bench, Harness, scenario  # noqa: E402 - the rewriting comes first
from coatcheck.testing.contract.suite import StoreContract  # noqa: E402 - as above

__all__ = ["Bench", "Harness", "StoreContract", "scenario"]
