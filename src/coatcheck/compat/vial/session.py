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
    "vial, side by side with old servers: the sets of users' sessions don't expire, since an old server would not "
    "lengthen them; and an old server's save() still brings a session back that was deleted meanwhile. "
    "Leave side_by_side=True away when the last old server is gone."
)
"""The warning that `side_by_side=True` gives."""

_DAY = timedelta(days=1)
_CREATED, _ACCESSED, _USER = b"_created", b"_accessed", b"_user_id"
_log = logging.getLogger("coatcheck.compat.vial")

# What `save` makes. Anything else has never been an id, and is not worth asking Redis.
_is_id = re.compile(rb"[A-Za-z0-9_-]{1,4096}={0,2}").fullmatch
_SHORTEST = 16
_ATTEMPTS = 5


class Session(MutableMapping[Any, Any]):
    """One session: a mapping of names to texts, held in one hash of Redis.

    Reads once, when it is first looked at, and lengthens the session's life by that. Changes are kept here until
    `save`, which writes them, and only them, at once. Names are iterated as bytes, values come back as `str`.
    `clear` empties it, `delete` ends it.

    Attributes:
        id: What the visitor sends to be known again. None, or what he sent in vain, until the first `save`.
    """

    id: str | bytes | None
    _key: bytes | None
    # None: only Redis knows.
    _new: bool | None
    # What is known of the record, and what it will be after `save`; which of it was set here; what was removed.
    _cache: dict[bytes, Any]
    _changed: set[bytes]
    _removed: set[bytes]
    # Whether what is not in the cache is not in Redis either, as far as we know.
    _is_complete: bool
    _moves: bool

    def __init__(
        self,
        id: str | bytes | None = None,  # noqa: A002 - the argument has always had this name
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
        """Does not ask Redis yet.

        Args:
            id: The session's id, as the visitor sent it; None: a new session. One that names no session is never
                taken over: `save` then makes another.
            host: Where Redis is.
            port: Its port.
            db: Its database.
            namespace: What the keys begin with, if anything.
            connection: A client, in place of host, port and database.
            expires: How long it lives from when it was last looked at or saved, a `timedelta` or seconds. False: for
                ever.
            key_length: How many random bytes an id is made of, 16 at least. 32 are plenty.
            side_by_side: See `Vial`.

        Raises:
            ConfigurationError: `expires` is no duration, or `key_length` too small.
        """
        if key_length < _SHORTEST:
            raise ConfigurationError(f"key_length is {_SHORTEST} at least, else ids can be guessed.")
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
                # It has one, if it exists; else `_load` says when it was made.
                del self._cache[_CREATED]
                self._changed.remove(_CREATED)

    def _begin(self) -> None:
        """Be a new session, with nothing in it."""
        self.id, self._key, self._new = None, None, True
        self._cache, self._changed, self._removed = {}, set(), set()
        self._is_complete, self._moves = False, False
        self[_CREATED] = self[_ACCESSED] = time.time()

    @property
    def is_new(self) -> bool:
        """Whether there is no such session in Redis, or was none when it was first asked for."""
        if self._new is None:
            self._load()
        return self._new is True

    def expunge(self) -> None:
        """Forget what was read, and what was set and not saved. What is looked at next is read again."""
        self._cache.clear()
        self._changed.clear()
        self._removed.clear()
        self._is_complete = False

    def refresh(self) -> None:
        """Begin the session's life anew. Of one that was never saved, nothing."""
        if self._new is not True:
            self._load()

    def rotate(self) -> None:
        """Have the next `save` give the session a new id. The old one then opens nothing.

        For the sign-in: an id that an attacker planted beforehand becomes worthless. Send the visitor the new `id`.
        """
        self._moves = True

    def save(self) -> bool:
        """Store what was changed, all of it or nothing, and begin the session's life anew.

        Returns:
            Whether it is stored. It is not, and stays ended, if the session was deleted or expired after it was
            looked at.
        """
        now = time.time()
        if _ACCESSED not in self._changed:
            self[_ACCESSED] = now
        if self._new is not True:
            if self._write(self._key):
                return True
            if self._new is False:
                _log.warning("A session ended before its changes were saved; they are dropped.")
                return False
            self._new = True  # nobody looked, so nothing of it is known here that could come back to life
        self._cache.setdefault(_CREATED, now)
        self._changed.add(_CREATED)
        return self._write(None)

    def delete(self) -> bool:
        """End the session. When it returns, its id opens nothing any more, and nothing brings it back.

        What is set afterwards belongs to a new session.

        Returns:
            Whether there was one.
        """
        there = False
        if self._new is not True and self._key is not None:
            # No transaction, and the session first: this works where Redis is full and takes no script.
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
        """Remove it at the next `save`. No error if it is not there."""
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
        """Read what is in Redis, under what was changed here and what was read before."""
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
        """Change the record that lies `here`, if it still does; or make a new one."""
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
        raise RuntimeError(f"{_ATTEMPTS} random ids in a row were taken: the source of randomness is broken.")

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
    """A session that may belong to a user, by whom it is found: `Vial.get_for_user`, `Vial.delete_for_user`."""

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
            user: Whose it shall be, from the next `save` on.
            user_expires: `expires` for a session that has a user.
            session_kwargs: The other arguments of `Session`.
        """
        self._user_expires: int = _milliseconds(user_expires, "user_expires")
        super().__init__(id=id, **session_kwargs)
        if user is not None:
            self.user = user

    @property
    def user(self) -> Any:
        """Whose session it is, as text once it was read from Redis, or None.

        What is set counts from the next `save` on. None logs the user out, and leaves the session with everything else in it: prefer `delete`.
        """
        return self.get(_USER)

    @user.setter
    def user(self, user: Any) -> None:
        self[_USER] = user

    def _settings(self) -> list[bytes | str | int]:
        users = _redis.key_of(self._namespace, "user", "")
        return [users, self._expires, self._user_expires, int(self._side_by_side)]

    def _set_with_me(self) -> bytes | None:
        # Only if it was read. Where it was not, the user's set finds out by itself.
        user = self._cache.get(_USER)
        return None if user is None else _redis.key_of(self._namespace, "user", user)


def _milliseconds(expires: object, name: str) -> int:
    """A life, for Redis. 0: for ever."""
    if not expires:
        return 0
    seconds = expires.total_seconds() if isinstance(expires, timedelta) else expires
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds < 2**43:
        raise ConfigurationError(f"{name} is a timedelta or seconds, greater than 0; False: for ever.")
    return max(1, round(seconds * 1000))
