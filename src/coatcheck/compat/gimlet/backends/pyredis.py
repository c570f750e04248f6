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
    """Stores each record under ``gimlet.<id>``, with an expiry. Connections are pooled."""

    def __init__(
        self,
        host: str = "localhost",
        port: int | str = 6379,
        db: int | str = 0,
        *args: Any,
        client: Redis | None = None,
        **kw: Any,
    ) -> None:
        """Make a backend, without connecting yet.

        Args:
            host: The server's name.
            port: Its port.
            db: The database.
            *args: The arguments of `BaseBackend`.
            client: A client (for TLS, a password, Sentinel, …) in place of host, port and db.
            **kw: The arguments of `BaseBackend`.
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
        # This interface has no lifetime: an existing expiry is kept, and a new record does not expire, as in gimlet.
        self.client.set(self.prefixed_key(key), self.serialize(value), keepttl=True)

    def close(self) -> None:
        """Close the pooled connections."""
        self.client.close()

    def read_many(self, ids: Sequence[bytes]) -> dict[bytes, Record | DecodeError]:
        """See `BaseBackend.read_many`. One round trip."""
        raws: Any = self.client.mget([self.prefixed_key(key) for key in ids])
        return self._read(zip(ids, raws, strict=True))

    def write_many(
        self, writes: Sequence[Write], gone: Sequence[bytes], renewals: Sequence[Renewal]
    ) -> set[bytes]:
        """See `BaseBackend.write_many`. One transaction in one round trip."""
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
