"""`SessionMixin` for request handlers, and `SessionManager`, which it makes.

The application's settings need ``cookie_secret``, and ``pycket``: a dict with ``engine`` ("redis" or "memcached"), and
as you like ``storage`` (what the store's client takes), ``cookies`` (what `set_secure_cookie` takes), ``allow`` (classes
whose instances sessions hold) and ``side_by_side`` (servers of the old library still run).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from coatcheck.compat.pycket._manager import Manager, SideBySideWarning, create_mixin, warn_of_side_by_side
from coatcheck.compat.pycket.driver import Driver, DriverFactory
from coatcheck.errors import ConfigurationError

__all__ = ["ConfigurationError", "SessionManager", "SessionMixin", "SideBySideWarning", "create_mixin"]


class SessionManager(Manager):
    """A visitor's session. It ends a day after it was last changed (`driver.EXPIRE_SECONDS`)."""

    STORAGE_CATEGORY: str = "db_sessions"

    driver: Driver = None  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType] # until it is made

    def __init__(self, handler: Any) -> None:
        """For a request of a `tornado.web.RequestHandler`, or of what stands in for one.

        Raises:
            ConfigurationError: The application has no settings for pycket, or they name no engine.
            ValueError: They name an engine that there is not.
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
    """Gives a request handler a `session`."""

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
