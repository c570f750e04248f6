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
    """Makes sessions on one Redis, and finds and ends those of a user."""

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
        """Make it, without connecting yet.

        Args:
            host: Redis's host. Clients of the same host, port and database share one pool of connections.
            port: Redis's port.
            db: The database's number.
            namespace: The prefix of the keys, if any.
            connection: A client in place of host, port and database, for TLS, a password or Sentinel.
            side_by_side: Whether servers with vial still run on the same data. Issues a `UserWarning`, since two
                repairs are then off: see `SIDE_BY_SIDE`.
        """
        self._namespace: str | None = namespace
        self._connection: redis.Redis = (
            connection if connection is not None else _redis.client(host, port, db)
        )
        self._side_by_side: bool = side_by_side
        if side_by_side:
            warnings.warn(SIDE_BY_SIDE, stacklevel=2)

    def Session(self, *args: Any, **kwargs: Any) -> Session:  # noqa: N802 - vial's name
        """A `Session` on this connection, in this namespace if none is given."""
        session = Session(*args, **self._ours(kwargs))
        session._side_by_side = self._side_by_side  # noqa: SLF001 - set directly, since the argument would warn again
        return session

    def UserSession(self, *args: Any, **kwargs: Any) -> UserSession:  # noqa: N802 - as `Session`
        """A `UserSession` on this connection, in this namespace if none is given."""
        session = UserSession(*args, **self._ours(kwargs))
        session._side_by_side = self._side_by_side  # noqa: SLF001 - set directly, since the argument would warn again
        return session

    def get_for_user(self, user: object) -> Iterator[bytes]:
        """The ids of the user's live sessions, in no order. Redis is called when the first id is read.

        Expired sessions are removed from the user's set.
        """
        start = _redis.key_of(self._namespace, "session", "")
        answer = _redis.LIST(self._connection, [self._set_of(user)], [int(self._side_by_side)])
        yield from (key.removeprefix(start) for key in answer if key.startswith(start))

    def delete_for_user(self, user: object) -> None:
        """End all sessions of the user. Once this has returned, none of them opens."""
        _redis.DELETE_ALL(self._connection, [self._set_of(user)], [])

    def _ours(self, kwargs: dict[str, Any]) -> dict[str, Any]:
        return {"namespace": self._namespace, **kwargs, "connection": self._connection}

    def _set_of(self, user: object) -> bytes:
        return _redis.key_of(self._namespace, "user", user)
