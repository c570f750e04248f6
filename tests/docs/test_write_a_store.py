"""The stores that the guide shows are as short as promised. Their contract runs with the page."""

import pytest

from tests.docs.pages import DOCS, parse

BLOCKS = [example.parsed for example in parse(DOCS / "how-to" / "write-a-store.md").examples()]


@pytest.mark.parametrize("file", ["dict_store.py", "row_store.py"])
def test_a_store_has_at_most_120_lines(file):
    (store,) = [block for block in BLOCKS if block.startswith(f"# {file}\n")]
    assert store.count("\n") <= 120
