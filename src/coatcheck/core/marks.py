"""Marks: what is known of old sessions beside the records.

The mark of an old session says that it was carried over: from then on its cookie opens only the session that was made of
it, and nothing after a logout. The mark of a user says that `revoke_user` has ended the user's old sessions, but for the
one whose key it has. Neither depends on the application's secrets, so what has ended stays ended when they are replaced.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from hashlib import sha256
from struct import Struct as Layout

from msgspec.structs import replace

from coatcheck.core.calls import Flow, Load, Writes
from coatcheck.errors import StoreError
from coatcheck.http.token import SELECTOR_BYTES
from coatcheck.model.format import BESIDE
from coatcheck.model.lifetimes import LONGEST_COOKIE, milliseconds
from coatcheck.model.ports import REVISION_BYTES, Conflict, Loaded, Write, Written

__all__ = ["Marks", "mark_of", "stands"]

_LAYOUT = Layout(">8scQ")
"""The revision, `BESIDE`, and until when the mark stands. The key of a session to keep follows, if there is one."""
_MARKED_FOR = milliseconds(LONGEST_COOKIE)


def mark_of(name: bytes) -> bytes:
    """The key of an old session's mark."""
    return sha256(b"coatcheck moved " + name).digest()[:SELECTOR_BYTES]


def stands(found: Loaded, now: int) -> bool:
    """Whether a mark is there, and not past its end.

    Raises:
        StoreError: It can't be read.
    """
    return _kept(found, now) is not None


class Marks:
    """The flows over marks."""

    __slots__ = ("_random",)

    def __init__(self, random: Callable[[int], bytes]) -> None:
        self._random = random

    def put(self, key: bytes, now: int, kept: bytes = b"") -> Flow[None]:
        """Write a mark, or renew the one that is there. If another request renews it first, that is as good."""
        until = now + _MARKED_FOR
        data = _LAYOUT.pack(self._random(REVISION_BYTES), BESIDE, until) + kept
        write = Write(key=key, data=data, expires=until, live=False, urgent=True)
        answers: Sequence[Written] = yield Writes([write])
        if isinstance(answers[0], Conflict):
            found = answers[0].found
            answers = yield Writes([replace(write, expected=found and found.version)])
        if isinstance(answers[0], Exception):
            raise answers[0]

    def end_old_of(self, user: str, now: int, kept: bytes) -> Flow[None]:
        """Mark the old sessions of a user as ended, but for the one that has the key `kept`; empty: all of them."""
        yield from self.put(_mark_of_user(user), now, kept)

    def has_ended(self, user: str, now: int, key: bytes | None = None) -> Flow[bool]:
        """Whether `revoke_user` has ended the user's old sessions, and has not kept that of the `key`."""
        answers: Sequence[Loaded] = yield Load([_mark_of_user(user)])
        kept = _kept(answers[0], now)
        return kept is not None and kept != key


def _kept(found: Loaded, now: int) -> bytes | None:
    """The key in a mark that stands, or nothing; None: no mark stands."""
    if isinstance(found, StoreError):
        raise found
    if found is None or len(found.data) not in {_LAYOUT.size, _LAYOUT.size + SELECTOR_BYTES}:
        return None
    *_, until = _LAYOUT.unpack_from(found.data)
    return found.data[_LAYOUT.size :] if now < until else None


def _mark_of_user(user: str) -> bytes:
    return sha256(b"coatcheck moved user " + user.encode()).digest()[:SELECTOR_BYTES]
