"""What is published besides the code: the README as PyPI shows it, the metadata, the changelog."""

import re
import tomllib

from trove_classifiers import classifiers

from tests.docs.pages import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
README = (ROOT / "README.md").read_text()
SOURCE = PROJECT["urls"]["Source"]
LINKS = [*PROJECT["urls"].values(), *re.findall(r"\]\(([^)]+)\)", README)]
OURS = re.compile(
    rf"{SOURCE}/blob/main/([^#]+)(?:#(.*))?|{SOURCE.replace('//github.com', '//raw.githubusercontent.com')}/main/(.*)"
)


def test_no_link_of_the_readme_is_relative_which_pypi_would_not_follow():
    assert [link for link in LINKS if "://" not in link] == []


def test_links_into_the_repository_lead_to_files_and_headings():
    found = [OURS.fullmatch(link) for link in LINKS if "/main/" in link]
    assert len(found) > 20
    for match in found:
        page, heading, raw = match.groups()
        assert (ROOT / (page or raw)).is_file()
        headings = re.findall(r"^#+ (.*)", (ROOT / page).read_text(), re.MULTILINE) if heading else []
        assert heading is None or heading in map(_anchor, headings)


def _anchor(heading):
    return re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-")


def test_every_framework_with_a_classifier_has_it():
    modules = {path.stem.lower() for path in (ROOT / "src/coatcheck/frameworks").iterdir()}
    there = {name for name in classifiers if name.startswith("Framework :: ") and name.count("::") == 1}
    ours = {name for name in there if name.removeprefix("Framework :: ").lower() in modules}
    assert ours <= set(PROJECT["classifiers"]) <= classifiers


def test_the_changelog_begins_with_this_version():
    (first, *_) = re.findall(r"^## \[(.*?)\]", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert first in (PROJECT["version"], "Unreleased")
