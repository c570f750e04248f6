"""Old sessions: those of another library, where they are, and which of them a request presents."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from hashlib import sha256
from typing import Any, Protocol

from msgspec import Struct

from coatcheck.config import Settings
from coatcheck.core.calls import Aside
from coatcheck.core.marks import mark_of
from coatcheck.core.state import State
from coatcheck.http.cookie import values_of
from coatcheck.http.token import SELECTOR_BYTES, Token
from coatcheck.model.fields import Flash
from coatcheck.model.record import Record, Unreadable
from coatcheck.silent import silent

__all__ = ["Old", "OldSession", "Source", "presented"]

_VALUES_LOOKED_AT = 20
_IDS_TRIED = 4


class Old(Struct, frozen=True):
    """A session of another library, as it was stored.

    Attributes:
        fields: Its fields. A value that a field of ours can't hold stays behind.
        flashes: Its messages that wait, the oldest first.
        lost: The names of fields that could not be read.
        permanent: Whether its cookie outlives the browser.
        idle: Its own idle limit; None: the one of the settings.
        rest: Its remaining lifetime, which use does not extend; None: that of the settings.
        longest_idle: The idle limit of all sessions of the old library; None: there was none. The shorter of this and that
            of the settings counts.
        exceeds: Whether `idle` and `rest` count also where they are longer than the settings allow, up to 400 days.
    """

    fields: Mapping[Any, Any]
    flashes: Sequence[Flash] = ()
    lost: Sequence[str] = ()
    permanent: bool = False
    idle: timedelta | None = None
    rest: timedelta | None = None
    longest_idle: timedelta | None = None
    exceeds: bool = False

    def __repr__(self) -> str:
        return silent(self)


class Source(Protocol):
    """The sessions of another library. Its methods are called from several threads at once.

    Attributes:
        name: Its name in events. Sources with the same name have the same sessions under the same ids.
        cookie: The name of its cookie.
        removes: Whether `remove` ends a session. A session that is in its cookie can't be removed.
    """

    name: str
    cookie: str
    removes: bool

    def id_in(self, value: str) -> str | None:
        """The session's id in the value of a cookie, if the library itself would accept the value. An id has one
        spelling: of a signed value it is the part that is signed.
        """
        ...

    def read(self, old_id: str, now: float) -> Old | None:
        """The session of an id; None if there is none, or if it has expired.

        Args:
            old_id: The id, from `id_in`.
            now: Seconds since 1970.

        Raises:
            DecodeError: It can't be decoded. The visitor is then anonymous, and the record is left alone.
            Exception: Anything else counts as an outage.
        """
        ...

    def remove(self, old_id: str) -> None:
        """Remove the session. After a move, a failure is only reported."""
        ...


class OldSession:
    """An old session that a request presents: its name with us, and the calls of its source."""

    __slots__ = ("key", "mark", "old_id", "source", "tokens")

    def __init__(self, source: Source, old_id: str, settings: Settings) -> None:
        self.source: Source = source
        self.old_id: str = old_id
        name = f"{source.name}\0{old_id}".encode("utf-8", "surrogatepass")
        # Independent of the ring: what was ended stays ended when the secret is replaced.
        self.key: bytes = sha256(b"coatcheck moved to " + name).digest()[:SELECTOR_BYTES]
        self.mark: bytes = mark_of(name)
        self.tokens: list[Token] = settings.ring.adopted(self.key, name)

    def __repr__(self) -> str:
        return silent(self)

    def token_of(self, record: Record | Unreadable) -> Token | None:
        """The token that opens a record as long as nothing but the move has changed its secret."""
        previous = record.previous if isinstance(record, Record) else None
        return next((token for token in self.tokens if token.secret_hash == previous), None)

    def read(self, now: int) -> Aside:
        """Read it."""
        return Aside(lambda: self.source.read(self.old_id, now / 1000))

    def remove(self) -> Aside:
        """Remove it."""
        return Aside(lambda: self.source.remove(self.old_id))


def presented(state: State, sources: Sequence[Source], settings: Settings) -> Iterator[OldSession]:
    """The old sessions that a request presents."""
    rings = [settings.ring, *(ring for _, ring in settings.former)]
    for source in sources:
        ids: list[str] = []
        for value in values_of(state.cookies, source.cookie.encode())[:_VALUES_LOOKED_AT]:
            if any(ring.verify(value) is not None for ring in rings):
                continue  # the cookie has its old name: a token of ours must not reach the old store and its logs
            old_id = None
            # Whatever a client sends, no exception reaches the application.
            with suppress(Exception):
                old_id = source.id_in(value.decode("latin-1"))
            if old_id is not None and old_id not in ids and len(ids) < _IDS_TRIED:
                ids.append(old_id)
                yield OldSession(source, old_id, settings)
