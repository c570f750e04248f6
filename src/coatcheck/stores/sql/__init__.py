"""PostgreSQL, MySQL and MariaDB, through SQLAlchemy. `store` has the sync one, `store_async` the async one."""

from __future__ import annotations

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
