"""The documentation is built as strictly as `make docs` does it, and has what it must."""

import re
from html.parser import HTMLParser
from importlib import import_module
from importlib.metadata import version
from urllib.parse import unquote, urldefrag, urlsplit

import pytest
from sphinx.util.inventory import InventoryFile

from tests.docs.pages import PAGES

pytestmark = pytest.mark.xdist_group("documentation")  # so that it is built once

# What these modules share with other modules of the package.
INTERNAL = {
    "coatcheck.frameworks.asgi": {"cookies_of", "path_of"},
    "coatcheck.model.record": {"APPLIED", "MARK_BYTES", "NO_FIELDS", "Change"},
}


@pytest.fixture(scope="module")
def inventory(built):
    return InventoryFile.loads((built / "objects.inv").read_bytes(), uri="").data


@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::UserWarning")  # of what the modules import
def test_every_name_of_every_public_module_stands_in_the_reference(inventory):
    documented = {name for kind in inventory if kind.startswith("py:") for name in inventory[kind]}
    expected = [
        (module, name)
        for module in public_modules(inventory)
        for name in getattr(import_module(module), "__all__", ())
        if name not in INTERNAL.get(module, ())
    ]
    assert len({module for module, _ in expected}) > 40
    missing = [
        f"{module}.{name}"
        for module, name in expected
        if not {f"{module}.{name}", home(module, name)} & documented
    ]
    assert missing == []


def public_modules(inventory):
    """Those that the reference has, and those that pages import from."""
    text = re.sub(r"<!--.*?-->", "", "\n".join(page.read_text() for page in PAGES), flags=re.DOTALL)
    imported = set(re.findall(r"^ *from (coatcheck[\w.]*) import", text, re.MULTILINE))
    # `coatcheck.merges` is a name of `coatcheck`, not a module.
    return sorted((imported | set(inventory["py:module"])) - {"coatcheck.merges"})


def home(module, name):
    """The full name of what a module gives on, where it is defined."""
    found = vars(import_module(module))[name]
    if "LocalProxy" in type(found).__name__:  # of a request that is not there
        return f"{module}.{name}"
    return f"{getattr(found, '__module__', module)}.{getattr(found, '__qualname__', name)}"


class Links(HTMLParser):
    def __init__(self, page):
        super().__init__()
        self.names, self.links = set(), []
        self.feed(page.read_text())

    def handle_starttag(self, tag, attributes):
        given = dict(attributes)
        self.names.add(given.get("id"))
        if tag == "a" and given.get("href"):
            self.links.append(given["href"])


@pytest.fixture(scope="module")
def linked(built):
    return {page: Links(page) for page in sorted(built.rglob("*.html"))}


def test_every_internal_link_leads_to_a_page_and_a_place_in_it(linked):
    broken = []
    for page, found in linked.items():
        for link in found.links:
            address, place = urldefrag(link)
            if urlsplit(address).scheme:
                continue
            target = (page.parent / unquote(address)).resolve() if address else page
            if target not in linked or (place and unquote(place) not in linked[target].names):
                broken.append(f"{page.name}: {link}")
    assert broken == []


def test_every_external_link_is_an_address_by_https_and_written_in_one_way(linked):
    external = {link for found in linked.values() for link in found.links if urlsplit(link).scheme}
    local = {link for link in external if urlsplit(link).hostname in {"127.0.0.1", "localhost"}}
    for link in external - local:
        parts = urlsplit(link)
        assert parts.scheme == "https", link
        assert re.fullmatch(r"([a-z0-9-]+\.)+[a-z]{2,}", parts.netloc), link
        assert not re.search(r"[\s<>\"`]", link), link
    ways = {}
    for link in external - local:
        ways.setdefault(re.sub(r"^https://(www\.)?|/?(#.*)?$", "", link), set()).add(urldefrag(link)[0])
    assert [spellings for spellings in ways.values() if len(spellings) > 1] == []


def test_every_page_says_which_version_it_describes(linked):
    for page in linked:
        assert f"Coatcheck {version('coatcheck')}" in page.read_text(), page


def test_no_hidden_block_is_shown(built):
    assert [page for page in built.rglob("*.html") if "invisible-code-block" in page.read_text()] == []
