"""The page of frameworks and behaviours is made of the list as it stands, and no framework's module outgrows its limit."""

import re

import pytest

from tests.behaviours.table import (
    COLUMNS,
    PAGE,
    ROOT,
    cell,
    classes,
    frameworks,
    groups,
    page_of,
    rows_of,
    title,
)
from tests.lines import ADAPTERS, FOLDER, PARTS, code_lines, lines_of


def test_the_page_has_every_behaviour_of_the_list_by_its_group():
    page, expected = PAGE.read_text(), []
    for group in groups():
        expected += [f"## {title(group)}", *(f"| {row.words} |" for row in rows_of(group))]
    found = re.findall(
        r"^(## [\w ]+|\| [^|]+ \|)(?=$| [●○–\d])",
        page.partition("\n## Cost")[1:][0] + page.partition("\n## Cost")[2],
        re.MULTILINE,
    )
    assert found == expected, "docs/reference/behaviours.md is out of date: run `make behaviours`"


def test_the_page_has_every_framework_with_its_lines():
    page = PAGE.read_text()
    lacking = [line for line in frameworks() if line not in page]
    assert lacking == [], "docs/reference/behaviours.md is out of date: run `make behaviours`"


def test_what_runs_the_list_is_there():
    for owner in classes(""):
        path, _, name = owner.partition("::")
        assert f"class {name}(" in (ROOT / path).read_text(), owner


def test_a_framework_that_fails_a_behaviour_or_did_not_run_it_makes_no_page():
    row = rows_of(groups()[0])[0]
    passed = {f"{owner}::{row.test}": "passed" for owner in classes("")}
    assert "| ● | ● |" in page_of(passed)
    with pytest.raises(SystemExit, match=f"Flask fails {row.test}"):
        page_of(passed | {f"{COLUMNS[2].served}::{row.test}[again]": "failed"})
    del passed[f"{COLUMNS[2].served}::{row.test}"]
    with pytest.raises(SystemExit, match=r"test_flask\.py::TestServed"):
        page_of(passed)


@pytest.mark.parametrize(
    ("served", "in_place", "shown"),
    [
        ({"passed"}, {"passed"}, "●"),
        (set(), {"passed"}, "○"),
        (set(), set(), "–"),
        ({"It is a teapot"}, {"It is a teapot"}, "It is a teapot"),
    ],
)
def test_a_cell_says_where_a_behaviour_holds_or_why_it_can_not(served, in_place, shown):
    column, row = COLUMNS[0], rows_of(groups()[0])[0]
    outcomes = {f"{owner}::{row.test}": set() for owner in (column.served, *column.in_place)}
    outcomes |= {f"{column.served}::{row.test}": served, f"{column.in_place[0]}::{row.test}": in_place}
    assert cell(outcomes, column, row) == shown


@pytest.mark.parametrize("adapter", ADAPTERS)
def test_an_adapter_stays_thin(adapter):
    limit, modules = ADAPTERS[adapter]
    assert 0 < lines_of(*modules) <= limit


def test_every_module_of_a_framework_is_counted():
    counted = [path for _, modules in ADAPTERS.values() for each in modules for path in FOLDER.glob(each)]
    counted += [FOLDER / part for part in PARTS]
    assert sorted([*counted, FOLDER / "__init__.py"]) == sorted(FOLDER.rglob("*.py"))


def test_a_line_of_code_is_no_blank_line_comment_or_docstring():
    source = '"""One."""\n\nX = (\n    1,  # why\n)\n\n\nclass Y:\n    """Two\n    lines."""\n\n    # A comment.\n    z = """text\n"""\n'
    assert code_lines(source) == 6
