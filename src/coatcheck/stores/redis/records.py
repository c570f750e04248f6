"""Records in Redis: their keys, the commands that load and write them, and the meaning of the replies.

A record is one string with an expiry. Its value is the data and one more byte, by which `count` tells sessions from
tombstones and epochs.
"""

from __future__ import annotations

from binascii import b2a_base64
from collections.abc import Sequence
from typing import cast

from coatcheck.errors import ConfigurationError, StoreError
from coatcheck.model.ports import REVISION_BYTES, Conflict, Found, Loaded, Write, Written
from coatcheck.stores.redis.errors import code_in, code_of, refusal
from coatcheck.stores.redis.scripts import (
    SERVERS,
    SWAP,
    SWAP_WHEN_FULL,
    Command,
    Reply,
    Steps,
    call,
    done,
    failed,
    packed,
    run,
)

__all__ = ["Records", "loaded", "pattern", "ping"]

_LIVE, _OTHER = b"\1", b"\0"
_FOREIGN = Found(b"", b"")
"""A key of another type. It is left alone, like a record that can't be read."""
_URLSAFE = bytes.maketrans(b"+/", b"-_")
_KEY_CHARACTERS = 22
_PAGE = b"1000"


class Records:
    """The operations on the records of one store.

    Args:
        prefix: The text that all keys begin with.
        together: Whether one command may name several keys: not in a cluster.

    Raises:
        ConfigurationError: The prefix is not a str of printable ASCII without spaces and braces.
    """

    def __init__(self, prefix: str, *, together: bool) -> None:
        if (
            not isinstance(prefix, str)
            or not prefix.isascii()
            or not prefix.isprintable()
            or len(prefix) > 200
        ):
            raise ConfigurationError("prefix must be a str of up to 200 printable ASCII characters")
        if set(prefix) & set("{} "):
            raise ConfigurationError(
                "prefix must not contain braces (by them a cluster picks the server) or spaces"
            )
        self.prefix: bytes = prefix.encode()
        self._together = together
        self._get = b"*2\r\n$3\r\nGET\r\n$%d\r\n%b" % (len(self.prefix) + _KEY_CHARACTERS, self.prefix)

    def name(self, key: bytes) -> bytes:
        """The name of a record in the server: the prefix, and the key in base64url."""
        return self.prefix + b2a_base64(key, newline=False)[:_KEY_CHARACTERS].translate(_URLSAFE)

    def get(self, key: bytes) -> bytes:
        """The command that loads one record."""
        return b"%b%b\r\n" % (
            self._get,
            b2a_base64(key, newline=False)[:_KEY_CHARACTERS].translate(_URLSAFE),
        )

    def load(self, keys: Sequence[bytes]) -> Steps[Sequence[Loaded]]:
        """The data under each key."""
        names = [self.name(key) for key in keys]
        if not self._together or len(keys) < 2:
            replies = yield self._gets(keys, names)
            return [loaded(reply) for reply in replies]
        # MGET takes a key of another type for absent, and EXISTS counts it. If they differ, such keys are asked for again.
        values, there = yield [
            Command(names[0], packed(b"MGET", *names), reads=True),
            Command(names[0], packed(b"EXISTS", *names), reads=True),
        ]
        answers: list[Loaded] = [None if value is None else found(value) for value in done(values)]
        if done(there) != len(answers) - answers.count(None):
            doubtful = [place for place, answer in enumerate(answers) if answer is None]
            replies = yield self._gets(
                [keys[place] for place in doubtful], [names[place] for place in doubtful]
            )
            for place, reply in zip(doubtful, replies, strict=True):
                answers[place] = loaded(reply)
        return answers

    def _gets(self, keys: Sequence[bytes], names: Sequence[bytes]) -> Sequence[Command]:
        return [Command(name, self.get(key), reads=True) for key, name in zip(keys, names, strict=True)]

    def write(self, writes: Sequence[Write], now: int) -> Steps[Sequence[Written]]:
        """Carry out each write by itself: one script call for all, or in a cluster one for each."""
        ordinary, urgent = list[int](), list[int]()
        for place, write in enumerate(writes):
            (urgent if write.urgent else ordinary).append(place)
        groups = [ordinary, urgent] if self._together else [[place] for place in (*ordinary, *urgent)]
        groups = [group for group in groups if group]
        calls: list[Command] = []
        for group in groups:
            names, arguments = list[bytes](), list[bytes]()
            for place in group:
                names.append(self.name(writes[place].key))
                arguments += _arguments(writes[place], now)
            script = SWAP_WHEN_FULL if writes[group[0]].urgent else SWAP
            calls.append(call(script, names, *arguments))
        answers: list[Written] = [None] * len(writes)
        for group, reply in zip(groups, (yield from run(calls)), strict=True):
            if isinstance(reply, Exception):
                reply = [reply] * len(group)  # noqa: PLW2901 - the failure of each of them
            for place, answer in zip(group, reply, strict=True):
                answers[place] = _written(answer)
        return answers

    def remove(self, keys: Sequence[bytes]) -> Steps[Sequence[bool | StoreError]]:
        """Remove each key by a plain DEL, which also works where the server refuses scripts."""
        names = [self.name(key) for key in keys]
        replies = yield [Command(name, packed(b"DEL", name)) for name in names]
        return [failed(reply) if isinstance(reply, Exception) else bool(reply) for reply in replies]

    def count(self) -> Steps[int]:
        """The number of sessions. It scans all keys of the servers."""
        match, live = pattern(self.prefix) + b"?" * _KEY_CHARACTERS, 0
        for server in (yield SERVERS):
            cursor = None
            while cursor != b"0":
                scan = packed(b"SCAN", cursor or b"0", b"MATCH", match, b"COUNT", _PAGE)
                cursor, names = done((yield [Command(b"", scan, reads=True, server=server)])[0])
                marks = yield [
                    Command(name, packed(b"GETRANGE", name, b"-1", b"-1"), reads=True, server=server)
                    for name in dict.fromkeys(names)
                ]
                live += sum(mark == _LIVE for mark in marks)
        return live


def ping() -> Steps[int]:
    """The latest of the servers' clocks (ms). Raises a `StoreError` if a server does not answer."""
    servers = yield SERVERS
    replies = yield [Command(b"", packed(b"TIME"), reads=True, server=server) for server in servers]
    return max(int(seconds) * 1000 + int(micros) // 1000 for seconds, micros in map(done, replies))


def found(value: bytes) -> Found:
    """The data of a stored value."""
    return Found(value[:-1], value[:REVISION_BYTES])


def loaded(reply: Reply) -> Loaded:
    """The answer to a GET."""
    if type(reply) is bytes:
        return Found(reply[:-1], reply[:REVISION_BYTES])
    if reply is None:
        return None
    if isinstance(reply, Exception) and code_of(reply) == "WRONGTYPE":
        return _FOREIGN
    return failed(reply)


def pattern(text: bytes) -> bytes:
    """A pattern for SCAN that matches `text` itself."""
    return b"".join(b"\\%c" % byte if byte in b"*?[]^-\\" else b"%c" % byte for byte in text)


def _arguments(write: Write, now: int) -> tuple[bytes, bytes, bytes]:
    expected = b"" if write.expected is None else write.expected
    assert isinstance(expected, bytes)
    # A life instead of a moment: the server's clock may differ.
    return expected, write.data + (_LIVE if write.live else _OTHER), b"%d" % max(write.expires - now, 1)


def _written(answer: Reply) -> Written:
    if answer == 1:
        return None
    if answer is None:
        return Conflict(None)
    if isinstance(answer, bytes):
        return Conflict(found(answer))
    if isinstance(answer, list):
        code = code_in(cast("list[bytes]", answer)[0].decode("ascii", "replace"))
        return Conflict(_FOREIGN) if code == "WRONGTYPE" else refusal(code)
    return failed(answer)
