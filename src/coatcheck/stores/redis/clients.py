"""Where connections come from: redis-py's own classes for one server, Sentinel, a cluster, TLS and sockets.

They are made from a URL, or from the settings of a client of the application's own. Nothing is ever retried by redis-py:
its retries would repeat writes, and outlast the deadline.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from inspect import iscoroutinefunction, signature
from typing import Any, NamedTuple

import redis
import redis.asyncio
from redis.asyncio.retry import Retry as AsyncRetry
from redis.backoff import NoBackoff
from redis.retry import Retry

from coatcheck.errors import ConfigurationError
from coatcheck.silent import silent
from coatcheck.stores.redis.address import Address
from coatcheck.stores.redis.clusters import Server
from coatcheck.stores.redis.sockets import aborting, bounded

__all__ = ["Source", "source_of_client", "source_of_url"]

_SENTINEL_PATIENCE = 0.5
"""For how many seconds one Sentinel is waited for before the next one is asked."""


class Source(NamedTuple):
    """Makes the settings of connections.

    Attributes:
        where: The servers, for messages.
        settings: Makes an object with a `connection_class` and `connection_kwargs`; for a cluster those of one server.
        seeds: Some servers of the cluster; empty: there is no cluster.
    """

    where: str
    settings: Callable[[Server | None], Any]
    seeds: Sequence[Server] = ()

    def __repr__(self) -> str:
        return silent(self)


class _Sentinels(list[Any]):
    """The Sentinels. The first one is that which answered most recently.

    redis-py swaps two by their places. If two callers did so at once, one Sentinel would be in the list twice, and
    another not at all. Each caller asks all of them in turn, also while another one changes their order.
    """

    def __iter__(self) -> Iterator[Any]:
        return iter(tuple(super().__iter__()))

    def __setitem__(self, place: Any, answered: Any) -> None:
        if place == 0:
            super().__setitem__(slice(None), [answered, *(each for each in self if each is not answered)])


class _Settings(NamedTuple):
    connection_class: Any
    connection_kwargs: Mapping[str, Any]

    def __repr__(self) -> str:
        return silent(self)


def source_of_url(address: Address, *, is_async: bool) -> Source:
    """The source for the servers that a URL names."""
    driver: Any = redis.asyncio if is_async else redis
    kind = driver.SSLConnection if address.tls else driver.Connection
    options = dict(address.options)
    if address.kind == "cluster":
        return _cluster(address.hosts, kind, options, address.where, is_async)
    if address.kind == "sentinel":
        kinds = driver.sentinel
        kind = kinds.SentinelManagedSSLConnection if address.tls else kinds.SentinelManagedConnection
        manager = kinds.Sentinel(address.hosts, sentinel_kwargs=address.sentinel_options)
        pool = kinds.SentinelConnectionPool(address.service, manager, connection_class=kind, **options)
        return _sentinel(pool, address.where, is_async)
    if address.path is not None:
        kind, options["path"] = driver.UnixDomainSocketConnection, address.path
    else:
        ((options["host"], options["port"]),) = address.hosts
    return _server(kind, options, address.where, is_async)


def source_of_client(client: Any, *, is_async: bool) -> Source:
    """The source with the servers, the credentials and the TLS of a client of the application's own.

    Raises:
        ConfigurationError: No store can be made of it; the message says what to give instead.
    """
    _check(client, is_async=is_async)
    pool = getattr(client, "connection_pool", None)
    if pool is None:
        nodes = list(client.nodes_manager.startup_nodes.values())
        its = nodes[0] if is_async else client.get_redis_connection(nodes[0]).connection_pool
        hosts = [(node.host, node.port) for node in nodes]
        where = "the cluster of the client that was given"
        return _cluster(hosts, its.connection_class, its.connection_kwargs, where, is_async)
    where = "the server of the client that was given"
    if hasattr(pool, "sentinel_manager"):
        return _sentinel(pool, where, is_async)
    return _server(pool.connection_class, pool.connection_kwargs, where, is_async)


def _server(kind: Any, options: Mapping[str, Any], where: str, is_async: bool) -> Source:
    made = _Settings(_bounded(kind, is_async), _options(kind, options, is_async))

    def settings(_: Server | None) -> _Settings:
        return made

    return Source(where, settings)


def _cluster(
    hosts: Sequence[tuple[str, int]], kind: Any, options: Mapping[str, Any], where: str, is_async: bool
) -> Source:
    options = _options(kind, options, is_async, "db", "redis_connect_func")
    kind = _bounded(kind, is_async)

    def settings(server: Server | None) -> _Settings:
        assert server is not None
        return _Settings(kind, {**options, "host": server.host, "port": server.port})

    return Source(where, settings, [Server(*host) for host in hosts])


def _sentinel(pool: Any, where: str, is_async: bool) -> Source:
    """Pools like `pool`, whose connections go to the primary that the Sentinels name."""
    options = _options(pool.connection_class, pool.connection_kwargs, is_async, "connection_pool")
    manager = pool.sentinel_manager
    its = _options(pool.connection_class, manager.sentinel_kwargs, is_async)
    its |= dict.fromkeys(("socket_timeout", "socket_connect_timeout"), _SENTINEL_PATIENCE)
    known = [each.connection_pool.connection_kwargs for each in manager.sentinels]
    hosts = [(each["host"], each["port"]) for each in known]

    def settings(_: Server | None) -> Any:
        fresh = type(manager)(hosts, min_other_sentinels=manager.min_other_sentinels, sentinel_kwargs=its)
        fresh.sentinels = _Sentinels(fresh.sentinels)
        for each in fresh.sentinels:
            each.connection_pool.connection_class = _bounded(each.connection_pool.connection_class, is_async)
        kind = _bounded(pool.connection_class, is_async)
        return type(pool)(pool.service_name, fresh, connection_class=kind, **options)

    return Source(where, settings)


def _bounded(kind: Any, is_async: bool) -> Any:
    return aborting(kind) if is_async else bounded(kind)


def _options(kind: type, given: Mapping[str, Any], is_async: bool, *without: str) -> dict[str, Any]:
    """The settings of connections: those that were given, and those that all have."""
    own = {
        name: value
        for name, value in given.items()
        if name not in without and not name.startswith(("retry", "maint", "oss_cluster", "orig_", "himport"))
    }
    # RESP2: the replies that are read here are the same in RESP3, which costs one round trip more to connect, and whose
    # parser also looks for messages that the server sends by itself. The exchanges bound the time.
    own |= {
        "protocol": 2,
        "retry": (AsyncRetry if is_async else Retry)(NoBackoff(), 0),
        "decode_responses": False,
        "health_check_interval": 0,
        "socket_timeout": None,
        "socket_connect_timeout": None,
    }
    # No round trip is spent on telling the server the driver's name.
    known = {name for each in kind.__mro__ for name in signature(each).parameters}
    if "driver_info" in known:
        own["driver_info"] = None
    else:  # valkey-py
        own |= {"lib_name": None, "lib_version": None}
    return own


def _check(client: Any, *, is_async: bool) -> None:
    wanted = "a redis.asyncio.Redis" if is_async else "a redis.Redis"
    send = getattr(client, "execute_command", None)
    has_servers = hasattr(client, "connection_pool") or hasattr(client, "get_node_from_key")
    if not callable(send) or not has_servers or isinstance(client, type):
        name = client.__name__ if isinstance(client, type) else f"a {type(client).__name__}"
        raise ConfigurationError(f"client must be {wanted} or the like, not {name}.")
    if hasattr(client, "execute"):
        raise ConfigurationError("client is a pipeline, which has one user; give the client it came from.")
    if iscoroutinefunction(send) is not is_async:
        this, other = ("AsyncSessions", "Sessions") if is_async else ("Sessions", "AsyncSessions")
        raise ConfigurationError(f"This client is for {other}; {this} needs {wanted} or the like.")
