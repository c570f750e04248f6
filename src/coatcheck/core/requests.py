"""The flows of a request: close and save. Everything that is decided on the way: `coatcheck.core.lifecycle`."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import nullcontext, suppress

from msgspec.structs import replace

from coatcheck.core import identity, lifecycle
from coatcheck.core.calls import Apply, Done, Flow, Held, Load, Remove, Result
from coatcheck.core.during import During
from coatcheck.core.loading import held_under
from coatcheck.core.state import HEAD_HAS_LEFT, NOTHING_WANTED, Sent, State, Status
from coatcheck.core.users import event_of, raise_failure, record_of
from coatcheck.errors import CannotSendCookie, NotStorable, StoreError, StoreUnavailable, copy_of
from coatcheck.http.token import Token
from coatcheck.model.ports import Loaded
from coatcheck.model.record import Change, Create, Record, Refused, SignIn, Update
from coatcheck.silent import frameless

__all__ = ["Requests"]

_KEYS_TRIED = 3


class Requests(During):
    """The flows of a request, with the settings of one manager."""

    __slots__ = ()

    # Closing

    def nothing_is_due(self, state: State, now: int) -> bool:
        """Whether `close` has nothing to do for a request that changed nothing. A read has a budget: it runs no flow."""
        record, token = state.record, state.token
        if state.cookie_set is not None or state.cookie_cleared or state.former:
            return False
        return (
            record is None
            or token is None
            or (
                token.current
                and (record.user is not None or self._settings.identity_field not in record.fields)
                and record.previous is None  # else the token may have the previous secret
                and self._settings.rotate_every_ms is None
                and not (state.used and record.slide_is_due(now, self._settings.lifetimes))
            )
        )

    def close(
        self, state: State, now: int, *, failed: bool, head_sent: bool, last: bool = False
    ) -> Flow[lifecycle.Outcome]:
        """Carry out what the handler wanted, and say what the response must carry.

        If the handler `failed`, only its endings are carried out. Once the head of the response is sent
        (`head_sent`), a change that needs a new cookie is an error. After the `last` close, every change is one.
        """
        if state.failure is not None:
            if last:
                state.over = True
            if state.changes and not failed:
                state.changes = {}  # told once, however often the session is closed
                yield event_of("dropped", now, reason="the store is unavailable")
            return lifecycle.LOOKED_AT
        changed = False
        if state.changes or state.mutable_reads or state.acted:
            try:
                changed = yield from self._commit(state, now, failed=failed, head_sent=head_sent, last=last)
            except BaseException:
                state.over = False  # an error page may follow
                raise
        if last:
            state.over = True
        record, token = state.record, state.token
        is_held = changed
        if not (changed or failed or head_sent or record is None or token is None):
            is_held = yield from self._maintain(state, record, token, now)
        if state.former and not is_held:
            # The site's other version may have signed the visitor in meanwhile, and set its cookie of that name.
            state.former = ()
        if state.cookie_set is None and not state.cookie_cleared and not state.former:
            return lifecycle.LOOKED_AT
        outcome = lifecycle.outcome_of(state, self._settings, now)
        state.cookie_set, state.cookie_cleared, state.former = None, False, ()
        return outcome

    def fail(self, state: State, now: int) -> Flow[None]:
        """Carry out the endings of a handler that raised. A cookie that is to go out waits for the head, if there is one."""
        try:
            yield from self._commit(state, now, failed=True, head_sent=True)
        except StoreError:
            # Tried and told once: the handler's own error is what is answered.
            state.to_destroy, state.old_ended = (), True
            raise

    def save(self, state: State, now: int, *, head_sent: bool, create: bool = False) -> Flow[bool]:
        """Store the changes so far; whether there were any that are stored now.

        A new cookie goes out with the head of the response. With `create`, a record is made also without a field.
        """
        if state.failure is not None:
            state.met = state.failure
            raise state.failure
        state.create = create
        try:
            stored = yield from self._commit(state, now, failed=False, head_sent=head_sent)
        finally:
            state.create = False
        return stored and state.status is not Status.LATE

    def _commit(
        self, state: State, now: int, *, failed: bool, head_sent: bool, last: bool = False
    ) -> Flow[bool]:
        """Carry out the recorded intentions in one batch; whether there were any, and not only an ending that came too late."""
        settings = self._settings
        if settings.identity_field is not None:
            # The application's function may raise anything; after a handler that raised, its own error is answered.
            with suppress(Exception) if failed else nullcontext():
                identity.imply(state, failed=failed)
        # Before the store is waited for: what another thread changes meanwhile would not be stored any more.
        if last:
            state.over = True
        if state.restarted:
            yield from self._end_what_else_it_shows(state, now)
        if failed and not state.to_destroy:
            return False
        if state.doubt is not None:
            # To merge the same edits once more could count them twice.
            raise copy_of(state.doubt)
        # Recorded before the change is made of it: what another thread wants in between is stored once more, not lost.
        sent, before = state.sent(), state.record
        try:
            wanted = NOTHING_WANTED if failed else state.wanted(settings.merge)
        except NotStorable as error:
            raise frameless(error) from error.__cause__  # its frames hold the values of the other fields
        change, token = (
            (None, None) if failed else lifecycle.change_of(state, settings, now, self._random, wanted)
        )
        impossible = None
        if (head_sent or state.detached) and lifecycle.needs_cookie(state, change):
            impossible = CannotSendCookie(
                "A session opened by `edit` has no response that could carry its new cookie."
                if state.detached
                else HEAD_HAS_LEFT
            )
            if not state.to_destroy:
                raise impossible
            # The endings are carried out all the same.
            change = None
        if change is None and not state.to_destroy:
            if state.changes and state.status is Status.LATE:
                yield from self._lose(state, now, Refused.CHANGED)
            return False
        competing = state.competing if state.sign_in is not None and change is not None else ()
        ending = [*state.to_destroy, *competing]
        # The new before the old, so that a crash in between loses nothing.
        changes: list[Change] = [] if change is None else [change]
        known: list[Held | None] = [] if change is None else [state.held]
        for held in ending:
            changes.append(lifecycle.ending_of(record_of(held), settings, now))
            known.append(held)
        try:
            if isinstance(change, Update) and change.covers is not None and before is not None:
                yield from self._users.covered(before, change.covers[1])
            if isinstance(change, Update) and change.sign_in is not None and change.sign_in.since:
                change = changes[0] = yield from self._entering(before, change, change.sign_in)
            results: Sequence[Result] = yield Apply(changes, known)
            state.met = None
            if competing:
                state.competing = ()
            endings = results[len(results) - len(ending) :]
            late = None
            if ending:
                late = yield from self._ended(state, now, ending, endings, len(ending) - len(competing))
            if change is not None:
                if late and isinstance(change, Create) and state.sign_in is None:
                    yield from self._drop(state, now, change, results[0], late)
                else:
                    sent = sent._replace(fields=wanted.fields)
                    yield from self._settle(state, now, change, token, results[0], sent)
            if endings:
                raise_failure(endings)
        except StoreError as error:
            state.met = error
            if (
                isinstance(change, Update)
                and change.edits
                and state.sign_in is None  # if it is stored, the new secret refuses it the second time
                and state.generation == sent.generation
                and isinstance(error, StoreUnavailable)
                and error.ambiguous
            ):
                state.doubt = error
            yield event_of("unavailable", now, before, reason=f"apply: {type(error).__name__}: {error}")
            raise
        if impossible is not None:
            raise impossible
        return change is not None or late is None

    def _end_what_else_it_shows(self, state: State, now: int) -> Flow[None]:
        """Before a session is ended: end what the request presents beside it. A subclass knows of such sessions."""
        yield from ()

    def _ended(
        self, state: State, now: int, ending: Sequence[Held], results: Sequence[Result], own: int
    ) -> Flow[Refused | None]:
        """Tell of the sessions that ended, of which the first `own` are those that the handler ended.

        Returns why one of those could not be ended: it had ended already, or belongs to somebody else by now.
        """
        late: Refused | None = None
        left: list[Held] = []
        for number, (held, result) in enumerate(zip(ending, results, strict=True)):
            record = record_of(held)
            if number >= own:
                if isinstance(result, Done):
                    reason = "it came with the one that signed in"
                    yield event_of("destroyed", now, record, reason=reason)
                elif not isinstance(result, Refused):
                    left.append(held)
                continue
            if isinstance(result, Done):
                yield event_of("destroyed", now, record)
                # Otherwise another request ended it, and clears the cookie. This late one must not: the visitor may
                # have signed in again meanwhile.
                if any(token.key == record.key for token in state.tokens):
                    state.ended_own = True
            elif isinstance(result, Refused):
                late = result
                if result is Refused.CHANGED:
                    yield event_of("dropped", now, record, reason="another user has signed in since")
            else:
                left.append(held)
            if state.cookie_set is not None and state.cookie_set.key == record.key:
                state.cookie_set = None
        # What another task has ended since stays to be done; so does what failed.
        state.to_destroy = (*left, *state.to_destroy[own:])
        # Also where a second session was begun and ended: the browser still shows the first one's token.
        state.cookie_cleared = state.ended_own
        return None if state.ended_own else late

    def _drop(self, state: State, now: int, change: Create, result: Result, late: Refused) -> Flow[None]:
        """Take back a record that was begun after an ending that came too late."""
        if isinstance(result, Done):
            yield Remove([change.key])
        yield from self._lose(state, now, late)

    def _settle(
        self,
        state: State,
        now: int,
        change: Create | Update,
        token: Token | None,
        result: Result,
        sent: Sent,
    ) -> Flow[None]:
        """Bring `state` up to the result of its main change."""
        ended = result is Refused.GONE and state.record is not None and now < state.record.expires
        if (
            isinstance(change, Update)
            and isinstance(result, Refused)
            and state.sign_in is not None
            # A "remember me" that was under way must not undo a logout.
            and not (state.implied and ended)
        ):
            # A sign-in is never dropped: it starts afresh, with what this request set.
            change, token = lifecycle.fresh(
                state, self._settings, now, self._random, _assigned(state, sent.fields)
            )
            (result,) = yield Apply([change], [None])
        tries = 1
        while result is Refused.EXISTS and isinstance(change, Create) and tries < _KEYS_TRIED:
            fields = dict(change.record.fields)
            change, token = lifecycle.fresh(state, self._settings, now, self._random, fields)
            (result,) = yield Apply([change], [None])
            tries += 1
        if result is Refused.EXISTS:
            raise StoreUnavailable(
                f"{_KEYS_TRIED} random keys were all taken: the source of randomness is broken",
                ambiguous=False,
            )
        if isinstance(result, Refused):
            yield from self._lose(state, now, result)
            return
        if not isinstance(result, Done):
            raise result
        if isinstance(change, Create):
            yield from self._created(state, now, result.held, token, sent)
        else:
            if not result.answer.rotated:
                change, token = replace(change, rotate=None), state.token
            yield from self._updated(state, now, change, token, result, sent)

    def _created(self, state: State, now: int, held: Held, token: Token | None, sent: Sent) -> Flow[None]:
        held = yield from self._users.entered(held, now)
        record = record_of(held)
        yield event_of("created", now, record)
        if record.user is not None:
            yield event_of("signed_in", now, record)
        if state.generation != sent.generation:
            # Another task has ended the session while it was being made.
            state.to_destroy = (*state.to_destroy, held)
            return
        # A sign-in that started afresh leaves behind what was read of the old record.
        for name in list(state.values):
            if name not in record.fields and state.changes.get(name) is None:
                state.values.pop(name, None)
                state.reads.pop(name, None)
        state.before = {}
        state.began = True
        state.hold(token, held)
        state.cookie_set, state.cookie_cleared = token, False
        state.settled(sent)

    def _updated(
        self,
        state: State,
        now: int,
        change: Update,
        token: Token | None,
        done: Done,
        sent: Sent,
    ) -> Flow[None]:
        held = done.held
        if not self._holds(held, token, now):
            # Another request's sign-in or ending went out in the same write, behind this change.
            state.lose()
            return
        record = held.state
        assert isinstance(record, Record)
        if done.answer.entered:
            yield event_of("signed_in", now, record, reason="its identity field named the user already")
        elif change.sign_in is not None and not change.sign_in.since:
            held = yield from self._users.entered(held, now)
            record = record_of(held)
            yield event_of("signed_in", now, record)
        elif change.rotate is not None:
            yield event_of("rotated", now, record, reason="periodic" if change.rotate.derived else "")
        if done.answer.merged:
            yield event_of("merged", now, record, reason=", ".join(done.answer.merged))
        if done.answer.unmerged:
            reason = f"the rule failed, the later write stands: {', '.join(done.answer.unmerged)}"
            yield event_of("merged", now, record, reason=reason)
        if state.generation != sent.generation:
            # Another task has ended the session meanwhile. That is still to be carried out, on what was stored now.
            state.to_destroy = tuple(
                [held if record_of(other).key == record.key else other for other in state.to_destroy]
            )
            return
        state.token, state.record, state.held = token, record, held
        if change.rotate is not None or change.permanent is not None or (change.limits and record.permanent):
            state.cookie_set = token
        elif token is not None and (not token.current or token.secret_hash != record.secret_hash):
            # The request still holds the session: what is pending can go out.
            state.cookie_set = lifecycle.pending_token(state, self._settings) or state.cookie_set
        state.settled(sent)

    def _maintain(self, state: State, record: Record, token: Token, now: int) -> Flow[bool]:
        """Slide, rotate, re-sign, or store that the new secret was seen, where it is due. Never fails a request.

        Returns whether the store has just said that the request still holds the session. It is asked if a cookie depends
        on that.
        """
        update = lifecycle.maintenance_of(state, self._settings, now)
        pending = lifecycle.pending_token(state, self._settings)
        if update is None and pending is None and not state.former:
            return False
        sent = state.sent_nothing()
        try:
            if update is None:
                # The pending cookie names a secret that was good when the request was loaded. If a sign-in came since,
                # sending it would undo that. So would clearing a former cookie, if the sign-in has set it.
                is_held = (yield from self._still_held(state, now)) is not None
                if is_held and pending is not None:
                    state.cookie_set = pending
                return is_held
            if update.covers is not None:
                yield from self._users.covered(record, update.covers[1])
            if update.sign_in is not None:
                update = yield from self._entering(record, update, update.sign_in)
            (result,) = yield Apply([update], [state.held])
            raise_failure([result])
        except StoreError as error:
            yield event_of("unavailable", now, record, reason=f"maintenance: {type(error).__name__}: {error}")
            return False
        if isinstance(result, Done):
            if update.rotate is not None:
                if result.answer.rotated:
                    token = self._settings.ring.successor(token)
                else:
                    # Another ring's successor is stored; the old secret is good until it is seen.
                    update = replace(update, rotate=None)
            yield from self._updated(state, now, update, token, result, sent)
        return isinstance(result, Done)

    def _entering(self, record: Record | None, change: Update, sign_in: SignIn) -> Flow[Update]:
        """`change`, which enters a user into a stored session, with the time from which that counts."""
        assert record is not None
        since = yield from self._users.entering(record, sign_in.user)
        return replace(change, sign_in=replace(sign_in, since=since))

    def signing_in(self, state: State, user: str, now: int) -> Record | None:
        """The record that this request's sign-in of `user` will make, if it is not stored yet."""
        return lifecycle.signing_in(state, user, self._settings, now, self._random)

    def wins_over(self, state: State, now: int, rival: Token) -> Flow[bool]:
        """Whether this session stands, and not the one of `rival` that an inner layer began for the same response.

        The one that signed in stands, or else this one. The other's record is destroyed if this response began it.
        """
        record = state.record
        if record is None or rival.key == record.key:
            return True
        answers: Sequence[Loaded] = yield Load([rival.key])
        held = held_under(rival.key, answers[0])
        other = held.state
        if not isinstance(other, Record) or other.secret_hash != rival.secret_hash:
            return True
        wins = record.user is not None or other.user is None
        loser = other if wins else record
        if wins or state.began:
            results: Sequence[Result] = yield Apply(
                [lifecycle.ending_of(loser, self._settings, now)], [held if wins else state.held]
            )
            raise_failure(results)
            yield event_of(
                "destroyed", now, loser, reason="another layer's session of the same response stands"
            )
        if not wins:
            state.lose()
        return wins


def _assigned(state: State, fields: dict[str, bytes]) -> dict[str, bytes]:
    """What a record that starts afresh gets: the fields that this request set, even to their old values."""
    again = {name: data for name, data in state.changes.items() if data is not None}
    return {**again, **fields}
