"""The page on the threat model names every requirement of ASVS 5.0 V7 once, and tests that are there."""

import re

from tests.docs.pages import DOCS, ROOT

PAGE = (DOCS / "explanation" / "threat-model.md").read_text()
LEVELS = {
    "7.1.1": 2,
    "7.1.2": 2,
    "7.1.3": 2,
    "7.2.1": 1,
    "7.2.2": 1,
    "7.2.3": 1,
    "7.2.4": 1,
    "7.3.1": 2,
    "7.3.2": 2,
    "7.4.1": 1,
    "7.4.2": 1,
    "7.4.3": 2,
    "7.4.4": 2,
    "7.4.5": 2,
    "7.5.1": 2,
    "7.5.2": 2,
    "7.5.3": 3,
    "7.6.1": 2,
    "7.6.2": 2,
}


def test_every_requirement_stands_on_the_page_once_with_its_level():
    found = re.findall(r"^\*\*(7\.\d\.\d)\*\*, level (\d): ", PAGE, re.MULTILINE)
    assert found == [(number, str(level)) for number, level in LEVELS.items()]


def test_every_test_that_the_page_names_is_there():
    named = set(re.findall(r"`(test_\w+)`", PAGE))
    assert len(named) > 10
    there = "\n".join(
        path.read_text() for path in (ROOT / "tests").rglob("*.py") if path.name != "test_threat_model.py"
    )
    assert [name for name in named if not re.search(rf"def {name}\(", there)] == []


def test_every_promise_that_the_page_names_is_in_the_table():
    held = re.findall(r"\*Held by\*\s+([\w, ]+),\s+`test", PAGE)
    assert len(held) > 8
    table = (DOCS / "reference" / "promises.md").read_text()
    for promise in {each for row in held for each in row.split(", ")}:
        assert f"| **{promise}** " in table, promise
