"""Records in Redis or Valkey: one server, a pair behind Sentinels, or a cluster.

Reading is a GET. Writing is a script of some lines that compares the revision and sets the value, one call for a whole
batch. The index of users lies beside the records.
"""

from __future__ import annotations

from collections.abc import Callable

from coatcheck.stores.redis.store import AsyncRedisStore, RedisStore

__all__ = ["AsyncRedisStore", "RedisStore", "async_from_url", "from_url"]

from_url: Callable[..., RedisStore] = RedisStore.from_url
async_from_url: Callable[..., AsyncRedisStore] = AsyncRedisStore.from_url
