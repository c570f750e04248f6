"""`SessionMixin` for request handlers, and `SessionManager`, which it makes.

The application's settings need ``cookie_secret``, and ``pycket``: a dict with ``engine`` ("redis" or "memcached") and
the optional ``storage`` (arguments of the store's client), ``cookies`` (arguments of `set_secure_cookie`), ``allow``
(classes that sessions may contain) and ``side_by_side`` (servers with pycket still run).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from coatcheck.compat.pycket._manager import Manager, SideBySideWarning, create_mixin, warn_of_side_by_side
from coatcheck.compat.pycket.driver import Driver, DriverFactory
from coatcheck.errors import ConfigurationError

__all__ = ["ConfigurationError", "SessionManager", "SessionMixin", "SideBySideWarning", "create_mixin"]


class SessionManager(Manager):
    """A visitor's session. It ends a day after its last change (`driver.EXPIRE_SECONDS`)."""

    STORAGE_CATEGORY: str = "db_sessions"

    driver: Driver = None  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType] # `__init__` sets it

    def __init__(self, handler: Any) -> None:
        """For a request of a `tornado.web.RequestHandler`, or of a stand-in with the same methods.

        Raises:
            ConfigurationError: The application has no settings for pycket, or they name no engine.
            ValueError: The engine is unknown.
        """
        super().__init__(handler)
        self.settings: Mapping[str, Any] = _settings(handler)
        self.driver = self._driver_of(self.STORAGE_CATEGORY)

    def _driver_of(self, category: str) -> Driver:
        side_by_side = bool(self.settings.get("side_by_side"))
        if side_by_side:
            warn_of_side_by_side()
        return DriverFactory().create(
            self.settings["engine"],
            self.settings.get("storage", {}),
            category,
            side_by_side=side_by_side,
            allow=self.settings.get("allow", ()),
        )

    def _driver(self) -> Driver:
        return self.driver

    def _drivers(self) -> list[Driver]:
        others = [
            self._driver_of(category)
            for category in DriverFactory.STORAGE_CATEGORIES
            if category != self.STORAGE_CATEGORY
        ]
        return [self.driver, *others]

    def _cookies(self) -> Mapping[str, Any]:
        cookies: Mapping[str, Any] = self.settings.get("cookies", {})
        return cookies


class SessionMixin:
    """Adds `session` to a request handler."""

    @property
    def session(self) -> SessionManager:
        """The visitor's session."""
        manager: SessionManager = create_mixin(self, "__session_manager", SessionManager)
        return manager


def _settings(handler: Any) -> Mapping[str, Any]:
    settings: Mapping[str, Any] | None = handler.settings.get("pycket")
    if not settings:
        raise ConfigurationError('The "pycket" configurations are missing')
    if not settings.get("engine"):
        raise ConfigurationError("You must define an engine to be used with pycket")
    return settings
