"""The sessions of Flask-Session, and Flask's own."""

from __future__ import annotations

import json
from collections.abc import Sequence
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import msgspec

from coatcheck.compat.pickles import loads
from coatcheck.core.old_sessions import Old
from coatcheck.migrate.records import InRedis, decoded, is_id, mapping, records_in
from coatcheck.model.fields import Flash

if TYPE_CHECKING:
    from redis import Redis
    from sqlalchemy import Engine

__all__ = ["FlaskCookie", "FlaskSessionRecords"]


class FlaskSessionRecords:
    """The sessions of Flask-Session 0.5 to 0.8 on Redis or SQLAlchemy."""

    name: str = "Flask-Session"
    removes: bool = True

    def __init__(
        self,
        store: Redis | Engine,
        *,
        cookie: str = "session",
        prefix: str = "session:",
        table: str = "sessions",
        signed_with: str | bytes | None = None,
    ) -> None:
        """Name the place of the old sessions.

        Args:
            store: A client (`redis.Redis`) or an engine (`sqlalchemy.Engine`; with Flask-SQLAlchemy ``db.engine``).
            cookie: The setting ``SESSION_COOKIE_NAME``.
            prefix: The setting ``SESSION_KEY_PREFIX``.
            table: The setting ``SESSION_SQLALCHEMY_TABLE``; with a schema ``"schema.table"``.
            signed_with: The setting ``SECRET_KEY``, if ``SESSION_USE_SIGNER`` is set.

        Raises:
            ConfigurationError: `store` is something else, or asynchronous.
        """
        self.cookie: str = cookie
        self._prefix = prefix
        self._records = records_in(store, table, "session_id", "data", "expiry")
        self._signer: Any = None
        if signed_with is not None:
            from itsdangerous import Signer

            self._signer = Signer(signed_with, salt="flask-session", key_derivation="hmac")

    def id_in(self, value: str) -> str | None:
        """See `Source`."""
        if self._signer is not None:
            if not self._signer.validate(value):
                return None
            value = self._signer.unsign(value).decode()
        return value if is_id(value) else None

    def read(self, old_id: str, now: float) -> Old | None:
        """See `Source`."""
        key, records = self._prefix + old_id, self._records
        data = records.get(key) if isinstance(records, InRedis) else records.get(key, now)
        return None if data is None else decoded(partial(_old_of, data))

    def remove(self, old_id: str) -> None:
        """See `Source`."""
        self._records.remove(self._prefix + old_id)


class FlaskCookie:
    """Flask's own sessions, each in a signed cookie."""

    name: str = "Flask's cookie"
    removes: bool = False

    def __init__(
        self,
        secret_key: str | bytes,
        *,
        fallbacks: Sequence[str | bytes] = (),
        cookie: str = "session",
        lifetime: timedelta = timedelta(days=31),
    ) -> None:
        """Name the secret of the old sessions.

        Args:
            secret_key: The setting ``SECRET_KEY``.
            fallbacks: The setting ``SECRET_KEY_FALLBACKS``.
            cookie: The setting ``SESSION_COOKIE_NAME``.
            lifetime: The setting ``PERMANENT_SESSION_LIFETIME``.
        """
        from hashlib import sha1

        from flask.json.tag import TaggedJSONSerializer
        from itsdangerous import URLSafeTimedSerializer

        self.cookie: str = cookie
        self._lifetime = lifetime
        keys: Any = [*reversed(fallbacks), secret_key]
        self._serializer: Any = URLSafeTimedSerializer(
            keys,
            salt="cookie-session",
            serializer=TaggedJSONSerializer(),
            signer_kwargs={"key_derivation": "hmac", "digest_method": sha1},
        )
        self._signer: Any = self._serializer.make_signer()

    def id_in(self, value: str) -> str | None:
        """See `Source`. The id is the signed part, with its time."""
        from itsdangerous import BadData

        try:
            self._signer.unsign(value, max_age=int(self._lifetime.total_seconds()))
        except BadData:
            return None
        return value.rpartition(".")[0]

    def read(self, old_id: str, now: float) -> Old | None:
        """See `Source`."""
        payload = old_id.rpartition(".")[0].encode()
        return decoded(lambda: _old(mapping(self._serializer.load_payload(payload)), self._lifetime))

    def remove(self, old_id: str) -> None:
        """See `Source`."""


def _old_of(data: bytes) -> Old:
    # Both a pickle and an empty map of MessagePack begin with 0x80.
    if data[:1] == b"\x80" and len(data) > 1 and data.endswith(b"."):
        return _old(mapping(loads(data, {}, lenient=True)))
    return _old(mapping(json.loads(data) if data[:1] == b"{" else msgspec.msgpack.decode(data)))


def _old(fields: dict[Any, Any], lifetime: timedelta | None = None) -> Old:
    permanent = bool(fields.pop("_permanent", False))
    flashes: list[Flash] = []
    lost: list[str] = []
    waiting: Any = fields.pop("_flashes", ())
    pairs: list[Any] = list(cast("Any", waiting)) if isinstance(waiting, list | tuple) else [None]
    for pair in pairs:
        if isinstance(pair, list | tuple) and len(cast("Any", pair)) == 2:
            category, message = cast("Any", pair)
            markup = hasattr(message, "__html__")
            flashes.append(Flash(str(category), str(message) if markup else message, markup))
        else:
            lost.append("a message")
    return Old(fields, flashes, lost, permanent=permanent, longest_idle=lifetime)
