"""The page of the documentation about these frameworks: every block of it runs."""

import asyncio
import sys
from types import ModuleType

from tests.docs.pages import DOCS, SECRET, parse


def test_every_block_of_the_page_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("SESSION_SECRET", SECRET)
    monkeypatch.setitem(sys.modules, "page", ModuleType("page"))  # Litestar looks up the module of a handler
    document = parse(DOCS / "how-to" / "other-frameworks.md")
    try:
        for example in document.examples():
            example.evaluate()
    finally:
        document.namespace["sessions"].shutdown()
        asyncio.run(document.namespace["async_sessions"].shutdown())
