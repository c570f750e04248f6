"""The session as a handler sees it: a mapping that records changes.

The changes are stored at the end of the request, or by an explicit `save`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, MutableMapping
from datetime import datetime, timedelta
from secrets import token_bytes
from types import EllipsisType
from typing import Any, Self, TypeVar, overload

from coatcheck.core import identity
from coatcheck.core.state import (
    HEAD_HAS_LEFT,
    State,
    Status,
    check_name,
    flashes_in,
    has_field,
    names_in,
    read_field,
    remove_field,
    set_default,
    write_field,
)
from coatcheck.errors import CannotSendCookie, RequestOver, StoreError
from coatcheck.http.csrf import SECRET_BYTES, is_masked, masked
from coatcheck.http.token import handle_of
from coatcheck.model.fields import CSRF, FLASH, PRIVATE, Flash, is_private, stored_flash
from coatcheck.model.lifetimes import LONGEST_COOKIE, milliseconds, moment

__all__ = [
    "Flash",
    "Session",
    "end_of_request",
    "failure_met",
    "has_ended",
    "head_has_left",
    "is_untouched",
    "state_of",
]

_SHORTEST_LIMIT = timedelta(seconds=1)
_Default = TypeVar("_Default")


def state_of(session: Session) -> State:
    """The state behind a session, for the modules that load and store it."""
    state = session._state  # noqa: SLF001 - these functions are the only access from other modules
    return session._begin(session) if state is None else state  # noqa: SLF001


def is_untouched(session: Session) -> bool:
    """Whether the request has not used the session."""
    state = session._state  # noqa: SLF001
    return state is None or not state.looked_at


def has_ended(session: Session) -> bool:
    """Whether the head of the session's response has left: it is of an earlier request, or can take no cookie any more."""
    state = session._state  # noqa: SLF001
    return session._head_sent if state is None else state.head_sent  # noqa: SLF001


def end_of_request(session: Session) -> None:
    """Note that nothing stores changes of the session any more: from now on they raise `RequestOver`."""
    session._over = True  # noqa: SLF001
    state = session._state  # noqa: SLF001
    if state is not None:
        state.over = True


def head_has_left(session: Session) -> None:
    """Note that no response can bring the session a new cookie any more."""
    session._head_sent = True  # noqa: SLF001
    state = session._state  # noqa: SLF001
    if state is not None:
        state.head_sent = True


def failure_met(session: Session) -> StoreError | None:
    """The store's failure that the session raised in the application, or None.

    A 500 that the application made of it is answered as a 503.
    """
    state = session._state  # noqa: SLF001
    return None if state is None else state.met


class Session(MutableMapping[str, Any]):
    """One visitor's session: a mapping of str to any value that the codec can store.

    Changes are recorded, also those deep inside a value (``session["cart"].append(x)``), and stored at the end of
    the request, before its response is sent. Several threads of one request may share a session.

    Every access raises a `StoreError` while the store can't be reached (unless ``outage="anonymous"``), and
    `NotLoaded` in an async application that loads on demand and has not loaded the session yet.
    """

    # The managers in `coatcheck.sessions` read and write these directly, since calls cost time on each request.
    __slots__ = ("_begin", "_failed", "_head_sent", "_over", "_state", "sessions")

    sessions: Any
    """The manager that opened it."""

    def __init__(self, begin: Callable[[Session], State], sessions: object = None) -> None:
        # Many requests never use their session, so its state is made on first use.
        self._begin = begin
        self.sessions = sessions
        self._state: State | None = None
        self._head_sent = False
        self._failed = False
        self._over = False

    def _look(self) -> State:
        state = self._state
        if state is None:
            state = self._begin(self)
        state.looked_at = state.used = True
        if not state.ready:
            state.load(state)
        if state.failure is not None and state.status is not Status.OUTAGE:
            state.met = state.failure
            raise state.failure
        return state

    def _glance(self) -> State:
        """The state, for a look at the session's times: that is no use of it, and never prolongs it."""
        used = self._state is not None and self._state.used
        state = self._look()
        state.used = used
        return state

    # Mapping

    def __getitem__(self, name: str) -> Any:
        state = self._look()
        if isinstance(name, str) and name.startswith(PRIVATE):
            raise KeyError(name)
        return read_field(state, name)

    def __setitem__(self, name: str, value: Any) -> None:
        state = self._look()
        check_name(name)
        if name == state.settings.identity_field:
            identity.assign(state, value)
        write_field(state, name, value)

    def __delitem__(self, name: str) -> None:
        state = self._look()
        if name == state.settings.identity_field:
            identity.assign(state, None)
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
        """The value of the field `name`. A missing field is set to `default`.

        If two requests set the same default container and edit it, their edits are merged, as if both had read it.
        """
        state = self._look()
        check_name(name)
        if name == state.settings.identity_field and default is not None and not has_field(state, name):
            identity.assign(state, default)
        return set_default(state, name, default)

    def pop(self, name: str, *default: Any) -> Any:
        """Remove the field `name` and return its value; without it `default`, or a `KeyError` where none is given."""
        state = self._look()
        if name == state.settings.identity_field:
            identity.assign(state, None)
        return super().pop(name, *default)

    def popitem(self) -> tuple[str, Any]:
        """Remove the last field, as a dict does, and return its name and value; a `KeyError` where there is none."""
        for name in reversed(list(self)):
            return name, self.pop(name)
        raise KeyError("the session has no field")

    def copy(self) -> dict[str, Any]:
        """The fields as a dict. To change it does not change the session, but its values are the session's own."""
        return dict(self)

    def __or__(self, other: Mapping[str, Any]) -> dict[str, Any]:
        return {**self, **other} if isinstance(other, Mapping) else NotImplemented

    def __ror__(self, other: Mapping[str, Any]) -> dict[str, Any]:
        return {**other, **self} if isinstance(other, Mapping) else NotImplemented

    def __ior__(self, other: Mapping[str, Any]) -> Self:
        self.update(other)
        return self

    def clear(self) -> None:
        """End the session, as `destroy` does: every field goes, and the sign-in with them.

        Fields that are set afterwards in the same request start a new session, under a new secret.
        """
        self.destroy()

    # The mixin's `get` is typed `Any | None`, so that type checkers would demand a check for None at every use.
    @overload
    def get(self, name: str) -> Any: ...
    @overload
    def get(self, name: str, default: _Default) -> Any | _Default: ...
    def get(self, name: str, default: Any = None) -> Any:  # pyright: ignore[reportIncompatibleMethodOverride]
        """The value of the field `name`, or `default` if there is none."""
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

    # Properties

    @property
    def handle(self) -> str | None:
        """The session's public name. It is safe to log and to show, and opens no session. None while nothing is stored."""
        record = self._look().record
        return None if record is None else handle_of(record.key)

    @property
    def mark(self) -> str | None:
        """8 hexadecimal digits that change with each sign-in and `rotate`, and only then. None while nothing is stored.

        With the handle it names one sign-in, and opens nothing either.
        """
        record = self._look().record
        return None if record is None else record.mark.hex()

    @property
    def is_new(self) -> bool:
        """Whether no record is stored for this visitor yet."""
        return self._look().record is None

    @property
    def created_at(self) -> datetime | None:
        """When the record was created (aware, UTC); None while nothing is stored."""
        record = self._glance().record
        return None if record is None else moment(record.created)

    @property
    def signed_in_at(self) -> datetime | None:
        """When the user signed in (aware, UTC); None without a signed-in user."""
        record = self._glance().record
        return None if record is None or not record.signed_in else moment(record.signed_in)

    @property
    def last_used_at(self) -> datetime | None:
        """When the session was last used (aware, UTC), exact to a tenth of the idle timeout, at most an hour."""
        record = self._glance().record
        return None if record is None else moment(record.last_used)

    @property
    def expires_at(self) -> datetime | None:
        """When the session expires if it is not used again (aware, UTC)."""
        record = self._glance().record
        return None if record is None else moment(record.expires)

    @property
    def user(self) -> str | None:
        """The signed-in user's id, or None. A `sign_in` of this request already counts.

        A field called ``user`` is another thing: ``session["user"]``. In a template, ``{{ session.user }}`` is this one.
        """
        return identity.user_of(self._look())

    @property
    def permanent(self) -> bool:
        """Whether the session outlives the browser, with the longer `remember_` limits. Settable."""
        state = self._look()
        if state.permanent is not None:
            return state.permanent
        return state.record is not None and state.record.permanent

    @permanent.setter
    def permanent(self, value: bool) -> None:
        state = self._change()
        state.permanent, state.acted = bool(value), True

    def set_lifetime(
        self,
        *,
        idle: timedelta | EllipsisType | None = ...,
        absolute: timedelta | EllipsisType | None = ...,
        persistent: bool | EllipsisType = ...,
    ) -> None:
        """Give this session limits of its own, shorter or longer than those of the settings. They act at once.

        They are kept in the record, and stay through a sign-in. What is left out stays as it is.

        Args:
            idle: How long it lives without use; None: as the settings say.
            absolute: How long it lives at most, counted from its sign-in, or from its creation without one; None: as the
                settings say. At most 400 days, since browsers keep no cookie longer (RFC 6265bis §5.5).
            persistent: Whether it outlives the browser; the same as `permanent`.

        Raises:
            TypeError: A limit is no `timedelta`.
            ValueError: A limit is shorter than one second, or longer than 400 days.
        """
        state = self._change()
        if state.limits is not None:
            own = state.limits
        else:
            own = (0, 0) if state.record is None else (state.record.idle, state.record.absolute)
        state.limits = (_limit("idle", idle, own[0]), _limit("absolute", absolute, own[1]))
        if not isinstance(persistent, EllipsisType):
            state.permanent = bool(persistent)
        state.acted = True

    # Actions

    def sign_in(self, user: str, *, keep: Iterable[str] = ()) -> None:
        """Sign `user` in, with a new secret, new lifetimes and a new CSRF token (OWASP: renew the session id).

        The fields of an anonymous session are kept. If another user was signed in, every field is cleared first, but for
        those to keep.

        Args:
            user: The application's id of the user: a str of 1 to 255 characters.
            keep: Names of fields that say nothing of the other user: ``keep=("language",)``.

        Raises:
            TypeError: `user` is anything else.
            CannotSendCookie: The head of the response has left, or the session was opened by `edit`.
        """
        identity.sign_in(self._needs_cookie(), user, (keep,) if isinstance(keep, str) else keep)

    def sign_out(self) -> None:
        """End the session. Fields that are set afterwards in the same request start a new session."""
        self.destroy()

    def destroy(self) -> None:
        """End the session for good. Fields that are set afterwards in the same request start a new session."""
        identity.end(self._needs_store())

    def rotate(self) -> None:
        """Change the secret to a new random one, as `sign_in` does, for example when the user gains privileges."""
        state = self._needs_cookie()
        state.rotate += 1
        state.acted = True

    def _change(self) -> State:
        """The state, for a change of more than a field.

        Raises:
            RequestOver: Nothing would store the change.
        """
        state = self._look()
        if state.over:
            raise RequestOver
        return state

    def _needs_store(self) -> State:
        """The state, for an action that is refused while the store fails, also with ``outage="anonymous"``."""
        state = self._change()
        identity.refuse_in_outage(state)
        return state

    def _needs_cookie(self) -> State:
        state = self._needs_store()
        if state.detached:
            raise CannotSendCookie(
                "A session opened by `edit` has no response that could carry its new cookie."
            )
        if state.head_sent:
            raise CannotSendCookie(HEAD_HAS_LEFT)
        return state

    def flash(self, message: Any, category: str = "info", *, tags: str = "") -> None:
        """Store a message for the next page that shows messages. Messages of parallel requests are all kept.

        An object with an ``__html__`` method (MarkupSafe, Django's `mark_safe`) is kept as markup. Beyond
        ``max_flashes`` the oldest messages are dropped.

        Args:
            message: The message: any value that a field can hold.
            category: The word for its kind: Flask's category, Pyramid's queue, the tag of Django's level.
            tags: Further words, separated by spaces: Django's `extra_tags`.
        """
        state = self._look()
        markup = hasattr(message, "__html__")
        value = stored_flash(Flash(category, str(message.__html__()) if markup else message, markup, tags))
        # The names sort by time, and the random part makes those of parallel requests distinct.
        name = f"{FLASH}{int(state.settings.clock() * 1000):012x}{state.flashes:04x}{token_bytes(4).hex()}"
        write_field(state, name, value)
        state.flashes += 1

    def peek_flashes(self, category: str | None = None) -> list[Flash]:
        """The waiting messages, of one category or all, the oldest first, without removing them.

        To show messages, use `take_flashes`.
        """
        return [flash for _, flash in flashes_in(self._look(), category)]

    def csrf_token(self) -> str:
        """A CSRF token for a form or an ``X-CSRF-Token`` header (OWASP: synchronizer token); see `check_csrf`.

        The first call makes a secret of 256 bits, which a sign-in renews. Each call masks it with other random bytes, so
        that what a page's compressed length tells of it is worth nothing (BREACH). Earlier tokens stay good.

        Returns:
            86 ASCII characters.
        """
        state = self._look()
        if not has_field(state, CSRF):
            write_field(state, CSRF, token_bytes(SECRET_BYTES))
        return masked(read_field(state, CSRF), token_bytes(SECRET_BYTES))

    def new_csrf_token(self) -> str:
        """A CSRF token of a new secret. Earlier ones are not good any more."""
        write_field(self._look(), CSRF, token_bytes(SECRET_BYTES))
        return self.csrf_token()

    def check_csrf(self, token: str | bytes | None) -> bool:
        """Whether `token`, as a form or header brought it, is one that this session gave out. In constant time."""
        state = self._look()
        return has_field(state, CSRF) and is_masked(token, read_field(state, CSRF))


def _limit(name: str, span: timedelta | EllipsisType | None, now: int) -> int:
    """A limit of a session's own in milliseconds; 0: that of the settings."""
    if isinstance(span, EllipsisType):
        return now
    if span is None:
        return 0
    if not isinstance(span, timedelta):
        raise TypeError(
            f"{name} must be a timedelta or None, not {type(span).__name__}: write timedelta(hours=1)."
        )
    if not _SHORTEST_LIMIT <= span <= LONGEST_COOKIE:
        raise ValueError(f"{name} must be between one second and 400 days.")
    return milliseconds(span)
