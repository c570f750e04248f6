"""Which servers there are, and which of them holds an item."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from typing import NamedTuple
from urllib.parse import unquote

from coatcheck.addresses import parts_of
from coatcheck.errors import ConfigurationError

__all__ = ["Server", "placement", "servers_of", "servers_of_url"]

_DEFAULT_PORT = 11211


class Server(NamedTuple):
    """Where one server listens: on a port, or on a Unix socket."""

    name: str
    host: str = ""
    port: int = 0
    path: str = ""


def servers_of_url(url: str) -> list[Server]:
    """The servers that ``memcached://h:p,h:p`` or ``memcached:///path`` names.

    Raises:
        ConfigurationError: It names none, one twice, or says more than that.
    """
    parts = parts_of(url)
    if parts.user is not None or parts.password is not None:
        raise ConfigurationError(
            "memcached:// takes no user and password: keep the servers in a private network."
        )
    if not parts.hosts:
        return servers_of([unquote(parts.path)] if parts.path else [])
    if parts.path.strip("/"):
        raise ConfigurationError(
            "memcached:// takes hosts, or the path of a socket (memcached:///…), not both."
        )
    return servers_of(parts.hosts.split(","))


def servers_of(names: str | Sequence[str]) -> list[Server]:
    """The servers of these names, each ``host``, ``host:port``, ``[IPv6]:port`` or ``/path/of/a/socket``.

    Raises:
        ConfigurationError: There are none, one is there twice, or one is no such name.
    """
    servers = [_server(name) for name in ([names] if isinstance(names, str) else names)]
    if not servers:
        raise ConfigurationError("Memcached's servers are missing: memcached://host:11211,host2:11211.")
    if len({server.name for server in servers}) < len(servers):
        raise ConfigurationError("One of Memcached's servers is there twice.")
    return servers


def _server(name: str) -> Server:
    if name.startswith("/"):
        return Server(name, path=name)
    if "@" in name:
        raise ConfigurationError(
            "memcached:// takes no user and password: keep the servers in a private network."
        )
    if name.startswith("["):
        host, bracket, port = name[1:].partition("]")
        port = port.removeprefix(":") if bracket else "?"
    else:
        host, _, port = name.partition(":")
    if not host or any(letter.isspace() for letter in name) or not (port or "1").isdecimal():
        raise ConfigurationError(
            "A server of Memcached is not valid: write host:port, [IPv6]:port or /socket."
        )
    number = int(port or _DEFAULT_PORT)
    if not 0 < number < 65536:
        raise ConfigurationError("A server of Memcached has no such port: write a number from 1 to 65535.")
    return Server(f"[{host}]:{number}" if ":" in host else f"{host}:{number}", host=host, port=number)


def placement(servers: Sequence[Server]) -> Callable[[bytes], int]:
    """Which of the servers holds an item, by its name (rendezvous hashing, Thaler and Ravishankar 1996).

    It depends on the servers' names alone, neither on their order nor on whether they answer: an item never moves to
    another server because its own is down. One more server takes over only the items that belong there.
    """
    if len(servers) == 1:
        return lambda _: 0
    seeds = [hashlib.blake2b(server.name.encode(), digest_size=16).digest() for server in servers]
    blake = hashlib.blake2b

    def place(name: bytes) -> int:
        scores = [blake(name, digest_size=8, key=seed).digest() for seed in seeds]
        return scores.index(max(scores))

    return place
