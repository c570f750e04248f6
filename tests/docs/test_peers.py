"""The README's table of other libraries says what they do in their locked versions."""

import json
import subprocess
import sys
from importlib.metadata import version

import pytest

from tests.docs.pages import DOCS, ROOT
from tests.docs.peer_probes import PROBES
from tests.docs.peers import PEERS
from tests.unmeasured import unmeasured

pytestmark = pytest.mark.xdist_group("peers")  # so that they are asked once

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
        env=unmeasured(),
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


# The rows of the page that tell the same as a column of the README, and what they say where the README says "no".
SAME = {
    "two requests set different keys": (0, "one is lost"),
    "a late write brings a signed-out session back": (1, "yes"),
    "a nested change is kept": (2, "no"),
    "a request that only reads also writes": (3, "yes"),
}


def test_the_page_that_explains_the_differences_says_the_same():
    lines = (DOCS / "explanation" / "why-not-the-others.md").read_text().splitlines()
    heads, _, *rows = [
        [cell.strip() for cell in line.split("|")[1:-1]] for line in lines if line.startswith("|")
    ]
    told = {title: dict(zip(heads[1:], cells, strict=True)) for title, *cells in rows}
    for title, (column, if_no) in SAME.items():
        for library, said in told[title].items():
            (cells,) = [cells for name, cells in TABLE.items() if name.startswith(library)]
            assert (said == if_no) == (cells[column] == "no"), (title, library)
