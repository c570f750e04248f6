"""A store for hug's `SessionMiddleware`, on Redis, as hug_store_redis 1.0.0 had it; and a middleware to go with it."""

from __future__ import annotations

from coatcheck.compat.hug_store_redis.redis_store import RedisStore

__all__ = ["RedisStore"]
