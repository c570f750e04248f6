"""What type checkers see in the package as it is installed. Checked by mypy and pyright, never run."""

from __future__ import annotations

from types import ModuleType
from typing import assert_type

import coatcheck

module: ModuleType = coatcheck
assert_type(coatcheck.__name__, str)
