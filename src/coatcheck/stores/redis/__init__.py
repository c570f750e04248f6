"""Records in Redis or Valkey: one server, a pair behind Sentinels, or a cluster.

Reading is a GET. Writing is a script of some lines that compares the revision and sets the value, one call for a whole
batch. The index of users lies beside the records.
"""

from __future__ import annotations

from typing import Any

from coatcheck.stores.redis.address import address_of, no_host
from coatcheck.stores.redis.clients import source_of_url
from coatcheck.stores.redis.store import MAX_CONNECTIONS, AsyncRedisStore, RedisStore

__all__ = ["AsyncRedisStore", "RedisStore", "async_from_url", "from_url"]


def from_url(
    url: str,
    *,
    client: Any = None,
    prefix: str = "coatcheck:",
    max_connections: int = MAX_CONNECTIONS,
    tls_ca: str | None = None,
    tls_cert: str | None = None,
    tls_key: str | None = None,
    sentinel_username: str | None = None,
    sentinel_password: str | None = None,
) -> RedisStore:
    """The store on the servers that a URL names. Nothing is connected before the first call.

    Args:
        url: See `docs/how-to/redis.md` for its forms.
        client: A client of the application's own; the URL is then ``redis://`` alone. See `RedisStore`.
        prefix: The text that all keys begin with.
        max_connections: See `RedisStore`.
        tls_ca: The file of certificates by which the server's is checked. None: those of the system.
        tls_cert: The file of the certificate by which the server knows this client.
        tls_key: The file of its key.
        sentinel_username: The user at the Sentinels, if they ask for one.
        sentinel_password: The password at the Sentinels.

    Raises:
        ConfigurationError: No store can be made of these settings.
    """
    source = _source(
        url, client, (tls_ca, tls_cert, tls_key, sentinel_username, sentinel_password), asynchronous=False
    )
    return RedisStore(source, prefix=prefix, max_connections=max_connections)


def async_from_url(
    url: str,
    *,
    client: Any = None,
    prefix: str = "coatcheck:",
    max_connections: int = MAX_CONNECTIONS,
    tls_ca: str | None = None,
    tls_cert: str | None = None,
    tls_key: str | None = None,
    sentinel_username: str | None = None,
    sentinel_password: str | None = None,
) -> AsyncRedisStore:
    """The same for event loops; see `from_url`."""
    source = _source(
        url, client, (tls_ca, tls_cert, tls_key, sentinel_username, sentinel_password), asynchronous=True
    )
    return AsyncRedisStore(source, prefix=prefix, max_connections=max_connections)


_OPTIONS = ("tls_ca", "tls_cert", "tls_key", "sentinel_username", "sentinel_password")


def _source(url: str, client: Any, values: tuple[str | None, ...], *, asynchronous: bool) -> Any:
    options: dict[str, str | None] = dict(zip(_OPTIONS, values, strict=True))
    if client is None:
        return source_of_url(address_of(url, options), asynchronous=asynchronous)
    no_host(url, options)
    return client
