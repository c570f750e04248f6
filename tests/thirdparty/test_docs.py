"""The pages of the documentation about frameworks that this environment has: every block of them runs."""

import asyncio
import sys
from types import ModuleType

import pytest

from coatcheck import AsyncSessions, Sessions
from tests.docs.pages import DOCS, SECRET, parse, run_pytest

# Gradio makes event loops where it is imported and used in a thread, and closes none.
UNCLOSED = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")


@pytest.mark.parametrize("page", ["litestar", pytest.param("other-frameworks", marks=UNCLOSED), "quart"])
def test_every_block_of_the_page_runs(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SESSION_SECRET", SECRET)
    monkeypatch.setenv("GRADIO_ANALYTICS_ENABLED", "False")
    monkeypatch.setitem(sys.modules, "page", ModuleType("page"))  # Litestar looks up the module of a handler
    document = parse(DOCS / "how-to" / f"{page}.md")
    try:
        for example in document.examples():
            example.evaluate()
        run_pytest()
    finally:
        managers = [
            each for each in document.namespace.values() if isinstance(each, Sessions | AsyncSessions)
        ]
        for manager in managers:
            if (stopping := manager.shutdown()) is not None:
                asyncio.run(stopping)
