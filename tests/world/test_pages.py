"""The pages of the documentation about libraries and programs that this environment has: every block of them runs."""

import asyncio
import contextvars

import pytest

from coatcheck import Sessions
from tests.docs.conftest import empty_folder
from tests.docs.pages import DOCS, SECRET, parse

__all__ = ["empty_folder"]  # the fixture that comes from elsewhere


@pytest.mark.parametrize("page", ["admin-panels", "flask-appbuilder", "scripts"])
def test_every_block_of_the_page_runs(page, empty_folder, monkeypatch):
    for name in ("FLASK_SECRET", "ADMIN_SECRET"):
        monkeypatch.setenv(name, SECRET)
    monkeypatch.setenv("DATABASE_URL", f"sqlite:///{empty_folder}/site.db")
    document = parse(DOCS / "how-to" / f"{page}.md")
    try:
        # A context of its own, so that no page leaves a request of Flask's behind.
        contextvars.copy_context().run(lambda: [example.evaluate() for example in document.examples()])
    finally:
        for value in document.namespace.values():
            if isinstance(value, Sessions):
                value.shutdown()
            elif hasattr(type(value), "shutdown"):
                asyncio.run(value.shutdown())
