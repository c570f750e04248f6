"""Every decision of a session's life: what is alive, what must be written, which cookie goes out.

Nothing here waits, reads a clock or makes a random number. The flows (`coatcheck.core.flows`) carry out what is
decided here.

The rules, and where they stand:

- A request holds a session if exactly one of its tokens, signed by us, has the current secret of a live record, or
  the previous one within a periodic rotation's grace (`judge`).
- A token whose key has a live record with another secret, changed within ``late_window``, or a tombstone, is *late*:
  its request writes nothing and gets no cookie, unless it signs in (`judge`, `change_of`).
- What is put into a session without a record creates one, with a new token; nothing else does (`change_of`).
- A change is an `Update` that holds the request to the secret it saw (`change_of`). A sign-in or `rotate` changes
  the secret at random; if it is refused, a sign-in starts a fresh record with what this request set (`fresh`).
- A request that looked at its session and changed nothing may owe a slide, a periodic rotation or the news that the
  new secret was seen (`upkeep_of`). Nothing else is ever written.
- Of a user's sessions, those that signed in last stand; beyond ``max_sessions_per_user`` a sign-in ends the others
  (`surplus`).
- The cookie goes out when there is a new token, when the session's permanence changed, when the token was signed
  by an older secret of the ring, or when the visitor still shows the secret before the periodic rotation
  (`owed_token`). It is cleared when the session that came with it was destroyed, and no new one begun.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from msgspec import Struct

from coatcheck.config import Settings
from coatcheck.core.state import CSRF, Standing, State
from coatcheck.errors import TooLarge
from coatcheck.http.token import SECRET_BYTES, SELECTOR_BYTES, Token
from coatcheck.model.lifetimes import is_alive, slide_is_due
from coatcheck.model.ports import Found, Life, Unreadable
from coatcheck.model.record import Create, Record, Rotation, Tombstone, Update, encode

__all__ = [
    "LOOKED_AT",
    "UNTOUCHED",
    "Outcome",
    "Verdict",
    "change_of",
    "check_size",
    "fresh",
    "is_held",
    "judge",
    "needs_cookie",
    "outcome_of",
    "owed_token",
    "owes_nothing",
    "surplus",
    "upkeep_of",
]

Random = Callable[[int], bytes]


class Verdict(Struct, frozen=True):
    """What the tokens of a request are worth."""

    standing: Standing
    token: Token | None = None
    record: Record | None = None
    rivals: tuple[bytes, ...] = ()
    """The keys of live sessions that came together, so that none was taken."""
    expired: tuple[Record, ...] = ()
    unreadable: tuple[tuple[bytes, str], ...] = ()


def judge(tokens: Sequence[Token], found: Sequence[Found], settings: Settings, now: int) -> Verdict:
    """Which session, if any, a request holds that presents `tokens`, for each of which `found` lies in the store."""
    held: dict[bytes, tuple[Token, Record]] = {}
    expired: list[Record] = []
    unreadable: list[tuple[bytes, str]] = []
    late = False
    for token, state in zip(tokens, found, strict=True):
        if isinstance(state, Record):
            if not is_alive(state, now, settings.lifetimes):
                expired.append(state)
            elif is_held(state, token, settings, now):
                if token.key not in held or token.hashed == state.secret:
                    held[token.key] = (token, state)
            else:
                late = late or now < state.secret_at + settings.late_window_ms
        elif isinstance(state, Tombstone):
            late = late or now < state.expires
        elif isinstance(state, Unreadable):
            unreadable.append((token.key, state.reason))
    if len(held) == 1:
        ((token, record),) = held.values()
        return Verdict(Standing.LIVE, token, record, (), tuple(expired), tuple(unreadable))
    standing = Standing.LATE if late and not held else Standing.NEW
    return Verdict(standing, None, None, tuple(held), tuple(expired), tuple(unreadable))


def is_held(record: Record, token: Token, settings: Settings, now: int) -> bool:
    """Whether `token` opens `record`."""
    return record.accepts(token.hashed, at=now, grace=settings.rotation_grace_ms)


def change_of(
    state: State, settings: Settings, now: int, random: Random
) -> tuple[Create | Update | None, Token | None]:
    """What must be stored of a request's intentions, and the token that its visitor then has.

    None, None: nothing. A late request, or one without its store, stores nothing but a sign-in.
    """
    setting, removing = state.changes()
    if state.standing is Standing.LIVE:
        return _update(state, settings, now, random, setting, removing)
    if state.sign_in is None and (state.standing is not Standing.NEW or not setting):
        return None, None
    return fresh(state, settings, now, random, setting)


def needs_cookie(state: State, change: Create | Update | None) -> bool:
    """Whether `change` is nothing without a new cookie in the response."""
    if change is None:
        return False
    if isinstance(change, Create):
        return True
    return bool(state.rotate) or state.sign_in is not None or change.permanent is not None


def fresh(
    state: State, settings: Settings, now: int, random: Random, setting: dict[str, bytes]
) -> tuple[Create, Token]:
    """A new record with what this request set, and its token."""
    token = Token(random(SELECTOR_BYTES), random(SECRET_BYTES))
    permanent = bool(state.permanent)
    sign_in = state.sign_in
    record = Record(
        key=token.key,
        secret=token.hashed,
        secret_at=now,
        created=now,
        last_used=now,
        expires=settings.lifetimes.expiry(start=now, last_used=now, permanent=permanent),
        permanent=permanent,
        signed_in=0 if sign_in is None else now,
        user=None if sign_in is None else sign_in.user,
        client="" if sign_in is None else sign_in.client,
        fields=setting,
    )
    check_size(record, settings.max_bytes)
    return Create(record), token


def _update(
    state: State,
    settings: Settings,
    now: int,
    random: Random,
    setting: dict[str, bytes],
    removing: frozenset[str],
) -> tuple[Update | None, Token | None]:
    record, token = state.record, state.token
    assert record is not None
    permanent = None if state.permanent == record.permanent else state.permanent
    secret_changes = state.rotate or state.sign_in is not None
    if state.sign_in is not None and CSRF not in setting:
        # Whoever knew the old secret could have planted one, just now.
        removing |= {CSRF}
    if not (setting or removing or state.cleared or secret_changes or permanent is not None):
        return None, token
    held = token  # None: opened by `edit`, not by the visitor himself
    upkeep = rotate = None
    if held is not None and secret_changes:
        token = Token(record.key, random(SECRET_BYTES))
        rotate = Rotation(token.hashed)
    elif held is not None and (upkeep := upkeep_of(state, settings, now)) is not None:
        rotate = upkeep.rotate
        token = _rotated(upkeep, held, settings)
    update = Update(
        key=record.key,
        at=now,
        lifetimes=settings.lifetimes,
        grace=settings.rotation_grace_ms,
        secret=None if held is None else held.hashed,
        touch=held is not None,
        clear=state.cleared,
        remove=removing,
        set=setting,
        permanent=permanent,
        sign_in=state.sign_in,
        rotate=rotate,
        seen=upkeep is not None and upkeep.seen,
    )
    _check_growth(record, update, settings.max_bytes)
    return update, token


def _check_growth(record: Record, update: Update, limit: int) -> None:
    """Refuse an update that would make `record` too large. Only near the limit it is worth to find out."""
    if not update.set and update.sign_in is None:
        return
    if _may_exceed(limit, record.fields, update.set):
        after = record.apply(update)
        if isinstance(after, Record):
            check_size(after, limit)


def _may_exceed(limit: int, *parts: Mapping[str, bytes]) -> bool:
    # Names have at most 4 bytes a character, and all of them a header.
    size = sum([sum(map(len, fields)) + sum(map(len, fields.values())) for fields in parts])
    return 4 * (size + 2048) >= limit


def upkeep_of(state: State, settings: Settings, now: int) -> Update | None:
    """What a live session that was looked at owes the store without having been changed; None: nothing."""
    record, token = state.record, state.token
    if record is None or token is None:
        return None
    rotate = None
    if (
        settings.rotate_every_ms is not None
        and token.hashed == record.secret
        and now >= record.secret_at + settings.rotate_every_ms
        # Not while the secret before it is still good: it was promised its whole grace.
        and (record.previous is None or (record.seen and now >= record.seen + settings.rotation_grace_ms))
    ):
        rotate = Rotation(settings.ring.successor(token).hashed, derived=True)
    seen = record.previous is not None and not record.seen and token.hashed == record.secret
    if rotate is None and not seen and not slide_is_due(record, now, settings.lifetimes):
        return None
    return Update(
        key=record.key,
        at=now,
        lifetimes=settings.lifetimes,
        grace=settings.rotation_grace_ms,
        secret=token.hashed,
        rotate=rotate,
        seen=seen,
    )


def owes_nothing(state: State, settings: Settings, now: int, *, head_sent: bool) -> bool:
    """Whether a request that looked at its session wants and owes nothing: most do, and it spares them the flow.

    Once the head has left (`head_sent`) nothing is owed any more, and `now` is not asked for.
    """
    if state.failure is not None or state.cookie_set is not None or state.cookie_cleared:
        return False
    if not state.is_as_stored():
        return False
    if head_sent:
        return True
    record, token = state.record, state.token
    if (
        record is not None
        and token is not None
        and token.current
        and token.hashed == record.secret
        and record.previous is None
        and settings.rotate_every_ms is None
    ):
        # What nearly every request is.
        return not slide_is_due(record, now, settings.lifetimes)
    return upkeep_of(state, settings, now) is None and owed_token(state, settings) is None


def _rotated(update: Update, token: Token, settings: Settings) -> Token:
    return settings.ring.successor(token) if update.rotate is not None else token


def owed_token(state: State, settings: Settings) -> Token | None:
    """The token that must go out although nothing changed it: re-signed, or after another request's rotation."""
    record, token = state.record, state.token
    if record is None or token is None:
        return None
    if token.hashed == record.previous:
        return settings.ring.successor_with(token, record.secret)
    return None if token.current else token


def surplus(lives: Sequence[Life], limit: int) -> list[Life]:
    """What a sign-in ends, of all the sessions of its user, so that `limit` of them stand.

    The order is total: of sign-ins that run at once, each judges by what it sees, and none ends what another leaves
    standing. What is among the newest of all is among the newest that anyone sees.
    """
    return sorted(lives, key=lambda life: (life.signed_in, life.key), reverse=True)[limit:]


def check_size(record: Record, limit: int) -> None:
    """Refuse a record over `limit` bytes.

    Raises:
        TooLarge: Nothing of the request is written.
    """
    if not _may_exceed(limit, record.fields):
        return
    size = len(encode(record))
    if size > limit:
        raise TooLarge(
            f"The session has {size} bytes; {limit} are allowed (max_bytes). Keep large things elsewhere, "
            "and their ids in the session.",
            size=size,
            limit=limit,
        )


class Outcome(Struct, frozen=True):
    """What the response has to say.

    Attributes:
        set_cookie: The value of our one Set-Cookie header, or None. With it goes ``Cache-Control: no-store``.
        vary: Whether the response depends on the cookie.
    """

    set_cookie: str | None = None
    vary: bool = False


UNTOUCHED = Outcome()
LOOKED_AT = Outcome(None, True)


def outcome_of(state: State, settings: Settings, now: int) -> Outcome:
    """What the response has to say of a request's session."""
    if not state.looked_at:
        return UNTOUCHED
    if state.cookie_set is not None:
        record = state.record
        max_age = None
        if record is not None and record.permanent:
            max_age = (record.start + settings.lifetimes.remember_absolute - now) // 1000
        value = settings.ring.sign(state.cookie_set)
        return Outcome(settings.template.set(value, max_age=max_age), vary=True)
    if state.cookie_cleared:
        return Outcome(settings.template.clear(), vary=True)
    return LOOKED_AT
