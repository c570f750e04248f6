"""Records in Redis or Valkey: one server, a pair behind Sentinels, or a cluster.

One record is one string, with an expiry from its first moment. Reading is one command; a change is another: a script
that receives only what changed, so that parallel requests of one visitor never undo each other's changes.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, TypeVar, cast

from coatcheck.errors import StoreError
from coatcheck.model.ports import Capabilities, Found, Life
from coatcheck.model.record import Applied, Change, Refused
from coatcheck.stores._redis_clients import check
from coatcheck.stores._redis_errors import Broken
from coatcheck.stores._redis_exchange import Exchange
from coatcheck.stores._redis_replies import Reply, done, found, only_answers
from coatcheck.stores._redis_servers import Servers, their_servers, url_servers
from coatcheck.stores._redis_url import address_of, limits_of, no_host
from coatcheck.stores._redis_words import Command, Talk, Words, packed

__all__ = ["RedisStore", "from_url"]

_T = TypeVar("_T")
DEADLINE = timedelta(seconds=1)
CONNECT_DEADLINE = timedelta(milliseconds=250)
MAX_CONNECTIONS = 50


class RedisStore:
    """A store on a client of redis-py or valkey-py; `from_url` makes one without. Safe for threads and across forks.

    Args:
        client: The application's client: `redis.Redis`, that of a Sentinel, or `redis.RedisCluster`, or the same of
            valkey-py. Its pool and its time-outs are used as they are; closing it stays with the application.
        prefix: What all keys begin with.
        deadline: For how long one call may go on trying again.

    Raises:
        ConfigurationError: No store can be made of these settings.
    """

    capabilities: Capabilities = Capabilities(separate_index=True)

    def __init__(self, client: Any, *, prefix: str = "coatcheck:", deadline: timedelta = DEADLINE) -> None:
        limits = limits_of(deadline, CONNECT_DEADLINE, MAX_CONNECTIONS)
        self._words = Words(prefix)
        self._deadline = limits.deadline
        if isinstance(client, Servers):
            self._servers: Servers = client
        else:
            check(client, asynchronous=False)
            self._servers = their_servers(client)
        self._line = self._servers.line

    def load(self, keys: Sequence[bytes], now: int) -> Sequence[Found]:
        """What lies under each key, in one round trip; in a cluster, one for each server that has some of them."""
        if len(keys) == 1 and (line := self._line) is not None:
            # What nearly every request is: one command, whose reply is the record.
            key, until = keys[0], time.monotonic() + self._deadline
            data = self._words.get(key)
            exchange = Exchange([Command(key, data)], until)
            try:
                (reply,) = line.exchange(data, 1, until)
            except Broken as broken:
                exchange.broke((0,), broken)
            else:
                if reply is None or type(reply) is bytes:
                    return [cast("Found", found(key, reply))]
                exchange.answered((0,), (reply,))
            return only_answers([found(key, self._finished(exchange)[0])])
        return only_answers(self._talk(self._words.load(keys, together=self._line is not None)))

    def apply(self, changes: Sequence[Change]) -> Sequence[Applied | Refused]:
        """Apply each change by itself, all in one round trip.

        Where only some of several could not be applied, the error's `answers` tell of each.
        """
        return only_answers(self._talk(self._words.apply(changes)))

    def enroll(self, user: str, life: Life, expires: int) -> None:
        """Note a sign-in in the user's index, in one round trip."""
        self._talk(self._words.enroll(user, life, expires))

    def lives_of(self, user: str, now: int) -> Sequence[Life]:
        """The user's live sessions, the newest sign-in first."""
        return self._talk(self._words.lives_of(user, now, together=self._line is not None))

    def count(self, now: int) -> int:
        """How many live records there are. It walks through all keys of the server: for scripts, not for requests."""
        live = 0
        for line in self._lines():
            cursor = b"0"
            while True:
                (reply,) = self._ask(line, [Command(b"", self._words.walk(cursor))])
                cursor, names = done(reply)
                unique = list(dict.fromkeys(names))
                if unique:
                    live += self._words.live_among(unique, self._ask(line, self._words.heads(unique)), now)
                if cursor == b"0":
                    break
        return live

    def sweep(self, now: int, limit: int) -> int:
        """Nothing to do: the server lets go of what has expired by itself."""
        return 0

    def ping(self) -> None:
        """Return if the server can be reached, in a cluster each of them, else raise a `StoreError`."""
        for line in self._lines():
            (reply,) = self._ask(line, [Command(b"", packed(b"PING"))])
            done(reply)

    def close(self) -> None:
        """Close the connections that were made here."""
        self._servers.close()

    def _lines(self) -> list[Any]:
        try:
            return self._servers.all(time.monotonic() + self._deadline)
        except Broken as broken:
            raise broken.failure(writes=False) from broken.cause

    def _ask(self, line: Any, commands: Sequence[Command]) -> Sequence[Reply]:
        return self._exchange(commands, line)

    def _talk(self, talk: Talk[_T]) -> _T:
        try:
            commands = next(talk)
            while True:
                commands = talk.send(self._exchange(commands))
        except StopIteration as end:
            return cast("_T", end.value)

    def _exchange(self, commands: Sequence[Command], line: Any = None) -> Sequence[Reply]:
        exchange = Exchange(commands, time.monotonic() + self._deadline)
        self._send(exchange, line)
        return self._finished(exchange, line)

    def _finished(self, exchange: Exchange, line: Any = None) -> Sequence[Reply]:
        """The replies, after what has to be said again was."""
        while (pause := exchange.pause()) is not None:
            if pause:
                time.sleep(pause)
            if exchange.renew:
                exchange.renew = False
                if line is not None:
                    line.renew()
                else:
                    self._servers.renew(exchange.until)
            self._send(exchange, line)
        return exchange.replies

    def _send(self, exchange: Exchange, line: Any) -> None:
        """Send what is pending, to each server what is for it."""
        shares: dict[Any, list[int]] = {}
        for place in exchange.pending:
            try:
                key, moved = exchange.commands[place].key, exchange.moved.get(place)
                to = line or self._servers.line_of(key, moved, exchange.until)
            except Broken as broken:
                exchange.broke([place], broken)
            except StoreError as error:
                exchange.refused([place], error)
            else:
                shares.setdefault(to, []).append(place)
        for to, places in shares.items():
            data, count = exchange.data(places)
            try:
                replies = to.exchange(data, count, exchange.until)
            except Broken as broken:
                exchange.broke(places, broken)
            except StoreError as error:
                exchange.refused(places, error)
            else:
                exchange.answered(places, replies)


def from_url(
    url: str,
    *,
    client: Any = None,
    prefix: str = "coatcheck:",
    deadline: timedelta = DEADLINE,
    connect_deadline: timedelta = CONNECT_DEADLINE,
    max_connections: int = MAX_CONNECTIONS,
    tls_ca: str | None = None,
    tls_cert: str | None = None,
    tls_key: str | None = None,
    sentinel_username: str | None = None,
    sentinel_password: str | None = None,
) -> RedisStore:
    """The store on the servers that a URL names.

    Args:
        url: See the page about Redis for its forms.
        client: A client of the application's own; the URL then has no host: ``redis://``.
        prefix: What all keys begin with.
        deadline: For how long one call may take, with all that it tries.
        connect_deadline: For how long connecting may take.
        max_connections: How many connections there are at most, to each server; who finds all of them taken waits.
        tls_ca: The file of certificates by which the server's is checked. None: those of the system.
        tls_cert: The file of the certificate by which the server knows this client.
        tls_key: The file of its key.
        sentinel_username: The user at the Sentinels, if they ask for one.
        sentinel_password: The password at the Sentinels.

    Raises:
        ConfigurationError: No store can be made of these settings.
    """
    options = {
        "tls_ca": tls_ca,
        "tls_cert": tls_cert,
        "tls_key": tls_key,
        "sentinel_username": sentinel_username,
        "sentinel_password": sentinel_password,
    }
    limits = limits_of(deadline, connect_deadline, max_connections)
    if client is not None:
        no_host(url, options)
        return RedisStore(client, prefix=prefix, deadline=deadline)
    return RedisStore(url_servers(address_of(url, options), limits), prefix=prefix, deadline=deadline)
