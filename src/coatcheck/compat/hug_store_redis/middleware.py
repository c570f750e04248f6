"""A replacement of hug's `SessionMiddleware` on a `RedisStore`, with the same arguments, cookie and records.

hug's middleware sends four commands for each request with a cookie, and stores a record for each request without one.
It also stores the data of a late request under a new id, so that a session that ended meanwhile reappears. This one

- reads the record only when the handler uses the session;
- writes only a changed session, and only if the record still exists;
- creates a record and sets a cookie only for a session with data;
- sends `Vary: Cookie` if the session was used, and `Cache-Control: no-store` if a cookie is set, so that caches don't
  serve one visitor's page to another.
"""

from __future__ import annotations

import logging
import re
import uuid
from collections.abc import Callable
from datetime import datetime
from typing import Any

from falcon.util.structures import Context  # pyright: ignore[reportMissingTypeStubs]

from coatcheck.compat.hug_store_redis.redis_store import RedisStore, decoded, encoded
from coatcheck.errors import ConfigurationError

__all__ = ["SessionMiddleware"]

_log = logging.getLogger("coatcheck.compat.hug_store_redis")

# Wide enough for the ids of a custom `generate_sid`. Anything else can't be an id, and costs no command.
_is_sid = re.compile(r"[A-Za-z0-9_.~+/=-]{1,512}").fullmatch
_ATTEMPTS = 5
_WATCHING = f"{__name__}: watching"  # a key of the environ


class SessionMiddleware:
    """For `__hug__.http.add_middleware`. `request.context["session"]` is then a dict."""

    def __init__(
        self,
        store: RedisStore,
        context_name: str = "session",
        cookie_name: str = "sid",
        cookie_expires: datetime | None = None,
        cookie_max_age: int | None = None,
        cookie_domain: str | None = None,
        cookie_path: str | None = None,
        cookie_secure: bool = True,
        cookie_http_only: bool = True,
    ) -> None:
        """The arguments are those of `hug.middleware.SessionMiddleware`.

        Raises:
            ConfigurationError: `store` is not a `RedisStore`.
        """
        if not isinstance(store, RedisStore):
            raise ConfigurationError(
                f"This SessionMiddleware needs a RedisStore, not {type(store).__name__}; "
                "for other stores use hug.middleware.SessionMiddleware."
            )
        self.store: RedisStore = store
        self.context_name: str = context_name
        self.cookie_name: str = cookie_name
        self.cookie_expires: datetime | None = cookie_expires
        self.cookie_max_age: int | None = cookie_max_age
        self.cookie_domain: str | None = cookie_domain
        self.cookie_path: str | None = cookie_path
        self.cookie_secure: bool = cookie_secure
        self.cookie_http_only: bool = cookie_http_only

    def generate_sid(self) -> str:
        """A new id: the text of a random UUID."""
        return str(uuid.uuid4())

    def process_request(self, request: Any, response: Any) -> None:
        """Put the session into the request's context. The store is not called yet."""
        visit = _Visit(self, request.cookies.get(self.cookie_name))
        watching: list[Callable[[str], object]] = request.env.setdefault(_WATCHING, [])
        watching.append(visit.is_about_to_delete)
        self.store.watch_deletes(watching)
        request.env[self._place] = visit
        if not isinstance(request.context, _Context):
            request.context = _Context(request.context)
        request.context.await_(self.context_name, visit)

    def process_response(self, request: Any, response: Any, resource: Any, req_succeeded: bool) -> None:
        """Store the handler's changes, whether it succeeded or raised, and set the cookie if needed.

        Raises:
            TypeError: A value in the session has no JSON form, or is nested too deep.
        """
        self.store.watch_deletes(())
        visit: _Visit | None = request.env.get(self._place)
        if visit is None or (
            not visit.is_deleted
            and isinstance(request.context, _Context)
            and request.context.is_awaiting(self.context_name)
        ):
            return
        sid = visit.end(request.context.get(self.context_name, {}))
        response.append_header("Vary", "Cookie")
        if sid is not None:
            response.append_header("Cache-Control", "no-store")
            response.set_cookie(
                self.cookie_name,
                sid,
                expires=self.cookie_expires,
                max_age=self.cookie_max_age,
                domain=self.cookie_domain,
                path=self.cookie_path,
                secure=self.cookie_secure,
                http_only=self.cookie_http_only,
            )

    @property
    def _place(self) -> str:
        return f"{__name__}.{self.context_name}"


class _Visit:
    """The session of one request."""

    def __init__(self, middleware: SessionMiddleware, sid: str | None) -> None:
        self.store: RedisStore = middleware.store
        self.middleware: SessionMiddleware = middleware
        self.sid: str | None = sid if sid is not None and _is_sid(sid) else None
        self.is_read: bool = False
        self.data: Any = {}
        # The record's text when it was read.
        self.before: str | None = None
        # Whether the handler deleted the record.
        self.is_deleted: bool = False

    def read(self) -> Any:
        if not self.is_read:
            self.is_read = True
            payload = self.store.load(self.sid) if self.sid is not None else None
            if payload is not None:
                try:
                    self.data = decoded(payload)
                    self.before = encoded(self.data)
                except ValueError:
                    _log.warning(
                        "A session can't be read, since it is not JSON or nested too deep. It is not changed."
                    )
        return self.data

    def is_about_to_delete(self, full_key: str) -> None:
        """Read the record before the handler deletes it, since its data continues under a new id."""
        if self.sid is not None and full_key == self.store.full_key(self.sid):
            self.read()
            self.is_deleted = True

    def end(self, data: Any) -> str | None:
        """Store `data` if needed. Returns the id for the cookie; None: no cookie is set."""
        text = encoded(data)
        if self.sid is not None and not self.is_deleted:
            if text == self.before:
                return self._renewed()
            if (self.before is not None or not self.is_read) and self.store.replace(self.sid, text):
                return self._renewed()
            if self.before is not None:
                _log.warning("A session ended before its changes were stored; the changes are dropped.")
                return None
        # If the handler deleted the record, the session's data continues under a new id.
        moves = self.is_deleted and self.before is not None
        return self._new(text) if data or moves else None

    def _renewed(self) -> str | None:
        """The id for the cookie if it has an expiry, which each response extends, as in hug."""
        lasts = self.middleware.cookie_max_age is not None or self.middleware.cookie_expires is not None
        return self.sid if lasts else None

    def _new(self, text: str) -> str:
        for _ in range(_ATTEMPTS):
            sid = self.middleware.generate_sid()
            if self.store.create(sid, text):
                return sid
        raise RuntimeError(f"{_ATTEMPTS} new ids in a row already exist: generate_sid must make random ids.")


class _Context(Context):  # type: ignore[misc] # falcon ships no types
    """falcon's context, which reads a session on the first access to it, or to all of the context."""

    __slots__ = ("_awaited",)

    _awaited: dict[str, _Visit]

    def __init__(self, context: Any = ()) -> None:
        self._awaited = {}
        self._all().update(context)

    def _all(self) -> dict[str, Any]:
        found: dict[str, Any] = object.__getattribute__(self, "__dict__")
        return found

    def _bring(self, name: object) -> None:
        visit = self._awaited.pop(name, None) if isinstance(name, str) else None
        if visit is not None and name not in self._all():
            self._all()[str(name)] = visit.read()

    def await_(self, name: str, visit: _Visit) -> None:
        """Read the session of `visit` on the first access to `name`."""
        self._all().pop(name, None)
        self._awaited[name] = visit

    def is_awaiting(self, name: str) -> bool:
        """Whether `name` was neither read nor set so far."""
        return name in self._awaited and name not in self._all()

    def __getattribute__(self, name: str) -> Any:
        # falcon's own methods work on `__dict__`, so each one that is not overridden below reads all sessions.
        if name == "__dict__":
            for awaited in list(self._awaited):
                self._bring(awaited)
        return super().__getattribute__(name)

    def __getattr__(self, name: str) -> Any:
        self._bring(name)
        try:
            return self._all()[name]
        except KeyError:
            raise AttributeError(name) from None

    def __contains__(self, key: object) -> bool:
        return key in self._all() or key in self._awaited

    def __getitem__(self, key: str) -> Any:
        self._bring(key)
        return self._all()[key]

    def __setitem__(self, key: str, value: Any) -> None:
        self._all()[key] = value

    def get(self, key: str, default: Any = None) -> Any:
        self._bring(key)
        return self._all().get(key, default)
