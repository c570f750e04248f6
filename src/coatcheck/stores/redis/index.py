"""The index of users: a sorted set for each user, apart from the records.

A session has two members in it:

- its key, whose score is minus the time of the sign-in: read in order, the newest come first;
- ``u`` and its key, whose score is the entry's `until`: above zero in order, the first to expire come first.

A server may remove index keys when its memory is full, by its `maxmemory-policy`:

- ``volatile-*`` removes only keys with an expiry. Index keys have none then, and `sweep` removes expired entries.
- ``noeviction`` removes nothing. Index keys have an expiry.
- ``allkeys-*`` may remove any key. So may a server that does not tell its policy.

A policy can be changed while keys that were written under another one are there. Markers tell of these: a sorted set for
each shard of users, with a member for each `Risk` under which entries were written, and the latest `until` as its score.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections.abc import Sequence
from datetime import UTC, datetime
from enum import Enum
from typing import Any

from coatcheck.model.ports import Entry
from coatcheck.stores.redis.errors import code_of
from coatcheck.stores.redis.records import pattern
from coatcheck.stores.redis.scripts import (
    FORGET,
    SERVERS,
    TEND,
    TEND_WHEN_FULL,
    Command,
    Reply,
    Script,
    Steps,
    call,
    done,
    failed,
    packed,
    run,
)

__all__ = ["UserIndex"]

log: logging.Logger = logging.getLogger("coatcheck")

INFO = Command(b"", packed(b"INFO", b"memory"), reads=True)
_SHARDS = b"0123456789abcdef"
_PAGE = b"5000"
_TRIMMED = b"10"
"""The largest number of the user's expired entries that a sign-in removes, so that indexes don't grow without a sweep."""
_OVER = b""
"""In place of a cursor: the sweep has seen all keys of the server."""


class Risk(Enum):
    """How a server's policy can lose index keys. The value is the argument of the scripts, and the marker's member."""

    NONE = b""
    """``volatile-*``: the key has no expiry, and is never evicted."""
    LATER = b"expires"
    """``noeviction``: the key has an expiry, and may be evicted once the policy is changed to ``volatile-*``."""
    NOW = b"evicted"
    """``allkeys-*``, or an unknown policy: the key may be evicted."""


class UserIndex:
    """The operations on the index of one store."""

    def __init__(self, prefix: bytes) -> None:
        self._prefix = prefix
        self._risk: Risk | None = None
        self._warned = False
        self._pattern = pattern(b"%buser:{" % prefix) + b"?}*"
        self._cursors: dict[Any, bytes] = {}
        """Where the sweep goes on, by server."""
        self._kept = True

    def name(self, user: str) -> bytes:
        """The index key of a user. The name is hashed, so that no character of it means anything to the server."""
        return self._names(user)[0]

    def _names(self, user: str) -> list[bytes]:
        """The index key of a user, and the marker of the user's shard. In a cluster, the braces keep them together."""
        digest = hashlib.sha256(user.encode("utf-8", "surrogatepass")).hexdigest()[:32].encode()
        shard = digest[:1]
        return [b"%buser:{%b}%b" % (self._prefix, shard, digest[1:]), b"%busers:{%b}" % (self._prefix, shard)]

    def note(self, entries: Sequence[Entry], now: int) -> Steps[None]:
        """Store entries, with or without an expiry of the index keys as the server's policy needs it."""
        if not entries:
            return
        names = [self._names(entry.user) for entry in entries]
        # The policy is asked for each time: it may be changed.
        asked = [INFO._replace(key=name) for name in dict.fromkeys(name for name, _ in names)]
        if self._risk is None:
            self._learn((yield asked))
        for _ in range(3):
            risk = self._risk or Risk.NONE
            calls = [
                _tend(TEND, keys, now, _TRIMMED, risk, entry)
                for keys, entry in zip(names, entries, strict=True)
            ]
            replies = yield from run([*calls, *asked])
            for reply in replies[: len(calls)]:
                done(reply)
            if self._learn(replies[len(calls) :]) is risk:
                return

    def sessions_of(self, user: str, now: int, limit: int, after: Entry | None) -> Steps[list[Entry]]:
        """A page of the user's entries, the newest sign-in first."""
        name, entries, offset = self.name(user), list[Entry](), 0
        least = b"-inf" if after is None else b"%d" % -after.signed_in
        while len(entries) < limit:
            (reply,) = yield [
                Command(
                    name,
                    packed(
                        *(b"ZRANGE", name, least, b"(0", b"BYSCORE", b"LIMIT", b"%d" % offset, b"%d" % limit),
                        b"WITHSCORES",
                    ),
                    reads=True,
                )
            ]
            flat = done(reply)
            keys, scores = flat[::2], flat[1::2]
            if not keys:
                break
            (untils,) = yield [
                Command(name, packed(b"ZMSCORE", name, *(b"u" + key for key in keys)), reads=True)
            ]
            for key, score, until in zip(keys, scores, done(untils), strict=True):
                entry = Entry(user, key, -_number(score), _number(until))
                if entry.until > now and (after is None or _place(after) < _place(entry)):
                    entries.append(entry)
            if len(keys) < limit:
                break
            offset += len(keys)
        return entries[:limit]

    def forget(self, entries: Sequence[Entry]) -> Steps[None]:
        """Remove each entry that still is exactly the same."""
        of_user: dict[str, list[bytes]] = {}
        for entry in entries:
            parts = of_user.setdefault(entry.user, [])
            parts += entry.key, b"%d" % -entry.signed_in, b"%d" % entry.until
        for reply in (
            yield from run([call(FORGET, [self.name(user)], *parts) for user, parts in of_user.items()])
        ):
            done(reply)

    def incomplete(self) -> Steps[str | None]:
        """Why entries may be missing, by the servers' policies and the markers."""
        servers = yield SERVERS
        risks = _risks((yield _infos(servers)))
        if Risk.NOW in risks:
            self._warned = True  # the caller says it
            return _EVICTS
        marks = yield [
            Command(name, packed(b"ZMSCORE", name, Risk.LATER.value, Risk.NOW.value), reads=True)
            for name in self._markers()
        ]
        later, evicted = ([_number(done(pair)[place]) for pair in marks] for place in (0, 1))
        now = time.time_ns() // 1_000_000
        if max(evicted) > now:
            return _EVICTED.format(datetime.fromtimestamp(max(evicted) / 1_000, UTC))
        return _EXPIRES if Risk.NONE in risks and max(later) > now else None

    def sweep(self, now: int, limit: int, stop: float) -> Steps[int]:
        """Remove expired entries: at most `limit`, until `stop` (monotonic seconds).

        It also gives each index key the expiry, or none, that the policy needs. The next sweep goes on where this one
        stops. If all policies were ``volatile-*`` from the beginning to the end of a whole sweep, no index key has an
        expiry any more, and the markers of `Risk.LATER` are removed.
        """
        servers, removed = (yield SERVERS), 0
        before = _risks((yield _infos(servers)))
        self._kept = self._kept and before == [Risk.NONE] * len(servers)
        for server, risk in zip(servers, before, strict=True):
            while self._cursors.get(server) != _OVER and removed < limit and time.monotonic() < stop:
                removed += yield from self._sweep_page(server, risk, now, limit - removed)
        if all(self._cursors.get(server) == _OVER for server in servers):
            kept = self._kept and before == _risks((yield _infos(servers)))
            self._cursors, self._kept = {}, True
            if kept:
                for reply in (
                    yield [Command(name, packed(b"ZREM", name, Risk.LATER.value)) for name in self._markers()]
                ):
                    done(reply)
        return removed

    def _sweep_page(self, server: Any, risk: Risk, now: int, limit: int) -> Steps[int]:
        """Remove expired entries from the index keys of one page of a server's keys."""
        scan = packed(b"SCAN", self._cursors.get(server, b"0"), b"MATCH", self._pattern, b"COUNT", _PAGE)
        cursor, names = done((yield [Command(b"", scan, reads=True, server=server)])[0])
        removed = 0
        while names:
            left = limit - removed
            if left <= 0:
                return removed  # the next sweep begins with this page
            some, names = names[:left], names[left:]
            each = b"%d" % (left // len(some))
            calls = [_tend(TEND_WHEN_FULL, [name], now, each, risk)._replace(server=server) for name in some]
            removed += sum(done(reply) for reply in (yield from run(calls)))
        self._cursors[server] = _OVER if cursor == b"0" else cursor
        return removed

    def _markers(self) -> list[bytes]:
        return [b"%busers:{%c}" % (self._prefix, shard) for shard in _SHARDS]

    def _learn(self, infos: Sequence[Reply]) -> Risk:
        """Remember the greatest risk among the servers. The first `Risk.NOW` is logged as a warning."""
        self._risk = max(_risks(infos), key=list(Risk).index)
        if self._risk is Risk.NOW and not self._warned:
            self._warned = True
            log.warning("%s", _EVICTS)
        return self._risk


def _tend(
    script: Script, keys: Sequence[bytes], now: int, trimmed: bytes, risk: Risk, entry: Entry | None = None
) -> Command:
    parts = [b"%d" % now, trimmed, risk.value]
    if entry is not None:
        parts += entry.key, b"%d" % -entry.signed_in, b"%d" % entry.until
    return call(script, keys, *parts)


def _infos(servers: Sequence[Any]) -> list[Command]:
    return [INFO._replace(server=server) for server in servers]


def _risks(infos: Sequence[Reply]) -> list[Risk]:
    risks: list[Risk] = []
    for info in infos:
        if isinstance(info, Exception) and code_of(info) != "NOPERM":
            raise failed(info)
        # Where the server does not permit INFO, the policy is unknown.
        policy = bytes(info).partition(b"maxmemory_policy:")[2] if isinstance(info, bytes) else b""
        known = Risk.LATER if policy.startswith(b"noeviction") else Risk.NOW
        risks.append(Risk.NONE if policy.startswith(b"volatile-") else known)
    return risks


def _place(entry: Entry) -> tuple[int, bytes]:
    return -entry.signed_in, entry.key


def _number(score: bytes | None) -> int:
    return int(float(score or 0))


_CURE = 'set maxmemory-policy to noeviction or to one of volatile-*, or use revocation="epoch"'
_EVICTS = (
    "The server's maxmemory-policy lets it remove any key when its memory is full, or INFO memory does not tell it, so that"
    f" sessions may be missing in the index of users: {_CURE}."
)
_EVICTED = (
    "Sessions may be missing in the index of users until {:%Y-%m-%d %H:%M} UTC, when the last one ends that signed in while"
    ' maxmemory-policy let the server remove any key: use revocation="epoch", or wait.'
)
_EXPIRES = (
    "maxmemory-policy was changed to one that removes keys with an expiry, and the index of users has such keys: run"
    ' `coatcheck sweep` once to the end, or use revocation="epoch".'
)
