"""All parts of the contract in one class."""

from __future__ import annotations

from typing import Any

import pytest

from coatcheck.model.ports import Index
from coatcheck.testing.contract.batches import Batches
from coatcheck.testing.contract.expiry import Counting, Expiry
from coatcheck.testing.contract.harness import Harness
from coatcheck.testing.contract.parallel import Parallel
from coatcheck.testing.contract.service import Service
from coatcheck.testing.contract.users import Beside, Listing, Within
from coatcheck.testing.contract.values import Values
from coatcheck.testing.contract.writing import Writing

__all__ = ["StoreContract"]

_ONLY_WITH: dict[type, set[Index]] = {
    Within: {"within"},
    Beside: {"beside"},
    Listing: {"within", "beside"},
    Counting: {"within", "beside"},
}


class StoreContract(Writing, Batches, Values, Expiry, Counting, Listing, Within, Beside, Parallel, Service):
    """Subclass it under a name that pytest collects, and override `harness`.

    The keyword `index` is the store's `Store.index`: ``class TestMyStore(StoreContract, index="none")``. The subclass
    then has the tests for such a store, and they fail if the store says something else.
    """

    index: Index = "within"

    def __init_subclass__(cls, *, index: Index | None = None, **more: Any) -> None:
        super().__init_subclass__(**more)
        cls.index = index or cls.index
        for part, indexes in _ONLY_WITH.items():
            for name, test in vars(part).items():
                if name.startswith("test_"):
                    setattr(cls, name, test if cls.index in indexes else None)

    @pytest.fixture
    def harness(self) -> Harness:
        """A harness for one test, with a store that is empty."""
        raise NotImplementedError(f"{type(self).__name__} needs a fixture `harness` that gives a Harness")
