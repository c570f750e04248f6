"""The flows that make a session of another library one of ours.

Such a session has a token of ours too, derived from its old name: an old cookie is another spelling of that token. Its
record is made as after a periodic rotation: the derived secret is the previous one, and the responses send its successor.
So parallel first requests get the same cookie, and a lost response logs nobody out.

Two kinds of marks lie beside the records. One says that an old session was carried over: from then on its cookie opens
only the session that was made of it, and nothing after a logout. The other says that `revoke_user` has ended a user's old
sessions.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from hashlib import sha256
from struct import Struct as Layout
from typing import Any, Protocol

from msgspec import Struct
from msgspec.structs import replace

from coatcheck.config import Settings
from coatcheck.core import lifecycle
from coatcheck.core.calls import Apply, Aside, Done, Flow, Held, Load, Writes
from coatcheck.core.identity import client_of, named_in
from coatcheck.core.loading import held_under
from coatcheck.core.requests import Requests
from coatcheck.core.state import State, check_name
from coatcheck.core.users import Users, event_of, raise_failure, record_of
from coatcheck.errors import DecodeError, NotStorable, StoreError, StoreUnavailable
from coatcheck.http.cookie import values_of
from coatcheck.http.token import SELECTOR_BYTES, Token
from coatcheck.model import codec
from coatcheck.model.fields import FLASH, Flash, stored_flash
from coatcheck.model.format import encode
from coatcheck.model.lifetimes import LONGEST_COOKIE, milliseconds
from coatcheck.model.ports import REVISION_BYTES, Conflict, Loaded, Write, Written
from coatcheck.model.record import MARK_BYTES, Create, Record, Refused, Tombstone, Unreadable
from coatcheck.silent import silent

__all__ = ["Moving", "Old", "Source"]

_MARK = Layout(">8s5sQ")
"""A mark: its revision, ``moved``, and until when it stands."""
_MARKED_FOR = milliseconds(LONGEST_COOKIE)
_VALUES_LOOKED_AT = 20
_IDS_TRIED = 4
_NAMES_TOLD = 20
_LONGEST_NAME = 40


class Old(Struct, frozen=True):
    """A session of another library, as it was stored.

    Attributes:
        fields: Its fields. A value that a field of ours can't hold stays behind.
        flashes: Its messages that wait, the oldest first.
        lost: The names of fields that could not be read.
        permanent: Whether its cookie outlives the browser.
        idle: Its own idle limit; None: the one of the settings.
        rest: Its remaining lifetime, which use does not extend; None: that of the settings.
    """

    fields: Mapping[Any, Any]
    flashes: Sequence[Flash] = ()
    lost: Sequence[str] = ()
    permanent: bool = False
    idle: timedelta | None = None
    rest: timedelta | None = None

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
        """Remove the session. Failing is reported, and does no harm."""
        ...


class _Shown:
    """An old session that a request presents."""

    __slots__ = ("key", "mark", "old_id", "source", "tokens")

    def __init__(self, source: Source, old_id: str, settings: Settings) -> None:
        self.source = source
        self.old_id = old_id
        name = f"{source.name}\0{old_id}".encode("utf-8", "surrogatepass")
        # Without the ring: what was ended stays ended when the secret is replaced.
        self.key = sha256(b"coatcheck moved to " + name).digest()[:SELECTOR_BYTES]
        self.mark = sha256(b"coatcheck moved " + name).digest()[:SELECTOR_BYTES]
        self.tokens = settings.ring.adopted(self.key, name)

    def __repr__(self) -> str:
        return silent(self)

    def token_of(self, record: Record | Unreadable) -> Token | None:
        """The token that opens a record as long as nothing but the move has changed its secret."""
        previous = record.previous if isinstance(record, Record) else None
        return next((token for token in self.tokens if token.secret_hash == previous), None)

    def read(self, now: int) -> Aside:
        return Aside(lambda: self.source.read(self.old_id, now / 1000))

    def remove(self) -> Aside:
        return Aside(lambda: self.source.remove(self.old_id))


class Moving(Requests):
    """The flows of a request, of which the first one carries over an old session.

    Args:
        sources: Where the old sessions are.
        keep: Leave the old records where they are.
    """

    __slots__ = ("_keep", "_sources")

    def __init__(
        self,
        settings: Settings,
        users: Users,
        random: Callable[[int], bytes],
        sources: Sequence[Source],
        *,
        keep: bool,
    ) -> None:
        super().__init__(settings, users, random)
        self._sources = sources
        self._keep = keep

    # Loading

    def load(self, state: State, now: int) -> Flow[None]:
        """Carry over the old session that the request presents, if it has no token of ours; then load as usual."""
        if not state.ready and not self._has_a_token_of_ours(state):
            try:
                for shown in self._shown(state):
                    state.adopted = yield from self._moved(state, shown, now)
                    if state.adopted is not None:
                        break
            except StoreError as error:
                yield from self._not_loaded(state, now, error)
                return
        yield from super().load(state, now)

    def _has_a_token_of_ours(self, state: State) -> bool:
        """Whether there is one, alive or dead: the old cookie must not undo a logout."""
        return bool(self._read_tokens(state)) or state.crowded

    def _shown(self, state: State) -> Iterator[_Shown]:
        """The old sessions that a request presents."""
        for source in self._sources:
            ids: list[str] = []
            for value in values_of(state.cookies, source.cookie.encode())[:_VALUES_LOOKED_AT]:
                old_id = None
                # Whatever a client sends, no exception reaches the application.
                with suppress(Exception):
                    old_id = source.id_in(value.decode("latin-1"))
                if old_id is not None and old_id not in ids and len(ids) < _IDS_TRIED:
                    ids.append(old_id)
                    yield _Shown(source, old_id, self._settings)

    def _read_tokens(self, state: State) -> Sequence[Token]:
        if state.adopted is None:
            return super()._read_tokens(state)
        state.tokens, state.refused = (state.adopted,), False
        return state.tokens

    # Moving

    def _moved(self, state: State, shown: _Shown, now: int) -> Flow[Token | None]:
        """The token that an old session has with us; None if it has none, or what was made of it has ended."""
        held, is_marked = yield from self._known(shown, now)
        if held.state is None and not is_marked:
            old = yield from self._read(shown, now)
            if old is not None:
                yield from self._adopt(state, shown, old, now)
            # A parallel request may have been first, with another secret of the ring.
            held, is_marked = yield from self._known(shown, now)
            if old is None and held.state is None and not is_marked:
                return None
        # Also if another request made the record: it may have been cut short.
        if not is_marked:
            yield from self._end_old(shown, now)
        record = held.state
        if record is None or isinstance(record, Tombstone):
            # Not late: browsers keep the old cookie, and the next sign-in form must work.
            return None
        return shown.token_of(record) or shown.tokens[0]

    def _known(self, shown: _Shown, now: int) -> Flow[tuple[Held, bool]]:
        """What was made of an old session, and whether a mark says that it was moved."""
        answers: Sequence[Loaded] = yield Load([shown.key, shown.mark])
        held, is_marked = held_under(shown.key, answers[0]), _stands(answers[1], now)
        record = held.state
        if isinstance(record, Record) and record.user is not None and shown.token_of(record) is not None:
            # Also by a later request: the one that made the record may have been cut short.
            yield from self._end_if_revoked(held, record.user, now)
        return held, is_marked

    def _read(self, shown: _Shown, now: int) -> Flow[Old | None]:
        answer = yield shown.read(now)
        if isinstance(answer, DecodeError):
            yield event_of("unreadable", now, reason=f"a session of {shown.source.name}: {answer}")
            return None
        if isinstance(answer, Exception):
            # Not chained: a driver's error may show values and passwords.
            text = f"the sessions of {shown.source.name} can't be read: {type(answer).__name__}"
            raise StoreUnavailable(text, ambiguous=False)
        old: Old | None = answer
        return None if old is None or not (old.fields or old.flashes) else old

    def _adopt(self, state: State, shown: _Shown, old: Old, now: int) -> Flow[None]:
        """Make the record of an old session, unless a parallel request is first, or its user's sessions were ended."""
        record, lost = self._record_of(state, shown.tokens[0], old, now)
        if record.user is not None:
            if (yield from self._is_revoked(record.user, now)):
                reason = f"a session of {shown.source.name}: {_ENDED_BEFORE}"
                yield event_of("revoked", now, user=record.user, reason=reason)
                return
            # Entered before the record is stored, so that `revoke_user` finds it, and again after that: a parallel
            # listing drops an entry without a record.
            since = yield from self._users.entering(record, record.user)
            record = replace(record, signed_in=since)
        (result,) = yield Apply([Create(record)], [None])
        if result is Refused.EXISTS:
            return
        raise_failure([result])
        assert isinstance(result, Done)
        held = yield from self._users.noted(result.held)
        reason = f"from {shown.source.name}" + (f"; not carried over: {_told(lost)}" if lost else "")
        yield event_of("migrated", now, record_of(held), reason=reason)
        try:
            yield from self._users.limited(record_of(held), now)
        except StoreError as error:  # unlike a sign-in, the visitor can't be asked to try again
            reason = f"limit: {type(error).__name__}: {error}"
            yield event_of("unavailable", now, record_of(held), reason=reason)

    def _record_of(self, state: State, token: Token, old: Old, now: int) -> tuple[Record, list[str]]:
        """The record that is made of an old session, and the names of what stays behind."""
        settings = self._settings
        fields, lost = _fields_of(old, now, settings.max_flashes)
        own_idle, own_absolute = _milliseconds(old.idle), _milliseconds(old.rest)
        limits = settings.lifetimes.limits(permanent=old.permanent)
        idle, absolute = min(own_idle or limits[0], limits[1]), min(own_absolute or limits[1], limits[1])
        record = Record(
            key=token.key,
            secret_hash=settings.ring.successor(token).secret_hash,
            secret_at=now,
            created=now,
            last_used=now,
            expires=now + min(idle, absolute),
            mark=self._random(MARK_BYTES),
            permanent=old.permanent,
            previous=token.secret_hash,
            idle=own_idle and idle,
            absolute=own_absolute and absolute,
            covered=settings.lifetimes.longest(own_absolute and absolute),
            fields=fields,
        )
        user = None
        try:
            user = named_in(record, settings)
        except Exception:  # noqa: BLE001 - the application's function may raise anything about a value of old
            lost.append(f"the user in {settings.identity_field}")
        if user is not None:
            record = replace(record, user=user, client=client_of(state), signed_in=now)
        return self._fitting(record, lost), lost

    def _fitting(self, record: Record, lost: list[str]) -> Record:
        """The record without its largest fields, where it would be too large with them."""
        fields, most = dict(record.fields), self._settings.max_bytes
        # Dropped from the end: the largest first, and the one that names the user last of all.
        order = sorted(fields, key=lambda name: (name != self._settings.identity_field, len(fields[name])))
        while order and (excess := len(encode(record, bytes(REVISION_BYTES))) - most) > 0:
            while order and excess > 0:
                name = order.pop()
                excess -= len(name.encode()) + len(fields.pop(name))
                lost.append(name)
            record = replace(record, fields=dict(fields))
        return record

    # Ending

    def _ending(self, state: State, now: int) -> Flow[None]:
        """End the old sessions that the request presents beside ours: after the logout, they would be carried over."""
        try:
            for shown in self._shown(state):
                if state.adopted is None or state.adopted.key != shown.key:
                    yield from self._end_old(shown, now)
        except StoreError as error:
            state.met = error
            yield event_of("unavailable", now, reason=f"apply: {type(error).__name__}: {error}")
            raise

    def _end_old(self, shown: _Shown, now: int) -> Flow[None]:
        """Mark an old session as carried over, and remove it."""
        yield from self._mark(shown.mark, now)
        if self._keep or not shown.source.removes:
            return
        answer = yield shown.remove()
        if isinstance(answer, Exception):
            reason = f"was not removed after its move: {type(answer).__name__}"
            yield event_of("unavailable", now, reason=f"a session of {shown.source.name} {reason}")

    def end_old_of(self, user: str, now: int) -> Flow[None]:
        """End the sessions of a user that have not been carried over yet."""
        yield from self._mark(_revoked_key(user), now)

    def _is_revoked(self, user: str, now: int) -> Flow[bool]:
        """Whether `revoke_user` has ended the user's old sessions."""
        answers: Sequence[Loaded] = yield Load([_revoked_key(user)])
        return _stands(answers[0], now)

    def _end_if_revoked(self, held: Held, user: str, now: int) -> Flow[None]:
        """End a session that was carried over after `revoke_user` had ended its user's old sessions."""
        if (yield from self._is_revoked(user, now)):
            record = record_of(held)
            results = yield Apply([lifecycle.ending_of(record, self._settings, now)], [held])
            raise_failure(results)
            yield event_of("revoked", now, record, reason=_ENDED_BEFORE)

    def _mark(self, key: bytes, now: int) -> Flow[None]:
        """Write a mark, or renew the one that is there. If another request renews it first, that is as good."""
        until = now + _MARKED_FOR
        data = _MARK.pack(self._random(REVISION_BYTES), b"moved", until)
        write = Write(key=key, data=data, expires=until, live=False, urgent=True)
        answers: Sequence[Written] = yield Writes([write])
        if isinstance(answers[0], Conflict):
            found = answers[0].found
            answers = yield Writes([replace(write, expected=found and found.version)])
        if isinstance(answers[0], Exception):
            raise answers[0]


_ENDED_BEFORE = "all sessions of the user were ended before it was carried over"


def _fields_of(old: Old, now: int, max_flashes: int) -> tuple[dict[str, bytes], list[str]]:
    """The fields of an old session, encoded, and the names of what can't be."""
    fields: dict[str, bytes] = {}
    lost = list(old.lost)
    for name, value in old.fields.items():
        try:
            check_name(name)
            fields[name] = codec.encode(value)
        except NotStorable:
            lost.append(
                name if isinstance(name, str) else f"a field with a {type(name).__name__} as its name"
            )
    for number, flash in enumerate(old.flashes[-max_flashes:]):
        try:
            data = codec.encode(stored_flash(flash))
        except NotStorable:
            lost.append("a message")
        else:
            fields[f"{FLASH}{now:012x}{number:04x}{'0' * 8}"] = data
    return fields, lost


def _milliseconds(span: timedelta | None) -> int:
    return 0 if span is None else max(1, milliseconds(span))


def _told(names: Sequence[str]) -> str:
    """Names of fields for an event. An attacker may have chosen them."""
    shown = [(name if name.isprintable() else ascii(name)[1:-1])[:_LONGEST_NAME] for name in sorted(names)]
    more = len(shown) - _NAMES_TOLD
    return ", ".join(shown[:_NAMES_TOLD]) + (f", and {more} more" if more > 0 else "")


def _stands(mark: Loaded, now: int) -> bool:
    """Whether a mark is there, and not past its end."""
    if isinstance(mark, StoreError):
        raise mark
    return mark is not None and len(mark.data) == _MARK.size and now < _MARK.unpack(mark.data)[2]


def _revoked_key(user: str) -> bytes:
    return sha256(b"coatcheck moved user " + user.encode()).digest()[:SELECTOR_BYTES]
