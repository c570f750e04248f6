"""Which store a URL names. The store's module, and with it its driver, is imported only then."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from typing import Any, Literal, cast
from urllib.parse import unquote, urlsplit

from coatcheck.config import Options
from coatcheck.errors import ConfigurationError
from coatcheck.ports import AsyncStore, Store

__all__ = ["StoreOptions", "async_store_from_url", "shared_out", "store_from_url"]


class StoreOptions(Options, total=False):
    """The keyword arguments of `from_url`: the settings, and what the stores take."""

    prefix: str
    deadline: timedelta
    synchronous: Literal["NORMAL", "FULL"]
    ballast: int


_STORE_OPTIONS = StoreOptions.__annotations__.keys() - Options.__annotations__.keys()
_KNOWN = "memory://, sqlite:///relative/path.db, sqlite:////absolute/path.db"


def shared_out(options: Mapping[str, Any]) -> tuple[dict[str, Any], Options]:
    """The keyword arguments of `from_url`: what the store takes of them, and what the manager takes."""
    wanted = {name: value for name, value in options.items() if name in _STORE_OPTIONS}
    rest = {name: value for name, value in options.items() if name not in _STORE_OPTIONS}
    return wanted, cast("Options", rest)


def store_from_url(url: str, options: Mapping[str, Any]) -> Store:
    """The store that `url` names, made with `options`.

    Raises:
        ConfigurationError: It names no store, has a query, or the store does not take an option.
    """
    scheme, path = _parts(url)
    if scheme == "memory":
        from coatcheck.stores.memory import MemoryStore

        _refuse_for_memory(options)
        return MemoryStore()
    from coatcheck.stores.sqlite import SQLiteStore

    return SQLiteStore(path, **options)


def async_store_from_url(url: str, options: Mapping[str, Any]) -> AsyncStore:
    """The same for an event loop; with coalescing in front, where that pays."""
    scheme, path = _parts(url)
    if scheme == "memory":
        from coatcheck.stores.memory import AsyncMemoryStore

        _refuse_for_memory(options)
        return AsyncMemoryStore()
    from coatcheck.stores.coalesce import Coalesced
    from coatcheck.stores.sqlite_async import AsyncSQLiteStore

    return Coalesced(AsyncSQLiteStore(path, **options))


def _parts(url: object) -> tuple[str, str]:
    """The scheme, one that is built in, and the path of a store's URL."""
    if not isinstance(url, str):
        raise ConfigurationError(f"A store's URL is a str, not {type(url).__name__}; there are {_KNOWN}.")
    try:
        scheme, netloc, path, query, fragment = urlsplit(url)
    except ValueError as error:
        raise ConfigurationError(f"That is no URL of a store: {error}. There are {_KNOWN}.") from error
    if scheme not in ("memory", "sqlite"):
        raise ConfigurationError(
            f"{scheme or 'The text'}:// names no store that is built in; there are {_KNOWN}."
        )
    if query or fragment:
        raise ConfigurationError("A store's URL has no query: options are keyword arguments of from_url.")
    if scheme == "memory" and (netloc or path.strip("/")):
        raise ConfigurationError("memory:// takes no host and no path.")
    if netloc:
        raise ConfigurationError(
            f"sqlite://{netloc}… has two slashes: write sqlite:///relative/path.db or sqlite:////absolute/path.db."
        )
    return scheme, unquote(path.removeprefix("/"))


def _refuse_for_memory(options: Mapping[str, object]) -> None:
    # One process, one dict: there is nothing to tell apart or to wait for, so these are true of it anyway.
    refused = sorted(options.keys() - {"prefix", "deadline"})
    if refused:
        raise ConfigurationError(f"memory:// does not take {', '.join(refused)}.")
