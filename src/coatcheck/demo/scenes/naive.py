"""The session that Coatcheck is compared with: one blob, read when a request begins and written back when it ends.

It has the faults that the scenes show, and not the other ones of the libraries that a scene names: it writes only if something
has changed, adopts no id that it did not make, and a sign-in changes the id and deletes the old one.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Iterable
from contextlib import suppress
from http.cookies import SimpleCookie
from typing import TYPE_CHECKING, Any, Protocol

from itsdangerous import BadSignature, URLSafeTimedSerializer

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

__all__ = ["COOKIE", "KEY", "Blob", "InTheCookie", "InTheStore", "NaiveSessions", "Place"]

KEY = "naive.session"
"""Where the application finds its session in the environ."""
COOKIE = "naive"


class Blob(dict[str, Any]):
    """What a handler sees: a dict."""

    renewed: bool = False

    @property
    def user(self) -> str | None:
        """Who is signed in."""
        return self.get("user")

    def sign_in(self, user: str) -> None:
        """From now on it is the session of this user, under a new id."""
        self["user"] = user
        self.renewed = True

    def sign_out(self) -> None:
        """Empty it; what is empty is deleted."""
        self.clear()


class Place(Protocol):
    """Where blobs are kept, each under the value of its cookie."""

    def read(self, cookie: str) -> str | None:
        """The blob of that cookie; None: there is none."""
        ...

    def write(self, cookie: str | None, blob: str) -> str:
        """Keep a blob; None makes a new id. Returns the value of the cookie."""
        ...

    def delete(self, cookie: str) -> None:
        """Let go of a blob."""
        ...


class InTheStore:
    """The cookie holds an id, and the store a blob under it, as with Flask-Session, starsessions or Django."""

    about = "the whole session as one blob, written back"

    def __init__(self) -> None:
        self.blobs: dict[str, str] = {}
        self.away = False

    def read(self, cookie: str) -> str | None:
        if self.away:
            raise ConnectionError
        return self.blobs.get(cookie)

    def write(self, cookie: str | None, blob: str) -> str:
        cookie = cookie or secrets.token_urlsafe(32)
        self.blobs[cookie] = blob
        return cookie

    def delete(self, cookie: str) -> None:
        self.blobs.pop(cookie, None)


class InTheCookie:
    """The cookie holds the blob itself, signed, as with Flask's own sessions and Starlette's."""

    about = "the whole session, in the cookie"

    def __init__(self) -> None:
        self._signer = URLSafeTimedSerializer(secrets.token_urlsafe(32))

    def read(self, cookie: str) -> str | None:
        try:
            return str(self._signer.loads(cookie))
        except BadSignature:
            return None

    def write(self, cookie: str | None, blob: str) -> str:
        return str(self._signer.dumps(blob))

    def delete(self, cookie: str) -> None:
        """Nothing to delete: the blob is wherever a copy of the cookie is."""


class NaiveSessions:
    """WSGI middleware: reads the blob, hands out a dict, writes it back."""

    def __init__(self, app: WSGIApplication, place: Place) -> None:
        self._app = app
        self._place = place

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Serve one request."""
        sent = SimpleCookie(environ.get("HTTP_COOKIE", "")).get(COOKIE)
        cookie = None if sent is None else sent.value
        before = None
        with suppress(ConnectionError):  # as Django's cache backend does: no answer counts as no session
            before = None if cookie is None else self._place.read(cookie)
        session = environ[KEY] = Blob(json.loads(before) if before else {})

        def start(status: str, headers: list[tuple[str, str]], *exc_info: Any) -> Any:
            return start_response(status, headers + self._end(cookie, before, session), *exc_info)

        return self._app(environ, start)

    def _end(self, cookie: str | None, before: str | None, session: Blob) -> list[tuple[str, str]]:
        """Write the session back; what the response then says of the cookie."""
        if cookie is not None and (session.renewed or not session):
            if before is not None:
                self._place.delete(cookie)
            if not session:
                return [("Set-Cookie", f"{COOKIE}=; Max-Age=0; Path=/")]
        blob = json.dumps(session)
        if not session or blob == before:
            return []
        keep = cookie if before is not None and not session.renewed else None
        return [("Set-Cookie", f"{COOKIE}={self._place.write(keep, blob)}; Path=/; HttpOnly; SameSite=Lax")]
