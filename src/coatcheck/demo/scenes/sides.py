"""The two sides of a scene: Coatcheck on the demo's own store, and the naive session."""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Protocol, TypeVar, cast

from coatcheck.config import CookieSettings
from coatcheck.core.swap import held_of
from coatcheck.demo.scenes.corner_shop import CornerShop, name_of
from coatcheck.demo.scenes.naive import KEY, Blob, InTheCookie, InTheStore, NaiveSessions
from coatcheck.errors import StoreError, StoreUnavailable
from coatcheck.frameworks.wsgi import SessionMiddleware
from coatcheck.model.codec import decode
from coatcheck.model.ports import Entry, Store, Write
from coatcheck.model.record import Record, Tombstone
from coatcheck.responder import ENVIRON_KEY
from coatcheck.session import Session
from coatcheck.sessions import Sessions
from coatcheck.testing.wrappers import Call, StoreWrapper

if TYPE_CHECKING:
    from contextlib import AbstractContextManager
    from wsgiref.types import WSGIApplication

__all__ = ["SWITCHED_OFF", "CoatcheckSide", "NaiveSide", "Side", "Switch"]

_T = TypeVar("_T")
_PATIENCE = 2.0
_LIFE = timedelta(minutes=1)
SWITCHED_OFF = "A scene of the demo has switched its store off."


class Side(Protocol):
    """A shop on one kind of session."""

    shop: CornerShop
    application: WSGIApplication

    def away(self) -> AbstractContextManager[None]:
        """While this lasts, the store can't be reached. It is back afterwards."""
        ...

    def held(self) -> list[str]:
        """What the store holds, session by session.

        Raises:
            StoreError: The store can't be reached.
        """
        ...

    def clear(self) -> None:
        """Remove from the store what the scene left there."""
        ...


class Switch(StoreWrapper):
    """The demo's store, as one scene sees it: it can be switched off, for this scene alone."""

    def __init__(self, store: Store) -> None:
        super().__init__(store)
        self.off = False
        self.keys: dict[bytes, None] = {}
        """What the scene wrote, in order."""
        self.entries: list[Entry] = []

    def around(self, call: Call, send: Callable[[], _T]) -> _T:
        """Carry out a call, unless it is switched off."""
        if self.off:
            raise StoreUnavailable(SWITCHED_OFF, ambiguous=False)
        noted = call.args[0] if call.method in ("write", "note") else ()
        for item in cast("Sequence[Write | Entry]", noted):
            if isinstance(item, Write):
                self.keys[item.key] = None
            else:
                self.entries.append(item)
        return send()


class CoatcheckSide:
    """The shop on Coatcheck, with a secret and a cookie of the scene's own."""

    def __init__(self, store: Store, clock: Callable[[], float]) -> None:
        self._switch = Switch(store)
        self._sessions = Sessions(
            self._switch,
            secret=secrets.token_urlsafe(32),
            cookie=CookieSettings(name="scene"),
            insecure_http=True,
            idle_timeout=_LIFE,
            absolute_timeout=_LIFE,
            clock=clock,
        )
        self.shop: CornerShop = CornerShop(ENVIRON_KEY, self._end_other)
        self.application: WSGIApplication = SessionMiddleware(self.shop, self._sessions)

    @contextmanager
    def away(self) -> Generator[None]:
        self._switch.off = True
        try:
            yield
        finally:
            self._switch.off = False

    def held(self) -> list[str]:
        keys = list(self._switch.keys)
        found = self._switch.load(keys, self._now, time.monotonic() + _PATIENCE)
        states: list[object] = []
        for key, one in zip(keys, found, strict=True):
            if isinstance(one, StoreError):
                raise one
            states.append(held_of(key, one).state)
        return [line for state in states if (line := _told(state)) is not None]

    def clear(self) -> None:
        deadline = time.monotonic() + _PATIENCE
        self._switch.remove(list(self._switch.keys), self._now, deadline)
        if self._switch.entries:
            self._switch.forget(self._switch.entries, deadline)

    @property
    def _now(self) -> int:
        return int(self._sessions.settings.clock() * 1000)

    def _end_other(self, session: Session | Blob) -> bool:
        ours, user = cast("Session", session), str(session.user)
        if self._switch.index == "none":  # no list of devices, and all the others can be ended
            self._sessions.revoke_user(user, keep=ours)
            return True
        devices = self._sessions.of_user(user, current=ours)
        return all(self._sessions.revoke(one.handle, user=user) for one in devices if not one.current)


class NaiveSide:
    """The shop on the naive session."""

    def __init__(self, place: InTheStore | InTheCookie) -> None:
        self._place = place
        self.shop: CornerShop = CornerShop(KEY, lambda _session: False)
        self.application: WSGIApplication = NaiveSessions(self.shop, place)

    @contextmanager
    def away(self) -> Generator[None]:
        if isinstance(self._place, InTheStore):
            self._place.away = True
        try:
            yield
        finally:
            if isinstance(self._place, InTheStore):
                self._place.away = False

    def held(self) -> list[str]:
        if isinstance(self._place, InTheCookie):
            return ["Nothing: the session is in the cookie."]
        return [_shown(json.loads(blob)) for blob in self._place.blobs.values()]

    def clear(self) -> None:
        if isinstance(self._place, InTheStore):
            self._place.blobs.clear()


def _told(state: object) -> str | None:
    if isinstance(state, Tombstone):
        return "a session that has ended"
    if not isinstance(state, Record):
        return None
    fields = {name: decode(data) for name, data in state.fields.items()}
    return _shown(({"user": state.user} if state.user else {}) | fields)


def _shown(fields: dict[str, Any]) -> str:
    if "user" in fields:
        fields["user"] = name_of(fields["user"])
    return ", ".join(
        f"{name}: {value if isinstance(value, str) else ', '.join(value)}" for name, value in fields.items()
    )
