"""hug_store_redis 1.0.0: a Redis store for hug's `SessionMiddleware`, and a better middleware for it."""

from __future__ import annotations

from coatcheck.compat.hug_store_redis.redis_store import RedisStore

__all__ = ["RedisStore"]
