"""All parts of the contract in one class."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, Literal

import pytest

from coatcheck.testing.contract.batches import Batches
from coatcheck.testing.contract.damage import Damage
from coatcheck.testing.contract.ending import Ending
from coatcheck.testing.contract.expiry import Expiry
from coatcheck.testing.contract.harness import Harness
from coatcheck.testing.contract.parallel import Parallel
from coatcheck.testing.contract.preconditions import Preconditions
from coatcheck.testing.contract.taking import Taking
from coatcheck.testing.contract.users import Users
from coatcheck.testing.contract.values import Values
from coatcheck.testing.contract.writing import Writing

__all__ = ["StoreContract"]

_ONLY_WITH = {
    "users": [name for name in vars(Users) if name.startswith("test_")],
    "count": [Expiry.test_what_is_dead_is_not_counted.__name__],
}


class StoreContract(Writing, Taking, Preconditions, Users, Ending, Expiry, Batches, Values, Damage, Parallel):
    """Subclass it under a name that pytest collects, and override `harness`.

    For a store that can't do everything, say so: ``class TestMyStore(StoreContract, lacks={"users"})``. The tests of
    that are then none of the subclass's, and the others fail if the store has it after all.
    """

    lacks: frozenset[str] = frozenset()

    def __init_subclass__(cls, *, lacks: Collection[Literal["users", "count"]] = (), **more: Any) -> None:
        super().__init_subclass__(**more)
        if lacks:
            cls.lacks = frozenset(lacks)
            for capability in lacks:
                for name in _ONLY_WITH[capability]:
                    setattr(cls, name, None)

    @pytest.fixture
    def harness(self) -> Harness:
        """A harness for one test, with a store that is empty."""
        raise NotImplementedError(f"{type(self).__name__} needs a fixture `harness` that gives a Harness")
