"""Others at ``scope["session"]``: another session middleware, and Litestar's `set_session` and `clear_session`."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, MutableMapping
from enum import Enum
from typing import Any, TypeAlias, cast

from coatcheck.errors import ForeignSessionWarning
from coatcheck.responder import SCOPE_KEY
from coatcheck.session import Session
from coatcheck.sessions import AsyncSessions

__all__ = ["CLEARED_KEY", "Neighbours", "put_in_place"]

Scope: TypeAlias = MutableMapping[str, Any]

CLEARED_KEY = "coatcheck.cleared"
"""Where the middleware for Litestar puts a function: whether `clear_session` was called."""


class Neighbours:
    """Notices what another layer has put in place of our session."""

    def __init__(self, sessions: AsyncSessions) -> None:
        self._sessions = sessions
        self._named = False

    async def settle(self, scope: Scope, session: Session) -> None:
        """Carry out what stands in place of the session in the scope, or name the middleware that put it there.

        Raises:
            StoreError: The session can't be loaded.
            TypeError: Litestar's `set_session` was called with something else than a dict.
        """
        found = scope.get(SCOPE_KEY)
        if isinstance(found, Session):
            return  # ours, or the same one as an inner layer of ours shares it
        if "litestar_app" not in scope or _litestar_keeps_sessions(scope):
            self.name(found, "inside", "what is stored in it does not reach ours")
            return
        await self._sessions.load(session)
        try:
            if CLEARED_KEY in scope and scope[CLEARED_KEY]():
                session.destroy()  # what was set afterwards begins another
            put_in_place(session, found)
        except BaseException:
            await self._sessions.fail(session)
            raise
        scope[SCOPE_KEY] = session

    def name(self, found: object, where: str, effect: str) -> None:
        """Say once that another session middleware stands in the way."""
        if self._named:
            return
        self._named = True
        kind = type(found)
        warnings.warn(
            f"Another session middleware, {where} of Coatcheck's, uses scope['session'] (it has a {kind.__module__}."
            f"{kind.__qualname__}): {effect}. Remove one of them.",
            ForeignSessionWarning,
            stacklevel=2,
        )


def put_in_place(session: Session, found: object) -> None:
    """Let a session hold what `set_session` was given. `Empty`, or nothing, ends it: Litestar's users log out so.

    Raises:
        TypeError: It is something else than a dict.
    """
    if not found or isinstance(found, Enum):  # Litestar's `Empty` is a member of one
        session.destroy()
    elif isinstance(found, Mapping):
        fields = cast("Mapping[str, Any]", found)
        for name in session.keys() - fields.keys():
            del session[name]
        session.update(fields)
    else:
        raise TypeError(f"request.set_session takes a dict, not a {type(found).__name__}.")


def _litestar_keeps_sessions(scope: Scope) -> bool:
    """Whether the route has a session middleware of Litestar's, whose sessions are none of ours."""
    layers: list[Any] = scope["route_handler"].resolve_middleware()
    return any(
        getattr(layer, "middleware", layer).__module__.startswith("litestar.middleware.session")
        for layer in layers
    )
