"""Sessions in a database: PostgreSQL, MySQL, MariaDB, or another one for which there is an engine of SQLAlchemy's.

One row for each session, written by compare-and-swap. The store has connections of its own, and short transactions of
its own: it never takes part in the application's, so that a stored session stands, whatever becomes of the
application's transaction.

Using the store does not make the tables. ``coatcheck db create --store URL`` does, or the statements that
``coatcheck db ddl`` prints for migrations of the application's own.
"""

from __future__ import annotations

import greenlet as _greenlet  # type: ignore[import-untyped] # noqa: F401 - first: SQLAlchemy's own error names another extra
from sqlalchemy import Engine
from sqlalchemy.ext.asyncio import AsyncEngine

from coatcheck.stores.sql.store import SQLStore
from coatcheck.stores.sql.store_async import AsyncSQLStore

__all__ = ["AsyncSQLStore", "SQLStore", "async_from_url", "from_url"]


def from_url(url: str, *, prefix: str = "coatcheck:", client: Engine | None = None) -> SQLStore:
    """The store in the database that a URL names, or, with `client`, in that of an engine; see `SQLStore`."""
    return SQLStore(url if client is None else client, prefix=prefix)


def async_from_url(
    url: str, *, prefix: str = "coatcheck:", client: AsyncEngine | None = None
) -> AsyncSQLStore:
    """The same for an event loop."""
    return AsyncSQLStore(url if client is None else client, prefix=prefix)
