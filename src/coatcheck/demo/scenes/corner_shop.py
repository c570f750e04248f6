"""The smallest shop with a session. Both sides of a scene run this same one; only the session below it differs."""

from __future__ import annotations

import json
import secrets
import threading
from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import TYPE_CHECKING

from coatcheck.demo.scenes.naive import Blob
from coatcheck.session import Session

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIEnvironment

__all__ = ["PATIENCE", "SLOW", "BrokenOff", "CornerShop", "Gate", "name_of"]

PATIENCE = 5.0
"""Seconds that anything in a scene may wait for something else."""
SLOW = "slow"
"""The query of a request that is held between its reading and its writing."""


class BrokenOff(Exception):
    """The scene can't go on: an answer came too late, or was not the scene's. Nothing can be told of how it ends."""


class Gate:
    """Holds the slow request until the others are done."""

    def __init__(self) -> None:
        self._arrived = threading.Event()
        self._opened = threading.Event()

    def hold(self) -> None:
        """Wait, in the slow request."""
        self.arrive()
        self._opened.wait(PATIENCE)

    def arrive(self) -> None:
        """End the wait for the slow request: it is held, or has failed before."""
        self._arrived.set()

    def wait(self) -> None:
        """Return when the slow request has arrived.

        Raises:
            BrokenOff: It did not come.
        """
        if not self._arrived.wait(PATIENCE):
            raise BrokenOff

    def open(self) -> None:
        """Let the slow request go on."""
        self._opened.set()


class CornerShop:
    """A WSGI application. Each answer is JSON: who is signed in, and what is in the basket."""

    def __init__(self, key: str, end_other: Callable[[Session | Blob], bool]) -> None:
        """Make one.

        Args:
            key: Where the session is in the environ.
            end_other: Ends the user's session on the other device; False: there is no way to.
        """
        self._key = key
        self._end_other = end_other
        self._run = secrets.token_hex(20)
        self.gate: Gate = Gate()

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Serve one request."""
        session: Session | Blob = environ[self._key]
        status = HTTPStatus.OK
        session.get("basket")  # a page reads first
        if environ["QUERY_STRING"] == SLOW:
            self.gate.hold()
        match environ["PATH_INFO"].split("/")[1:]:
            case ["take", good]:
                session.setdefault("basket", []).append(good)
            case ["look-at", good]:
                session["seen"] = good
            case ["sign-in", name]:
                # Longer than a name of the real shop may be: nobody there is the same user.
                session.sign_in(f"{name}@{self._run}")
            case ["sign-out"]:
                session.sign_out()
            case ["end-the-other"]:
                status = HTTPStatus.OK if self._end_other(session) else HTTPStatus.NOT_IMPLEMENTED
            case _:
                pass
        user = None if session.user is None else name_of(session.user)
        body = json.dumps({"user": user, "basket": session.get("basket", [])}).encode()
        start_response(f"{status.value} {status.phrase}", [("Content-Type", "application/json")])
        return [body]


def name_of(user: str) -> str:
    """The name in what the shop signs in."""
    return user.partition("@")[0]
