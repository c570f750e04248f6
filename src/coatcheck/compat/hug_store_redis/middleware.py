"""hug's `SessionMiddleware` once more, on a `RedisStore`: the same arguments, cookie and records, and fewer commands.

hug's own asks four times for every request of a visitor with a cookie, and stores a record for each one without. It
also saves what a late request has read under a new id, so that a session which ended meanwhile comes back. This one

- reads when the handler looks at the session, and not before;
- writes when the session was changed, and only where the record still lies;
- makes a record, and sets a cookie, when there is something to keep;
- keeps caches from handing one visitor's page to another: `Vary: Cookie` where the session was looked at,
  `Cache-Control: no-store` where a cookie is set.
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

# Wide enough for what an own `generate_sid` may make; what doesn't fit is not worth asking Redis.
_is_sid = re.compile(r"[A-Za-z0-9_.~+/=-]{1,512}").fullmatch
_ATTEMPTS = 5
_WATCHING = f"{__name__}: watching"  # in the environ


class SessionMiddleware:
    """To be given to `__hug__.http.add_middleware`. `request.context["session"]` is then a dict."""

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
            ConfigurationError: `store` is no `RedisStore`.
        """
        if not isinstance(store, RedisStore):
            raise ConfigurationError(
                f"This SessionMiddleware works on a RedisStore, not on {type(store).__name__}; "
                "for other stores there is hug.middleware.SessionMiddleware."
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
        """A new id: a random UUID, as text."""
        return str(uuid.uuid4())

    def process_request(self, request: Any, response: Any) -> None:
        """Put the session where the handler finds it. Asks nothing yet."""
        visit = _Visit(self, request.cookies.get(self.cookie_name))
        watching: list[Callable[[str], object]] = request.env.setdefault(_WATCHING, [])
        watching.append(visit.is_about_to_delete)
        self.store.watch_deletes(watching)
        request.env[self._place] = visit
        if not isinstance(request.context, _Context):
            request.context = _Context(request.context)
        request.context.await_(self.context_name, visit)

    def process_response(self, request: Any, response: Any, resource: Any, req_succeeded: bool) -> None:
        """Store what the handler changed, whether it succeeded or raised, and set the cookie where it has to be.

        Raises:
            TypeError: Something in the session can't be said in JSON, or is nested too deep.
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
    """One request of a visitor."""

    def __init__(self, middleware: SessionMiddleware, sid: str | None) -> None:
        self.store: RedisStore = middleware.store
        self.middleware: SessionMiddleware = middleware
        self.sid: str | None = sid if sid is not None and _is_sid(sid) else None
        self.is_read: bool = False
        self.data: Any = {}
        # What was stored when it was read.
        self.before: str | None = None
        # Whether the handler has deleted the record.
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
                        "A session can't be read, since it is no JSON, or nested too deep. It is left alone."
                    )
        return self.data

    def is_about_to_delete(self, full_key: str) -> None:
        """Read before it is too late: what is left in the session goes on under a new id."""
        if self.sid is not None and full_key == self.store.full_key(self.sid):
            self.read()
            self.is_deleted = True

    def end(self, data: Any) -> str | None:
        """Store `data`, if it has to be. The id that the visitor shall have, if he shall be told."""
        text = encoded(data)
        if self.sid is not None and not self.is_deleted:
            if text == self.before:
                return self._renewed()
            if (self.before is not None or not self.is_read) and self.store.replace(self.sid, text):
                return self._renewed()
            if self.before is not None:
                _log.warning("A session ended before its changes were stored; they are dropped.")
                return None
        # Where the handler itself deleted the record, the visitor gets a new id, for what is left or put in since.
        moves = self.is_deleted and self.before is not None
        return self._new(text) if data or moves else None

    def _renewed(self) -> str | None:
        """A cookie that ends at a time is set again, as hug's own does."""
        lasts = self.middleware.cookie_max_age is not None or self.middleware.cookie_expires is not None
        return self.sid if lasts else None

    def _new(self, text: str) -> str:
        for _ in range(_ATTEMPTS):
            sid = self.middleware.generate_sid()
            if self.store.create(sid, text):
                return sid
        raise RuntimeError(f"{_ATTEMPTS} new ids in a row were taken: generate_sid must make random ones.")


class _Context(Context):  # type: ignore[misc] # falcon ships no types
    """falcon's context, in which a session is read when somebody asks for it, or for everything."""

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
        """Read the session of `visit` when somebody asks for `name`."""
        self._all().pop(name, None)
        self._awaited[name] = visit

    def is_awaiting(self, name: str) -> bool:
        """Whether nobody asked for it, or set it, so far."""
        return name in self._awaited and name not in self._all()

    def __getattribute__(self, name: str) -> Any:
        # Each method of falcon's works on `__dict__`: what is not below looks at everything.
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
