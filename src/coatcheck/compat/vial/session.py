"""The sessions of vial."""

from __future__ import annotations

import logging
import os
import re
import time
import warnings
from base64 import urlsafe_b64encode
from collections.abc import Iterator, MutableMapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from coatcheck.compat.vial import _redis
from coatcheck.errors import ConfigurationError

if TYPE_CHECKING:
    import redis

__all__ = ["SIDE_BY_SIDE", "Session", "UserSession"]

SIDE_BY_SIDE: str = (
    "side_by_side=True: the sets of users' sessions don't expire, since servers with vial would not renew the expiry; "
    "and save() on such a server recreates a session that was deleted meanwhile. "
    "Remove side_by_side=True when the last server with vial is gone."
)
"""The warning of `side_by_side=True`."""

_DAY = timedelta(days=1)
_CREATED, _ACCESSED, _USER = b"_created", b"_accessed", b"_user_id"
_log = logging.getLogger("coatcheck.compat.vial")

# The ids that `save` makes. Any other text can't be an id, and costs no command.
_is_id = re.compile(rb"[A-Za-z0-9_-]{1,4096}={0,2}").fullmatch
_SHORTEST = 16
_ATTEMPTS = 5


class Session(MutableMapping[Any, Any]):
    """One session: a mapping of names to texts, stored in one hash of Redis.

    The first access reads the hash and renews its expiry. `save` writes the changed fields in one operation. Names are
    iterated as bytes, and values are returned as `str`. `clear` removes all fields, `delete` ends the session.

    Attributes:
        id: The session's id, for the visitor's cookie. Until the first `save` of a new session it is None, or the id
            that named no session.
    """

    id: str | bytes | None
    _key: bytes | None
    # None: not known before Redis is called.
    _new: bool | None
    # The known fields with the changes applied; the names that were set here; the names that were removed.
    _cache: dict[bytes, Any]
    _changed: set[bytes]
    _removed: set[bytes]
    # Whether the cache contains all fields of the record.
    _is_complete: bool
    _moves: bool

    def __init__(
        self,
        id: str | bytes | None = None,  # noqa: A002 - vial's name
        host: str = "localhost",
        port: int = 6379,
        db: int = 0,
        namespace: str | None = None,
        connection: redis.Redis | None = None,
        expires: timedelta | float | None = _DAY,
        key_length: int = 256,
        *,
        side_by_side: bool = False,
    ) -> None:
        """Make a session object, without calling Redis yet.

        Args:
            id: The session's id from the visitor; None: a new session. An id that names no session is not used: `save`
                then makes a new id.
            host: Redis's host.
            port: Redis's port.
            db: The database's number.
            namespace: The prefix of the keys, if any.
            connection: A client in place of host, port and database.
            expires: The lifetime from the last read or save, as a `timedelta` or in seconds. False: no expiry.
            key_length: The number of random bytes in an id, at least 16. 32 are enough.
            side_by_side: See `Vial`.

        Raises:
            ConfigurationError: `expires` is not a duration, or `key_length` is too small.
        """
        if key_length < _SHORTEST:
            raise ConfigurationError(f"key_length must be at least {_SHORTEST}, or ids can be guessed.")
        if side_by_side:
            warnings.warn(SIDE_BY_SIDE, stacklevel=2)
        self._namespace: str | None = namespace
        self._connection: redis.Redis = (
            connection if connection is not None else _redis.client(host, port, db)
        )
        self._expires: int = _milliseconds(expires, "expires")
        self._key_length: int = key_length
        self._side_by_side: bool = side_by_side
        self._begin()
        if id is not None:
            self.id = id
            if _is_id(id if isinstance(id, bytes) else str(id).encode(errors="replace")):
                self._key, self._new = self._key_of(id), None
                # An existing session has its own `_created`; for a missing one `_load` sets it.
                del self._cache[_CREATED]
                self._changed.remove(_CREATED)

    def _begin(self) -> None:
        """Reset to a new, empty session."""
        self.id, self._key, self._new = None, None, True
        self._cache, self._changed, self._removed = {}, set(), set()
        self._is_complete, self._moves = False, False
        self[_CREATED] = self[_ACCESSED] = time.time()

    @property
    def is_new(self) -> bool:
        """Whether the session did not exist in Redis when it was first read."""
        if self._new is None:
            self._load()
        return self._new is True

    def expunge(self) -> None:
        """Drop the values that were read, and unsaved changes. The next access reads the record again."""
        self._cache.clear()
        self._changed.clear()
        self._removed.clear()
        self._is_complete = False

    def refresh(self) -> None:
        """Renew the session's expiry. Does nothing for a session that was never saved."""
        if self._new is not True:
            self._load()

    def rotate(self) -> None:
        """Give the session a new id at the next `save`, and end the old one.

        Call this at every sign-in, so that an id that an attacker planted before is useless. Send the visitor the new
        `id`.
        """
        self._moves = True

    def save(self) -> bool:
        """Store all changes atomically, and renew the session's expiry.

        Returns:
            Whether the changes are stored. They are dropped if the session was deleted or expired after it was read.
        """
        now = time.time()
        if _ACCESSED not in self._changed:
            self[_ACCESSED] = now
        if self._new is not True:
            if self._write(self._key):
                return True
            if self._new is False:
                _log.warning("A session ended before its changes were saved; the changes are dropped.")
                return False
            self._new = True  # it was never read, so a new session contains nothing of the ended one
        self._cache.setdefault(_CREATED, now)
        self._changed.add(_CREATED)
        return self._write(None)

    def delete(self) -> bool:
        """End the session for good. Once this has returned, its id opens nothing.

        Values that are set afterwards belong to a new session.

        Returns:
            Whether the session existed.
        """
        there = False
        if self._new is not True and self._key is not None:
            # DEL first and without a transaction, which works even if Redis is full and refuses scripts.
            connection: Any = self._connection
            with connection.pipeline(transaction=False) as pipeline:
                pipeline.delete(self._key)
                if (mine := self._set_with_me()) is not None:
                    pipeline.srem(mine, self._key)
                there = bool(pipeline.execute()[0])
        self._begin()
        return there

    def __getitem__(self, name: Any) -> Any:
        field = _redis.text_of(name)
        if field not in self._cache and field not in self._removed:
            self._complete()
        if field not in self._cache:
            raise KeyError(name)
        value = self._cache[field]
        if isinstance(value, bytes):
            try:
                return value.decode()
            except UnicodeDecodeError:
                return value
        return value

    def __setitem__(self, name: Any, value: Any) -> None:
        if value is None:
            del self[name]
            return
        field = _redis.text_of(name)
        self._cache[field] = value.encode() if isinstance(value, str) else value
        self._changed.add(field)
        self._removed.discard(field)

    def __delitem__(self, name: Any) -> None:
        """Remove a field at the next `save`. Missing fields are ignored."""
        field = _redis.text_of(name)
        self._cache.pop(field, None)
        self._changed.discard(field)
        self._removed.add(field)

    def __iter__(self) -> Iterator[bytes]:
        self._complete()
        return iter(self._cache)

    def __len__(self) -> int:
        self._complete()
        return len(self._cache)

    def _complete(self) -> None:
        if not self._is_complete and self._new is not True:
            self._load()

    def _load(self) -> None:
        """Read the record. Changes and values that were read before are kept."""
        assert self._key is not None
        answer = _redis.LOAD(self._connection, [self._key], self._settings())
        if self._new is None:
            self._new = not answer
            if self._new:
                self[_CREATED] = time.time()
        for field, value in zip(answer[::2], answer[1::2], strict=True):
            if field not in self._removed:
                self._cache.setdefault(field, value)
        self._is_complete = True

    def _write(self, here: bytes | None) -> bool:
        """Write the record under the key `here` if it still exists, or a new record if `here` is None."""
        key = here
        for _ in range(_ATTEMPTS):
            id_ = self.id
            if here is None or self._moves:
                id_ = urlsafe_b64encode(os.urandom(self._key_length))
                key = self._key_of(id_)
                if key == here:
                    continue
            assert key is not None
            answer = _redis.SAVE(self._connection, [here or key, key], self._news(is_new=here is None))
            if answer == _redis.GONE:
                return False
            if answer != _redis.TAKEN:
                self.id, self._key, self._new, self._moves = id_, key, False, False
                self._changed.clear()
                self._removed.clear()
                self._is_complete = False
                return True
        raise RuntimeError(
            f"{_ATTEMPTS} random ids in a row already exist: the source of randomness is broken."
        )

    def _news(self, *, is_new: bool) -> list[bytes | str | int]:
        accessed = _redis.text_of(self._cache[_ACCESSED])
        news: list[bytes | str | int] = [*self._settings(), int(is_new), accessed, len(self._removed)]
        news += self._removed
        for field in self._changed:
            news += (field, _redis.text_of(self._cache[field]))
        return news

    def _settings(self) -> list[bytes | str | int]:
        return [b"", self._expires, 0, int(self._side_by_side)]

    def _key_of(self, id_: str | bytes) -> bytes:
        return _redis.key_of(self._namespace, "session", id_)

    def _set_with_me(self) -> bytes | None:
        return None


class UserSession(Session):
    """A session that may belong to a user, for `Vial.get_for_user` and `Vial.delete_for_user`."""

    def __init__(
        self,
        id: str | bytes | None = None,  # noqa: A002 - as in `Session`
        user: Any = None,
        user_expires: timedelta | float | None = _DAY,
        **session_kwargs: Any,
    ) -> None:
        """See `Session`.

        Args:
            id: The session's id, or None.
            user: The user that owns the session from the next `save` on.
            user_expires: `expires` for a session that has a user.
            session_kwargs: The other arguments of `Session`.
        """
        self._user_expires: int = _milliseconds(user_expires, "user_expires")
        super().__init__(id=id, **session_kwargs)
        if user is not None:
            self.user = user

    @property
    def user(self) -> Any:
        """The user that owns the session, or None. It is a str after it was read from Redis.

        A new value takes effect at the next `save`. None removes the user but keeps all other values: to log out,
        prefer `delete`.
        """
        return self.get(_USER)

    @user.setter
    def user(self, user: Any) -> None:
        self[_USER] = user

    def _settings(self) -> list[bytes | str | int]:
        users = _redis.key_of(self._namespace, "user", "")
        return [users, self._expires, self._user_expires, int(self._side_by_side)]

    def _set_with_me(self) -> bytes | None:
        # Without the user nothing is removed; the set drops ended sessions when it is next used.
        user = self._cache.get(_USER)
        return None if user is None else _redis.key_of(self._namespace, "user", user)


def _milliseconds(expires: object, name: str) -> int:
    """A lifetime in milliseconds. 0: no expiry."""
    if not expires:
        return 0
    seconds = expires.total_seconds() if isinstance(expires, timedelta) else expires
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds < 2**43:
        raise ConfigurationError(
            f"{name} must be a timedelta or seconds, greater than 0, or False for no expiry."
        )
    return max(1, round(seconds * 1000))
