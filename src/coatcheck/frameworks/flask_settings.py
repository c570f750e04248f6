"""Flask's and Quart's own session settings, where the application set them away from Flask's defaults."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields, replace
from datetime import timedelta
from typing import Any, Protocol

from coatcheck.config import CookieSettings, Options, Settings
from coatcheck.errors import ConfigurationError
from coatcheck.frameworks.flask_login import USER_ID, is_used_by
from coatcheck.responder import Manager

__all__ = ["merged", "seen"]

_COOKIE = {
    "SESSION_COOKIE_NAME": "name",
    "SESSION_COOKIE_DOMAIN": "domain",
    "APPLICATION_ROOT": "path",  # as Flask: the path, where SESSION_COOKIE_PATH is not set
    "SESSION_COOKIE_PATH": "path",
    "SESSION_COOKIE_SAMESITE": "samesite",
    "SESSION_COOKIE_PARTITIONED": "partitioned",
}
_NAMES = (
    *_COOKIE,
    "SESSION_COOKIE_HTTPONLY",
    "SESSION_COOKIE_SECURE",
    "SESSION_REFRESH_EACH_REQUEST",
    "PERMANENT_SESSION_LIFETIME",
)


class App(Protocol):
    """An application of Flask's, or of Quart's."""

    @property
    def config(self) -> Mapping[str, Any]:
        """Its settings."""
        ...

    @property
    def default_config(self) -> Mapping[str, Any]:
        """Those that it has where nobody set them."""
        ...


def seen(app: App) -> tuple[object, ...]:
    """The part of an application that `merged` depends on. It may change at any time."""
    return (is_used_by(app), *map(app.config.get, _NAMES))


def merged(sessions: Manager, app: App) -> Manager:
    """The manager for `app`: `sessions`, or one on the same store with what the application's settings add.

    Raises:
        ConfigurationError: A setting of the application contradicts one of ours.
    """
    settings = sessions.settings
    config = app.config
    chosen: dict[str, Any] = {
        name: config[name]
        for name in _NAMES
        if name in config and config[name] != app.default_config.get(name)
    }
    if chosen.get("SESSION_COOKIE_HTTPONLY") is False:
        raise ConfigurationError(
            "SESSION_COOKIE_HTTPONLY=False: a Coatcheck cookie is always HttpOnly. Leave it out."
        )
    if chosen.get("SESSION_COOKIE_SECURE") and settings.insecure_http:
        raise ConfigurationError(
            "SESSION_COOKIE_SECURE=True contradicts insecure_http=True: take one of them out."
        )
    cookie: dict[str, Any] = {}
    for name, ours in _COOKIE.items():
        if name in chosen:
            _agree(name, chosen[name], getattr(settings.cookie, ours), _default(CookieSettings, ours))
            cookie[ours] = chosen[name]
    options = Options(**_lifetimes(chosen, settings))
    if cookie:
        options["cookie"] = replace(settings.cookie, **cookie)
    if is_used_by(app) and settings.identity is None:
        # Flask-Login's test client sets this field without a signal, as tests by hand do.
        options["identity"] = USER_ID
    return sessions.with_settings(**options) if options else sessions


def _lifetimes(chosen: dict[str, Any], settings: Settings) -> Options:
    """Flask's lifetime of a permanent session is our `remember_idle`; without refreshing, both limits."""
    lifetime = chosen.get("PERMANENT_SESSION_LIFETIME")
    slides = chosen.get("SESSION_REFRESH_EACH_REQUEST") is not False
    if lifetime is None:
        return Options() if slides else Options(remember_absolute=settings.remember_idle)
    if not isinstance(lifetime, timedelta):
        lifetime = timedelta(seconds=lifetime)
    _agree(
        "PERMANENT_SESSION_LIFETIME", lifetime, settings.remember_idle, _default(Settings, "remember_idle")
    )
    if not slides:
        return Options(remember_idle=lifetime, remember_absolute=lifetime)
    return Options(remember_idle=lifetime, remember_absolute=max(lifetime, settings.remember_absolute))


def _agree(name: str, theirs: object, ours: object, default: object) -> None:
    if ours not in (default, theirs):
        raise ConfigurationError(
            f"{name}={theirs!r} contradicts Coatcheck's own setting {ours!r}: take one of them out."
        )


def _default(settings: type[CookieSettings | Settings], name: str) -> object:
    return next(field.default for field in fields(settings) if field.name == name)
