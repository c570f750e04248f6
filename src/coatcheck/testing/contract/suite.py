"""All parts of the contract in one class."""

from __future__ import annotations

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


class StoreContract(Writing, Taking, Preconditions, Users, Ending, Expiry, Batches, Values, Damage, Parallel):
    """Subclass it under a name that pytest collects, and override `harness`."""

    @pytest.fixture
    def harness(self) -> Harness:
        """A harness for one test, with a store that is empty."""
        raise NotImplementedError(f"{type(self).__name__} needs a fixture `harness` that gives a Harness")
