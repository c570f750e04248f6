"""Every Python block of the documentation runs, and so do our own commands."""

import ast
import asyncio
import builtins
import contextvars
import re
from inspect import iscoroutinefunction

import pytest
from quart import Quart

from tests.docs.pages import DOCS, PAGES, ROOT, name_of, parse, run_pytest

README = ROOT / "README.md"  # in test_readme.py
TUTORIAL = DOCS / "tutorial" / "first-site.md"  # runs step by step, in a test of its own
# These run where what they import is installed: tests/thirdparty/test_docs.py, tests/world/test_*_page.py and
# tests/world/test_pages.py.
ELSEWHERE = tuple(
    DOCS / "how-to" / f"{name}.md"
    for name in (
        "admin-panels",
        "django-libraries",
        "flask-appbuilder",
        "oauth",
        "other-frameworks",
        "scripts",
    )
)
LANGUAGES = {"python", "console", "sh", "text", "html+jinja", "ini", "nginx", "apache", "dockerfile", "yaml"}


@pytest.mark.parametrize(
    "page", [page for page in PAGES if page not in (README, TUTORIAL, *ELSEWHERE)], ids=name_of
)
def test_every_block_of_a_page_runs(page, empty_folder):
    managers = []
    try:
        # A context of its own, so that no page leaves a request of Flask's behind.
        contextvars.copy_context().run(run_all, parse(page).examples(), managers)
        run_pytest()
    finally:
        shut_down(managers)


def run_all(examples, managers):
    for example in examples:
        example.evaluate()
        # Managers, and clients of a Redis server that the page started, which stops it. By their type: a proxy of
        # Flask's can't be asked outside of a request. An application of Quart's that never ran can't be shut down.
        kinds = [(value, type(value)) for value in example.namespace.values()]
        managers += [
            value for value, kind in kinds if hasattr(kind, "shutdown") and not issubclass(kind, Quart)
        ]


def shut_down(managers):
    for manager in {id(manager): manager for manager in managers}.values():
        if iscoroutinefunction(manager.shutdown):
            asyncio.run(manager.shutdown())
        else:
            manager.shutdown()


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_block_says_its_language_and_no_python_block_is_passed_over(page):
    text = page.read_text()
    languages = re.findall(r"^ *(?:`{3,}|~{3,})([^`\n]+)$", text, re.MULTILINE)
    fences = re.findall(r"^ *(?:`{3,}|~{3,})", text, re.MULTILINE)
    assert len(fences) == 2 * len(languages), "a block without a language"
    directives = {language for language in languages if language.startswith("{")}
    assert not [directive for directive in directives if directive.startswith("{code")]
    assert set(languages) - directives <= LANGUAGES
    hidden = re.findall(r"^<!-- invisible-code-block: python$", text, re.MULTILINE)
    run = [example.region.lexemes["arguments"] for example in parse(page).examples()]
    assert run.count("python") == languages.count("python") + len(hidden)
    assert run.count("console") == languages.count("console")


def names(lines):
    """The names that lines of Python use, those that their imports bind, and those that they assign."""
    used, imported, assigned = set(), set(), set()
    for node in ast.walk(ast.parse("\n".join(lines))):
        if isinstance(node, ast.Import | ast.ImportFrom):
            imported |= {(alias.asname or alias.name).partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.Name):
            (used if isinstance(node.ctx, ast.Load) else assigned).add(node.id)
    return used, imported, assigned


@pytest.mark.parametrize(
    "block",
    [
        pytest.param(block, id=f"{page.name} {number}")
        for page in sorted((DOCS / "how-to").glob("from-*.md"))
        for number, block in enumerate(
            re.findall(r"^```text\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)
        )
        if "…" not in block
    ],
)
def test_the_lines_to_change_import_what_they_use(block):
    lines = block.splitlines()
    assert all(line[:2] in ("", "+", "+ ", "- ", "  ") for line in lines)
    used_before, imported_before, _ = names([line[2:] for line in lines if line[:1] != "+"])
    used, imported, assigned = names([line[2:] for line in lines if line[:1] != "-"])
    # The old site already imports what the removed lines used.
    assert used - imported - assigned - set(dir(builtins)) <= used_before - imported_before
