"""`SessionMixin` for request handlers, and `SessionManager`, which it makes.

The application's settings need ``cookie_secret``. Optional settings are ``pycket_redis`` (the arguments of
`redis.Redis`, ``db_sessions``, ``db_notifications``, ``allow``, ``side_by_side``) and ``pycket_cookies`` (the arguments
of `set_secure_cookie`).
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from coatcheck.compat.pycket._manager import Manager, SideBySideWarning, create_mixin, warn_of_side_by_side
from coatcheck.compat.pycket.driver import Driver, DriverFactory

__all__ = ["SessionManager", "SessionMixin", "SideBySideWarning", "create_mixin"]

_OURS = ("allow", "side_by_side")


class SessionManager(Manager):
    """A visitor's session. It ends a day after its last change (`EXPIRE_SECONDS`)."""

    DB: int = 0
    DB_SETTING: str = "db_sessions"
    EXPIRE_SECONDS: int = 24 * 60 * 60
    _NAME: str = "dataset"

    dataset: Any = None
    """The client of Redis, made on first use."""

    _made: Driver | None = None

    def _driver(self) -> Driver:
        driver = self._made = self._made or self._driver_of(self.DB_SETTING, self.DB)
        if self.dataset is None:
            self.dataset = driver.setup_client()
        driver.client, driver.EXPIRE_SECONDS = self.dataset, self.EXPIRE_SECONDS
        return driver

    def _drivers(self) -> list[Driver]:
        from coatcheck.compat.pycket01.notification import NotificationManager

        kinds = (SessionManager, NotificationManager)
        others = [kind for kind in kinds if kind.DB_SETTING != self.DB_SETTING]
        return [self._driver(), *(self._driver_of(kind.DB_SETTING, kind.DB) for kind in others)]

    def _driver_of(self, db_setting: str, db: int) -> Driver:
        settings: Mapping[str, Any] = self.handler.settings.get("pycket_redis", {})
        side_by_side = bool(settings.get("side_by_side"))
        if side_by_side:
            warn_of_side_by_side()
        return DriverFactory().create(
            "redis",
            {db_setting: db, **{name: settings[name] for name in settings if name not in _OURS}},
            db_setting,
            side_by_side=side_by_side,
            allow=settings.get("allow", ()),
        )

    def _cookies(self) -> Mapping[str, Any]:
        cookies: Mapping[str, Any] = self.handler.settings.get("pycket_cookies", {})
        return cookies


class SessionMixin:
    """Adds `session` to a request handler."""

    @property
    def session(self) -> SessionManager:
        """The visitor's session."""
        manager: SessionManager = create_mixin(self, "__session_manager", SessionManager)
        return manager
