"""Loading: which session, if any, a request holds. Everything that is decided on the way: `coatcheck.core.lifecycle`."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from coatcheck.config import Settings
from coatcheck.core import lifecycle
from coatcheck.core.calls import Flow, Held, Load
from coatcheck.core.state import State, Status
from coatcheck.core.swap import held_of
from coatcheck.core.users import Users, event_of
from coatcheck.errors import StoreError, StoreUnavailable
from coatcheck.http.cookie import values_of
from coatcheck.http.token import Token, handle_of
from coatcheck.model.ports import Loaded
from coatcheck.model.record import Record

__all__ = ["Loading", "held_under"]

_TOKENS_TRIED = 4
_VALUES_LOOKED_AT = 20


class Loading:
    """The flow that loads, with the settings of one manager."""

    __slots__ = ("_random", "_settings", "_users")

    def __init__(self, settings: Settings, users: Users, random: Callable[[int], bytes]) -> None:
        self._settings = settings
        self._users = users
        self._random = random

    def load(self, state: State, now: int) -> Flow[None]:
        """Find out which session the request holds. A failing store is recorded in `state`, not raised."""
        tokens = self._read_tokens(state)
        if not tokens and not state.refused:
            # The budget of a request without a cookie of ours.
            state.status, state.ready = Status.NEW, True
            return
        if not tokens:
            yield from self._judge(state, now, ())
            return
        try:
            if len(tokens) == 1 and not self._users.by_epoch:
                # The budget of calls per read: the one session that the cookie names, alive and with its secret.
                (token,) = tokens
                (answer,) = yield Load((token.key,))
                if isinstance(answer, StoreError):
                    raise answer
                held = held_of(token.key, answer)
                record = held.state
                if (
                    isinstance(record, Record)
                    and record.secret_hash == token.secret_hash
                    and record.is_alive(now, self._settings.lifetimes)
                ):
                    if not state.ready:
                        state.token, state.held, state.record = token, held, record
                        state.status, state.ready = Status.LIVE, True
                    return
                helds: Sequence[Held] = [held]
            else:
                helds = yield from self._found(tokens)
        except StoreError as error:
            yield from self._not_loaded(state, now, error)
            return
        if state.ready:
            # Another task of the request has loaded it meanwhile, and may have changed it.
            return
        yield from self._judge(state, now, helds)

    def _found(self, tokens: Sequence[Token]) -> Flow[Sequence[Held]]:
        """The state under each token's key.

        Raises:
            StoreError: It can't be read.
        """
        keys = list(dict.fromkeys([token.key for token in tokens]))
        answers: Sequence[Loaded] = yield Load(keys)
        found = [held_under(key, answer) for key, answer in zip(keys, answers, strict=True)]
        helds = yield from self._users.judged(found)
        under = dict(zip(keys, helds, strict=True))
        return [under[token.key] for token in tokens]

    def _read_tokens(self, state: State) -> Sequence[Token]:
        """The tokens of ours in the request's Cookie header."""
        settings = self._settings
        values = values_of(state.cookies, settings.cookie_name)
        if len(values) == 1 and not settings.former:
            token = settings.ring.verify(values[0])
            state.tokens, state.refused = ((), True) if token is None else ((token,), False)
            return state.tokens
        tokens: dict[tuple[bytes, bytes], Token] = {}
        for value in values[:_VALUES_LOOKED_AT]:
            token = settings.ring.verify(value)
            if token is None:
                state.refused = True
                continue
            known = tokens.get((token.key, token.secret_hash))
            if known is None or token.current:
                tokens[token.key, token.secret_hash] = token
        if settings.former:
            self._read_former(state, tokens)
        if len(values) > _VALUES_LOOKED_AT or len({key for key, _ in tokens}) > _TOKENS_TRIED:
            # More than any browser comes to by itself: none of them counts.
            tokens, state.refused, state.crowded = {}, True, True
        state.tokens = tuple(tokens.values())
        return state.tokens

    def _read_former(self, state: State, tokens: dict[tuple[bytes, bytes], Token]) -> None:
        """Add the tokens of the site's former cookies. As if signed by an older secret: the cookie is sent anew."""
        state.by_former, state.former = not tokens, ()
        for template, ring in self._settings.former:
            values = values_of(state.cookies, template.name.encode())[:_VALUES_LOOKED_AT]
            found = [token for value in values if (token := ring.verify(value)) is not None]
            for token in found:
                old = Token(token.key, token.secret, current=False)
                tokens.setdefault((token.key, token.secret_hash), old)
            if found:
                state.former = (*state.former, template)

    def _not_loaded(self, state: State, now: int, error: StoreError) -> Flow[None]:
        """The store failed: an error at the first look, or an anonymous visitor, as the settings say."""
        if state.ready:
            # Another task of the request has loaded it meanwhile, so this failure does not matter.
            return
        if isinstance(error, StoreUnavailable):
            error.ambiguous = False
        state.failure, state.ready = error, True
        if self._settings.outage_at(state.path) == "anonymous":
            state.status = Status.OUTAGE
        yield event_of("unavailable", now, reason=f"load: {type(error).__name__}: {error}")

    def _judge(self, state: State, now: int, helds: Sequence[Held]) -> Flow[None]:
        verdict = lifecycle.judge(state.tokens, helds, self._settings, now)
        state.ready = True
        if verdict.held is not None:
            state.hold(verdict.token, verdict.held)
        else:
            state.status, state.competing = verdict.status, verdict.competing
            state.ended = verdict.ended
        # Told only now: a listener may look at the session.
        if state.crowded:
            yield event_of("ambiguous", now, reason="too many cookies of our name in one request")
        elif state.refused and not state.tokens:
            yield event_of("refused", now, reason="no token of ours in the cookie")
        for record in verdict.expired:
            yield event_of("expired", now, record)
        for key, reason in verdict.unreadable:
            yield event_of("unreadable", now, handle=handle_of(key), reason=reason)
        if verdict.competing:
            yield event_of("ambiguous", now, reason=f"{len(verdict.competing)} live sessions in one request")


def held_under(key: bytes, answer: Loaded) -> Held:
    """The meaning of a store's answer about `key`.

    Raises:
        StoreError: It can't be read.
    """
    if isinstance(answer, StoreError):
        raise answer
    return held_of(key, answer)
