"""The session that a handler sees: a mapping that records intentions.

Nothing is stored before the end of the request, or an explicit `save`.
"""

from __future__ import annotations

import re
from base64 import urlsafe_b64encode
from collections.abc import Callable, Iterator, Mapping, MutableMapping
from datetime import datetime
from secrets import token_bytes
from typing import Any, Self, TypeVar, overload

from coatcheck.core.state import (
    State,
    Status,
    check_name,
    clear_fields,
    has_field,
    is_text,
    names_in,
    read_field,
    remove_field,
    set_default,
    write_field,
)
from coatcheck.errors import CannotSendCookie, NotLoaded, StoreError
from coatcheck.http.token import handle_of
from coatcheck.model.fields import CSRF, FLASH, PRIVATE, Flash, flash_from, is_private, stored_flash
from coatcheck.model.lifetimes import moment
from coatcheck.model.record import SignIn

__all__ = [
    "Flash",
    "Session",
    "failure_met",
    "is_untouched",
    "state_of",
]

_LONGEST_USER = 255
_LONGEST_CLIENT = 200
_UNPRINTABLE = re.compile(r"[^\x20-\x7e\xa0-\ud7ff\ue000-\U0010ffff]+")
_Default = TypeVar("_Default")


def state_of(session: Session) -> State:
    """The state behind a session, for the modules that carry it out."""
    state = session._state  # noqa: SLF001 - the one way in
    return session._begin(session) if state is None else state  # noqa: SLF001


def is_untouched(session: Session) -> bool:
    """Whether the session was not looked at."""
    state = session._state  # noqa: SLF001
    return state is None or not state.looked_at


def failure_met(session: Session) -> StoreError | None:
    """The store's failure that whoever used the session was told of: a 500 that he made of it must be a 503."""
    state = session._state  # noqa: SLF001
    return None if state is None else state.met


class Session(MutableMapping[str, Any]):
    """One visitor's session: a mapping of str to whatever the codec can store, and what can be done with it.

    Changes are recorded, also those deep inside a value (``session["cart"].append(x)``), and stored at the end of
    the request, before its response leaves. Several threads of one request may share it.

    Every access raises a `StoreError` while the store can't be reached (unless ``outage="anonymous"``), and
    `NotLoaded` in an async application that loads on demand and has not yet.
    """

    # The managers, in `coatcheck.sessions`, read and write these.
    __slots__ = ("_begin", "_head_sent", "_state")

    def __init__(self, begin: Callable[[Session], State]) -> None:
        # Many requests never look at their session: what it needs is made when one does.
        self._begin = begin
        self._state: State | None = None
        self._head_sent = False

    def _look(self) -> State:
        state = self._state
        if state is None:
            state = self._begin(self)
        state.looked_at = True
        if not state.ready:
            if state.load is None:
                raise NotLoaded(
                    "The session is not loaded yet: `await sessions.load(session)` first, or use "
                    'load="eager" in the middleware.'
                )
            state.load(state)
        if state.failure is not None and state.status is not Status.OUTAGE:
            state.met = state.failure
            raise state.failure
        return state

    # The mapping

    def __getitem__(self, name: str) -> Any:
        state = self._look()
        if isinstance(name, str) and name.startswith(PRIVATE):
            raise KeyError(name)
        return read_field(state, name)

    def __setitem__(self, name: str, value: Any) -> None:
        state = self._look()
        check_name(name)
        write_field(state, name, value)

    def __delitem__(self, name: str) -> None:
        state = self._look()
        if is_private(name) or not has_field(state, name):
            raise KeyError(name)
        remove_field(state, name)

    def __contains__(self, name: object) -> bool:
        state = self._look()
        return isinstance(name, str) and not is_private(name) and has_field(state, name)

    def __iter__(self) -> Iterator[str]:
        return iter([name for name in names_in(self._look()) if not is_private(name)])

    def __len__(self) -> int:
        return sum(not is_private(name) for name in names_in(self._look()))

    def setdefault(self, name: str, default: Any = None) -> Any:
        """The value under `name`; where there is none, `default` is put in.

        Two requests that put in the same container, and edit it, are merged, as if both had read it.
        """
        state = self._look()
        check_name(name)
        return set_default(state, name, default)

    def __ior__(self, other: Mapping[str, Any]) -> Self:
        self.update(other)
        return self

    def clear(self) -> None:
        """Remove every field, flash messages and the CSRF token included. Who is signed in stays so."""
        clear_fields(self._look())

    # One lookup where the mixin's would take two, since each is an access to be noted.
    @overload
    def get(self, name: str) -> Any: ...
    @overload
    def get(self, name: str, default: _Default) -> Any | _Default: ...
    def get(self, name: str, default: Any = None) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        """The value under `name`, or `default`."""
        try:
            return self[name]
        except KeyError:
            return default

    def __repr__(self) -> str:
        state = self._state
        if state is None:
            return f"<{type(self).__name__} {Status.UNLOADED.value}>"
        handle = "" if state.record is None else f" {handle_of(state.record.key)}"
        return f"<{type(self).__name__} {state.status.value}{handle}>"

    # What is known of it

    @property
    def handle(self) -> str | None:
        """Its public name: safe to log and to list; it never opens a session. None while nothing is stored."""
        record = self._look().record
        return None if record is None else handle_of(record.key)

    @property
    def is_new(self) -> bool:
        """Whether nothing is stored for this visitor yet."""
        return self._look().record is None

    @property
    def created_at(self) -> datetime | None:
        """When its record was created (UTC); None while nothing is stored. So are the other times."""
        record = self._look().record
        return None if record is None else moment(record.created)

    @property
    def signed_in_at(self) -> datetime | None:
        """When the visitor last signed in; None if nobody is signed in."""
        record = self._look().record
        return None if record is None or not record.signed_in else moment(record.signed_in)

    @property
    def last_used_at(self) -> datetime | None:
        """When it was last noted as used: exact to a tenth of the idle limit, an hour at most."""
        record = self._look().record
        return None if record is None else moment(record.last_used)

    @property
    def expires_at(self) -> datetime | None:
        """When it ends if it is not used again."""
        record = self._look().record
        return None if record is None else moment(record.expires)

    @property
    def user(self) -> str | None:
        """Who is signed in, this request's own `sign_in` included."""
        state = self._look()
        if state.sign_in is not None:
            return state.sign_in.user
        return None if state.record is None else state.record.user

    @property
    def permanent(self) -> bool:
        """Whether it outlives the browser, with the longer `remember_` limits. Settable."""
        state = self._look()
        if state.permanent is not None:
            return state.permanent
        return state.record is not None and state.record.permanent

    @permanent.setter
    def permanent(self, value: bool) -> None:
        state = self._look()
        state.permanent, state.acted = bool(value), True

    # What can be done with it

    def sign_in(self, user: str) -> None:
        """Sign `user` in: a new secret, a new life, a new CSRF token (OWASP: renew the session id).

        What an anonymous visitor had put in stays; where somebody else was signed in, every field is cleared first.

        Args:
            user: The application's id of the user: a str of 1 to 255 characters.

        Raises:
            TypeError: `user` is anything else.
        """
        state = self._needs_cookie()
        if not isinstance(user, str) or not 0 < len(user) <= _LONGEST_USER or not is_text(user):
            raise TypeError(
                "sign_in takes the user's id as a str of 1 to 255 characters: write sign_in(str(user.id))."
            )
        before = self.user
        if before is not None and before != user:
            clear_fields(state)
            # Whatever another request puts in meanwhile is not this user's either.
            state.cleared = state.record is not None
        elif has_field(state, CSRF):
            remove_field(state, CSRF)
            state.reads.pop(CSRF, None)
        state.acted = True
        state.sign_in = SignIn(user, _UNPRINTABLE.sub(" ", state.client)[:_LONGEST_CLIENT])

    def sign_out(self) -> None:
        """End the session. What is set after it in the same request goes to a new one."""
        self.destroy()

    def destroy(self) -> None:
        """End the session: nothing brings it back. What is set after it in the same request goes to a new one."""
        state = self._needs_store()
        state.acted = True
        if state.held is not None:
            state.to_destroy = (*state.to_destroy, state.held)
        # Every live session that the request came with ends, also where none of them was taken.
        state.to_destroy = (*state.to_destroy, *state.competing)
        state.competing = ()
        if state.status is Status.LIVE:
            state.status = Status.NEW
        state.blank()

    def rotate(self) -> None:
        """Change the secret at random, as a sign-in does: for a step up in powers."""
        state = self._needs_cookie()
        state.rotate += 1
        state.acted = True

    def _needs_store(self) -> State:
        """For what must not be pretended while the store fails."""
        state = self._look()
        if state.failure is not None:
            state.met = state.failure
            raise state.failure
        return state

    def _needs_cookie(self) -> State:
        state = self._needs_store()
        if state.detached:
            raise CannotSendCookie(
                "A session opened by `edit` has no response that could carry its new cookie."
            )
        return state

    def flash(self, message: Any, category: str = "info") -> None:
        """Leave a message for the next page that shows them. Messages of parallel requests all stay.

        An object with an ``__html__`` method (MarkupSafe, Django's `mark_safe`) is kept as markup. Beyond
        ``max_flashes`` the oldest go first.
        """
        state = self._look()
        markup = hasattr(message, "__html__")
        value = stored_flash(Flash(category, str(message.__html__()) if markup else message, markup))
        # Names sort by time; the random part keeps those of parallel requests apart.
        name = f"{FLASH}{int(state.settings.clock() * 1000):012x}{state.flashes:04x}{token_bytes(4).hex()}"
        write_field(state, name, value)
        state.flashes += 1

    def peek_flashes(self) -> list[Flash]:
        """The messages that wait, the oldest first, without taking them. To show them, use `take_flashes`."""
        state = self._look()
        return [
            flash_from(read_field(state, name)) for name in sorted(names_in(state)) if name.startswith(FLASH)
        ]

    def csrf_token(self) -> str:
        """The token to put into forms; made, and thereby put into the session, at the first call.

        43 characters of ASCII, 256 bits. A sign-in renews it. Compare what a form brings with `hmac.compare_digest`,
        both encoded: it takes no str that is not ASCII.
        """
        state = self._look()
        if not has_field(state, CSRF):
            write_field(state, CSRF, urlsafe_b64encode(token_bytes(32)).rstrip(b"=").decode())
        token: str = read_field(state, CSRF)
        return token
