"""gimlet's import paths, API, cookies and records, for sites that come from gimlet 0.5.

Change ``gimlet`` to ``coatcheck.compat.gimlet`` in the imports, and the sessions that run go on: cookies and records
that gimlet wrote are read. New ones are written in safe forms: sealed cookies, and records that no pickle is in.
"""

from __future__ import annotations

__all__ = ["__version__"]

__version__: str = "0.5.2"
"""The release of gimlet whose API this is."""
