"""One request's visitor: his id, and the cookie that carries it."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, TypedDict, cast
from uuid import uuid4

from tornado.web import RequestHandler

from coatcheck.compat.pycket._records import Record, leave_turn, of_turn
from coatcheck.compat.pycket.driver import Driver, takes
from coatcheck.errors import CannotSendCookie

__all__ = ["Visit", "visit_of"]

_DAY = 86400
_SIGNED_FOR = 31
"""For how many days Tornado takes a signed value, unless told otherwise."""
_VISITS = "_pycket_visits"
_making = threading.Lock()  # for threads that one handler has started


def visit_of(handler: Any, cookie_name: str, cookies: Callable[[], Mapping[str, Any]]) -> Visit:
    """The visit that this handler answers: one for all managers that are made of it."""
    with _making:
        visits: dict[str, Visit] | None = getattr(handler, _VISITS, None)
        if visits is None:
            visits = {}
            setattr(handler, _VISITS, visits)
        if cookie_name not in visits:
            visits[cookie_name] = Visit(handler, cookie_name, cookies)
        return visits[cookie_name]


class _How(TypedDict):
    is_absent: bool
    may_replace: bool
    stored: Callable[[], None]


class Visit:
    """What one request knows of its visitor.

    Sessions and notifications share the id. A visitor who has none gets one when something is stored for him; one that
    is made stays, for as long as the handler does.
    """

    def __init__(self, handler: Any, cookie_name: str, cookies: Callable[[], Mapping[str, Any]]) -> None:
        """Of a handler: Tornado's, or what stands in for one.

        Args:
            handler: It has ``get_secure_cookie`` and ``set_secure_cookie``.
            cookie_name: The cookie.
            cookies: Returns the application's settings of the cookie.
        """
        self._handler = handler
        self._name = cookie_name
        self._cookies = cookies
        self._is_real = isinstance(handler, RequestHandler)
        self._id: str | bytes | None = None
        self._choosing = threading.Lock()
        self._is_ours = False  # chosen by this request; the cookie that came names another
        self._made = (
            False  # made by this request, so that nothing lies under it but what this request has stored
        )
        self._stored: set[tuple[int, str]] = set()
        self._due: Callable[[], None] | None = None
        self._records: list[Record] = []
        if self._is_real:
            self._before_the_head_leaves(self._leave)

    def record(self, driver: Driver, *, may_replace: bool) -> tuple[Record, bool]:
        """The visitor's record in a store, and whether a change of it may wait for the end of the turn."""
        session_id = self.session_id()
        place = id(driver.setup_client()), driver.key(session_id)
        how: _How = {
            "is_absent": self._made and place not in self._stored,
            "may_replace": may_replace,
            "stored": lambda: self._has_stored(session_id, place),
        }
        loop = _running_loop()
        if loop is not None and self._is_real and not self._head_has_left():
            record = of_turn(loop, driver, session_id, **how)
            if record not in self._records:
                self._records.append(record)
            return record, True
        # Nobody tells when such a handler is done, so everything is done at once.
        if loop is not None:
            leave_turn(loop, driver, session_id)
        return Record(driver, session_id, **how), False

    def session_id(self) -> str | bytes:
        """The id from the cookie, otherwise one that nobody has yet."""
        # A stand-in may have another cookie each time; a request has one.
        # Threads of one handler agree on the id.
        with self._choosing:
            if not self._is_ours and (self._id is None or not self._is_real):
                self._id = self._id_from_cookie()
            return self._choose(made=True) if self._id is None else self._id

    def may_write(self) -> None:
        """Raise `CannotSendCookie` where the visitor would never learn his id."""
        self.session_id()
        if self._made and not self._stored and self._head_has_left():
            raise CannotSendCookie(
                "A new visitor's session needs a cookie, and the head of the response has left."
            )

    def settle(self) -> None:
        """Have everything that this request intends in the store."""
        while self._records:
            # Taken out first: an error is raised once, not again with the page that tells of it.
            self._records.pop(0).settle()

    def start_anew(self) -> None:
        """Take another id; what lies under the one from the cookie is left alone."""
        self._choose(made=True)
        self._due = None

    def rotate(self, drivers: list[Driver]) -> None:
        """Have everything lie under a new id, and nothing under the old one."""
        old = self.session_id()
        if self._made and not self._stored:
            return
        if self._head_has_left():
            raise CannotSendCookie("A new id needs a cookie, and the head of the response has left.")
        self.settle()
        new = str(uuid4())
        for driver in drivers:
            driver.move(old, new)
        self._choose(new, made=False)
        self._owe(self._set_cookie)

    def destroy(self, drivers: list[Driver]) -> None:
        """Have nothing lie under the id any more. What is put in afterwards gets a new one."""
        old = self.session_id()
        loop = _running_loop()
        if loop is not None:
            for driver in drivers:
                leave_turn(loop, driver, old, drop=True)
        if not self._made or self._stored:
            for driver in drivers:
                driver.delete(old)
            if not self._head_has_left():
                self._owe(self._clear_cookie)
        self._records.clear()
        self._choose(made=True)

    def _choose(self, session_id: str | None = None, *, made: bool) -> str:
        self._id = chosen = session_id or str(uuid4())
        self._is_ours, self._made, self._stored = True, made, set()
        return chosen

    def _has_stored(self, session_id: str | bytes, place: tuple[int, str]) -> None:
        if self._made and session_id == self._id:
            if not self._stored:
                self._owe(self._set_cookie)
            self._stored.add(place)

    # The cookie

    def _id_from_cookie(self) -> str | bytes | None:
        read = self._handler.get_secure_cookie
        if self._is_real and self._days() > _SIGNED_FOR and takes(read, "max_age_days"):
            found = read(self._name, max_age_days=self._days())
        else:
            found = read(self._name)
        return cast("str | bytes | None", found)

    def _days(self) -> float:
        """For how long a cookie is good."""
        days = self._cookies().get("expires_days")
        return days if isinstance(days, int | float) else _SIGNED_FOR

    def _set_cookie(self) -> None:
        options = {"expires": None, "expires_days": None, **self._cookies()}
        given = {name.lower() for name in options}
        if self._is_real:
            # What a stand-in's function takes is pinned by the old tests.
            ours = {"httponly": True, "samesite": "Lax"}
            setter = self._handler.set_secure_cookie
            options |= {name: ours[name] for name in ours if name not in given and takes(setter, name)}
        self._handler.set_secure_cookie(self._name, _text(self.session_id()), **options)

    def _clear_cookie(self) -> None:
        options = {name.lower(): value for name, value in self._cookies().items()}
        kept = {name: options[name] for name in ("path", "domain", "samesite", "secure") if name in options}
        if hasattr(self._handler, "clear_cookie"):
            self._handler.clear_cookie(self._name, **kept)

    def _owe(self, cookie: Callable[[], None]) -> None:
        """Have a cookie sent, once what it stands for is stored."""
        if self._is_real and _running_loop() is not None:
            self._due = cookie
        else:
            cookie()

    def _is_old(self) -> bool:
        """Whether the cookie has used up a tenth of its time, so that he who keeps coming keeps his session."""
        cookie = self._handler.get_cookie(self._name)
        signed_at = _signed_at(cookie) if isinstance(cookie, str) else None
        return signed_at is not None and time.time() - signed_at > min(self._days(), 400) * _DAY / 10

    # The end of the request

    def _before_the_head_leaves(self, act: Callable[[], None]) -> None:
        # All that a handler sends goes through its `flush`. The mixins stand behind RequestHandler among the bases, and
        # a manager has no class to stand in, so that there is no overriding it.
        send = self._handler.flush

        def flush(*args: Any, **kwargs: Any) -> Any:
            act()
            return send(*args, **kwargs)

        self._handler.flush = flush

    def _leave(self) -> None:
        self.settle()
        if self._due is None and self._id is not None and not self._is_ours and self._is_old():
            self._due = self._set_cookie
        due, self._due = self._due, None
        if due is not None:
            due()

    def _head_has_left(self) -> bool:
        return self._is_real and bool(self._handler._headers_written)  # noqa: SLF001 - Tornado has no public name for it


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def _text(session_id: str | bytes) -> str:
    return session_id.decode() if isinstance(session_id, bytes) else session_id


def _signed_at(cookie: str) -> float | None:
    """When Tornado signed it: ``2|1:0|10:<time>|…`` since version 3.2.1, ``value|<time>|…`` before."""
    parts = cookie.split("|")
    stamp = parts[2].partition(":")[2] if parts[0] == "2" and len(parts) > 2 else parts[1:2]
    text = stamp if isinstance(stamp, str) else "".join(stamp)
    return float(text) if text.isdecimal() else None
