"""The scripts that run in the server, and how commands are packed.

A script is called by its hash, and sent in full where the server does not know it. `#!lua flags=allow-oom` lets it run
when the server's memory is full; without the flag, the server refuses it then.
"""

from __future__ import annotations

import hashlib
from collections.abc import Generator, Sequence
from typing import Any, NamedTuple, TypeAlias, TypeVar

from coatcheck.errors import StoreError
from coatcheck.silent import silent
from coatcheck.stores.redis.errors import code_of, refusal

__all__ = [
    "FORGET",
    "SERVERS",
    "SWAP",
    "SWAP_WHEN_FULL",
    "TEND",
    "TEND_WHEN_FULL",
    "Command",
    "Reply",
    "Script",
    "Steps",
    "call",
    "done",
    "failed",
    "packed",
    "run",
]

_T = TypeVar("_T")
Reply: TypeAlias = Any
"""A server's reply: bytes, a number, a list, None; or an exception, the driver's for a refusal or a `StoreError`."""
Steps: TypeAlias = "Generator[Sequence[Command], Sequence[Reply], _T]"
"""An operation: it yields the commands of one round trip, is sent their replies, and returns its result. If it yields
`SERVERS`, it is sent the values of `Command.server` for all servers that take writes."""

# KEYS: the records. ARGV, three of each: the revision that is expected (empty: nothing), the new value, its life in ms.
# Answers of each: 1, stored; nil, nothing is there; a string, the value that is there; a list, the text of an error.
_SWAP = """
local answers = {}
for i, key in ipairs(KEYS) do
  local expected, value, life = ARGV[3 * i - 2], ARGV[3 * i - 1], ARGV[3 * i]
  local head, set = redis.pcall('GETRANGE', key, 0, 7), false
  if head == expected then
    set = redis.pcall('SET', key, value, 'PX', life, head == '' and 'NX' or 'XX')
  end
  local failed = type(head) == 'table' and head or type(set) == 'table' and set.err and set
  answers[i] = failed and {failed.err} or set and 1 or redis.call('GET', key)
end
return answers
"""
# KEYS: an index; to store an entry, also the marker of its shard. ARGV: now, how many expired entries to remove at most,
# the risk; then the entry's key, minus its sign-in, and its until. The later sign-in and the later until stay.
_TEND = """
local index, now, risk, key = KEYS[1], ARGV[1], ARGV[3], ARGV[4]
if key then
  redis.call('ZADD', index, 'LT', ARGV[5], key)
  redis.call('ZADD', index, 'GT', ARGV[6], 'u' .. key)
  if risk ~= '' then redis.call('ZADD', KEYS[2], 'GT', ARGV[6], risk) end
end
local over = redis.call('ZRANGE', index, '(0', now, 'BYSCORE', 'LIMIT', 0, ARGV[2])
for _, member in ipairs(over) do redis.call('ZREM', index, member, string.sub(member, 2)) end
local last = redis.call('ZRANGE', index, -1, -1, 'WITHSCORES')[2]
if risk == '' then redis.call('PERSIST', index)
elseif last then redis.call('PEXPIRE', index, math.max(last - now, 60000)) end
return #over
"""
# KEYS: an index. ARGV, three of each entry: its key, minus its sign-in, its until.
_FORGET = """
local function score(member) return tonumber(redis.call('ZSCORE', KEYS[1], member) or 0) end
for i = 1, #ARGV, 3 do
  if score(ARGV[i]) == tonumber(ARGV[i + 1]) and score('u' .. ARGV[i]) == tonumber(ARGV[i + 2]) then
    redis.call('ZREM', KEYS[1], ARGV[i], 'u' .. ARGV[i])
  end
end
"""


class Script:
    """A script's text and hash."""

    __slots__ = ("sha", "text")

    def __init__(self, body: str, *, when_full: bool) -> None:
        self.text: bytes = f"#!lua{' flags=allow-oom' if when_full else ''}{body}".encode()
        self.sha: bytes = hashlib.sha1(self.text, usedforsecurity=False).hexdigest().encode()


SWAP, SWAP_WHEN_FULL = Script(_SWAP, when_full=False), Script(_SWAP, when_full=True)
TEND, TEND_WHEN_FULL = Script(_TEND, when_full=False), Script(_TEND, when_full=True)
FORGET = Script(_FORGET, when_full=True)


class Command(NamedTuple):
    """One command.

    Attributes:
        key: The key by which a cluster finds the server, unless one is named.
        data: The command in the protocol of Redis.
        reads: Whether it changes nothing, and so may be repeated.
        script: The script that it calls.
        arguments: What that script is given.
        server: The server of a cluster that is to run it.
    """

    key: bytes
    data: bytes
    reads: bool = False
    script: Script | None = None
    arguments: Sequence[bytes] = ()
    server: Any = None

    def __repr__(self) -> str:
        return silent(self)

    def in_full(self) -> Command:
        """The same call with the script's text in place of its hash."""
        assert self.script is not None
        return self._replace(data=packed(b"EVAL", self.script.text, *self.arguments))


SERVERS: Sequence[Command] = []
"""Yielded in place of commands, see `Steps`."""


def packed(*parts: bytes) -> bytes:
    """A command in the protocol of Redis (RESP: an array of bulk strings)."""
    pieces = [b"*%d\r\n" % len(parts)]
    for part in parts:  # no comprehension, which is a call in Python 3.11: the budget of calls per write
        pieces.append(b"$%d\r\n%b\r\n" % (len(part), part))  # noqa: PERF401
    return b"".join(pieces)


def call(script: Script, keys: Sequence[bytes], *arguments: bytes) -> Command:
    """The command that runs a script."""
    arguments = (b"%d" % len(keys), *keys, *arguments)
    return Command(keys[0], packed(b"EVALSHA", script.sha, *arguments), script=script, arguments=arguments)


def run(calls: Sequence[Command]) -> Steps[Sequence[Reply]]:
    """The replies to calls of scripts. Those that the server did not know, and so did not run, are sent in full."""
    replies = list((yield calls))
    unknown = [
        place
        for place, reply in enumerate(replies)
        if isinstance(reply, Exception) and code_of(reply) == "NOSCRIPT"
    ]
    if unknown:
        in_full = [calls[place].in_full() for place in unknown]
        for place, reply in zip(unknown, (yield in_full), strict=True):
            replies[place] = reply
    return replies


def failed(reply: Reply) -> StoreError:
    """The error for a reply that is a refusal, or not what was expected."""
    if isinstance(reply, StoreError):
        return reply
    return refusal((isinstance(reply, Exception) and code_of(reply)) or "ERR")


def done(reply: Reply) -> Reply:
    """The reply itself.

    Raises:
        StoreError: The command was refused, or its exchange failed.
    """
    if isinstance(reply, Exception):
        raise failed(reply)
    return reply
