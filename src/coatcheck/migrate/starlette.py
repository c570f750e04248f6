"""The sessions of Starlette's own middleware, and of starsessions."""

from __future__ import annotations

import base64
import json
from collections.abc import Callable
from datetime import timedelta
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
        secret_key: object,
        *,
        cookie: str = "session",
        max_age: timedelta | None = timedelta(days=14),
    ) -> None:
        """Name the secret of the old sessions.

        Args:
            secret_key: The middleware's ``secret_key``: a str, bytes, or Starlette's ``Secret``.
            cookie: Its ``session_cookie``.
            max_age: Its ``max_age``; None if the cookie ends with the browser.
        """
        from itsdangerous import TimestampSigner

        self.cookie: str = cookie
        self._max_age = max_age
        self._signer = TimestampSigner(secret_key if isinstance(secret_key, bytes) else str(secret_key))

    def id_in(self, value: str) -> str | None:
        """See `Source`. The id is the signed part, with its time."""
        from itsdangerous import BadData

        value = value.strip('"')
        max_age = None if self._max_age is None else int(self._max_age.total_seconds())
        try:
            self._signer.unsign(value, max_age=max_age)
        except BadData:
            return None
        return value.rpartition(".")[0]

    def read(self, old_id: str, now: float) -> Old | None:
        """See `Source`."""
        payload = old_id.rpartition(".")[0]
        fields = decoded(lambda: mapping(json.loads(base64.b64decode(payload))))
        return Old(fields, permanent=self._max_age is not None, longest_idle=self._max_age)

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
        rest = None if self._rolling else self._records.rest(key)
        data = self._records.get(key)
        return None if data is None else decoded(lambda: self._old(data, rest))

    def _old(self, data: bytes, rest: timedelta | None) -> Old:
        fields = mapping(json.loads(data if self._decrypt is None else self._decrypt(data)))
        lifetime = fields.pop("__metadata__", {}).get("lifetime")
        if not lifetime:
            # The cookie ends with the browser. The expiry in Redis only removes the record some day.
            return Old(fields)
        if self._rolling:
            return Old(fields, permanent=True, longest_idle=timedelta(seconds=lifetime))
        return Old(fields, permanent=True, rest=rest)

    def remove(self, old_id: str) -> None:
        """See `Source`."""
        self._records.remove(self._prefix + old_id)
