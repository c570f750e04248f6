"""The sessions of Starlette's own middleware, and of starsessions."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from coatcheck.core.old_sessions import Old
from coatcheck.migrate.records import InRedis, decoded, is_id, mapping

if TYPE_CHECKING:
    from redis import Redis

__all__ = ["StarletteCookie", "Starsessions"]


class StarletteCookie:
    """The sessions of Starlette's and FastAPI's ``SessionMiddleware``, each in a signed cookie."""

    name: str = "Starlette's cookie"
    removes: bool = False

    def __init__(
        self,
        secret_key: str | bytes,
        *,
        cookie: str = "session",
        max_age: timedelta | None = timedelta(days=14),
    ) -> None:
        """Name the secret of the old sessions.

        Args:
            secret_key: The middleware's ``secret_key``.
            cookie: Its ``session_cookie``.
            max_age: Its ``max_age``; None if the cookie ends with the browser.
        """
        from itsdangerous import TimestampSigner

        self.cookie: str = cookie
        self._permanent = max_age is not None
        self._seconds = None if max_age is None else int(max_age.total_seconds())
        self._signer = TimestampSigner(secret_key)

    def id_in(self, value: str) -> str | None:
        """See `Source`. The id is the signed part, with its time."""
        from itsdangerous import BadData

        value = value.strip('"')
        try:
            self._signer.unsign(value, max_age=self._seconds)
        except BadData:
            return None
        return value.rpartition(".")[0]

    def read(self, old_id: str, now: float) -> Old | None:
        """See `Source`."""
        payload = old_id.rpartition(".")[0]
        fields = decoded(lambda: mapping(json.loads(base64.b64decode(payload))))
        return Old(fields, permanent=self._permanent)

    def remove(self, old_id: str) -> None:
        """See `Source`."""


class Starsessions:
    """The sessions of starsessions 2 on Redis."""

    name: str = "starsessions"
    removes: bool = True

    def __init__(
        self,
        client: Redis,
        *,
        cookie: str = "session",
        prefix: str = "starsessions.",
        rolling: bool = False,
        decrypt: Callable[[bytes], bytes] | None = None,
    ) -> None:
        """Name the place of the old sessions.

        Args:
            client: A synchronous client (`redis.Redis`), also in an async application.
            cookie: The middleware's ``cookie_name``.
            prefix: The store's ``prefix``.
            rolling: The middleware's ``rolling``.
            decrypt: The ``decrypt`` of the middleware's ``encryptor``.

        Raises:
            ConfigurationError: `client` is asynchronous, or decodes replies.
        """
        self.cookie: str = cookie
        self._records = InRedis(client)
        self._prefix = prefix
        self._rolling = rolling
        self._decrypt = decrypt

    def id_in(self, value: str) -> str | None:
        """See `Source`."""
        return value if is_id(value) else None

    def read(self, old_id: str, now: float) -> Old | None:
        """See `Source`."""
        key = self._prefix + old_id
        data = self._records.get(key)
        if data is None:
            return None
        expires = None if self._rolling else self._records.expires(key)
        return decoded(lambda: self._old(data, expires))

    def _old(self, data: bytes, expires: datetime | None) -> Old:
        fields = mapping(json.loads(data if self._decrypt is None else self._decrypt(data)))
        # Without a lifetime the cookie ends with the browser, and the expiry is only a matter of the store's.
        has_lifetime = bool(fields.pop("__metadata__", {}).get("lifetime"))
        rest = expires - datetime.now(UTC) if has_lifetime and expires is not None else None
        return Old(fields, permanent=has_lifetime, rest=rest)

    def remove(self, old_id: str) -> None:
        """See `Source`."""
        self._records.remove(self._prefix + old_id)
