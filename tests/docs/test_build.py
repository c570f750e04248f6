"""The documentation is built as strictly as `make docs` does it, and has what it must."""

import subprocess
import sys

import pytest
from sphinx.util.inventory import InventoryFile

import coatcheck
from tests.docs.pages import DOCS

pytestmark = pytest.mark.xdist_group("documentation")  # so that it is built once


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    site = tmp_path_factory.mktemp("site")
    command = [sys.executable, "-m", "sphinx", "--fail-on-warning", "--keep-going", "--quiet"]
    command += ["-D", "html_theme=basic"]  # whose pages take a third less time to write
    built = subprocess.run([*command, str(DOCS), str(site)], capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    return site


def test_every_public_name_stands_in_the_reference(site):
    entries = InventoryFile.loads((site / "objects.inv").read_bytes(), uri="").data
    documented = {name for kind in entries if kind.startswith("py:") for name in entries[kind]}
    missing = [
        name
        for name in coatcheck.__all__
        if not {f"coatcheck.{name}", f"coatcheck.errors.{name}"} & documented
    ]
    assert missing == []


def test_no_hidden_block_is_shown(site):
    assert [page for page in site.rglob("*.html") if "invisible-code-block" in page.read_text()] == []
