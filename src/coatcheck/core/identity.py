"""Signing in and out, and the `identity` field: what code that never heard of `sign_in` means by it.

With ``identity="user_id"``, a value of this field names the user. When a request's changes are stored, another value than
before is a sign-in of that user, and none any more is a sign-out (`imply`). A stored value without a signed-in user is
from before the setting was switched on: the user is entered into the record, under the same secret (`named_in`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Any
from uuid import UUID

from coatcheck.config import Settings
from coatcheck.core.state import (
    HEAD_HAS_LEFT,
    State,
    Status,
    clear_fields,
    has_field,
    is_text,
    read_field,
    remove_field,
    write_field,
)
from coatcheck.errors import CannotSendCookie, RequestOver
from coatcheck.model import codec
from coatcheck.model.fields import CSRF
from coatcheck.model.record import Record, SignIn

__all__ = ["assign", "chosen", "end", "imply", "is_user", "named_in", "sign_in", "user_named_by", "user_of"]

_LONGEST_USER = 255
_LONGEST_CLIENT = 200
_UNPRINTABLE = re.compile(r"[^\x20-\x7e\xa0-\ud7ff\ue000-\U0010ffff]+")
_UNREADABLE = "?" * (_LONGEST_USER + 1)  # longer than the id of any user


def user_of(state: State) -> str | None:
    """The signed-in user, after the explicit sign-in of this request, if there is one."""
    if state.sign_in is not None:
        return state.sign_in.user
    return None if state.record is None else state.record.user


def sign_in(state: State, user: str, keep: Iterable[str] = (), *, implied: bool = False) -> None:
    """Record a sign-in. Where another user was signed in, every field is cleared, but for those to `keep`.

    Raises:
        TypeError: `user` is no user's id.
    """
    if not is_user(user):
        raise TypeError(
            "sign_in takes the user's id as a str of 1 to 255 characters: write sign_in(str(user.id))."
        )
    before = user_of(state)
    if before is None:
        before = stored_user(state)
    if before is not None and before != user:
        # What this request has not chosen itself is the other user's choice, too.
        record = state.record
        if record is not None and (record.idle or record.absolute) and state.limits is None:
            state.limits = (0, 0)
        if record is not None and record.permanent and state.permanent is None:
            state.permanent = False
        kept = {name: read_field(state, name) for name in keep if has_field(state, name)}
        clear_fields(state)
        # Fields that a parallel request sets meanwhile belong to the other user, and are cleared too.
        state.cleared = state.record is not None
        for name, value in kept.items():
            write_field(state, name, value)
    elif not (implied and state.changes.get(CSRF)):  # one that this request made since is kept
        _renew_csrf(state)
    state.acted = True
    state.sign_in = SignIn(user, client_of(state))
    state.implied = implied


def end(state: State) -> None:
    """Record that the session ends. What is set from now on goes to a new one."""
    state.acted = state.restarted = True
    if state.held is not None:
        state.to_destroy = (*state.to_destroy, state.held)
    # Of several live sessions in one request none is used, but all are ended.
    state.to_destroy = (*state.to_destroy, *state.competing)
    state.competing = ()
    if state.status is Status.LIVE:
        state.status = Status.NEW
    state.blank()


def chosen(state: State) -> dict[str, Any]:
    """The fields that this request has set itself. They outlive a sign-in or sign-out that the application does not say."""
    return {name: state.values[name] for name, data in list(state.changes.items()) if data is not None}


# The identity field


def user_named_by(value: object, settings: Settings) -> str | None:
    """The user whom a value of the identity field names; None: nobody.

    Raises:
        TypeError: What is to be the user's id is no str, int or UUID, or too long.
    """
    if value is None or (isinstance(value, str) and not value):
        return None
    user = value if settings.identity_of is None else settings.identity_of(value)
    if user is None or (isinstance(user, str) and not user):
        return None
    text = None
    # Not by `str`, which a subclass (an Enum) has made say something else.
    if isinstance(user, str):
        text = str.__str__(user)
    elif isinstance(user, UUID):
        text = str(user)
    elif isinstance(user, int) and not isinstance(user, bool):
        text = int.__repr__(user)
    if text is None or not is_user(text):
        raise TypeError(
            f"session[{settings.identity_field!r}] names the user (the setting identity): the user's id must be a str of "
            f"at most 255 characters, an int or a UUID, not {type(user).__name__}. If the id is inside the value, name a "
            f'function: identity=({settings.identity_field!r}, lambda value: value["id"]).'
        )
    return text


def imply(state: State, *, failed: bool = False) -> None:
    """Make of another value of the identity field the sign-in or sign-out that it means; of a request that `failed`, only
    a sign-out.

    Raises:
        TypeError: The value names no user.
        CannotSendCookie: The session was opened by `edit`.
    """
    name = state.settings.identity_field
    if state.implied:
        # An earlier `save` failed. Since then the field may have got another value.
        state.sign_in, state.implied = None, False
    if name is None or state.sign_in is not None or not _may_differ(state, name):
        return
    before = stored_user(state)
    if before == _UNREADABLE and not _differs(state, name):
        return
    after = user_named_by(read_field(state, name), state.settings) if has_field(state, name) else None
    if after == before:
        return
    if state.detached:
        raise CannotSendCookie(
            f"session[{name!r}] names the user, which `edit` can't change: it has no response that could carry a new "
            "cookie. To sign a user out, use `revoke`."
        )
    kept = chosen(state)
    if after is None:
        kept.pop(name, None)
        end(state)
        for field, value in kept.items():
            write_field(state, field, value)
    elif not failed and not (state.status is Status.LATE and state.ended and not state.restarted):
        # A late request's sign-in must not undo a logout: a "remember me" that was under way.
        sign_in(state, after, dict.fromkeys((*kept, name)), implied=True)


def assign(state: State, value: object) -> None:
    """Check a new value of the identity field at its assignment; None: at its removal.

    Raises:
        TypeError: It names no user.
        StoreError: The store fails, also with ``outage="anonymous"``: signing in and out needs the store.
        RequestOver: It signs somebody in or out after the request has ended.
        CannotSendCookie: It signs somebody in after the head of the response has left.
    """
    user = user_named_by(value, state.settings)
    before = stored_user(state)
    if state.over and user != before:
        raise RequestOver
    refuse_in_outage(state)
    if state.head_sent and user is not None and user != before:
        raise CannotSendCookie(HEAD_HAS_LEFT)
    if user != _named_so_far(state, before):
        _renew_csrf(state)


def _named_so_far(state: State, before: str | None) -> str | None:
    """The user whom this request has named last; `before` that, the stored one."""
    if state.sign_in is not None:
        return state.sign_in.user
    name = state.settings.identity_field
    if name not in state.changes:
        return before
    try:
        return user_named_by(state.values.get(name), state.settings)
    except Exception:  # noqa: BLE001 - the value was edited since, and the application's function may raise anything
        return _UNREADABLE


def refuse_in_outage(state: State) -> None:
    """Raise the failure of the store, also with ``outage="anonymous"``: signing in and out needs the store."""
    if state.failure is not None:
        state.met = state.failure
        raise state.failure


def _renew_csrf(state: State) -> None:
    """Forget the secret of the CSRF tokens: the next token is of a new one, which outlasts this sign-in or sign-out."""
    if has_field(state, CSRF):
        remove_field(state, CSRF)
        state.reads.pop(CSRF, None)


def stored_user(state: State) -> str | None:
    """The user whom the stored identity field names; None: there is no such user.

    A value from before the setting that the application's function can't read stands for a user whom nobody else equals.
    """
    name = state.settings.identity_field
    data = None if name is None or state.record is None else state.record.fields.get(name)
    try:
        return None if data is None else user_named_by(codec.decode(data), state.settings)
    except Exception:  # noqa: BLE001 - the application's function may raise anything
        return _UNREADABLE


def named_in(record: Record, settings: Settings) -> str | None:
    """The user whom a record's identity field names, although nobody is signed in to it; None: there is no such user."""
    name = settings.identity_field
    if name is None or record.user is not None:
        return None
    data = record.fields.get(name)
    return None if data is None else user_named_by(codec.decode(data), settings)


def _may_differ(state: State, name: str) -> bool:
    """Whether the field can have another value than the stored one."""
    if name in state.changes:
        return True
    value = state.values.get(name)
    return value is not None and type(value) not in codec.IMMUTABLE


def _differs(state: State, name: str) -> bool:
    """Whether the field has another value than the stored one."""
    wanted = state.wanted({}, [name])
    return name in wanted.fields or name in wanted.remove


def client_of(state: State) -> str:
    """The visitor's User-Agent, as the list of devices shows it."""
    return _UNPRINTABLE.sub(" ", state.client)[:_LONGEST_CLIENT]


def is_user(user: object) -> bool:
    """Whether `user` can be a user's id: text of 1 to 255 characters."""
    return isinstance(user, str) and 0 < len(user) <= _LONGEST_USER and is_text(user)
