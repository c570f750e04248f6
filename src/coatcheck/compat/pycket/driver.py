"""The drivers of Redis and Memcached. Each record is stored under the visitor's id, as a pickle of a dict."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Hashable, Iterable, Mapping
from datetime import timedelta
from inspect import signature
from typing import Any, NamedTuple, cast

from coatcheck.compat._plain import Allow
from coatcheck.compat.pycket._pickles import PROTOCOL, PROTOCOL_OF_OLD, Pickles, pickles
from coatcheck.silent import silent

__all__ = ["Driver", "DriverFactory", "MemcachedDriver", "RedisDriver"]


class Snapshot(NamedTuple):
    """A stored record, None if there is none; and Memcached's token of its version."""

    raw: bytes | None
    token: bytes | None = None

    def __repr__(self) -> str:
        return silent(self)


NOTHING = Snapshot(None)


class Swapped(NamedTuple):
    """Whether a swap was done, and the record that is stored now, if that is known."""

    done: bool
    now: Snapshot | None


class Driver:
    """One kind of record in one store.

    The client is made on first use, and shared by all drivers of the process with the same settings, so that requests
    make no connections of their own. A client may also be assigned. If it has no atomic commands, plain ones are used.
    """

    EXPIRE_SECONDS: int | timedelta = 24 * 60 * 60
    client: Any = None
    pickles: Pickles = pickles((), PROTOCOL)

    def __init__(self, settings: Mapping[str, Any]) -> None:
        self.settings: Mapping[str, Any] = settings

    def get(self, session_id: str | bytes) -> Any:
        """The dict of this id, or an empty one if there is none.

        Raises:
            DecodeError: The record contains something that is neither a plain value nor allowed.
        """
        raw = self.load(session_id).raw
        return {} if raw is None else self.pickles.loads(raw)

    def set(self, session_id: str | bytes, session: Any) -> None:
        """Write the dict of this id with its expiry, unconditionally.

        Raises:
            NotStorable: It contains something that is neither a plain value nor allowed.
        """
        raw = self.pickles.dumps(session)
        self.setup_client()
        self._put(session_id, raw)

    def load(self, session_id: str | bytes) -> Snapshot:
        """The stored record of this id."""
        raise NotImplementedError

    def swap(self, session_id: str | bytes, before: Snapshot, raw: bytes) -> Swapped:
        """Write `raw` with its expiry, if the stored record is still `before`."""
        raise NotImplementedError

    def delete(self, session_id: str | bytes) -> None:
        """Delete the record of this id."""
        raise NotImplementedError

    def move(self, session_id: str | bytes, new_id: str | bytes) -> None:
        """Move the record of this id to another id."""
        raise NotImplementedError

    def key(self, session_id: str | bytes) -> str:
        """The key in the store."""
        return session_id.decode() if isinstance(session_id, bytes) else session_id

    def setup_client(self) -> Any:
        """The client, made on first use."""
        if self.client is None:
            self.client = self._create_client()
        return self.client

    def _create_client(self) -> Any:
        raise NotImplementedError

    def _put(self, session_id: str | bytes, raw: bytes) -> None:
        raise NotImplementedError

    def _seconds(self) -> int:
        seconds = self.EXPIRE_SECONDS
        return int(seconds.total_seconds() if isinstance(seconds, timedelta) else seconds)


class RedisDriver(Driver):
    """Records in Redis 2.6.12 or newer. As in pycket, errors are redis-py's own."""

    DEFAULT_STORAGE_IDENTIFIERS: Mapping[str, int] = {"db_sessions": 0, "db_notifications": 1}

    # Atomic, in one round trip. ARGV[3] is the expected record; it is missing if the key must not exist.
    _SWAP = """
        local now = redis.call('GET', KEYS[1])
        if now == (ARGV[3] or false) then
            redis.call('SET', KEYS[1], ARGV[1], 'EX', ARGV[2])
            return {1}
        end
        return {0, now}
    """

    def load(self, session_id: str | bytes) -> Snapshot:
        return Snapshot(self.setup_client().get(session_id))

    def swap(self, session_id: str | bytes, before: Snapshot, raw: bytes) -> Swapped:
        client = self.setup_client()
        if not hasattr(client, "execute_command"):
            self._put(session_id, raw)
            return Swapped(done=True, now=None)
        expected = () if before.raw is None else (before.raw,)
        done, *now = client.execute_command(
            "EVAL", self._SWAP, 1, session_id, raw, self._seconds(), *expected
        )
        return Swapped(bool(done), Snapshot(raw if done else now[0] if now else None))

    def delete(self, session_id: str | bytes) -> None:
        self.setup_client().delete(session_id)

    def move(self, session_id: str | bytes, new_id: str | bytes) -> None:
        import redis

        try:
            self.setup_client().rename(session_id, new_id)
        except redis.ResponseError as error:
            if "no such key" not in str(error):
                raise

    def _put(self, session_id: str | bytes, raw: bytes) -> None:
        if takes(self.client.set, "ex"):
            self.client.set(session_id, raw, ex=self._seconds())
        else:  # a stand-in with the commands of the old library only
            self.client.set(session_id, raw)
            self.client.expire(session_id, self._seconds())

    def _create_client(self) -> Any:
        return _shared("redis", self.settings, _redis)


class MemcachedDriver(Driver):
    """Records in Memcached. Errors are `StoreError`; python-memcached ignored errors, and lost the writes."""

    suffix: str = ""
    """The suffix of the key, which separates a visitor's notifications from the session."""

    def key(self, session_id: str | bytes) -> str:
        return super().key(session_id) + self.suffix

    def load(self, session_id: str | bytes) -> Snapshot:
        client = self.setup_client()
        key = self.key(session_id)
        return Snapshot(*client.gets(key)) if hasattr(client, "cas") else Snapshot(client.get(key))

    def swap(self, session_id: str | bytes, before: Snapshot, raw: bytes) -> Swapped:
        client = self.setup_client()
        if not hasattr(client, "cas"):
            self._put(session_id, raw)
            return Swapped(done=True, now=None)
        key = self.key(session_id)
        if before.token is None:
            done = client.add(key, raw, self._until())
        else:
            done = client.cas(key, raw, before.token, self._until())
        # Memcached does not return the token of the new version.
        return Swapped(bool(done), None if done else self.load(session_id))

    def delete(self, session_id: str | bytes) -> None:
        self.setup_client().delete(self.key(session_id))

    def move(self, session_id: str | bytes, new_id: str | bytes) -> None:
        raw = self.load(session_id).raw
        if raw is not None:
            self._put(new_id, raw)
            self.delete(session_id)

    def _put(self, session_id: str | bytes, raw: bytes) -> None:
        self.client.set(self.key(session_id), raw, self._until())

    def _until(self) -> int:
        seconds = self._seconds()
        # Memcached reads more than 30 days as a Unix time.
        return seconds if seconds <= 30 * 86400 else int(time.time()) + seconds

    def _create_client(self) -> Any:
        return _shared("memcached", self.settings, _memcached)


class DriverFactory:
    """Makes drivers by the name of an engine."""

    STORAGE_CATEGORIES: tuple[str, str] = ("db_sessions", "db_notifications")

    def create(
        self,
        name: str,
        storage_settings: Mapping[str, Any],
        storage_category: str,
        *,
        side_by_side: bool = False,
        allow: Allow = (),
    ) -> Driver:
        """A driver for one kind of records. The settings are not changed.

        Args:
            name: "redis" or "memcached".
            storage_settings: The arguments of the store's client.
            storage_category: One of `STORAGE_CATEGORIES`.
            side_by_side: Write the format that servers with pycket read.
            allow: The classes that records may contain besides plain values.

        Raises:
            ValueError: The engine is unknown.
        """
        if name == "redis":
            driver = _redis_driver(storage_settings, storage_category)
        elif name == "memcached":
            driver = MemcachedDriver(dict(storage_settings))
            # Servers with pycket store a visitor's notifications in the record of the session.
            if storage_category == "db_notifications" and not side_by_side:
                driver.suffix = "-notifications"
        else:
            raise ValueError(f'Engine "{name}" is not supported')
        driver.pickles = pickles(
            allow if isinstance(allow, str) else tuple(allow), PROTOCOL_OF_OLD if side_by_side else PROTOCOL
        )
        return driver


def _redis_driver(settings: Mapping[str, Any], category: str) -> Driver:
    db = settings.get(category, RedisDriver.DEFAULT_STORAGE_IDENTIFIERS[category])
    kept = {name: settings[name] for name in settings if name not in DriverFactory.STORAGE_CATEGORIES}
    return RedisDriver({**kept, "db": db})


def _redis(settings: Mapping[str, Any]) -> Any:
    import redis
    from redis.backoff import NoBackoff
    from redis.retry import Retry

    # No retries: after a lost reply a retried command would miss the notification that its first try had removed, and
    # redis-py's waits between retries would block Tornado's loop.
    settings = {"retry": Retry(NoBackoff(), 0), **settings}
    if "max_connections" in settings:
        return redis.Redis(connection_pool=redis.ConnectionPool(**settings))
    return redis.Redis(**settings)


def _memcached(settings: Mapping[str, Any]) -> Any:
    from coatcheck.compat.pycket._memcached import MemcachedClient

    options: dict[str, Any] = {"servers": ("localhost:11211",), **settings}
    return MemcachedClient(**options)


_clients: dict[Hashable, tuple[Any, Mapping[str, Any]]] = {}
_making = threading.Lock()


def _shared(kind: str, settings: Mapping[str, Any], make: Callable[[Mapping[str, Any]], Any]) -> Any:
    """The process's client for these settings. A forked child makes its own."""
    wanted = os.getpid(), kind, _hashable(settings)
    with _making:
        if wanted not in _clients:
            # `wanted` contains ids of the settings' objects; keeping the objects alive keeps these ids unique.
            _clients[wanted] = make(settings), settings
        return _clients[wanted][0]


def _hashable(value: object) -> Hashable:
    if isinstance(value, Mapping):
        items = cast("Mapping[str, object]", value)
        return frozenset((name, _hashable(items[name])) for name in items)
    if isinstance(value, list | tuple):
        return tuple(_hashable(member) for member in cast("Iterable[object]", value))
    return value if isinstance(value, Hashable) else id(value)


def takes(function: Callable[..., object], name: str) -> bool:
    """Whether a function accepts an argument of this name."""
    try:
        parameters = signature(function).parameters
    except (TypeError, ValueError):
        return False
    return name in parameters or any(each.kind is each.VAR_KEYWORD for each in parameters.values())
