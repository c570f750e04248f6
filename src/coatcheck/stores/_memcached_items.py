"""What lies in Memcached: under which names, in which bytes, for how long, and on which server."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Sequence
from datetime import timedelta
from math import ceil
from struct import Struct as Layout
from struct import error as LayoutError
from typing import NamedTuple

from msgspec import Struct

from coatcheck.errors import ConfigurationError, StoreError, StoreFull, TooLarge
from coatcheck.model.ports import Capabilities
from coatcheck.model.record import Record

__all__ = [
    "CAPABILITIES",
    "Epoch",
    "ItemRefused",
    "Items",
    "Server",
    "longest_pause",
    "placement",
    "refusal",
    "seconds",
    "servers_of",
    "servers_of_url",
    "too_large",
]

CAPABILITIES: Capabilities = Capabilities(
    users=False,
    separate_index=True,
    revokes_all=True,
    count=False,
    # The async store sends together what goes to the same server: one that is down must not hold up the others'.
    coalesce_loads=False,
    coalesce_changes=False,
)

_DEFAULT_PORT = 11211
_LONGEST_NAME = 250
_EPOCH = "epoch:"
_LONGEST_PREFIX = _LONGEST_NAME - len(_EPOCH) - 64
# What the server keeps beside the value and its name: 48 bytes of head, 8 of the compare-and-swap token, and some.
_OVERHEAD = 256
_LONGEST_SPAN = 60 * 60 * 24 * 30
"""Seconds. What is longer, Memcached takes for a date."""
_LAYOUT = Layout(">BQQQQ")


class Items:
    """How records and epochs are named and sized."""

    __slots__ = ("_clock", "_prefix", "max_item_bytes")

    def __init__(self, prefix: str, max_item_bytes: int, *, clock: Callable[[], float] = time.time) -> None:
        """Check both.

        Raises:
            ConfigurationError: Memcached takes no such prefix, or no record would fit.
        """
        if not isinstance(prefix, str) or not all("!" <= letter <= "~" for letter in prefix):
            raise ConfigurationError(
                f"prefix={prefix!r} can't begin a key of Memcached: it takes visible ASCII characters, no spaces."
            )
        if len(prefix) > _LONGEST_PREFIX:
            raise ConfigurationError(
                f"prefix= has {len(prefix)} characters; Memcached's keys leave it {_LONGEST_PREFIX}."
            )
        if not isinstance(max_item_bytes, int) or max_item_bytes < 1024:
            raise ConfigurationError(
                "max_item_bytes must be at least 1024: what the server was started with (-I)."
            )
        self._prefix = prefix
        self._clock = clock
        self.max_item_bytes = max_item_bytes

    def of_record(self, key: bytes) -> bytes:
        """The name of the item that holds the record of `key`: the prefix, and the session's handle."""
        return f"{self._prefix}{key.hex()}".encode()

    def of_user(self, user: str) -> bytes:
        """The name of the item that holds a user's epoch."""
        return f"{self._prefix}{_EPOCH}{hashlib.sha256(user.encode()).hexdigest()}".encode()

    def check_size(self, name: bytes, data: bytes) -> None:
        """Refuse what the server would not take, before it is sent.

        Raises:
            TooLarge: The item would be larger than the server's largest.
        """
        size = len(name) + len(data) + _OVERHEAD
        if size > self.max_item_bytes:
            raise TooLarge(
                f"the record takes {size} bytes in Memcached, and its largest item is {self.max_item_bytes}",
                size=size,
                limit=self.max_item_bytes,
            )

    def lifetime(self, expires: int) -> int:
        """What to tell Memcached about an item that ends at `expires` (ms): seconds from now, or a date.

        Never 0, which would mean for ever. The server's clock ticks once a second, so that it is given one more:
        an item never goes before its record ends. (That the record is not used after its end, its reader sees to.)
        """
        now = self._clock()
        left = ceil(expires / 1000 - now)
        if left <= 0:
            return -1  # gone at once
        left += 1
        return left if left <= _LONGEST_SPAN else int(now) + left


class Epoch(Struct, frozen=True, kw_only=True):
    """Which sign-ins of a user count.

    Those that are later than `ended` and not later than `newest`, and the one session `kept`. Sign-ins are noted by
    moving `newest` forward; ending all of them moves `ended` up to it. Neither moves back. All times in milliseconds.

    Attributes:
        ended: Sign-ins up to this one are over.
        newest: The latest sign-in that was noted. What is later is not yet, and does not count.
        revoked: When the user's sessions were last ended, by the clock of whoever did; 0: never.
        expires: When the last of them can live no longer, and with it the epoch.
        kept: The key of the session that was spared when the others were ended; empty: none.
    """

    ended: int
    newest: int
    expires: int
    revoked: int = 0
    kept: bytes = b""

    def admits(self, record: Record) -> bool:
        """Whether the sign-in of `record` counts."""
        return self.ended < record.signed_in <= self.newest or record.key == self.kept

    def encode(self) -> bytes:
        """As bytes: u8 version 1, four u64 (ended, newest, expires, revoked), then the key that is kept, or nothing."""
        return _LAYOUT.pack(1, self.ended, self.newest, self.expires, self.revoked) + self.kept

    @classmethod
    def decode(cls, data: bytes | None) -> Epoch | None:
        """What `encode` made bytes of. None if it is anything else: it is then as good as not there."""
        try:
            version, ended, newest, expires, revoked = _LAYOUT.unpack_from(data or b"")
        except LayoutError:
            return None
        kept = (data or b"")[_LAYOUT.size :]
        if version != 1 or len(kept) not in {0, 16}:
            return None
        return cls(ended=ended, newest=newest, expires=expires, revoked=revoked, kept=kept)


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
    rest = url.partition("://")[2]
    if rest.startswith("/"):
        return servers_of([rest])
    hosts, _, path = rest.partition("/")
    if path:
        raise ConfigurationError(
            "memcached:// takes hosts, or the path of a socket (memcached:///…), not both."
        )
    return servers_of(hosts.split(",") if hosts else [])


def servers_of(names: Sequence[str]) -> list[Server]:
    """The servers of these names, each ``host``, ``host:port``, ``[IPv6]:port`` or ``/path/of/a/socket``.

    Raises:
        ConfigurationError: There are none, one is there twice, or one is no such name.
    """
    servers = [_server(name) for name in names]
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
            f"{name!r} is no server of Memcached: write host:port, [IPv6]:port or /socket."
        )
    number = int(port or _DEFAULT_PORT)
    if not 0 < number < 65536:
        raise ConfigurationError(f"{name!r}: there is no port {number}.")
    return Server(f"[{host}]:{number}" if ":" in host else f"{host}:{number}", host=host, port=number)


def placement(servers: Sequence[Server]) -> Callable[[bytes], int]:
    """Which of the servers holds an item, by its name (rendezvous hashing, Thaler and Ravishankar 1996).

    It depends on the servers' names alone, neither on their order nor on whether they answer: nothing is ever moved
    to another because its own is down. With one more server only the items move that belong there.
    """
    if len(servers) == 1:
        return lambda _: 0
    seeds = [hashlib.blake2b(server.name.encode(), digest_size=16).digest() for server in servers]
    blake = hashlib.blake2b

    def place(name: bytes) -> int:
        scores = [blake(name, digest_size=8, key=seed).digest() for seed in seeds]
        return scores.index(max(scores))

    return place


class ItemRefused(StoreError):
    """The server takes no item that is so large."""


def refusal(text: str, server: str) -> StoreError:
    """The error that a server's own words stand for."""
    if "too large" in text:
        return ItemRefused(f"{server} refused: {text}")
    if "out of memory" in text:
        return StoreFull(f"{server} has no room left: {text}")
    return StoreError(f"{server} refused: {text}")


def too_large(server: str, data: bytes, limit: int) -> TooLarge:
    """What a store makes of an `ItemRefused`."""
    return TooLarge(
        f"{server} takes no item so large: was it started with a lower -I than max_item_bytes says?",
        size=len(data),
        limit=limit,
    )


def longest_pause(tries: int) -> float:
    """How many seconds to wait at most before the next of several tries."""
    return float(min(0.05, 0.001 * 2 ** min(tries, 10)))


def seconds(name: str, span: timedelta) -> float:
    """`span` as seconds.

    Raises:
        ConfigurationError: It is none, or not above zero.
    """
    if not isinstance(span, timedelta) or span <= timedelta():
        raise ConfigurationError(f"{name} must be a timedelta above zero.")
    return span.total_seconds()
