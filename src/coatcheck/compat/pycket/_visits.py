"""The visitor of one request: the id, and the cookie that contains it."""

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
"""The number of days for which Tornado accepts a signed value by default."""
_VISITS = "_pycket_visits"
_making = threading.Lock()  # a handler may start threads that use its session


def visit_of(handler: Any, cookie_name: str, cookies: Callable[[], Mapping[str, Any]]) -> Visit:
    """The visit of a handler's request, which all its managers share."""
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
    """The visitor of one request.

    Sessions and notifications share the id. A visitor without one gets an id when the first value is stored. A new id
    is kept for the handler's lifetime.
    """

    def __init__(self, handler: Any, cookie_name: str, cookies: Callable[[], Mapping[str, Any]]) -> None:
        """A visit for a handler.

        Args:
            handler: Tornado's handler, or a stand-in with ``get_secure_cookie`` and ``set_secure_cookie``.
            cookie_name: The name of the cookie.
            cookies: Returns the application's settings of the cookie.
        """
        self._handler = handler
        self._name = cookie_name
        self._cookies = cookies
        self._is_real = isinstance(handler, RequestHandler)
        self._id: str | bytes | None = None
        self._choosing = threading.Lock()
        self._is_ours = False  # chosen by this request, so that the request's cookie contains another one
        self._made = False  # made by this request, so that only its own records can exist
        self._stored: set[tuple[int, str]] = set()
        self._due: Callable[[], None] | None = None
        self._records: list[Record] = []
        if self._is_real:
            self._before_the_head_leaves(self._leave)

    def record(self, driver: Driver, *, may_replace: bool) -> tuple[Record, bool]:
        """The visitor's record in a store, and whether a write may wait for the end of the loop's iteration."""
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
        # Nothing signals the end of a stand-in's request, so each change is written immediately.
        if loop is not None:
            leave_turn(loop, driver, session_id)
        return Record(driver, session_id, **how), False

    def session_id(self) -> str | bytes:
        """The id from the cookie, or else a new one."""
        # The cookie of a stand-in may change, so it is read each time. The lock makes threads agree on one id.
        with self._choosing:
            if not self._is_ours and (self._id is None or not self._is_real):
                self._id = self._id_from_cookie()
            return self._choose(made=True) if self._id is None else self._id

    def may_write(self) -> None:
        """Raise `CannotSendCookie` if the cookie with a new id can't be sent any more."""
        self.session_id()
        if self._made and not self._stored and self._head_has_left():
            raise CannotSendCookie(
                "A new visitor's session needs a cookie, but the response's headers were already sent."
            )

    def settle(self) -> None:
        """Write all changes of this request."""
        while self._records:
            # Removed first, so that the error is raised once, and not again with the error page.
            self._records.pop(0).settle()

    def start_anew(self) -> None:
        """Choose a new id. The records of the id from the cookie are not changed."""
        self._choose(made=True)
        self._due = None

    def rotate(self, drivers: list[Driver]) -> None:
        """Move all records to a new id."""
        old = self.session_id()
        if self._made and not self._stored:
            return
        if self._head_has_left():
            raise CannotSendCookie("A new id needs a cookie, but the response's headers were already sent.")
        self.settle()
        new = str(uuid4())
        for driver in drivers:
            driver.move(old, new)
        self._choose(new, made=False)
        self._send(self._set_cookie)

    def destroy(self, drivers: list[Driver]) -> None:
        """Delete all records of the id. Values that are set afterwards get a new id."""
        old = self.session_id()
        loop = _running_loop()
        if loop is not None:
            for driver in drivers:
                leave_turn(loop, driver, old, drop=True)
        if not self._made or self._stored:
            for driver in drivers:
                driver.delete(old)
            if not self._head_has_left():
                self._send(self._clear_cookie)
        self._records.clear()
        self._choose(made=True)

    def _choose(self, session_id: str | None = None, *, made: bool) -> str:
        self._id = chosen = session_id or str(uuid4())
        self._is_ours, self._made, self._stored = True, made, set()
        return chosen

    def _has_stored(self, session_id: str | bytes, place: tuple[int, str]) -> None:
        if self._made and session_id == self._id:
            if not self._stored:
                self._send(self._set_cookie)
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
        """The number of days for which the cookie is valid."""
        days = self._cookies().get("expires_days")
        return days if isinstance(days, int | float) else _SIGNED_FOR

    def _set_cookie(self) -> None:
        options = {"expires": None, "expires_days": None, **self._cookies()}
        given = {name.lower() for name in options}
        if self._is_real:
            # Not for stand-ins: the tests of the old library pin the arguments that they get.
            ours = {"httponly": True, "samesite": "Lax"}
            setter = self._handler.set_secure_cookie
            options |= {name: ours[name] for name in ours if name not in given and takes(setter, name)}
        self._handler.set_secure_cookie(self._name, _text(self.session_id()), **options)

    def _clear_cookie(self) -> None:
        options = {name.lower(): value for name, value in self._cookies().items()}
        kept = {name: options[name] for name in ("path", "domain", "samesite", "secure") if name in options}
        if hasattr(self._handler, "clear_cookie"):
            self._handler.clear_cookie(self._name, **kept)

    def _send(self, cookie: Callable[[], None]) -> None:
        """Send a cookie with the response, after the changes are stored. A stand-in gets it immediately."""
        if self._is_real and _running_loop() is not None:
            self._due = cookie
        else:
            cookie()

    def _is_old(self) -> bool:
        """Whether a tenth of the cookie's lifetime has passed. If so it is renewed, so that active visitors keep it."""
        cookie = self._handler.get_cookie(self._name)
        signed_at = _signed_at(cookie) if isinstance(cookie, str) else None
        return signed_at is not None and time.time() - signed_at > min(self._days(), 400) * _DAY / 10

    # The end of the request

    def _before_the_head_leaves(self, act: Callable[[], None]) -> None:
        # A handler sends everything by its `flush`. It can't be overridden by a class: the mixins come after
        # RequestHandler among the bases, and a manager is not a base at all. So the instance's method is replaced.
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
    """The time of Tornado's signature: ``2|1:0|10:<time>|…`` since Tornado 3.2.1, ``value|<time>|…`` before."""
    parts = cookie.split("|")
    stamp = parts[2].partition(":")[2] if parts[0] == "2" and len(parts) > 2 else parts[1:2]
    text = stamp if isinstance(stamp, str) else "".join(stamp)
    return float(text) if text.isdecimal() else None
