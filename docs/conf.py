"""How Sphinx builds these pages: Markdown (MyST), and the reference from docstrings. `make docs`."""

from __future__ import annotations

from importlib.metadata import version as installed

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
html_title = "Coatcheck"
html_copy_source = False
html_show_sourcelink = False
