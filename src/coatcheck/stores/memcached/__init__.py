"""Sessions in Memcached, through pymemcache.

Memcached forgets: it may evict data that was not used for long, and a server that restarts comes back empty. A session
may therefore end early here, never late. There are no lists either: all sessions of a user can be ended, and can't be
listed. See docs/how-to/memcached.md.
"""

from __future__ import annotations

from coatcheck.stores.memcached.servers import servers_of_url
from coatcheck.stores.memcached.store import AsyncMemcachedStore, MemcachedStore

__all__ = ["AsyncMemcachedStore", "MemcachedStore", "async_from_url", "from_url"]


def from_url(url: str, *, prefix: str = "coatcheck:", max_item_bytes: int = 1 << 20) -> MemcachedStore:
    """The store that ``memcached://host:port,host:port`` or ``memcached:///path/of/a/socket`` names.

    Raises:
        ConfigurationError: It names none.
    """
    servers = [server.name for server in servers_of_url(url)]
    return MemcachedStore(servers, prefix=prefix, max_item_bytes=max_item_bytes)


def async_from_url(
    url: str, *, prefix: str = "coatcheck:", max_item_bytes: int = 1 << 20
) -> AsyncMemcachedStore:
    """The same for an event loop."""
    servers = [server.name for server in servers_of_url(url)]
    return AsyncMemcachedStore(servers, prefix=prefix, max_item_bytes=max_item_bytes)
