"""The store: JSON texts in Redis, each under `<namespace>:<key>`."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from contextvars import ContextVar
from datetime import timedelta
from typing import Any, Protocol

try:
    from hug.exceptions import StoreKeyNotFound  # pyright: ignore[reportMissingTypeStubs]
except ModuleNotFoundError as _error:
    _CURES = {
        "cgi": "pip install legacy-cgi (Python 3.13 and later have no cgi)",
        "distutils": "pip install setuptools (Python 3.12 and later have no distutils)",
    }
    raise ModuleNotFoundError(
        f"coatcheck.compat.hug_store_redis needs hug, and hug needs {_error.name}: "
        + _CURES.get((_error.name or "").partition(".")[0], "pip install 'coatcheck[hug,redis]'"),
        name=_error.name,
    ) from _error

from coatcheck.errors import DecodeError, NotStorable

__all__ = ["Connection", "RedisStore", "decoded", "encoded"]

_DEEPEST = 100
"""Arrays and objects inside each other. Without a bound, what can be read would depend on how deep the stack is."""
_text = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)
_bracket = re.compile(r"[\[{]|[\]}]")

_watching: ContextVar[Sequence[Callable[[str], object]]] = ContextVar("watching", default=())


class Connection(Protocol):
    """What the store uses of a client: redis-py's, or any other that has these."""

    def set(self, name: str, value: str, ex: Any, /) -> Any:
        """Set a text that expires in `ex` seconds."""
        ...

    def get(self, name: str, /) -> Any:
        """The text, as bytes or `str`; None if there is none."""
        ...

    def exists(self, name: str, /) -> Any:
        """Whether there is one."""
        ...

    def delete(self, name: str, /) -> Any:
        """Remove it; 1 if there was one."""
        ...


class RedisStore:
    """Keeps what JSON can say. Each method is one command, and one round trip."""

    def __init__(
        self,
        connection: Connection,
        namespace: str = "store",
        expiration: int | timedelta | None = 86400,
    ) -> None:
        """Asks nothing yet.

        Args:
            connection: A client of Redis.
            namespace: What the keys begin with.
            expiration: After how many seconds a text expires that is not set again. None: never.
        """
        self.connection: Connection = connection
        self.namespace: str = namespace
        self.expiration: int | timedelta | None = expiration

    def set(self, key: object, data: Any) -> None:
        """Keep `data`, from now on for `expiration`.

        Raises:
            TypeError: JSON can't say it, or it is nested too deep (`NotStorable`).
        """
        self.connection.set(self.full_key(key), encoded(data), self.expiration)

    def get(self, key: object) -> Any:
        """What was set.

        Raises:
            hug.exceptions.StoreKeyNotFound: There is none, or no longer.
            ValueError: It is no JSON, or nested too deep (`DecodeError`).
        """
        payload = self.connection.get(self.full_key(key))
        if payload is None:
            raise StoreKeyNotFound(key)
        return decoded(payload)

    def exists(self, key: object) -> bool:
        """Whether there is one."""
        return bool(self.connection.exists(self.full_key(key)))

    def delete(self, key: object) -> bool:
        """Remove it. Whether there was one."""
        full_key = self.full_key(key)
        for is_about_to_delete in _watching.get():
            is_about_to_delete(full_key)
        return bool(self.connection.delete(full_key) == 1)

    def full_key(self, key: object) -> str:
        """What `key` is called in Redis."""
        return f"{self.namespace}:{key}"

    # For our own middleware. These ask more of the client than `Connection`.

    def load(self, key: object) -> bytes | str | None:
        """The stored text, whose life begins anew; None: there is none."""
        client: Any = self.connection
        payload: bytes | str | None = client.getex(self.full_key(key), ex=self.expiration)
        return payload

    def replace(self, key: object, text: str) -> bool:
        """Set the text where one lies; whether one did."""
        client: Any = self.connection
        return bool(client.set(self.full_key(key), text, self.expiration, xx=True))

    def create(self, key: object, text: str) -> bool:
        """Set the text where none lies; whether none did."""
        client: Any = self.connection
        return bool(client.set(self.full_key(key), text, self.expiration, nx=True))

    def watch_deletes(self, watching: Sequence[Callable[[str], object]]) -> None:
        """Tell these, from now on in this thread or context, the full key of each record before it is deleted."""
        _watching.set(watching)


def decoded(payload: bytes | str) -> Any:
    """The value of a stored text, however the client gave it.

    Raises:
        ValueError: It is no JSON, or nested too deep (`DecodeError`).
    """
    text = payload if isinstance(payload, str) else payload.decode()
    if _is_too_deep(text):
        raise DecodeError(f"It is nested deeper than {_DEEPEST} levels.")
    return json.loads(text)


def encoded(data: Any) -> str:
    """The text of a value, which `decoded` reads.

    Raises:
        TypeError: JSON can't say it, or it is nested too deep (`NotStorable`).
    """
    try:
        text = json.dumps(data)
    except RecursionError:
        text = None
    if text is None or _is_too_deep(text):
        raise NotStorable(f"A session may be nested {_DEEPEST} levels deep, and this one is deeper.")
    return text


def _is_too_deep(text: str) -> bool:
    if text.count("[") + text.count("{") <= _DEEPEST:
        return False
    depth = 0
    for found in _bracket.finditer(_text.sub("", text)):
        depth += 1 if found[0] in "[{" else -1
        if depth > _DEEPEST:
            return True
    return False
