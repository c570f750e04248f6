"""How Sphinx builds these pages: Markdown (MyST), and the reference from docstrings. `make docs`."""

from __future__ import annotations

import re
from importlib.metadata import version as installed
from pathlib import Path

from sphinx.application import Sphinx

project = "Coatcheck"
author = copyright = "The Coatcheck authors"  # noqa: A001 - Sphinx' name
release = version = installed("coatcheck")

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
exclude_patterns: list[str] = []

# Docstrings write `code` in single backticks, as Markdown does.
default_role = "code"
autodoc_default_options = {"members": True, "member-order": "bysource"}
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
autodoc_preserve_defaults = True
autoclass_content = "both"  # what is to be given to a class stands in its `__init__`
napoleon_use_ivar = True

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 4  # so that `page.md#a-heading` is checked

html_theme = "furo"
html_title = f"Coatcheck {version}"
html_static_path = ["_static"]
html_css_files = ["coatcheck.css"]
html_js_files = ["coatcheck.js"]
html_search_scorer = str(Path(__file__).parent / "_static" / "scorer.js")
html_use_index = False  # the search finds names; the list of all is wider than a page
html_domain_indices = False
html_copy_source = False
html_show_sourcelink = False


# Every name of ours that the reference mentions must be in it; that of another library has no page here. The others are
# types of parts that applications don't touch.
nitpicky = True
nitpick_ignore_regex = [
    (r"py:.*", r"(?!coatcheck\.)[\w.]+(\[\w+)?"),
    (r"py:.*", r"coatcheck\.(core|http|responder|urls|config|model\.lifetimes)\..*"),
    (r"py:.*", r"coatcheck\.compat\.gimlet\.backends\.base\.(Backend|Renewal|Write)"),
    (r"py:.*", r"coatcheck\.compat\.pycket\.driver\.(Snapshot|Swapped)"),
    (r"py:.*", r"coatcheck\.frameworks\.flask_messages\.MessageFields"),
    (r"py:.*", r"coatcheck\.testing\.races\.(Async)?Party"),
    (r"py:.*", r"coatcheck\..*\.(T|S|SessionT|_\w+)"),
]


_TESTED_ONLY = re.compile(r"^<!-- invisible-code-block.*?^-->$", re.MULTILINE | re.DOTALL)


def without_hidden_blocks(_app: Sphinx, _page: str, source: list[str]) -> None:
    """Keep code that only the tests run out of the page and its search. The lines keep their numbers."""
    source[0] = _TESTED_ONLY.sub(lambda block: "\n" * block[0].count("\n"), source[0])


def setup(app: Sphinx) -> None:
    app.connect("source-read", without_hidden_blocks)
    written: dict[str, list[str]] = {}

    def keep(_app: Sphinx, what: str, name: str, _of: object, _options: object, lines: list[str]) -> None:
        if what in {"attribute", "data", "property"}:
            written[name] = list(lines)

    def restore(_app: Sphinx, _what: str, name: str, _of: object, _options: object, lines: list[str]) -> None:
        lines[:] = written.pop(name, lines)

    # Napoleon takes what precedes a colon in the first line of an attribute's docstring for its type.
    app.connect("autodoc-process-docstring", keep, priority=400)
    app.connect("autodoc-process-docstring", restore, priority=600)
