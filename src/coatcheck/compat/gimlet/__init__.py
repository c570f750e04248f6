"""gimlet's import paths, API, cookies and records, for sites that come from gimlet 0.5.

Change ``gimlet`` to ``coatcheck.compat.gimlet`` in the imports. Existing sessions continue: cookies and records that
gimlet wrote are read. New cookies are sealed, and new records contain no pickle.
"""

from __future__ import annotations

__all__ = ["__version__"]

__version__: str = "0.5.2"
"""The release of gimlet whose API this is."""
