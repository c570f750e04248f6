"""Memcached's text protocol, as far as the async store speaks it: what is sent, and how the answers are read.

Nothing here waits or touches a socket. (The sync store leaves this to pymemcache. In async there is no client that it
could be left to: docs/decisions/0009-memcached.md tells what aiomcache does with a connection that is cut, and with a
caller that is cancelled.)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Generic, TypeVar

from coatcheck.stores._memcached_flows import Delete, Item, Put

__all__ = ["VERSION", "Answers", "OutOfStep", "Reading", "Values", "Version", "get", "put"]

_T = TypeVar("_T")
_YES = {b"STORED", b"DELETED"}
_NO = {b"NOT_STORED", b"EXISTS", b"NOT_FOUND"}
_LONGEST_LINE = 2048
VERSION = b"version\r\n"


class OutOfStep(Exception):
    """What came is no answer to what was asked. Nothing that comes on this connection can be trusted any more."""


class Reading(Generic[_T]):
    """The answer to one request, as it comes in piece by piece."""

    answer: _T

    def __init__(self) -> None:
        self._at = 0

    def feed(self, buffer: bytearray) -> bool:
        """Whether the answer is complete, now that `buffer` holds all that came so far.

        Raises:
            OutOfStep: It never will be.
        """
        raise NotImplementedError

    def _line(self, buffer: bytearray) -> bytes | None:
        end = buffer.find(b"\r\n", self._at)
        if end < 0:
            if len(buffer) - self._at > _LONGEST_LINE:
                raise OutOfStep("a line without an end")
            return None
        line = bytes(buffer[self._at : end])
        self._at = end + 2
        return line

    def _end(self, buffer: bytearray) -> bool:
        if self._at != len(buffer):
            raise OutOfStep("more than was asked for")
        return True


class Values(Reading[dict[bytes, Item]]):
    """The answer to `get`."""

    def __init__(self, names: Sequence[bytes]) -> None:
        super().__init__()
        self.answer: dict[bytes, Item] = {}
        self._wanted = set(names)

    def feed(self, buffer: bytearray) -> bool:
        while True:
            before = self._at
            line = self._line(buffer)
            if line is None:
                return False
            if line == b"END":
                return self._end(buffer)
            match line.split(b" "):
                case [b"VALUE", name, _, size, token] if (
                    name in self._wanted and size.isdigit() and token.isdigit()
                ):
                    end = self._at + int(size)
                case _:
                    raise OutOfStep(_told(line))
            if len(buffer) < end + 2:
                self._at = before
                return False
            if buffer[end : end + 2] != b"\r\n":
                raise OutOfStep("a value without an end")
            self.answer[name] = Item(bytes(buffer[self._at : end]), token)
            self._at = end + 2


class Answers(Reading[list[bool | str]]):
    """The answers to `put`: for each whether it was done, or the words with which the server refused it."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.answer: list[bool | str] = []
        self._number = number

    def feed(self, buffer: bytearray) -> bool:
        while len(self.answer) < self._number:
            line = self._line(buffer)
            if line is None:
                return False
            if line in _YES or line in _NO:
                self.answer.append(line in _YES)
            elif line.startswith(b"SERVER_ERROR "):
                self.answer.append(line[13:].decode("ascii", "replace"))
            else:
                raise OutOfStep(_told(line))
        return self._end(buffer)


class Version(Reading[bytes]):
    """The answer to `VERSION`."""

    def feed(self, buffer: bytearray) -> bool:
        line = self._line(buffer)
        if line is None:
            return False
        if not line.startswith(b"VERSION "):
            raise OutOfStep(_told(line))
        self.answer = line[8:]
        return self._end(buffer)


def get(names: Sequence[bytes]) -> bytes:
    """Ask for items, with their tokens."""
    return b"gets " + b" ".join(names) + b"\r\n"


def put(wishes: Sequence[Put | Delete]) -> bytes:
    """Have items stored and removed, in this order."""
    return b"".join(
        [_put(wish) if isinstance(wish, Put) else b"delete %b\r\n" % wish.name for wish in wishes]
    )


def _put(put: Put) -> bytes:
    if put.token is None:
        return b"add %b 0 %d %d\r\n%b\r\n" % (put.name, put.lifetime, len(put.data), put.data)
    return b"cas %b 0 %d %d %b\r\n%b\r\n" % (put.name, put.lifetime, len(put.data), put.token, put.data)


def _told(line: bytes) -> str:
    """A server's words, if they are an error's. Anything else may be part of a session, and is not repeated."""
    if line.startswith((b"ERROR", b"CLIENT_ERROR", b"SERVER_ERROR")):
        return line[:100].decode("ascii", "replace")
    return "an answer to something else"
