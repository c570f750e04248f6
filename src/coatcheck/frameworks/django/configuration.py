"""The manager of a Django site, made of ``COATCHECK`` and of Django's own settings where they are set."""

from __future__ import annotations

from datetime import timedelta
from functools import cache
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed

from coatcheck.config import CookieSettings
from coatcheck.sessions import Sessions

USER_FIELD = "_auth_user_id"


@cache
def sessions() -> Sessions:
    """The site's manager."""
    given: dict[str, Any] = dict(getattr(settings, "COATCHECK", {}))
    url = given.pop("url", None)
    if url is None:
        raise ImproperlyConfigured('COATCHECK names no store: write COATCHECK = {"url": "redis://localhost"}.')
    given.setdefault("secret", [settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS])
    given.setdefault("identity", USER_FIELD)
    given.setdefault("insecure_http", not settings.SESSION_COOKIE_SECURE)
    given.setdefault(
        "cookie",
        CookieSettings(
            name=settings.SESSION_COOKIE_NAME,
            domain=settings.SESSION_COOKIE_DOMAIN,
            path=settings.SESSION_COOKIE_PATH,
            samesite=settings.SESSION_COOKIE_SAMESITE,
        ),
    )
    if settings.is_overridden("SESSION_COOKIE_AGE"):
        age = timedelta(seconds=settings.SESSION_COOKIE_AGE)
        given.setdefault("remember_idle", age)
        given.setdefault("remember_absolute", max(age, timedelta(days=90)))
    return Sessions.from_url(url, **given)


def _forget(*, setting: str, **_: object) -> None:
    if setting == "COATCHECK" or setting.startswith("SESSION_"):
        sessions.cache_clear()


setting_changed.connect(_forget)
