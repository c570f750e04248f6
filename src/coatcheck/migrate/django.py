"""Django's own sessions."""

from __future__ import annotations

import json
import re
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, cast

from coatcheck.compat.pickles import loads
from coatcheck.core.old_sessions import Old
from coatcheck.errors import ConfigurationError
from coatcheck.migrate.records import InRedis, InTable, decoded, mapping, records_in, utc
from coatcheck.model.fields import Flash

if TYPE_CHECKING:
    from redis import Redis
    from sqlalchemy import Engine

__all__ = ["DjangoSessions"]

_SALT = "django.contrib.sessions.SessionStore"
_TAGS = {10: "debug", 20: "info", 25: "success", 30: "warning", 40: "error"}
_is_key = re.compile(r"[a-z0-9]{8,40}").fullmatch


class DjangoSessions:
    """Django's own sessions: its engines ``db``, ``cached_db`` and ``cache`` (on Redis). Django must be installed."""

    name: str = "Django"
    removes: bool = True

    def __init__(
        self,
        store: Redis | Engine | None = None,
        *,
        secret_key: str | None = None,
        fallbacks: Sequence[str] = (),
        cookie: str = "sessionid",
        prefix: str = ":1:django.contrib.sessions.cache",
        permanent: bool | None = None,
    ) -> None:
        """Name the place of the old sessions.

        Args:
            store: For ``db`` and ``cached_db``: None in a Django site, whose database is asked; elsewhere an engine
                (`sqlalchemy.Engine`). For ``cache``: a client (`redis.Redis`) of the cache's server.
            secret_key: The setting ``SECRET_KEY``. With an engine.
            fallbacks: The setting ``SECRET_KEY_FALLBACKS``. With an engine.
            cookie: The setting ``SESSION_COOKIE_NAME``.
            prefix: The beginning of a session's key in the cache: ``KEY_PREFIX:VERSION:`` and the engine's name.
            permanent: False with ``SESSION_EXPIRE_AT_BROWSER_CLOSE``; None: the site's setting, outside a Django site True.

        Raises:
            ConfigurationError: `store` is something else, or asynchronous, or the secret is missing.
        """
        self.cookie: str = cookie
        self._permanent = permanent
        self._secret_key, self._fallbacks = secret_key, list(fallbacks)
        self._prefix = prefix
        self._records = (
            None
            if store is None
            else records_in(store, "django_session", "session_key", "session_data", "expire_date")
        )
        if isinstance(self._records, InTable) and secret_key is None:
            raise ConfigurationError("Give the site's SECRET_KEY: DjangoSessions(engine, secret_key=...).")

    def id_in(self, value: str) -> str | None:
        """See `Source`."""
        return value if _is_key(value) else None

    def read(self, old_id: str, now: float) -> Old | None:
        """See `Source`."""
        records = self._records
        if isinstance(records, InRedis):
            pickled = records.get(self._prefix + old_id)
            return (
                None if pickled is None else decoded(lambda: self._old(loads(pickled, {}, lenient=True), now))
            )
        signed = _row(old_id, now) if records is None else records.get(old_id, now)
        return None if signed is None else decoded(lambda: self._old(self._unsigned(signed), now))

    def _unsigned(self, signed: bytes) -> Any:
        from django.core.signing import loads as unsigned

        reader: Any = _Reader
        own: dict[str, Any] = {}
        if self._secret_key is not None:
            own = {"key": self._secret_key, "fallback_keys": self._fallbacks}
        return unsigned(signed.decode(), salt=_SALT, serializer=reader, **own)

    def _old(self, value: Any, now: float) -> Old | None:
        fields = mapping(value)
        idle, rest, permanent = None, None, self._is_usually_permanent()
        expiry = fields.get("_session_expiry")  # it stays, for `get_expiry_age`
        if isinstance(expiry, str):
            expiry = datetime.fromisoformat(expiry)
        if isinstance(expiry, datetime):
            idle = rest = _aware(expiry) - datetime.fromtimestamp(now, UTC)
            permanent = True
            if rest <= timedelta(0):
                return None
        elif isinstance(expiry, int | float):
            idle, permanent = timedelta(seconds=expiry) if expiry else None, expiry > 0
        flashes, lost = _flashes(fields.pop("_messages", None))
        return Old(fields, flashes, lost, permanent=permanent, idle=idle, rest=rest, exceeds=True)

    def _is_usually_permanent(self) -> bool:
        from django.conf import settings

        if self._permanent is not None:
            return self._permanent
        return not (settings.configured and settings.SESSION_EXPIRE_AT_BROWSER_CLOSE)

    def remove(self, old_id: str) -> None:
        """See `Source`."""
        if isinstance(self._records, InRedis):
            self._records.remove(self._prefix + old_id)
        elif self._records is not None:
            self._records.remove(old_id)
        else:
            from django.contrib.sessions.models import Session

            with _own_connections():
                Session.objects.filter(session_key=old_id).delete()


class _Reader:
    """Reads JSON, and pickles of Django before 5.0."""

    def loads(self, data: bytes) -> Any:
        return loads(data, {}, lenient=True) if data[:1] == b"\x80" else json.loads(data)


def _row(key: str, now: float) -> bytes | None:
    """The record in the database of a Django site."""
    from django.contrib.sessions.models import Session

    with _own_connections():
        found = Session.objects.filter(session_key=key).first()
    if found is None or found.session_key != key or _aware(found.expire_date).timestamp() <= now:
        return None
    return found.session_data.encode()


@contextmanager
def _own_connections() -> Generator[None]:
    """Close the connections that are opened meanwhile, and leave a request's own alone.

    Django closes connections at the end of a request. In a thread that serves none, one would stay until the database
    closes it, and fail from then on.
    """
    from django.db import connections

    before = [each for each in connections.all(initialized_only=True) if each.connection is not None]
    try:
        yield
    finally:
        for each in connections.all(initialized_only=True):
            if each not in before:
                each.close()


def _aware(moment: datetime) -> datetime:
    """An aware datetime. A naive one is in the zone of the Django site, if there is one, and else in UTC."""
    from django.conf import settings
    from django.utils.timezone import make_aware

    if moment.tzinfo is None and settings.configured and not settings.USE_TZ:
        return make_aware(moment)
    return utc(moment)


def _flashes(value: Any) -> tuple[list[Flash], list[str]]:
    """The messages of Django's storage in the session, and a name for each that is none.

    The storage is JSON: lists of a mark, safe, level, text and tags.
    """
    flashes: list[Flash] = []
    lost: list[str] = []
    entries: list[Any] = json.loads(value) if isinstance(value, str) else []
    for entry in entries:
        parts: list[Any] = cast("Any", entry) if isinstance(entry, list) else []
        if len(parts) >= 4 and parts[0] == "__json_message":
            _, markup, level, text, *tags = parts
            category = _TAGS.get(level, str(level))
            flashes.append(Flash(category, text, bool(markup), str(tags[0] or "") if tags else ""))
        else:
            lost.append("a message")
    return flashes, lost
