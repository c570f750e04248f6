"""The drivers' clients: made from a URL, or the application's own, judged by what they can do."""

from __future__ import annotations

from contextlib import suppress
from inspect import iscoroutinefunction, signature
from typing import Any

import redis
import redis.asyncio
import redis.asyncio.cluster
import redis.asyncio.sentinel
import redis.cluster
import redis.sentinel
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.connection import AbstractConnection
from redis.retry import Retry

from coatcheck.errors import ConfigurationError
from coatcheck.stores._redis_url import Address, Limits

__all__ = ["abandon_pool", "async_cluster", "async_pool", "check", "cluster", "pool", "sentinels_of"]

# Their constructors have no types.
_Sentinel: Any = redis.sentinel.Sentinel
_SentinelPool: Any = redis.sentinel.SentinelConnectionPool
_AsyncSentinel: Any = redis.asyncio.sentinel.Sentinel
_AsyncSentinelPool: Any = redis.asyncio.sentinel.SentinelConnectionPool
_ClusterNode: Any = redis.cluster.ClusterNode
_UnixConnection: Any = redis.UnixDomainSocketConnection


def pool(address: Address, limits: Limits) -> Any:
    """A pool of redis-py that makes connections to the one server to talk to."""
    options = _options(address, limits) | {"retry": Retry(NoBackoff(), 0)}
    if address.kind == "sentinel":
        sentinel = _Sentinel(
            address.hosts, sentinel_kwargs=_sentinel(address, limits, Retry(NoBackoff(), 0)), **options
        )
        return _SentinelPool(
            address.service,
            sentinel,
            ssl=address.tls,
            db=address.database,
            **options,
            **address.tls_options(),
        )
    if address.path is not None:
        return redis.ConnectionPool(connection_class=_UnixConnection, path=address.path, **_no_tcp(options))
    ((host, port),) = address.hosts
    kind = redis.SSLConnection if address.tls else redis.Connection
    return redis.ConnectionPool(
        connection_class=kind,
        host=host,
        port=port,
        db=address.database,
        **options,
        **address.tls_options(),
    )


def async_pool(address: Address, limits: Limits) -> Any:
    """The same for an event loop."""
    options = _options(address, limits, asynchronous=True) | {"retry": AsyncRetry(NoBackoff(), 0)}
    if address.kind == "sentinel":
        sentinel = _AsyncSentinel(
            address.hosts, sentinel_kwargs=_sentinel(address, limits, AsyncRetry(NoBackoff(), 0)), **options
        )
        return _AsyncSentinelPool(
            address.service,
            sentinel,
            ssl=address.tls,
            db=address.database,
            **options,
            **address.tls_options(),
        )
    if address.path is not None:
        return redis.asyncio.ConnectionPool(
            connection_class=redis.asyncio.UnixDomainSocketConnection, path=address.path, **_no_tcp(options)
        )
    ((host, port),) = address.hosts
    kind = redis.asyncio.SSLConnection if address.tls else redis.asyncio.Connection
    return redis.asyncio.ConnectionPool(
        connection_class=kind,
        host=host,
        port=port,
        db=address.database,
        **options,
        **address.tls_options(),
    )


def cluster(address: Address, limits: Limits) -> Any:
    """A client of redis-py for a cluster; it asks one of the servers where all are."""
    return redis.RedisCluster(
        startup_nodes=[_ClusterNode(host, port) for host, port in address.hosts],
        retry=Retry(NoBackoff(), 0),
        ssl=address.tls,
        **_options(address, limits),
        **address.tls_options(),
    )


def async_cluster(address: Address, limits: Limits) -> Any:
    """The same for an event loop; it asks when it is initialized."""
    nodes = [redis.asyncio.cluster.ClusterNode(host, port) for host, port in address.hosts]
    return redis.asyncio.RedisCluster(
        startup_nodes=nodes,
        retry=AsyncRetry(NoBackoff(), 0),
        ssl=address.tls,
        max_connections=limits.max_connections,
        **_options(address, limits, asynchronous=True),
        **address.tls_options(),
    )


def sentinels_of(pool: Any) -> list[Any]:
    """The clients by which a pool asks Sentinels; they hold connections of their own."""
    return list(getattr(getattr(pool, "sentinel_manager", None), "sentinels", ()))


def abandon_pool(pool: Any) -> None:
    """Let go of what a pool of redis-py's asyncio half holds, without a loop to wait in."""
    for connection in (*pool._available_connections, *pool._in_use_connections):  # noqa: SLF001 - there is no public way
        with suppress(Exception):
            connection._close()  # noqa: SLF001 - as above


def check(client: Any, *, asynchronous: bool) -> None:
    """See that a client of the application's own can work.

    Raises:
        ConfigurationError: It can't; the message says what to give instead.
    """
    wanted = "a redis.asyncio.Redis" if asynchronous else "a redis.Redis"
    send = getattr(client, "execute_command", None)
    if not callable(send) or isinstance(client, type):
        raise ConfigurationError(f"client must be {wanted} or the like, not {_named(client)}.")
    if hasattr(client, "execute"):
        raise ConfigurationError(
            "client is a pipeline, which belongs to one caller; give the client it came from."
        )
    if iscoroutinefunction(send) is not asynchronous:
        colour, other = ("AsyncSessions", "Sessions") if asynchronous else ("Sessions", "AsyncSessions")
        raise ConfigurationError(f"This client is for {other}; {colour} needs {wanted} or the like.")
    lender = getattr(client, "connection_pool", None)
    if lender is None and not hasattr(client, "get_node_from_key"):
        raise ConfigurationError(f"client must be {wanted} or the like, not {_named(client)}.")
    if client.get_encoder().decode_responses:
        raise ConfigurationError(
            "client has decode_responses=True, but records are bytes: give one without it."
        )
    options = getattr(lender, "connection_kwargs", None)
    if options is None:
        options = getattr(getattr(client, "nodes_manager", None), "connection_kwargs", {})
    if not asynchronous and options.get("socket_timeout", 0) is None:
        raise ConfigurationError(
            "client has no socket_timeout: a server that falls silent would hold each request for ever. Give it one."
        )


def _options(address: Address, limits: Limits, *, asynchronous: bool = False) -> dict[str, Any]:
    # RESP2: every reply that is read here is the same in RESP3, which costs a round trip more to begin with, and whose
    # parser also looks for messages that nobody asked for.
    options: dict[str, Any] = {
        **address.credentials(),
        "protocol": 2,
        "socket_connect_timeout": limits.connect_deadline,
        # In async, one clock bounds the whole call; a second in each read would only take time.
        "socket_timeout": None if asynchronous else limits.deadline,
        "socket_keepalive": True,
        "health_check_interval": 0,
    }
    # Nor is a round trip spent on telling the server the driver's name.
    if "driver_info" in signature(AbstractConnection.__init__).parameters:
        options["driver_info"] = None
    else:  # pragma: no cover - before redis-py 7.2
        options |= {"lib_name": None, "lib_version": None}
    return options


def _no_tcp(options: dict[str, Any]) -> dict[str, Any]:
    tcp = {"socket_keepalive", "socket_connect_timeout"}
    return {name: value for name, value in options.items() if name not in tcp}


def _sentinel(address: Address, limits: Limits, retry: Any) -> dict[str, Any]:
    return {
        "username": address.sentinel_user,
        "password": address.sentinel_password,
        "socket_timeout": limits.connect_deadline,
        "socket_connect_timeout": limits.connect_deadline,
        "retry": retry,
        "protocol": 2,
        "ssl": address.tls,
        **address.tls_options(),
    }


def _named(value: object) -> str:
    return value.__name__ if isinstance(value, type) else f"a {type(value).__name__}"
