"""The flows that make a session of another library one of ours.

Each old session has a token of ours that is derived from its id. Its record is made as after a periodic rotation: the
derived secret is the previous one, and the responses send its successor. So parallel first requests get the same cookie,
and a visitor stays signed in if a response is lost. A mark (`coatcheck.core.marks`) says that the move is done.

A signed cookie has no id. If it names no user, each request that presents it gets a session of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from msgspec.structs import replace

from coatcheck.config import Settings
from coatcheck.core import lifecycle
from coatcheck.core.adoption import Adoption
from coatcheck.core.calls import Apply, Done, Flow, Held, Load
from coatcheck.core.loading import held_under
from coatcheck.core.marks import Marks, stands
from coatcheck.core.old_sessions import Old, OldSession, Source, presented
from coatcheck.core.requests import Requests
from coatcheck.core.state import State
from coatcheck.core.users import Users, event_of, raise_failure, record_of
from coatcheck.errors import DecodeError, StoreError, StoreUnavailable
from coatcheck.http.token import SECRET_BYTES, SELECTOR_BYTES, Token
from coatcheck.model.ports import Loaded
from coatcheck.model.record import Create, Record, Refused, Tombstone

__all__ = ["Moving"]

_ENDED_BEFORE = "all sessions of the user were ended before it was carried over"


class Moving(Requests):
    """The flows of a request, of which the first one carries over an old session.

    Args:
        sources: Where the old sessions are.
        keep_old: Leave the old records where they are, until a logout.

    Attributes:
        marks: The flows over marks.
    """

    __slots__ = ("_keep_old", "_sources", "marks")

    def __init__(
        self,
        settings: Settings,
        users: Users,
        random: Callable[[int], bytes],
        sources: Sequence[Source],
        *,
        keep_old: bool,
    ) -> None:
        super().__init__(settings, users, random)
        self.marks: Marks = Marks(random)
        self._sources = sources
        self._keep_old = keep_old

    # Loading

    def load(self, state: State, now: int) -> Flow[None]:
        """Carry over the old session that the request presents, if it has no token of ours; then load as usual."""
        if self._may_move(state):
            token = None
            try:
                for old_session in presented(state, self._sources, self._settings):
                    token = yield from self._moved(state, old_session, now)
                    if token is not None:
                        break
            except StoreError as error:
                yield from self._not_loaded(state, now, error)
                return
            if state.ready:
                # Another task of the request has loaded it meanwhile, and may have changed it.
                return
            state.adopted = token
        yield from super().load(state, now)

    def _may_move(self, state: State) -> bool:
        """Whether the request presents no token of ours. A dead one counts, or the old cookie would undo a logout."""
        return not (state.ready or self._read_tokens(state) or state.crowded)

    def _read_tokens(self, state: State) -> Sequence[Token]:
        if state.adopted is None:
            return super()._read_tokens(state)
        state.tokens, state.refused = (state.adopted,), False
        return state.tokens

    # Moving

    def _moved(self, state: State, old_session: OldSession, now: int) -> Flow[Token | None]:
        """The token that an old session has with us; None if it has none, or what was made of it has ended."""
        held, is_marked = yield from self._looked_up(old_session, now)
        if held.state is None and not is_marked:
            old = yield from self._read(old_session, now)
            if old is not None:
                own = yield from self._adopt(state, old_session, old, now)
                if own is not None:
                    return own
            # A parallel request may have been first: it has removed the old record, or used another secret of the ring.
            held, is_marked = yield from self._looked_up(old_session, now)
            if old is None and held.state is None and not is_marked:
                return None
        record = held.state
        if (
            isinstance(record, Record)
            and record.user is not None
            and old_session.token_of(record) is not None
        ):
            # By every request, since the one that made the record may have been cut short before this.
            yield from self._end_if_revoked(held, record.user, now)
        if not is_marked:
            # By every request, for the same reason.
            yield from self.marks.put(old_session.mark, now)
            if not self._keep_old:
                yield from self._remove(old_session, now)
        if record is None or isinstance(record, Tombstone):
            # The status stays NEW, not LATE: the browser keeps sending the old cookie, and a LATE request could not store
            # the CSRF token of the next sign-in form.
            return None
        return old_session.token_of(record) or old_session.tokens[0]

    def _looked_up(self, old_session: OldSession, now: int) -> Flow[tuple[Held, bool]]:
        """What was made of an old session, and whether a mark says that it was moved."""
        answers: Sequence[Loaded] = yield Load([old_session.key, old_session.mark])
        return held_under(old_session.key, answers[0]), stands(answers[1], now)

    def _read(self, old_session: OldSession, now: int) -> Flow[Old | None]:
        """The old session; None if there is none, or nothing that could be carried over."""
        answer = yield old_session.read(now)
        name = old_session.source.name
        if isinstance(answer, DecodeError):
            yield event_of("unreadable", now, reason=f"a session of {name}: {answer}")
            return None
        if isinstance(answer, Exception):
            # Not chained: a driver's error may show values and passwords.
            text = f"the sessions of {name} can't be read: {type(answer).__name__}"
            raise StoreUnavailable(text, ambiguous=False)
        old: Old | None = answer
        return None if old is None or not (old.fields or old.flashes) else old

    def _adopt(self, state: State, old_session: OldSession, old: Old, now: int) -> Flow[Token | None]:
        """Make the record of an old session, unless a parallel request is first, or its user's sessions were ended.

        Returns the token of a record that is this request's alone.
        """
        name = old_session.source.name
        adoption = Adoption(state, old_session.tokens[0], old, now, self._settings, self._random)
        record, own = adoption.record, None
        if record.user is None and not old_session.source.removes:
            # The signed cookies of two visitors are equal if the same was put into both in the same second. They must not
            # share a session, in which one would see what the other puts in later.
            own = Token(self._random(SELECTOR_BYTES), self._random(SECRET_BYTES))
            secret_hash = self._settings.ring.successor(own).secret_hash
            record = replace(record, key=own.key, secret_hash=secret_hash, previous=own.secret_hash)
        if record.user is not None:
            if (yield from self.marks.has_ended(record.user, now)):
                reason = f"a session of {name}: {_ENDED_BEFORE}"
                yield event_of("revoked", now, user=record.user, reason=reason)
                return None
            # Entered before the record is stored, so that `revoke_user` finds it, and again after that: a parallel
            # listing drops an entry without a record.
            since = yield from self._users.entering(record, record.user)
            record = replace(record, signed_in=since)
        (result,) = yield Apply([Create(record)], [None])
        if result is Refused.EXISTS:
            return None
        raise_failure([result])
        assert isinstance(result, Done)
        held = yield from self._users.noted(result.held)
        yield event_of("migrated", now, record_of(held), reason=adoption.reason(name))
        try:
            yield from self._users.limited(record_of(held), now)
        except StoreError as error:  # unlike a sign-in, the visitor can't be asked to try again
            reason = f"limit: {type(error).__name__}: {error}"
            yield event_of("unavailable", now, record_of(held), reason=reason)
        return own

    def _end_if_revoked(self, held: Held, user: str, now: int) -> Flow[None]:
        """End a session that was carried over although `revoke_user` had ended its user's old sessions."""
        record = record_of(held)
        if (yield from self.marks.has_ended(user, now, record.key)):
            results = yield Apply([lifecycle.ending_of(record, self._settings, now)], [held])
            raise_failure(results)
            yield event_of("revoked", now, record, reason=_ENDED_BEFORE)

    def _remove(self, old_session: OldSession, now: int) -> Flow[Exception | None]:
        """Remove an old record, if its source can; the error, if that failed."""
        if not old_session.source.removes:
            return None
        answer: Exception | None = yield old_session.remove()
        if isinstance(answer, Exception):
            reason = f"was not removed after its move: {type(answer).__name__}"
            yield event_of("unavailable", now, reason=f"a session of {old_session.source.name} {reason}")
        return answer

    # Ending

    def _end_what_else_it_shows(self, state: State, now: int) -> Flow[None]:
        """End the old sessions that the request presents: after the logout, they would be carried over.

        An id that opens nothing is left alone, or any client could fill the store with marks.
        """
        old_sessions = [] if state.old_ended else list(presented(state, self._sources, self._settings))
        if not old_sessions:
            return
        try:
            keys = [key for each in old_sessions for key in (each.key, each.mark)]
            answers: Sequence[Loaded] = yield Load(keys)
            for number, old_session in enumerate(old_sessions):
                held = held_under(old_session.key, answers[2 * number])
                is_marked = stands(answers[2 * number + 1], now)
                self._end_too(state, old_session, held, now)
                if not is_marked:
                    if held.state is None and (yield from self._read(old_session, now)) is None:
                        continue
                    yield from self.marks.put(old_session.mark, now)
                if not is_marked or self._keep_old:
                    failure = yield from self._remove(old_session, now)
                    if failure is not None and self._keep_old:
                        text = f"a session of {old_session.source.name} was not removed: {type(failure).__name__}"
                        raise StoreUnavailable(
                            f"{text}. Servers with the old library still accept it", ambiguous=False
                        )
        except StoreError as error:
            state.met = error
            yield event_of("unavailable", now, reason=f"apply: {type(error).__name__}: {error}")
            raise
        state.old_ended = True

    def _end_too(self, state: State, old_session: OldSession, held: Held, now: int) -> None:
        """End what was made of an old session, if its cookie still opens it: another session's may have replaced ours."""
        record = held.state
        if not isinstance(record, Record) or not record.is_alive(now, self._settings.lifetimes):
            return
        token = old_session.token_of(record)
        if token is None or not lifecycle.is_held(record, token, self._settings, now):
            return
        if all(record_of(each).key != record.key for each in state.to_destroy):
            state.to_destroy = (*state.to_destroy, held)
