"""What happens in which order, written once for sync and async.

A flow is a generator: it yields what it asks of the store (`Ask`) or has to tell (`Event`), is sent the store's
answer (or has its `StoreError` thrown in), and returns its result. `Sessions` and `AsyncSessions` drive it.
Everything that is decided on the way is decided in `coatcheck.core.lifecycle`.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, Literal, TypeVar

from msgspec import Struct
from msgspec.structs import replace

from coatcheck.config import Settings
from coatcheck.core import lifecycle
from coatcheck.core.state import (
    FLASH,
    PRIVATE,
    Sent,
    Standing,
    State,
    check_name,
    check_size,
    encode_field,
    names_in,
    read_field,
    remove_field,
)
from coatcheck.errors import CannotSendCookie, ConfigurationError, SessionGone, StoreError, StoreUnavailable
from coatcheck.events import Event, EventKind
from coatcheck.http.cookie import values_of
from coatcheck.http.token import Token, handle_of, key_of
from coatcheck.model import codec
from coatcheck.model.lifetimes import is_alive, moment
from coatcheck.model.ports import Capabilities, Found, Life
from coatcheck.model.record import Applied, Change, Create, Destroy, Record, Refused, Update
from coatcheck.session import Flash

__all__ = ["Ask", "Flow", "Flows"]

_T = TypeVar("_T")
_TOKENS_TRIED = 4
_VALUES_LOOKED_AT = 20
_KEYS_TRIED = 3
_AT_A_TIME = 100
_MOST_REMEMBERED = 2048
_LONGEST_REMEMBERED = 1024


class Ask(Struct, frozen=True):
    """One call of the store's method `operation`."""

    operation: str
    arguments: tuple[Any, ...]


Flow = Generator[Ask | Event, Any, _T]


class Flows:
    """The flows of one manager: its settings, what its store can do, and where random bytes come from."""

    __slots__ = ("_capabilities", "_known_headers", "_random", "_settings")

    def __init__(
        self, settings: Settings, capabilities: Capabilities, random: Callable[[int], bytes]
    ) -> None:
        self._settings = settings
        self._capabilities = capabilities
        self._random = random
        self._known_headers: dict[bytes, Token] = {}

    # A request

    def load(self, state: State, now: int) -> Flow[None]:
        """Find out which session the request holds. A failing store is noted in `state`, not raised."""
        keys = self.keys_to_load(state)
        if self.has_nothing_to_load(state, keys):
            return
        if not keys:
            yield from self.loaded(state, now, ())
            return
        try:
            found: Sequence[Found] = yield Ask("load", (keys, now))
        except StoreError as error:
            yield from self.not_loaded(state, now, error)
            return
        if not self.holds_at_once(state, now, found):
            yield from self.loaded(state, now, found)

    # What `load` is made of. It happens in every request that looks at its session, so the managers take the short
    # way through it: the keys, the store, and in all but a few requests `holds_at_once` is the end.

    def keys_to_load(self, state: State) -> list[bytes]:
        """The keys that the request's tokens name; none if it has no token of ours."""
        header = state.cookies
        # A browser sends one header many times. Whether its session still lives, the store says each time.
        known = self._known_headers.get(header)
        if known is not None:
            state.presented = (known,)
            return [known.key]
        tokens, state.refused = self._tokens_in(header)
        state.presented = tokens
        if len(tokens) == 1 and not state.refused and len(header) <= _LONGEST_REMEMBERED:
            if len(self._known_headers) >= _MOST_REMEMBERED:
                self._known_headers.clear()
            self._known_headers[header] = tokens[0]
        return [token.key for token in tokens]

    def has_nothing_to_load(self, state: State, keys: Sequence[bytes]) -> bool:
        """Whether the request came without any cookie of our name, and is ready: a new visitor."""
        if keys or state.refused:
            return False
        state.standing, state.ready = Standing.NEW, True
        return True

    def holds_at_once(self, state: State, now: int, found: Sequence[Found]) -> bool:
        """Whether the request holds the one session that it named, and is ready; else `loaded` has to look closer."""
        if state.ready:
            # Another task of the request has loaded it meanwhile, and may have changed it.
            return True
        if len(found) != 1:
            return False
        record, token = found[0], state.presented[0]
        if not isinstance(record, Record) or not is_alive(record, now, self._settings.lifetimes):
            return False
        if token.hashed != record.secret and not lifecycle.is_held(record, token, self._settings, now):
            return False
        state.token, state.record = token, record
        state.standing, state.ready = Standing.LIVE, True
        return True

    def not_loaded(self, state: State, now: int, error: StoreError) -> Flow[None]:
        """The store failed: an error at the first look, or an anonymous visitor, as the settings say."""
        if state.ready:
            # Another task of the request has loaded it meanwhile: that it failed here is no harm.
            return
        state.failure, state.ready = error, True
        if self._settings.outage_at(state.path) == "anonymous":
            state.standing = Standing.OUTAGE
        yield _event("unavailable", now, reason=f"load: {type(error).__name__}")

    def loaded(self, state: State, now: int, found: Sequence[Found]) -> Flow[None]:
        """What the request's tokens are worth, by what was found under their keys."""
        tokens = state.presented
        verdict = lifecycle.judge(tokens, found, self._settings, now)
        state.token, state.record, state.rivals = verdict.token, verdict.record, verdict.rivals
        state.standing, state.ready = verdict.standing, True
        # Told only now: a listener may look at the session.
        if state.refused and not tokens:
            yield _event("refused", now, reason="no token of ours in the cookie")
        for record in verdict.expired:
            yield _event("expired", now, record)
        for key, reason in verdict.unreadable:
            yield _event("unreadable", now, handle=handle_of(key), reason=reason)
        if verdict.rivals:
            yield _event("ambiguous", now, reason=f"{len(verdict.rivals)} live sessions in one request")

    def close(self, state: State, now: int, *, failed: bool, head_sent: bool) -> Flow[lifecycle.Outcome]:
        """Carry out what the handler wanted, and say what the response must carry.

        If the handler `failed`, only what it ended is carried out. Once the head of the response is sent
        (`head_sent`), what needs a new cookie is an error.
        """
        settings = self._settings
        if not state.looked_at:
            return lifecycle.UNTOUCHED
        if state.failure is not None:
            if state.touched and not failed:
                state.touched = {}  # told once, however often the session is closed
                yield _event("dropped", now, reason="the store is unavailable")
            return lifecycle.LOOKED_AT
        changed = yield from self._commit(state, now, failed=failed, head_sent=head_sent)
        if not (changed or failed or head_sent):
            yield from self._keep_up(state, now)
        outcome = lifecycle.outcome_of(state, settings, now)
        state.cookie_set, state.cookie_cleared = None, False
        return outcome

    def save(self, state: State, now: int, *, head_sent: bool) -> Flow[None]:
        """Store the changes so far. A new cookie goes out with the head of the response."""
        if state.failure is not None:
            state.met = state.failure
            raise state.failure
        yield from self._commit(state, now, failed=False, head_sent=head_sent)

    def take(self, state: State, now: int, names: Sequence[str]) -> Flow[dict[str, Any]]:
        """Remove fields and give back their values, so that no other request gets them too."""
        own = [name for name in names if isinstance(name, str) and not name.startswith(PRIVATE)]
        return (yield from self._take(state, now, own))

    def _take(self, state: State, now: int, names: Sequence[str]) -> Flow[dict[str, Any]]:
        there = set(names_in(state))
        present = [name for name in dict.fromkeys(names) if name in there]
        # Read first: a field that can't be decoded is an error before it is gone, not after.
        values = {name: read_field(state, name) for name in present}
        stored = tuple(name for name in present if name in state.base)
        record = state.record
        if stored and record is not None:
            update = Update(
                key=record.key,
                at=now,
                lifetimes=self._settings.lifetimes,
                grace=self._settings.rotation_grace_ms,
                secret=None if state.token is None else state.token.hashed,
                take=stored,
                touch=state.token is not None,
            )
            try:
                (answer,) = yield Ask("apply", ([update],))
            except StoreError as error:
                state.met = error
                raise
            if isinstance(answer, Refused):
                yield from self._lose(state, now, answer)
                return {name: value for name, value in values.items() if name not in stored}
            for name in stored:
                if name in answer.taken:
                    # Only where another request changed it meanwhile are its bytes not those that were read.
                    if state.touched.get(name) is None and answer.taken[name] != record.fields[name]:
                        values[name] = codec.decode(answer.taken[name])
                elif state.touched.get(name) is None:
                    del values[name]
            after = record.apply(update)
            state.record = after if isinstance(after, Record) else record
        for name in present:
            remove_field(state, name)
        return values

    def take_flashes(self, state: State, now: int) -> Flow[list[Flash]]:
        """The messages that wait, the oldest first; no other response shows them."""
        names = sorted(name for name in names_in(state) if name.startswith(FLASH))
        taken = yield from self._take(state, now, names)
        return [Flash(*taken[name]) for name in names if name in taken]

    def is_live(self, state: State, now: int) -> Flow[bool]:
        """Whether the session that the request holds is still held, by the store's word of now."""
        try:
            if state.failure is not None:
                raise state.failure
            return (yield from self._is_still_held(state, now))
        except StoreError as error:
            state.met = error
            raise

    def _is_still_held(self, state: State, now: int) -> Flow[bool]:
        record, token = state.record, state.token
        if record is None:
            return False
        (found,) = yield Ask("load", ([record.key], now))
        return (
            isinstance(found, Record)
            and is_alive(found, now, self._settings.lifetimes)
            and (token is None or lifecycle.is_held(found, token, self._settings, now))
        )

    # From outside

    def open_for_edit(self, state: State, now: int, handle: str) -> Flow[None]:
        """Hold the session `handle` without being its visitor."""
        key = key_of(handle)
        if key is None:
            # Not repeated: it may be a token, taken for a handle by mistake.
            raise SessionGone("That is not the handle of a session.", handle="")
        (found,) = yield Ask("load", ([key], now))
        if not isinstance(found, Record) or not is_alive(found, now, self._settings.lifetimes):
            raise SessionGone(f"There is no session {handle!r}, or no longer.", handle=handle)
        state.record = found
        state.standing, state.ready, state.detached = Standing.LIVE, True, True

    def close_edit(self, state: State, now: int, handle: str) -> Flow[None]:
        """Store what was changed; an error where the session ended meanwhile."""
        yield from self._commit(state, now, failed=False, head_sent=True)
        if state.standing is Standing.LATE:
            raise SessionGone(f"The session {handle!r} ended before its changes were stored.", handle=handle)

    def revoke(self, handle: str, now: int) -> Flow[bool]:
        """End a session from outside; whether there was one."""
        key = key_of(handle)
        if key is None:
            return False
        (answer,) = yield Ask("apply", ([Destroy(key=key, at=now)],))
        if isinstance(answer, Refused):
            return False
        yield _event("revoked", now, handle=handle)
        return True

    def revoke_user(self, user: str, now: int, keep: str | None) -> Flow[int]:
        """End every session of `user` that was answered before; how many it were.

        Each is ended only while it is in the life that was found: rotating does not change that, signing in again
        begins another, which stands. A store that can't find them, and can end them all the same, does so; it does not
        know how many it were: 0.
        """
        if self._capabilities.revokes_all:
            yield from self._revoke_all(user, now, keep)
            return 0
        self._need("users", "end the sessions of a user")
        lives: Sequence[Life] = yield Ask("lives_of", (user, now))
        changes = [
            Destroy(key=life.key, at=now, user=user, signed_in=life.signed_in)
            for life in lives
            if handle_of(life.key) != keep
        ]
        ended = 0
        for batch in _batches(changes):
            answers: Sequence[Applied | Refused] = yield Ask("apply", (batch,))
            for change, answer in zip(batch, answers, strict=True):
                if isinstance(answer, Applied):
                    ended += 1
                    yield _event(
                        "revoked", now, handle=handle_of(change.key), user=user, reason="the user's all"
                    )
        return ended

    def _revoke_all(self, user: str, now: int, keep: str | None) -> Flow[None]:
        # Where `keep` is no handle, it names no session that could be kept.
        kept = None if keep is None else key_of(keep)
        yield Ask("revoke_all", (user, now, now + self._longest_life, kept))
        yield _event("revoked", now, user=user, reason="the user's all")

    def update_user(self, user: str, values: Mapping[str, Any], now: int) -> Flow[int]:
        """Set fields in every live session of `user`; in how many it was."""
        self._need("users", "find the sessions of a user")
        fields: dict[str, bytes] = {}
        for name, value in values.items():
            check_name(name)
            fields[name] = encode_field(name, value)
        check_size("…", b"".join(fields.values()), self._settings.max_bytes)
        lives: Sequence[Life] = yield Ask("lives_of", (user, now))
        blank = Update(
            key=b"",
            at=now,
            lifetimes=self._settings.lifetimes,
            grace=self._settings.rotation_grace_ms,
            user=user,
            set=fields,
            touch=False,
        )
        updated = 0
        for batch in _batches([replace(blank, key=life.key) for life in lives]):
            answers: Sequence[Applied | Refused] = yield Ask("apply", (batch,))
            updated += sum(isinstance(answer, Applied) for answer in answers)
        return updated

    def of_user(self, user: str, now: int) -> Flow[list[Record]]:
        """The live records of `user`, the newest sign-in first."""
        self._need("users", "find the sessions of a user")
        lives: Sequence[Life] = yield Ask("lives_of", (user, now))
        records: list[Record] = []
        for batch in _batches([life.key for life in lives]):
            found: Sequence[Found] = yield Ask("load", (batch, now))
            records += [
                record
                for record in found
                if isinstance(record, Record)
                and record.user == user
                and is_alive(record, now, self._settings.lifetimes)
            ]
        return records

    def count(self, now: int) -> Flow[int]:
        """How many live sessions there are."""
        self._need("count", "count sessions")
        counted: int = yield Ask("count", (now,))
        return counted

    def ping(self) -> Flow[None]:
        """Return if the store can be reached."""
        yield Ask("ping", ())

    def sweep(self, now: int, limit: int) -> Flow[int]:
        """Remove what has expired, `limit` records at a time; how many it were."""
        swept = 0
        while True:
            removed: int = yield Ask("sweep", (now, limit))
            swept += removed
            if removed < limit:
                return swept

    # The parts

    def _tokens_in(self, header: bytes) -> tuple[tuple[Token, ...], bool]:
        """The tokens of ours in a Cookie header, and whether anything under our name was not."""
        settings = self._settings
        values = values_of(header, settings.cookie_name) if header else []
        if not values:
            return (), False
        if len(values) == 1:
            token = settings.ring.verify(values[0])
            return ((), True) if token is None else ((token,), False)
        tokens: dict[tuple[bytes, bytes], Token] = {}
        refused = False
        for value in values[:_VALUES_LOOKED_AT]:
            token = settings.ring.verify(value)
            if token is None:
                refused = True
                continue
            known = tokens.get((token.key, token.hashed))
            if known is None or token.current:
                tokens[token.key, token.hashed] = token
            if len(tokens) == _TOKENS_TRIED:
                break
        return tuple(tokens.values()), refused

    def _commit(self, state: State, now: int, *, failed: bool, head_sent: bool) -> Flow[bool]:
        """Carry out the recorded intentions in one batch; whether there were any."""
        settings = self._settings
        # Before the change is made of it: what another thread wants in between is stored once more, not forgotten.
        sent, before = state.sent(), state.record
        change, token = (None, None) if failed else lifecycle.change_of(state, settings, now, self._random)
        impossible = None
        if (head_sent or state.detached) and not failed and lifecycle.needs_cookie(state, change):
            impossible = CannotSendCookie(
                "A session opened by `edit` has no response that could carry its new cookie."
                if state.detached
                else "The session needs a new cookie, but the head of the response has left: "
                "put something in, sign in or rotate before the response begins."
            )
            if not state.doomed:
                raise impossible
            # What ends is ended all the same.
            change, token = None, None
        if change is None and not state.doomed:
            if state.touched and state.standing is Standing.LATE and not failed:
                yield from self._lose(state, now, Refused.CHANGED)
            return False
        doomed = state.doomed
        rivals = state.rivals if state.sign_in is not None and change is not None else ()
        ending = [*(record.key for record in doomed), *rivals]
        changes: list[Change] = [Destroy(key=key, at=now) for key in ending]
        if change is not None:
            # The new before the old, so that a crash in between loses nothing.
            changes.insert(0, change)
        try:
            answers: Sequence[Applied | Refused] = yield Ask("apply", (changes,))
        except StoreError as error:
            state.met = error
            yield _event("unavailable", now, before, reason=f"apply: {type(error).__name__}")
            raise
        state.met = None
        ended = answers[len(changes) - len(ending) :]
        yield from self._destroyed(state, now, doomed, ended)
        for key, answer in zip(rivals, ended[len(doomed) :], strict=True):
            if isinstance(answer, Applied):
                reason = "it came with the one that signed in"
                yield _event("destroyed", now, handle=handle_of(key), reason=reason)
        if change is not None:
            try:
                yield from self._settle(state, now, before, change, token, answers[0], sent)
            except StoreError as error:
                state.met = error
                raise
        if impossible is not None:
            raise impossible
        return True

    def _destroyed(
        self, state: State, now: int, doomed: tuple[Record, ...], answers: Sequence[Applied | Refused]
    ) -> Flow[None]:
        if not doomed:
            return
        for record, answer in zip(doomed, answers, strict=False):
            if isinstance(answer, Applied):
                yield _event("destroyed", now, record)
                # Otherwise another request ended it, and clears the cookie: this late one must not, since the
                # visitor may have signed in again meanwhile.
                if any(token.key == record.key for token in state.presented):
                    state.ended_presented = True
            if state.cookie_set is not None and state.cookie_set.key == record.key:
                state.cookie_set = None
        # What another task has ended since stays to be done.
        state.doomed = state.doomed[len(doomed) :]
        # Also where a second session was begun and ended: the browser still shows the first one's token.
        state.cookie_cleared = state.ended_presented and state.cookie_set is None

    def _settle(
        self,
        state: State,
        now: int,
        before: Record | None,
        change: Change,
        token: Token | None,
        answer: Applied | Refused,
        sent: Sent,
    ) -> Flow[None]:
        """Bring `state` up to what the store answered to its main change."""
        if isinstance(change, Update) and isinstance(answer, Refused) and state.sign_in is not None:
            # A sign-in is never dropped: it starts afresh, with what this request set.
            change, token = lifecycle.fresh(state, self._settings, now, self._random, state.assigned())
            (answer,) = yield Ask("apply", ([change],))
        tries = 1
        while answer is Refused.EXISTS and isinstance(change, Create) and tries < _KEYS_TRIED:
            setting = dict(change.record.fields)
            change, token = lifecycle.fresh(state, self._settings, now, self._random, setting)
            (answer,) = yield Ask("apply", ([change],))
            tries += 1
        if answer is Refused.EXISTS:
            raise StoreUnavailable(
                f"{_KEYS_TRIED} random keys were all taken: the source of randomness is broken"
            )
        if isinstance(answer, Refused):
            yield from self._lose(state, now, answer)
            return
        if isinstance(change, Create):
            yield from self._created(state, now, change.record, token, sent)
        elif isinstance(change, Update) and before is not None:
            if not answer.rotated:
                change, token = replace(change, rotate=None), state.token
            yield from self._updated(state, now, before, change, token, sent)

    def _created(self, state: State, now: int, record: Record, token: Token | None, sent: Sent) -> Flow[None]:
        if record.user is not None:
            yield from self._enter(record.user, record, now)
        yield _event("created", now, record)
        if record.user is not None:
            yield _event("signed_in", now, record)
        if state.life != sent.life:
            # Another task has ended the session while it was being made.
            state.doomed = (*state.doomed, record)
            return
        if state.record is not None:
            # A sign-in that started afresh leaves behind what was read of the old record.
            for name in list(state.values):
                if name not in record.fields and state.touched.get(name) is None:
                    state.values.pop(name, None)
        state.record, state.token, state.standing = record, token, Standing.LIVE
        state.cookie_set, state.cookie_cleared = token, False
        state.rivals = ()
        state.settled(sent)

    def _enter(self, user: str, record: Record, now: int) -> Flow[None]:
        """Enter a sign-in that was stored into the user's index, and end what is beyond his limit.

        If that fails, so has the sign-in: nobody gets one session more than he may have.
        """
        if self._capabilities.separate_index:
            yield self._enroll(user, record)
        limit = self._settings.max_sessions_per_user
        if limit is None:
            return
        try:
            lives: Sequence[Life] = yield Ask("lives_of", (user, now))
            for batch in _batches([_end_of(user, life, now) for life in lifecycle.surplus(lives, limit)]):
                answers: Sequence[Applied | Refused] = yield Ask("apply", (batch,))
                for change, answer in zip(batch, answers, strict=True):
                    if isinstance(answer, Applied):
                        reason = f"the user has {limit} newer ones"
                        yield _event("revoked", now, handle=handle_of(change.key), user=user, reason=reason)
        except StoreError as error:
            yield _event("unavailable", now, record, reason=f"limit: {type(error).__name__}")
            # Nobody will have its cookie: it must not take a place, nor stand in the list of devices.
            with suppress(StoreError):
                yield Ask("apply", ([_end_of(user, Life(record.key, record.signed_in), now)],))
            raise

    def _enroll(self, user: str, record: Record) -> Ask:
        """Into the user's index, for as long as the session may live: sliding does not touch the index."""
        end = record.signed_in + self._longest_life
        return Ask("enroll", (user, Life(record.key, record.signed_in), end))

    @property
    def _longest_life(self) -> int:
        """How long (ms) after its sign-in a session can live at most."""
        lifetimes = self._settings.lifetimes
        return max(lifetimes.absolute, lifetimes.remember_absolute)

    def _need(self, capability: Literal["users", "count"], what: str) -> None:
        """Refuse what the store can't do."""
        if not getattr(self._capabilities, capability):
            raise ConfigurationError(
                f"This store can't {what}: Memcached, for one, keeps no lists. The stores in "
                "SQLite, Redis, PostgreSQL, MySQL, MariaDB and memory can."
            )

    def _updated(
        self, state: State, now: int, before: Record, change: Update, token: Token | None, sent: Sent
    ) -> Flow[None]:
        after = before.apply(change)
        record = before if isinstance(after, Refused) else after
        if change.sign_in is not None:
            yield from self._enter(change.sign_in.user, record, now)
            yield _event("signed_in", now, record)
        elif change.rotate is not None:
            yield _event("rotated", now, record, reason="periodic" if change.rotate.derived else "")
        if state.life != sent.life:
            # Another task has ended the session meanwhile: that is still to be carried out.
            return
        state.record, state.token = record, token
        if token is not None and (change.rotate is not None or change.permanent is not None):
            state.cookie_set, state.cookie_cleared = token, False
        elif state.cookie_set is None and not state.cookie_cleared:
            # The change was refused if the request no longer held the session: what it owes can go out.
            state.cookie_set = lifecycle.owed_token(state, self._settings)
        state.settled(sent)

    def _keep_up(self, state: State, now: int) -> Flow[None]:
        """Slide, rotate, re-sign, or note the new secret as seen, where it is due. Never worth failing a request."""
        record, token = state.record, state.token
        update = lifecycle.upkeep_of(state, self._settings, now)
        owed = lifecycle.owed_token(state, self._settings)
        if record is None or token is None or (update is None and owed is None):
            return
        life = state.life
        try:
            if update is None:
                # The cookie that is owed names a secret that was good when the request was loaded. If somebody has
                # signed in since, sending it would undo that.
                if (yield from self._is_still_held(state, now)):
                    state.cookie_set = owed
                return
            (answer,) = yield Ask("apply", ([update],))
        except StoreError as error:
            yield _event("unavailable", now, record, reason=f"upkeep: {type(error).__name__}")
            return
        if isinstance(answer, Applied):
            if update.rotate is not None:
                if answer.rotated:
                    token = self._settings.ring.successor(token)
                else:
                    # Another ring's successor is stored; the old secret is good until it is seen.
                    update = replace(update, rotate=None)
            yield from self._updated(state, now, record, update, token, state.sent_nothing(life))

    def _lose(self, state: State, now: int, refusal: Refused) -> Flow[None]:
        """The session ended, or got another secret, under this request: it is anonymous, its writes are dropped."""
        record = state.record
        state.blank()
        state.standing = Standing.LATE
        state.cookie_set, state.cookie_cleared = None, False
        handle = handle_of(state.presented[0].key) if record is None and state.presented else None
        yield _event("dropped", now, record, handle=handle, reason=refusal.value)


def _end_of(user: str, life: Life, now: int) -> Destroy:
    """The end of a session only while it is in this life: rotating does not change that, signing in again does."""
    return Destroy(key=life.key, at=now, user=user, signed_in=life.signed_in)


def _batches(items: Sequence[_T]) -> Iterator[Sequence[_T]]:
    for start in range(0, len(items), _AT_A_TIME):
        yield items[start : start + _AT_A_TIME]


def _event(
    kind: EventKind,
    now: int,
    record: Record | None = None,
    *,
    handle: str | None = None,
    user: str | None = None,
    reason: str = "",
) -> Event:
    return Event(
        kind=kind,
        handle=handle if record is None else handle_of(record.key),
        user=user if record is None else record.user,
        reason=reason,
        at=moment(now),
    )
