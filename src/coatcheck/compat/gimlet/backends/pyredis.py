"""Records in Redis."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, cast

from redis import Redis

from coatcheck.compat.gimlet.backends.base import BaseBackend, Record, Renewal, Write
from coatcheck.errors import ConfigurationError, DecodeError

__all__ = ["RedisBackend"]

_TIMEOUT = 5.0


class RedisBackend(BaseBackend):
    """Keeps each record under ``gimlet.<id>``, with an expiry. Connections are pooled; threads don't wait for each other."""

    def __init__(
        self,
        host: str = "localhost",
        port: int | str = 6379,
        db: int | str = 0,
        *args: Any,
        client: Redis | None = None,
        **kw: Any,
    ) -> None:
        """Make one; nothing is connected yet.

        Args:
            host: The server's name.
            port: Its port.
            db: The database.
            *args: What `BaseBackend` takes.
            client: A ready client (TLS, a password, Sentinel, …) in place of host, port and db.
            **kw: What `BaseBackend` takes.
        """
        if client is None:
            client = Redis(
                host=host,
                port=int(port),
                db=int(db),
                socket_timeout=_TIMEOUT,
                socket_connect_timeout=_TIMEOUT,
            )
        if cast("Any", client).get_encoder().decode_responses:
            raise ConfigurationError("The client must not have decode_responses=True: records are bytes.")
        self.client: Redis = client
        super().__init__(*args, **kw)

    def __getitem__(self, key: bytes) -> Any:
        raw: Any = self.client.get(self.prefixed_key(key))
        return self._one(key, raw)

    def __setitem__(self, key: bytes, value: Any) -> None:
        # Nobody said for how long: what expires on its own is kept, and otherwise nothing expires, as with gimlet.
        self.client.set(self.prefixed_key(key), self.serialize(value), keepttl=True)

    def close(self) -> None:
        """Close the pooled connections."""
        self.client.close()

    def read_many(self, ids: Sequence[bytes]) -> dict[bytes, Record | DecodeError]:
        """All in one round trip."""
        raws: Any = self.client.mget([self.prefixed_key(key) for key in ids])
        return self._read(zip(ids, raws, strict=True))

    def write_many(
        self, writes: Sequence[Write], gone: Sequence[bytes], renewals: Sequence[Renewal]
    ) -> set[bytes]:
        """All in one round trip, and all or nothing; each record with its expiry."""
        raws = [self.serialize(write.data) for write in writes]
        several = len(writes) + len(gone) + len(renewals) > 1
        with cast("Any", self.client).pipeline(transaction=several) as pipe:
            for write, raw in zip(writes, raws, strict=True):
                pipe.set(self.prefixed_key(write.id), raw, ex=write.seconds, xx=write.there)
            for key in gone:
                pipe.delete(self.prefixed_key(key))
            for renewal in renewals:
                pipe.expire(self.prefixed_key(renewal.id), renewal.seconds)
            done: list[Any] = pipe.execute()
        return {write.id for write, is_done in zip(writes, done, strict=False) if not is_done}
