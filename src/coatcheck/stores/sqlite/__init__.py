"""Data in one SQLite file: the embedded default, for a site on one machine, of one process or of many.

The file may be the application's own database. Its journal is set to WAL, so that a read never waits for a write.
Beside the file lie SQLite's `-wal` and `-shm`, and `-ballast`, by which logging out still works on a full disk. It must
not lie on a network file system (SQLite: "all processes using a database must be on the same host").

A process that is killed loses nothing. A power cut may undo the writes of the last moments, a logout among them, unless
the store was made with ``synchronous="FULL"``.

Forking is safe at any time: the store closes its connections for that moment. Connections of the application's own to
the same file are not closed by the store, and SQLite forbids having them open across a fork.
"""

from __future__ import annotations

from typing import Literal
from urllib.parse import unquote, urlsplit

from coatcheck.errors import ConfigurationError
from coatcheck.stores.sqlite.store import SQLiteStore
from coatcheck.stores.sqlite.store_async import AsyncSQLiteStore

__all__ = ["AsyncSQLiteStore", "SQLiteStore", "async_from_url", "from_url"]


def from_url(
    url: str,
    *,
    prefix: str = "coatcheck:",
    synchronous: Literal["NORMAL", "FULL"] = "NORMAL",
    ballast: int = 4 << 20,
) -> SQLiteStore:
    """The store in the file that a URL names; see `SQLiteStore`.

    Raises:
        ConfigurationError: The URL has two slashes, or no store can be made of these settings.
        StoreError: The file can't be opened or written.
    """
    return SQLiteStore(_path_of(url), prefix=prefix, synchronous=synchronous, ballast=ballast)


def async_from_url(
    url: str,
    *,
    prefix: str = "coatcheck:",
    synchronous: Literal["NORMAL", "FULL"] = "NORMAL",
    ballast: int = 4 << 20,
) -> AsyncSQLiteStore:
    """The same for an event loop."""
    return AsyncSQLiteStore(_path_of(url), prefix=prefix, synchronous=synchronous, ballast=ballast)


def _path_of(url: str) -> str:
    _, netloc, path, *_ = urlsplit(url)
    if netloc:
        raise ConfigurationError(
            f"sqlite://{netloc}… has two slashes: write sqlite:///relative/path.db or sqlite:////absolute/path.db."
        )
    return unquote(path.removeprefix("/"))
