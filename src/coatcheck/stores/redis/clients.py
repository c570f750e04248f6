"""Where connections come from: redis-py's own classes for one server, Sentinel, a cluster, TLS and sockets.

They are made from a URL, or from the settings of a client of the application's own. Nothing is ever retried by redis-py:
its retries would repeat writes, and outlast the deadline.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from inspect import iscoroutinefunction, signature
from typing import Any, NamedTuple

import redis
import redis.asyncio
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.cluster import ClusterNode
from redis.connection import AbstractConnection
from redis.retry import Retry

from coatcheck.errors import ConfigurationError
from coatcheck.stores.redis.address import Address

__all__ = ["Source", "source_of_client", "source_of_url"]

_SENTINEL_PATIENCE = 0.5
"""For how many seconds one Sentinel is waited for before the next one is asked."""
_ClusterNode: Any = ClusterNode  # has no types
_Wrap = Callable[[type], Any]


class Source(NamedTuple):
    """Makes connections.

    Attributes:
        where: The servers, for messages.
        make: Makes a client of a cluster, or what has a `connection_class` and `connection_kwargs`. Its argument wraps
            each class of connections.
        is_cluster: Whether it makes a client of a cluster.
    """

    where: str
    make: Callable[[_Wrap], Any]
    is_cluster: bool


class _Settings(NamedTuple):
    connection_class: Any
    connection_kwargs: Mapping[str, Any]


def source_of_url(address: Address, *, asynchronous: bool) -> Source:
    """The source for the servers that a URL names."""
    driver: Any = redis.asyncio if asynchronous else redis
    kind = driver.SSLConnection if address.tls else driver.Connection
    options = {"username": address.user, "password": address.password, **address.tls_options}
    if address.kind == "cluster":
        return _cluster(driver.RedisCluster, address.hosts, kind, options, address.where, asynchronous)
    options["db"] = address.database
    if address.kind == "sentinel":
        kinds = driver.sentinel
        kind = kinds.SentinelManagedSSLConnection if address.tls else kinds.SentinelManagedConnection
        its = {"username": address.sentinel_user, "password": address.sentinel_password, "ssl": address.tls}
        pool = kinds.SentinelConnectionPool(
            address.service,
            kinds.Sentinel(address.hosts, sentinel_kwargs=its | address.tls_options),
            connection_class=kind,
            **options,
        )
        return _sentinel(pool, address.where, asynchronous)
    if address.path is not None:
        kind, options["path"] = driver.UnixDomainSocketConnection, address.path
    else:
        ((options["host"], options["port"]),) = address.hosts
    return _server(kind, options, address.where, asynchronous)


def source_of_client(client: Any, *, asynchronous: bool) -> Source:
    """The source with the servers, the credentials and the TLS of a client of the application's own.

    Raises:
        ConfigurationError: No store can be made of it; the message says what to give instead.
    """
    _check(client, asynchronous=asynchronous)
    pool = getattr(client, "connection_pool", None)
    if pool is None:
        nodes = list(client.nodes_manager.startup_nodes.values())
        its = nodes[0] if asynchronous else client.get_redis_connection(nodes[0]).connection_pool
        hosts = [(node.host, node.port) for node in nodes]
        where = "the cluster of the client that was given"
        return _cluster(type(client), hosts, its.connection_class, its.connection_kwargs, where, asynchronous)
    where = "the server of the client that was given"
    if hasattr(pool, "sentinel_manager"):
        return _sentinel(pool, where, asynchronous)
    return _server(pool.connection_class, pool.connection_kwargs, where, asynchronous)


def _server(kind: Any, options: Mapping[str, Any], where: str, asynchronous: bool) -> Source:
    options = _options(options, asynchronous)

    def make(wrap: _Wrap) -> Any:
        return _Settings(wrap(kind), options)

    return Source(where, make, is_cluster=False)


def _sentinel(pool: Any, where: str, asynchronous: bool) -> Source:
    """Pools like `pool`, whose connections go to the primary that the Sentinels name."""
    options = _options(pool.connection_kwargs, asynchronous, "connection_pool")
    manager = pool.sentinel_manager
    its = _options(manager.sentinel_kwargs, asynchronous)
    its |= dict.fromkeys(("socket_timeout", "socket_connect_timeout"), _SENTINEL_PATIENCE)
    settings = [each.connection_pool.connection_kwargs for each in manager.sentinels]
    hosts = [(each["host"], each["port"]) for each in settings]

    def make(wrap: _Wrap) -> Any:
        fresh = type(manager)(hosts, min_other_sentinels=manager.min_other_sentinels, sentinel_kwargs=its)
        for each in fresh.sentinels:
            each.connection_pool.connection_class = wrap(each.connection_pool.connection_class)
        return type(pool)(pool.service_name, fresh, connection_class=wrap(pool.connection_class), **options)

    return Source(where, make, is_cluster=False)


def _cluster(
    client: Any,
    hosts: Sequence[tuple[str, int]],
    kind: Any,
    options: Mapping[str, Any],
    where: str,
    asynchronous: bool,
) -> Source:
    """Clients of a cluster, which know where each key lies. Sync ones ask the servers when they are made."""
    options = _options(options, asynchronous, "host", "port", "db", "redis_connect_func")

    def make(wrap: _Wrap) -> Any:
        nodes = [_ClusterNode(host, port) for host, port in hosts]
        if asynchronous:
            known = signature(client).parameters
            ssl = any(each.__name__ == "SSLConnection" for each in kind.__mro__)
            return client(
                startup_nodes=nodes,
                ssl=ssl,
                **{name: value for name, value in options.items() if name in known},
            )
        host, port = hosts[0]
        # Only made from a URL does it take a class of connections.
        url = f"redis://[{host}]:{port}" if ":" in host else f"redis://{host}:{port}"
        return client(url=url, startup_nodes=nodes[1:], connection_class=wrap(kind), **options)

    return Source(where, make, is_cluster=True)


def _options(given: Mapping[str, Any], asynchronous: bool, *without: str) -> dict[str, Any]:
    """The settings of connections: those that were given, and those that all have."""
    own = {
        name: value
        for name, value in given.items()
        if name not in without and not name.startswith(("retry", "maint", "oss_cluster", "orig_", "himport"))
    }
    # RESP2: the replies that are read here are the same in RESP3, which costs one round trip more to connect, and whose
    # parser also looks for messages that the server sends by itself. Whoever uses a connection bounds the time.
    own |= {
        "protocol": 2,
        "retry": (AsyncRetry if asynchronous else Retry)(NoBackoff(), 0),
        "decode_responses": False,
        "health_check_interval": 0,
        "socket_timeout": None,
        "socket_connect_timeout": None,
    }
    # No round trip is spent on telling the server the driver's name.
    if "driver_info" in signature(AbstractConnection.__init__).parameters:
        own["driver_info"] = None
    else:  # pragma: no cover - before redis-py 7.2
        own |= {"lib_name": None, "lib_version": None}
    return own


def _check(client: Any, *, asynchronous: bool) -> None:
    wanted = "a redis.asyncio.Redis" if asynchronous else "a redis.Redis"
    send = getattr(client, "execute_command", None)
    has_servers = hasattr(client, "connection_pool") or hasattr(client, "get_node_from_key")
    if not callable(send) or not has_servers or isinstance(client, type):
        name = client.__name__ if isinstance(client, type) else f"a {type(client).__name__}"
        raise ConfigurationError(f"client must be {wanted} or the like, not {name}.")
    if hasattr(client, "execute"):
        raise ConfigurationError("client is a pipeline, which has one user; give the client it came from.")
    if iscoroutinefunction(send) is not asynchronous:
        this, other = ("AsyncSessions", "Sessions") if asynchronous else ("Sessions", "AsyncSessions")
        raise ConfigurationError(f"This client is for {other}; {this} needs {wanted} or the like.")
