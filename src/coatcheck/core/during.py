"""The flows in the middle of a request: take fields, read the record again, ask whether the session still exists."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from coatcheck.core import lifecycle
from coatcheck.core.calls import Apply, Done, Flow, Held, Load
from coatcheck.core.loading import Loading, held_under
from coatcheck.core.state import State, flashes_in, names_in, read_field
from coatcheck.core.users import event_of, raise_failure, record_of
from coatcheck.errors import ConfigurationError, StoreError
from coatcheck.http.token import Token, handle_of
from coatcheck.model import codec
from coatcheck.model.fields import Flash, flash_from, is_private
from coatcheck.model.ports import Loaded
from coatcheck.model.record import Record, Refused, Update

__all__ = ["During"]


class During(Loading):
    """The flows in the middle of a request, with the settings of one manager."""

    __slots__ = ()

    def reload(self, state: State, now: int) -> Flow[bool]:
        """Read what other requests have stored since; whether the session is still held. What is wanted here stays."""
        if state.failure is not None:
            state.met = state.failure
            raise state.failure
        if state.record is None:
            return False
        # Edits inside a value are found by comparing it with its base, which is forgotten below.
        kept = {*state.changes, *state.wanted(self._settings.merge).edits}
        try:
            held = yield from self._still_held(state, now)
        except StoreError as error:
            state.met = error
            raise
        if held is None:
            state.lose()
            return False
        state.held, state.record = held, record_of(held)
        for known in (state.values, state.reads, state.before):
            for name in known.keys() - kept:
                known.pop(name, None)
        return True

    def take(self, state: State, now: int, names: Sequence[str]) -> Flow[dict[str, Any]]:
        """Remove fields and give back their values, so that no other request gets them too."""
        for name in names:
            if not isinstance(name, str):
                raise TypeError(f"take takes the names of fields, each as a str, not {type(name).__name__}")
            if name == self._settings.identity_field:
                raise ConfigurationError(
                    f"session[{name!r}] names the user: to sign out, write `del` or `sign_out()`."
                )
        own = [name for name in names if not is_private(name)]
        return (yield from self._take(state, now, own))

    def take_flashes(self, state: State, now: int, category: str | None = None) -> Flow[list[Flash]]:
        """The messages that wait, of one category or all, the oldest first; no other response shows them."""
        names = [name for name, _ in flashes_in(state, category)]
        taken = yield from self._take(state, now, names)
        state.flashes += 1  # what was made of the waiting ones is old now
        return [flash_from(taken[name]) for name in names if name in taken]

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
                secret_hash=None if state.token is None else state.token.secret_hash,
                user=record.user if state.token is None else None,
                take=stored,
                used=state.token is not None,
            )
            try:
                (result,) = yield Apply([update], [state.held])
                raise_failure([result])
            except StoreError as error:
                state.met = error
                raise
            if not isinstance(result, Done):
                yield from self._lose(state, now, result)
                return {name: value for name, value in values.items() if name not in stored}
            taken = result.answer.taken
            # Only for what another request has changed since it was read: the budget of encodings.
            later = [name for name in taken if taken[name] != state.began_with(name)]
            edits = state.wanted(self._settings.merge, later).edits if later else {}
            for name in stored:
                if name in edits:
                    values[name] = codec.decode(edits[name].onto(taken[name]) or edits[name].data)
                elif state.changes.get(name) is not None:
                    continue
                elif name not in taken:
                    del values[name]
                elif name in later:
                    values[name] = codec.decode(taken[name])
            if not self._holds(result.held, state.token, now):
                state.lose()
                return values
            state.held, state.record = result.held, record_of(result.held)
        for name in present:
            # Not marked as removed: the same write may hold what another request has put there since.
            for known in (state.changes, state.values, state.reads, state.before):
                known.pop(name, None)
        return values

    def _holds(self, held: Held, token: Token | None, now: int) -> bool:
        """Whether `token` still opens what lies under the key, after a write that may carry other requests' changes."""
        record = held.state
        return isinstance(record, Record) and (
            token is None
            or record.secret_hash == token.secret_hash
            or lifecycle.is_held(record, token, self._settings, now)
        )

    def is_live(self, state: State, now: int) -> Flow[bool]:
        """Whether the session that the request holds is still held, by the store's word of now."""
        try:
            if state.failure is not None:
                raise state.failure
            return (yield from self._still_held(state, now)) is not None
        except StoreError as error:
            state.met = error
            raise

    def _still_held(self, state: State, now: int) -> Flow[Held | None]:
        """Load the session that the request holds. None: it has ended, or the request's secret no longer opens it."""
        record, token = state.record, state.token
        if record is None:
            return None
        answers: Sequence[Loaded] = yield Load([record.key])
        (held,) = yield from self._users.judged([held_under(record.key, answers[0])])
        found = held.state
        if (
            self._holds(held, token, now)
            and isinstance(found, Record)
            and found.is_alive(now, self._settings.lifetimes)
        ):
            return held
        return None

    def _lose(self, state: State, now: int, refusal: Refused) -> Flow[None]:
        """The session ended, or got another secret, under this request: it is anonymous, its writes are dropped."""
        record = state.record
        state.lose()
        handle = handle_of(state.tokens[0].key) if state.tokens else None
        yield event_of("dropped", now, record, handle=handle, reason=refusal.value)
