"""The Redis store for an event loop. Batches of `coatcheck.stores.coalesce` go out as one round trip."""

from __future__ import annotations

import asyncio
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
from coatcheck.stores._redis_replies import Reply, done, only_answers
from coatcheck.stores._redis_servers_async import PerLoop, their_servers, url_servers
from coatcheck.stores._redis_url import address_of, limits_of, no_host
from coatcheck.stores._redis_words import Command, Talk, Words, packed
from coatcheck.stores.coalesce import Coalesced
from coatcheck.stores.redis import CONNECT_DEADLINE, DEADLINE, MAX_CONNECTIONS

__all__ = ["AsyncRedisStore", "from_url"]

_T = TypeVar("_T")


class AsyncRedisStore:
    """`RedisStore`, with the same arguments, for asyncio. A client of the application's own serves one event loop."""

    capabilities: Capabilities = Capabilities(separate_index=True)

    def __init__(self, client: Any, *, prefix: str = "coatcheck:", deadline: timedelta = DEADLINE) -> None:
        """Make a store on a client; see `RedisStore`."""
        limits = limits_of(deadline, CONNECT_DEADLINE, MAX_CONNECTIONS)
        self._words = Words(prefix)
        self._deadline = limits.deadline
        if isinstance(client, PerLoop):
            self._loops: PerLoop = client
        else:
            check(client, asynchronous=True)
            self._loops = their_servers(client, limits.deadline)
        self._together = not self._loops.is_cluster

    async def load(self, keys: Sequence[bytes], now: int) -> Sequence[Found]:
        """What lies under each key, in one round trip; in a cluster, one for each server that has some of them."""
        return only_answers(await self._talk(self._words.load(keys, together=self._together)))

    async def apply(self, changes: Sequence[Change]) -> Sequence[Applied | Refused]:
        """Apply each change by itself, all in one round trip; see `RedisStore.apply`."""
        return only_answers(await self._talk(self._words.apply(changes)))

    async def enroll(self, user: str, life: Life, expires: int) -> None:
        """Note a sign-in in the user's index, in one round trip."""
        await self._talk(self._words.enroll(user, life, expires))

    async def lives_of(self, user: str, now: int) -> Sequence[Life]:
        """The user's live sessions, the newest sign-in first."""
        return await self._talk(self._words.lives_of(user, now, together=self._together))

    async def count(self, now: int) -> int:
        """How many live records there are. It walks through all keys of the server: for scripts, not for requests."""
        live = 0
        for line in await self._lines():
            cursor = b"0"
            while True:
                (reply,) = await self._exchange([Command(b"", self._words.walk(cursor))], line)
                cursor, names = done(reply)
                unique = list(dict.fromkeys(names))
                if unique:
                    heads = await self._exchange(self._words.heads(unique), line)
                    live += self._words.live_among(unique, heads, now)
                if cursor == b"0":
                    break
        return live

    async def sweep(self, now: int, limit: int) -> int:
        """Nothing to do: the server lets go of what has expired by itself."""
        return 0

    async def ping(self) -> None:
        """Return if the server can be reached, in a cluster each of them, else raise a `StoreError`."""
        for line in await self._lines():
            (reply,) = await self._exchange([Command(b"", packed(b"PING"))], line)
            done(reply)

    async def close(self) -> None:
        """Close the connections that were made here."""
        await self._loops.close()

    async def _lines(self) -> list[Any]:
        try:
            return list(await self._loops.here().all(time.monotonic() + self._deadline))
        except Broken as broken:
            raise broken.failure(writes=False) from broken.cause

    async def _talk(self, talk: Talk[_T]) -> _T:
        try:
            commands = next(talk)
            while True:
                commands = talk.send(await self._exchange(commands))
        except StopIteration as end:
            return cast("_T", end.value)

    async def _exchange(self, commands: Sequence[Command], line: Any = None) -> Sequence[Reply]:
        servers = self._loops.here()
        exchange = Exchange(commands, time.monotonic() + self._deadline)
        await self._send(exchange, servers, line)
        while (pause := exchange.pause()) is not None:
            if pause:
                await asyncio.sleep(pause)
            if exchange.renew:
                exchange.renew = False
                await (line.renew() if line else servers.renew(exchange.until))
            await self._send(exchange, servers, line)
        return exchange.replies

    async def _send(self, exchange: Exchange, servers: Any, line: Any) -> None:
        """Send what is pending, to each server what is for it, to all at the same time."""
        shares: dict[Any, list[int]] = {}
        for place in exchange.pending:
            try:
                key, moved = exchange.commands[place].key, exchange.moved.get(place)
                to = line or await servers.line_of(key, moved, exchange.until)
            except Broken as broken:
                exchange.broke([place], broken)
            except StoreError as error:
                exchange.refused([place], error)
            else:
                shares.setdefault(to, []).append(place)
        if len(shares) == 1:
            ((to, places),) = shares.items()
            await self._send_to(exchange, to, places)
        else:
            await asyncio.gather(*(self._send_to(exchange, to, places) for to, places in shares.items()))

    async def _send_to(self, exchange: Exchange, to: Any, places: list[int]) -> None:
        data, count = exchange.data(places)
        try:
            replies = await to.exchange(data, count, exchange.until)
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
) -> Coalesced:
    """The store on the servers that a URL names, with coalescing in front; see `coatcheck.stores.redis.from_url`."""
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
        return Coalesced(AsyncRedisStore(client, prefix=prefix, deadline=deadline))
    loops = url_servers(address_of(url, options), limits)
    return Coalesced(AsyncRedisStore(loops, prefix=prefix, deadline=deadline))
