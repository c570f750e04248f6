"""The manager that an application's settings describe: those of an .ini file, or the values themselves."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

from pyramid.settings import asbool  # pyright: ignore[reportMissingTypeStubs, reportUnknownVariableType]

from coatcheck.config import CookieSettings, Options
from coatcheck.errors import ConfigurationError
from coatcheck.sessions import Sessions
from coatcheck.urls import StoreOptions

__all__ = ["SESSIONS", "sessions_from"]

_PREFIX = "coatcheck."
_COOKIE = "cookie."
SESSIONS = _PREFIX + "sessions"
"""The setting under which the manager stands."""


def _seconds(text: str) -> timedelta:
    return timedelta(seconds=float(text))


def _switch(text: str) -> bool:
    return bool(asbool(text))


_READERS: Mapping[str, Callable[[str], Any]] = {
    "secret": str.split,
    **dict.fromkeys(("idle_timeout", "absolute_timeout", "remember_idle", "remember_absolute"), _seconds),
    **dict.fromkeys(("rotate_every", "rotation_grace", "late_window", "deadline"), _seconds),
    **dict.fromkeys(("insecure_http", "cookie.partitioned"), _switch),
    **dict.fromkeys(("max_bytes", "max_flashes", "max_sessions_per_user"), int),
    **dict.fromkeys(("ballast", "max_item_bytes", "max_connections"), int),
}
"""What is made of a setting's text; the rest is text."""


def sessions_from(settings: Mapping[str, Any], resolve: Callable[[Any], Any]) -> Sessions:
    """The manager for the settings whose names begin with ``coatcheck.``.

    Args:
        settings: An application's settings.
        resolve: Makes the object of its dotted name: `Configurator.maybe_dotted`.

    Raises:
        ConfigurationError: A setting is unknown or impossible, or contradicts another.
    """
    given = {
        name.removeprefix(_PREFIX): value for name, value in settings.items() if name.startswith(_PREFIX)
    }
    manager = resolve(given.pop("sessions", None))
    url = given.pop("url", None)
    if (manager is None) == (url is None):
        raise ConfigurationError(
            "Coatcheck needs the setting coatcheck.url, with coatcheck.secret, or else coatcheck.sessions: a Sessions, or "
            "its dotted name."
        )
    known = {*(StoreOptions if manager is None else Options).__annotations__}
    known |= {_COOKIE + part for part in CookieSettings.__annotations__}
    if unknown := sorted(given.keys() - known):
        raise ConfigurationError(f"There is no setting {', '.join(_PREFIX + name for name in unknown)} here.")
    if manager is not None and not isinstance(manager, Sessions):
        raise ConfigurationError(f"{SESSIONS} must be a Sessions, not {type(manager).__name__}.")
    options = {name: _read(name, value) for name, value in given.items()}
    parts = {name.removeprefix(_COOKIE): options.pop(name) for name in given if name.startswith(_COOKIE)}
    if parts:
        cookie = CookieSettings() if manager is None else manager.settings.cookie
        options["cookie"] = replace(options.get("cookie", cookie), **parts)
    if manager is None:
        return Sessions.from_url(url, **options)
    return manager.with_settings(**options) if options else manager


def _read(name: str, value: Any) -> Any:
    if not isinstance(value, str) or name not in _READERS:
        return value
    try:
        return _READERS[name](value)
    except ValueError:
        raise ConfigurationError(f"{_PREFIX}{name} is not what it must be: {value!r}.") from None
