"""The manager that an application's settings describe: those of an .ini file, or the values themselves."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any, get_args, get_type_hints

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


_READERS: Mapping[type, Callable[[str], Any]] = {
    bool: lambda text: bool(asbool(text)),
    int: int,
    timedelta: lambda text: timedelta(seconds=float(text)),
}
"""What is made of the text of a setting of this type; the rest is text."""


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
    manager, url = resolve(given.pop("sessions", None) or None), given.pop("url", None)
    if (manager is None) == (url is None):
        raise ConfigurationError(
            "Coatcheck needs the setting coatcheck.url, with coatcheck.secret, or else coatcheck.sessions: a Sessions, or "
            "its dotted name."
        )
    types = get_type_hints(StoreOptions if manager is None else Options)
    types |= {_COOKIE + part: each for part, each in get_type_hints(CookieSettings).items()}
    if unknown := sorted(given.keys() - types.keys()):
        raise ConfigurationError(f"There is no setting {', '.join(_PREFIX + name for name in unknown)} here.")
    if manager is not None and not isinstance(manager, Sessions):
        raise ConfigurationError(f"{SESSIONS} must be a Sessions, not {type(manager).__name__}.")
    options = {name: _read(name, value, types[name]) for name, value in given.items()}
    parts = {name.removeprefix(_COOKIE): options.pop(name) for name in given if name.startswith(_COOKIE)}
    if parts:
        cookie = CookieSettings() if manager is None else manager.settings.cookie
        options["cookie"] = replace(options.get("cookie", cookie), **parts)
    if manager is None:
        return Sessions.from_url(url, **options)
    return manager.with_settings(**options) if options else manager


def _read(name: str, value: Any, hint: Any) -> Any:
    """The value of a setting of this type, or of these."""
    if not isinstance(value, str):
        return value
    if name == "secret":
        return value.split()
    kinds = [kind for kind in (hint, *get_args(hint)) if isinstance(kind, type)]
    try:
        return next((_READERS[kind](value) for kind in kinds if kind in _READERS), value)
    except (ValueError, OverflowError):
        raise ConfigurationError(f"{_PREFIX}{name} is not what it must be: {value!r}.") from None
