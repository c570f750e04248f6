"""What ``request.session`` is in Pyramid, and the CSRF checks on it."""

from __future__ import annotations

from hashlib import sha256
from typing import Any

from pyramid.interfaces import ICSRFStoragePolicy, ISession  # pyright: ignore[reportMissingTypeStubs]

from coatcheck.core.state import read_field
from coatcheck.frameworks.bound import BoundSession
from coatcheck.http.csrf import masked
from coatcheck.model.fields import CSRF
from coatcheck.session import Flash

__all__ = ["CSRFStoragePolicy", "PyramidSession"]


class _Markup(str):
    """A message that was markup when it was flashed: templates show it unescaped."""

    __slots__ = ()

    def __html__(self) -> str:
        return self


class PyramidSession(BoundSession):
    """What ``request.session`` is: a `Session` with the names of Pyramid's `ISession`, and its `save`, `take`, …"""

    # zope's `implementer` would add attributes to every base, `Session` among them.
    __implemented__: Any = ISession

    @property
    def created(self) -> int:
        """When it was created, in seconds since 1970; now, while nothing is stored."""
        created = self.created_at
        return int(self.sessions.settings.clock() if created is None else created.timestamp())

    @property
    def new(self) -> bool:
        """Whether nothing is stored for this visitor yet."""
        return self.is_new

    def invalidate(self) -> None:
        """End the session. Fields that are set afterwards start a new one; see `Session.destroy`."""
        self.destroy()

    def changed(self) -> None:
        """Nothing: a value that is changed in place is found without it."""
        self._look()

    def flash(  # pyright: ignore[reportIncompatibleMethodOverride] - the names of Pyramid's parameters
        self, msg: Any, queue: str = "", allow_duplicate: bool = True, *, tags: str = ""
    ) -> None:
        """Put a message at the end of a queue, which is its category; see `Session.flash`.

        With ``allow_duplicate=False`` a message that is in the queue already is not put there again.
        """
        if allow_duplicate or msg not in self.peek_flash(queue):
            super().flash(msg, queue, tags=tags)

    def pop_flash(self, queue: str = "") -> list[Any]:
        """Take the messages of a queue, the oldest first. Each is given to one request only."""
        return [_message(flash) for flash in self.take_flashes(queue)]

    def peek_flash(self, queue: str = "") -> list[Any]:
        """The messages of a queue, which stay there."""
        return [_message(flash) for flash in self.peek_flashes(queue)]

    def get_csrf_token(self) -> str:
        """The CSRF token, the same at each call until a sign-in or `new_csrf_token`, for code that compares it itself.

        In a page, `pyramid.csrf.get_csrf_token` is better: it masks the token anew each time (BREACH).
        """
        self.csrf_token()  # makes the secret, if there is none
        secret: bytes = read_field(self._look(), CSRF)
        return masked(secret, sha256(secret).digest())

    def new_csrf_token(self) -> str:
        """A new CSRF token, as `get_csrf_token` gives it back. Earlier ones are not good any more."""
        super().new_csrf_token()
        return self.get_csrf_token()


def _message(flash: Flash) -> Any:
    return _Markup(flash.message) if flash.markup else flash.message


class CSRFStoragePolicy:
    """Pyramid's CSRF checks on the session's own token, which a sign-in renews and each page masks anew."""

    __implemented__: Any = ICSRFStoragePolicy

    def new_csrf_token(self, request: Any) -> str:
        """A new token. Earlier ones are not good any more."""
        return str(request.session.new_csrf_token())

    def get_csrf_token(self, request: Any) -> str:
        """A token for a page."""
        return str(request.session.csrf_token())

    def check_csrf_token(self, request: Any, supplied_token: str) -> bool:
        """Whether `supplied_token` is one of the session's."""
        return bool(request.session.check_csrf(supplied_token))
