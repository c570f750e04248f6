"""The store: JSON in Redis, under `<namespace>:<key>`."""

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
"""The limit of nested arrays and objects. Without it, reading would depend on the depth of the stack."""
_text = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"?', re.DOTALL)
_bracket = re.compile(r"[\[{]|[\]}]")

_watching: ContextVar[Sequence[Callable[[str], object]]] = ContextVar("watching", default=())


class Connection(Protocol):
    """The methods of a client that the store calls: redis-py's, or any other with these methods."""

    def set(self, name: str, value: str, ex: Any, /) -> Any:
        """Set a text that expires in `ex` seconds."""
        ...

    def get(self, name: str, /) -> Any:
        """The text as bytes or `str`; None if the key does not exist."""
        ...

    def exists(self, name: str, /) -> Any:
        """Whether the key exists."""
        ...

    def delete(self, name: str, /) -> Any:
        """Remove the key; 1 if it existed."""
        ...


class RedisStore:
    """Stores values as JSON. Each method is one command and one round trip."""

    def __init__(
        self,
        connection: Connection,
        namespace: str = "store",
        expiration: int | timedelta | None = 86400,
    ) -> None:
        """Make a store, without calling Redis yet.

        Args:
            connection: A client of Redis.
            namespace: The prefix of the keys.
            expiration: The lifetime of a value from its last `set`, in seconds. None: no expiry.
        """
        self.connection: Connection = connection
        self.namespace: str = namespace
        self.expiration: int | timedelta | None = expiration

    def set(self, key: object, data: Any) -> None:
        """Store `data` for `expiration`.

        Raises:
            TypeError: `data` has no JSON form, or is nested too deep (`NotStorable`).
        """
        self.connection.set(self.full_key(key), encoded(data), self.expiration)

    def get(self, key: object) -> Any:
        """The value of `key`.

        Raises:
            hug.exceptions.StoreKeyNotFound: The key does not exist or has expired.
            ValueError: The stored text is not JSON, or nested too deep (`DecodeError`).
        """
        payload = self.connection.get(self.full_key(key))
        if payload is None:
            raise StoreKeyNotFound(key)
        return decoded(payload)

    def exists(self, key: object) -> bool:
        """Whether `key` exists."""
        return bool(self.connection.exists(self.full_key(key)))

    def delete(self, key: object) -> bool:
        """Remove `key`. Returns whether it existed."""
        full_key = self.full_key(key)
        for is_about_to_delete in _watching.get():
            is_about_to_delete(full_key)
        return bool(self.connection.delete(full_key) == 1)

    def full_key(self, key: object) -> str:
        """The name of `key` in Redis."""
        return f"{self.namespace}:{key}"

    # For the middleware of this package. These methods need more of the client than `Connection`.

    def load(self, key: object) -> bytes | str | None:
        """Read the stored text and renew its expiry; None if the key does not exist."""
        client: Any = self.connection
        payload: bytes | str | None = client.getex(self.full_key(key), ex=self.expiration)
        return payload

    def replace(self, key: object, text: str) -> bool:
        """Set the text if the key exists. Returns whether it was set."""
        client: Any = self.connection
        return bool(client.set(self.full_key(key), text, self.expiration, xx=True))

    def create(self, key: object, text: str) -> bool:
        """Set the text if the key does not exist. Returns whether it was set."""
        client: Any = self.connection
        return bool(client.set(self.full_key(key), text, self.expiration, nx=True))

    def watch_deletes(self, watching: Sequence[Callable[[str], object]]) -> None:
        """Call these functions with the full key before each deletion in the current thread or context."""
        _watching.set(watching)


def decoded(payload: bytes | str) -> Any:
    """The value of a stored text, from any client.

    Raises:
        ValueError: The text is not JSON, or nested too deep (`DecodeError`).
    """
    text = payload if isinstance(payload, str) else payload.decode()
    if _is_too_deep(text):
        raise DecodeError(f"The text is nested deeper than {_DEEPEST} levels.")
    return json.loads(text)


def encoded(data: Any) -> str:
    """The text of a value, for `decoded`.

    Raises:
        TypeError: The value has no JSON form, or is nested too deep (`NotStorable`).
    """
    try:
        text = json.dumps(data)
    except RecursionError:
        text = None
    if text is None or _is_too_deep(text):
        raise NotStorable(f"The session is nested deeper than {_DEEPEST} levels.")
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
