"""A session store backed by redis."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from coatcheck.compat.vial import _redis
from coatcheck.compat.vial.meta import version
from coatcheck.compat.vial.session import SIDE_BY_SIDE, Session, UserSession

if TYPE_CHECKING:
    import redis

__all__ = ["Session", "UserSession", "Vial"]

__version__: str = version


class Vial:
    """Sessions on one Redis, and the sessions of a user."""

    def __init__(
        self,
        host: str = "localhost",
        port: int = 6379,
        db: int = 0,
        namespace: str | None = None,
        *,
        connection: redis.Redis | None = None,
        side_by_side: bool = False,
    ) -> None:
        """Connects to nothing before the first session is looked at.

        Args:
            host: Where Redis is. All that name the same host, port and database share one pool of connections.
            port: Its port.
            db: Its database.
            namespace: What the keys begin with, if anything.
            connection: A client of your own in place of the three, for TLS, a password or Sentinel.
            side_by_side: Servers with the old library still run on the same data. Gives a `UserWarning`, since
                it undoes two repairs: see `SIDE_BY_SIDE`.
        """
        self._namespace: str | None = namespace
        self._connection: redis.Redis = (
            connection if connection is not None else _redis.client(host, port, db)
        )
        self._side_by_side: bool = side_by_side
        if side_by_side:
            warnings.warn(SIDE_BY_SIDE, stacklevel=2)

    def Session(self, *args: Any, **kwargs: Any) -> Session:  # noqa: N802 - the name that it has always had
        """A `Session` on this connection, in this namespace if none is given."""
        session = Session(*args, **self._ours(kwargs))
        session._side_by_side = self._side_by_side  # noqa: SLF001 - it was warned of already
        return session

    def UserSession(self, *args: Any, **kwargs: Any) -> UserSession:  # noqa: N802 - as `Session`
        """A `UserSession` on this connection, in this namespace if none is given."""
        session = UserSession(*args, **self._ours(kwargs))
        session._side_by_side = self._side_by_side  # noqa: SLF001 - it was warned of already
        return session

    def get_for_user(self, user: object) -> Iterator[bytes]:
        """The ids of the user's live sessions, in no order. Asks when the first one is taken.

        What has expired is taken out of his set on this occasion.
        """
        start = _redis.key_of(self._namespace, "session", "")
        answer = _redis.LIST(self._connection, [self._set_of(user)], [int(self._side_by_side)])
        yield from (key.removeprefix(start) for key in answer if key.startswith(start))

    def delete_for_user(self, user: object) -> None:
        """End all sessions of the user. When it returns, none of them opens any more."""
        _redis.DELETE_ALL(self._connection, [self._set_of(user)], [])

    def _ours(self, kwargs: dict[str, Any]) -> dict[str, Any]:
        return {"namespace": self._namespace, **kwargs, "connection": self._connection}

    def _set_of(self, user: object) -> bytes:
        return _redis.key_of(self._namespace, "user", user)
