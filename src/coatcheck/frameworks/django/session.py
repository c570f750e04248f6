"""The session behind ``request.session``: it never blocks an event loop, and has the logins of other frameworks."""

from __future__ import annotations

from typing import Any

from django.conf import settings
from django.contrib.auth import (
    BACKEND_SESSION_KEY,
    HASH_SESSION_KEY,
    SESSION_KEY,
    get_user_model,
    load_backend,
)
from django.core.exceptions import ValidationError
from django.utils.asyncio import async_unsafe

from coatcheck.core.state import State
from coatcheck.frameworks.bound import BoundSession
from coatcheck.session import state_of

__all__ = ["DjangoSession"]

_BACKEND = "coatcheck.frameworks.django.auth.Backend"
_waits = async_unsafe(
    "The store would block the event loop: use the methods of request.session that begin with `a`, or a thread."
)


class DjangoSession(BoundSession):
    """A `Session` whose methods raise SynchronousOnlyOperation where they would block an event loop.

    Where another framework signed the user in, and `auth.Backend` is in use, it answers to Django as if `login` had.
    """

    save = _waits(BoundSession.save)
    reload = _waits(BoundSession.reload)
    take = _waits(BoundSession.take)
    take_flashes = _waits(BoundSession.take_flashes)
    is_live = _waits(BoundSession.is_live)
    _load = _waits(BoundSession._look)  # noqa: SLF001

    def _look(self) -> State:
        return super()._look() if state_of(self).ready else self._load()

    def __contains__(self, name: object) -> bool:
        return super().__contains__(name) or (name == SESSION_KEY and self._signed_in_elsewhere())

    def __getitem__(self, name: str) -> Any:
        try:
            return super().__getitem__(name)
        except KeyError:
            if name not in {SESSION_KEY, BACKEND_SESSION_KEY, HASH_SESSION_KEY}:
                raise
            if not self._signed_in_elsewhere():
                raise
        if name == SESSION_KEY:
            return self.user
        if name == BACKEND_SESSION_KEY:
            return _BACKEND
        user: Any = load_backend(_BACKEND).get_user(self.user)
        # Stored, so that a change of the password ends this session, too.
        return self.setdefault(name, user.get_session_auth_hash())

    def _signed_in_elsewhere(self) -> bool:
        """Whether another framework signed in what may be a user of this site, and Django's `login` did not."""
        state, user = self._look(), self.user
        if _BACKEND not in settings.AUTHENTICATION_BACKENDS or user is None or SESSION_KEY in state.changes:
            return False
        try:
            return (
                not super().__contains__(SESSION_KEY)
                and str(get_user_model()._meta.pk.to_python(user)) == user
            )
        except ValidationError:
            return False
