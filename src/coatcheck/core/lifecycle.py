"""Every decision of a session's life: what is alive, what must be written, which cookie goes out.

Nothing here waits, reads a clock or makes a random number. The flows (`requests`, `admin`) carry out what is decided here.

The rules, and where they stand:

- A request holds a session if exactly one of its tokens, signed by us, has the current secret of a live record, or
  the previous one within a periodic rotation's grace (`judge`).
- A token whose key has a live record with another secret, changed within ``late_window``, or a tombstone, is *late*:
  its request writes nothing and gets no cookie, unless it signs in (`judge`, `change_of`).
- A session without a record gets one, with a new token, when something is put into it, and only then (`change_of`).
- A change is an `Update` on the condition that the record still has the secret that the request saw (`change_of`). A
  sign-in or `rotate` changes the secret at random; if it is refused, a sign-in starts a fresh record with what this
  request set (`fresh`).
- Ending is conditional, too: a request that saw user U signed in ends the record while its user is U, whatever its
  secret; one that saw no user, while it has none (`ending_of`).
- A request that used its session and changed nothing may have to store a slide, a periodic rotation, or that the
  new secret was seen (`maintenance_of`). Nothing else is ever written.
- Of a user's sessions, the newest sign-ins stay; beyond ``max_sessions_per_user`` a sign-in ends the others.
- The cookie goes out when there is a new token, when the session's permanence changed, when the token was signed
  by an older secret of the ring, or when the visitor still shows the secret before the periodic rotation
  (`pending_token`). It is cleared when the session that came with it was destroyed, and no new one begun. A former
  cookie is cleared as soon as the cookie has taken its place, if the store says that the request still holds the
  session (`outcome_of`): one cookie a response.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from msgspec import Struct

from coatcheck.config import Settings
from coatcheck.core.calls import Held
from coatcheck.core.identity import client_of, named_in
from coatcheck.core.state import NOTHING_WANTED, State, Status, Wanted
from coatcheck.http.token import SECRET_BYTES, SELECTOR_BYTES, Token
from coatcheck.model.fields import CSRF
from coatcheck.model.lifetimes import USUALLY_COVERED
from coatcheck.model.record import (
    MARK_BYTES,
    Create,
    Destroy,
    Holder,
    Record,
    Rotation,
    SignIn,
    Tombstone,
    Unreadable,
    Update,
    newest_flashes,
)
from coatcheck.silent import silent

__all__ = [
    "LOOKED_AT",
    "UNTOUCHED",
    "Outcome",
    "Verdict",
    "change_of",
    "ending_of",
    "fresh",
    "is_held",
    "judge",
    "maintenance_of",
    "needs_cookie",
    "outcome_of",
    "pending_token",
    "signing_in",
]

Random = Callable[[int], bytes]


class Verdict(Struct, frozen=True):
    """What the tokens of a request are worth.

    Attributes:
        status: The status of the request's session.
        token: The token that opens it.
        held: The record that it opens.
        competing: The live sessions that came together, so that none was taken.
        expired: Records that are past their limits.
        unreadable: Keys, each with the reason why what lies there can't be read.
        ended: Whether one of the sessions has just been ended.
    """

    status: Status
    token: Token | None = None
    held: Held | None = None
    competing: tuple[Held, ...] = ()
    expired: tuple[Record, ...] = ()
    unreadable: tuple[tuple[bytes, str], ...] = ()
    ended: bool = False


def judge(tokens: Sequence[Token], helds: Sequence[Held], settings: Settings, now: int) -> Verdict:
    """Which session, if any, a request holds that came with `tokens`, each of which leads to one of `helds`."""
    live: dict[bytes, tuple[Token, Held]] = {}
    expired: list[Record] = []
    unreadable: list[tuple[bytes, str]] = []
    late = ended = False
    for token, held in zip(tokens, helds, strict=True):
        state = held.state
        if isinstance(state, Record):
            if not state.is_alive(now, settings.lifetimes):
                expired.append(state)
            elif is_held(state, token, settings, now):
                if token.key not in live or token.secret_hash == state.secret_hash:
                    live[token.key] = (token, held)
            else:
                late = late or now < state.secret_at + settings.late_window_ms
        elif isinstance(state, Tombstone):
            ended = ended or now < state.expires
        elif isinstance(state, Unreadable):
            unreadable.append((token.key, state.reason))
    if len(live) == 1:
        ((token, held),) = live.values()
        return Verdict(Status.LIVE, token, held, (), tuple(expired), tuple(unreadable))
    status = Status.LATE if (late or ended) and not live else Status.NEW
    competing = tuple(held for _, held in live.values())
    return Verdict(status, None, None, competing, tuple(expired), tuple(unreadable), ended)


def is_held(record: Record, token: Token, settings: Settings, now: int) -> bool:
    """Whether `token` opens `record`."""
    return record.accepts(token.secret_hash, at=now, grace=settings.rotation_grace_ms)


def ending_of(record: Record, settings: Settings, now: int) -> Destroy:
    """The end of a session that a request held: only while the record belongs to the user that the request saw."""
    try:
        named = named_in(record, settings)
    except Exception:  # noqa: BLE001 - the application's function may raise anything, and must not keep a session alive
        named = None
    return Destroy(key=record.key, at=now, holder=Holder(record.user, named=named))


def change_of(
    state: State, settings: Settings, now: int, random: Random, wanted: Wanted
) -> tuple[Create | Update | None, Token | None]:
    """What must be stored of a request's intentions, and the token that its visitor then has.

    None, None: nothing. A late request, or one without its store, stores nothing but a sign-in.
    """
    if state.status is Status.LIVE:
        return _update(state, settings, now, random, wanted)
    if state.sign_in is None and (
        state.status is not Status.NEW or not (wanted.set or wanted.edits or state.create)
    ):
        return None, None
    return fresh(state, settings, now, random, wanted.fields)


def signing_in(state: State, user: str, settings: Settings, now: int, random: Random) -> Record | None:
    """The record that the sign-in of `user`, which this request has not stored yet, will make; None: there is none."""
    if state.sign_in is None or state.sign_in.user != user:
        return None
    change, _ = change_of(state, settings, now, random, NOTHING_WANTED)
    if isinstance(change, Create):
        state.selector = change.key  # it stands in a list from now on
        return change.record
    applied = None if change is None or state.record is None else state.record.apply(change)
    return applied if isinstance(applied, Record) else None


def needs_cookie(state: State, change: Create | Update | None) -> bool:
    """Whether `change` is nothing without a new cookie in the response."""
    if change is None:
        return False
    if isinstance(change, Create):
        return True
    return bool(state.rotate) or state.sign_in is not None or change.permanent is not None


def entering(state: State, settings: Settings) -> SignIn | None:
    """The user whom the identity field of a stored session names, and who is to be entered into its record; None: nobody.

    The setting was switched on after the session was stored. Its secret stays, or parallel requests would be strangers.
    """
    record = state.record
    if record is None or record.user is not None or state.token is None:
        return None
    try:
        user = named_in(record, settings)
    except Exception:  # noqa: BLE001 - the application's function may raise anything about a value from before the setting
        return None
    return None if user is None else SignIn(user, client_of(state), since=record.created)


def fresh(
    state: State, settings: Settings, now: int, random: Random, fields: dict[str, bytes]
) -> tuple[Create, Token]:
    """A new record with what this request set, and its token."""
    selector, state.selector = state.selector or random(SELECTOR_BYTES), None
    token = Token(selector, random(SECRET_BYTES))
    permanent = bool(state.permanent)
    sign_in = state.sign_in
    own_idle, own_absolute = state.limits or (0, 0)
    idle, absolute = settings.lifetimes.limits(permanent=permanent, idle=own_idle, absolute=own_absolute)
    record = Record(
        key=token.key,
        secret_hash=token.secret_hash,
        secret_at=now,
        created=now,
        last_used=now,
        expires=now + min(idle, absolute),
        mark=random(MARK_BYTES),
        permanent=permanent,
        signed_in=0 if sign_in is None else now,
        user=None if sign_in is None else sign_in.user,
        client="" if sign_in is None else sign_in.client,
        idle=own_idle,
        absolute=own_absolute,
        covered=USUALLY_COVERED if sign_in is None else settings.lifetimes.longest(own_absolute),
        fields=newest_flashes(fields, settings.max_flashes),
    )
    return Create(record), token


def _update(
    state: State, settings: Settings, now: int, random: Random, wanted: Wanted
) -> tuple[Update | None, Token | None]:
    record, token = state.record, state.token
    if record is None:
        return None, None  # another thread of the request has ended the session just now
    permanent = None if state.permanent == record.permanent else state.permanent
    limits = None if state.limits == (record.idle, record.absolute) else state.limits
    covers = None
    if record.user is not None and state.sign_in is None:
        covers = _covers(record, settings, state.limits)
    secret_changes = state.rotate or state.sign_in is not None
    removing = wanted.remove
    if state.sign_in is not None:
        # A parallel request with the old secret could have planted one.
        removing |= {CSRF}
    if not (
        wanted.set
        or wanted.edits
        or removing
        or state.cleared
        or secret_changes
        or permanent is not None
        or limits is not None
    ):
        return None, token
    own = token  # None: opened by `edit`, not by its visitor
    maintenance = rotate = None
    if secret_changes:
        token = Token(record.key, random(SECRET_BYTES))
        rotate = Rotation(token.secret_hash, random(MARK_BYTES))
    elif (
        own is not None
        # A slide needs no mention: every update is one.
        and (settings.rotate_every_ms is not None or record.previous is not None)
        and (maintenance := maintenance_of(state, settings, now)) is not None
    ):
        rotate = maintenance.rotate
        token = own if rotate is None else settings.ring.successor(own)
    sign_in = state.sign_in
    if sign_in is None and settings.identity_field is not None and not state.cleared:
        sign_in = entering(state, settings)
    # Some arguments by place, as in `Record.apply`.
    return Update(
        record.key,
        now,
        settings.lifetimes,
        settings.rotation_grace_ms,
        secret_hash=None if own is None else own.secret_hash,
        user=record.user if own is None else None,
        used=own is not None,
        clear=state.cleared,
        remove=removing,
        set=wanted.set,
        edits=wanted.edits,
        max_flashes=settings.max_flashes if state.flashes else 0,
        permanent=permanent,
        limits=limits,
        covers=covers,
        sign_in=sign_in,
        rotate=rotate,
        seen=maintenance is not None and maintenance.seen,
    ), token


def maintenance_of(state: State, settings: Settings, now: int) -> Update | None:
    """What must be stored of a live session that was looked at and not changed; None: nothing."""
    record, token = state.record, state.token
    if record is None or token is None:
        return None
    rotate = None
    if (
        settings.rotate_every_ms is not None
        and token.secret_hash == record.secret_hash
        and now >= record.secret_at + settings.rotate_every_ms
        # Not while the secret before it is still good: it was promised its whole grace.
        and (record.previous is None or (record.seen and now >= record.seen + settings.rotation_grace_ms))
    ):
        rotate = Rotation(settings.ring.successor(token).secret_hash, derived=True)
    seen = record.previous is not None and not record.seen and token.secret_hash == record.secret_hash
    enters = entering(state, settings)
    slides = state.used and record.slide_is_due(now, settings.lifetimes)
    if rotate is None and not seen and enters is None and not slides:
        return None
    return Update(
        key=record.key,
        at=now,
        lifetimes=settings.lifetimes,
        grace=settings.rotation_grace_ms,
        secret_hash=token.secret_hash,
        covers=None if record.user is None else _covers(record, settings, None),
        sign_in=enters,
        rotate=rotate,
        seen=seen,
        used=state.used,
    )


def _covers(record: Record, settings: Settings, limits: tuple[int, int] | None) -> tuple[int, int] | None:
    """The sign-in, and how long its index entry must stand; None: as long as it does.

    The settings may have got longer limits since the entry was made, and the session limits of its own.
    """
    needed = settings.lifetimes.longest(record.absolute if limits is None else limits[1])
    return (record.signed_in, needed) if needed > record.covered else None


def pending_token(state: State, settings: Settings) -> Token | None:
    """The token that must go out although nothing changed it: re-signed, or after another request's rotation."""
    record, token = state.record, state.token
    if record is None or token is None:
        return None
    if token.secret_hash == record.previous:
        return settings.ring.successor_with(token, record.secret_hash)
    return None if token.current else token


class Outcome(Struct, frozen=True):
    """What the response has to say.

    Attributes:
        set_cookie: The value of our one Set-Cookie header, or None. With it goes ``Cache-Control: no-store``.
        vary: Whether the response depends on the cookie.
    """

    set_cookie: str | None = None
    vary: bool = False

    def __repr__(self) -> str:
        return silent(self)


UNTOUCHED = Outcome()
LOOKED_AT = Outcome(None, True)


def outcome_of(state: State, settings: Settings, now: int) -> Outcome:
    """What the response has to say of a request's session."""
    if state.cookie_set is not None:
        record = state.record
        max_age = None
        if record is not None and record.permanent:
            max_age = (record.until(settings.lifetimes) - now) // 1000
        value = settings.ring.sign(state.cookie_set)
        return Outcome(settings.template.set(value, max_age=max_age), vary=True)
    if state.cookie_cleared:
        template = state.former[0] if state.former and state.by_former else settings.template
        return Outcome(template.clear(), vary=True)
    # The cookie of its own name has taken its place. A late response clears none: while two versions of a site are
    # deployed, the former cookie of one is the other's own, and may have just been set by a sign-in.
    if state.former and state.token is not None and state.token.current:
        return Outcome(state.former[0].clear(), vary=True)
    return LOOKED_AT
