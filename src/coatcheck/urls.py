"""Makes the store that a URL names. The store's module and its driver are imported only when it is made."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib import import_module
from inspect import signature
from typing import Any, Literal, NamedTuple, cast

from coatcheck.addresses import KNOWN, parts_of
from coatcheck.config import Options
from coatcheck.errors import ConfigurationError
from coatcheck.model.ports import AsyncStore, Store

__all__ = ["StoreOptions", "async_store_from_url", "split_options", "store_from_url"]


class StoreOptions(Options, total=False):
    """The keyword arguments of `from_url`: the settings, and the options of the stores."""

    prefix: str
    synchronous: Literal["NORMAL", "FULL"]
    ballast: int
    max_item_bytes: int
    client: Any
    max_connections: int
    tls_ca: str | None
    tls_cert: str | None
    tls_key: str | None
    sentinel_username: str | None
    sentinel_password: str | None


_STORE_OPTIONS = StoreOptions.__annotations__.keys() - Options.__annotations__.keys()


class _Kind(NamedTuple):
    """A kind of store: its module in `coatcheck.stores`, the form of its URL, and the extra that installs its driver."""

    module: str
    form: str
    extra: str | None = None


_MEMORY = _Kind("memory", "memory://")
_SQLITE = _Kind("sqlite", "sqlite:///relative/path.db, sqlite:////absolute/path.db")
_MEMCACHED = _Kind("memcached", "memcached://host:port,host:port, memcached:///path/of/a/socket", "memcached")
_REDIS = _Kind("redis", "redis://host:port/0", "redis")
_POSTGRESQL = _Kind("sql", "postgresql://user:password@host/database", "postgresql")
_MYSQL = _Kind("sql", "mysql://user:password@host/database", "mysql")
_KINDS: Mapping[str, _Kind] = {
    "memory": _MEMORY,
    "sqlite": _SQLITE,
    "memcached": _MEMCACHED,
    **{
        f"{scheme}{suffix}": _REDIS
        for scheme in ("redis", "rediss", "valkey", "valkeys")
        for suffix in ("", "+sentinel", "+cluster")
    },
    "unix": _REDIS,
    "postgresql": _POSTGRESQL,
    "mysql": _MYSQL,
}
"""The built-in stores by the scheme of their URLs, without aliases."""


def split_options(options: Mapping[str, Any]) -> tuple[dict[str, Any], Options]:
    """The keyword arguments of `from_url`, split into the options of the store and those of the manager."""
    wanted = {name: value for name, value in options.items() if name in _STORE_OPTIONS}
    rest = {name: value for name, value in options.items() if name not in _STORE_OPTIONS}
    return wanted, cast("Options", rest)


def store_from_url(url: str, options: Mapping[str, Any]) -> Store:
    """The store that `url` names, made with `options`.

    Raises:
        ConfigurationError: The URL names no store, or the store does not take an option. Nothing of a password is shown.
        ModuleNotFoundError: The store's driver is missing; the message names the extra that installs it.
    """
    kind = _kind(url)
    store: Store = _maker(kind, "from_url", options)(url, **options)
    return store


def async_store_from_url(url: str, options: Mapping[str, Any]) -> AsyncStore:
    """The async store that `url` names; see `store_from_url`."""
    kind = _kind(url)
    store: AsyncStore = _maker(kind, "async_from_url", options)(url, **options)
    return store


def _maker(kind: _Kind, name: str, options: Mapping[str, Any]) -> Callable[..., Any]:
    """The function of the store's module that makes it. It must accept `options`."""
    try:
        make: Callable[..., Any] = getattr(import_module(f"coatcheck.stores.{kind.module}"), name)
    except ModuleNotFoundError as error:
        if kind.extra is None:
            raise
        raise ModuleNotFoundError(
            f"{kind.form} needs {error.name}: pip install 'coatcheck[{kind.extra}]'"
        ) from error
    taken = signature(make).parameters.keys()
    if refused := sorted(options.keys() - taken):
        raise ConfigurationError(f"{kind.form} does not take {', '.join(refused)}.")
    return make


def _kind(url: object) -> _Kind:
    parts = parts_of(url)
    kind = _KINDS.get(parts.scheme)
    if kind is None:
        raise ConfigurationError(f"{parts.scheme}:// names no built-in store. {KNOWN}")
    return kind
