"""The README's table of other libraries says what they do in their locked versions."""

import json
import subprocess
import sys
from importlib.metadata import version

import pytest

from tests.docs.pages import ROOT
from tests.docs.peer_probes import PROBES
from tests.docs.peers import PEERS

LINES = (ROOT / "README.md").read_text().partition("## Beside the others")[2].splitlines()
_, _, *ROWS = [[cell.strip() for cell in line.split("|")[1:-1]] for line in LINES if line.startswith("|")]
TABLE = {title: cells for title, *cells in ROWS}


@pytest.fixture(scope="module")
def seen():
    """In a process of its own: two of these libraries configure their process for good."""
    ran = subprocess.run(
        [sys.executable, "-m", "tests.docs.peer_probes"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)


@pytest.mark.parametrize("name", PEERS)
def test_the_table_says_what_a_library_does(name, seen):
    (cells,) = [cells for title, cells in TABLE.items() if title.split()[0] == name]
    said = [cell.partition(", with ")[0] for cell in cells[: len(PROBES)]]
    assert said == seen[name]


def test_the_table_names_the_versions_that_run():
    assert "fastapi-redis-sdk 0.9" in TABLE  # its sessions need HEXPIRE, of Redis 7.4
    said = [title.replace(",", "").split() for title in TABLE if not title.startswith("fastapi-redis-sdk")]
    assert [name for name, *_ in said] == list(PEERS)
    for name, *versions in said:
        assert ".".join(version(name).split(".")[:2]) in versions
