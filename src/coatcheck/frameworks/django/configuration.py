"""The manager of a Django site, made of ``COATCHECK`` and of Django's own settings."""

from __future__ import annotations

import sys
from datetime import timedelta
from functools import cache
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.core.signals import setting_changed

from coatcheck.config import CookieSettings
from coatcheck.errors import ConfigurationError
from coatcheck.model.lifetimes import LONGEST_COOKIE
from coatcheck.model.ports import Store
from coatcheck.sessions import Sessions
from coatcheck.urls import split_options

__all__ = ["USER_FIELD", "is_test", "sessions"]

USER_FIELD = "_auth_user_id"
"""Where `django.contrib.auth` keeps the id of the user."""
_LONGEST, _LONGEST_OF_BROWSER = timedelta(days=90), timedelta(days=30)
_COOKIE = ("name", "domain", "path", "samesite")
_PACKAGE = "coatcheck.frameworks.django"
_OF_DJANGO = "django.contrib.sessions.middleware.SessionMiddleware"
_store: list[Store] = []
"""The store of the last manager: a test that overrides another setting than COATCHECK keeps its sessions."""


@cache
def sessions() -> Sessions:
    """The site's manager: to list and to end the sessions of a user, ``sessions().revoke_user(str(user.pk))``.

    Raises:
        ImproperlyConfigured: ``COATCHECK`` is of the wrong type, or names no store. ``SESSION_COOKIE_AGE`` is no number.
            ``MIDDLEWARE`` contains Django's own session middleware. Its cookie would open no session.
        ConfigurationError: Two settings contradict each other.
    """
    if settings.SESSION_ENGINE == _PACKAGE and _OF_DJANGO in settings.MIDDLEWARE:
        raise ImproperlyConfigured(
            f'Put "{_PACKAGE}.SessionMiddleware" in MIDDLEWARE, in place of "{_OF_DJANGO}".'
        )
    configured: Sessions | dict[str, Any] = getattr(settings, "COATCHECK", {})
    if isinstance(configured, Sessions):
        return configured
    if not isinstance(configured, dict):
        raise ImproperlyConfigured(
            f"COATCHECK is a dict or a Sessions, not {type(configured).__name__}: write "
            'COATCHECK = {"url": "redis://localhost"}.'
        )
    given = dict(configured)
    url = given.pop("url", None)
    if url is None:
        raise ImproperlyConfigured(
            'COATCHECK names no store: write COATCHECK = {"url": "redis://localhost"}.'
        )
    if not settings.SESSION_COOKIE_HTTPONLY:
        raise ConfigurationError(
            "The session cookie is always HttpOnly: remove SESSION_COOKIE_HTTPONLY = False."
        )
    age = settings.SESSION_COOKIE_AGE
    if not isinstance(age, int | float):
        raise ImproperlyConfigured(f"SESSION_COOKIE_AGE is a number of seconds, not {age!r}.")
    age = min(timedelta(seconds=age), LONGEST_COOKIE)
    # A site that says nothing of Secure is in development under DEBUG, and in tests.
    in_development = settings.DEBUG or is_test() or settings.is_overridden("SESSION_COOKIE_SECURE")
    cookie = {name: getattr(settings, f"SESSION_COOKIE_{name.upper()}") for name in _COOKIE}
    defaults: dict[str, Any] = {
        "secret": [settings.SECRET_KEY, *settings.SECRET_KEY_FALLBACKS],
        "identity": USER_FIELD,
        "insecure_http": in_development and not settings.SESSION_COOKIE_SECURE,
        "cookie": CookieSettings(**cookie),
        "remember_idle": age,
        "remember_absolute": max(age, _LONGEST),
    }
    if settings.is_overridden("SESSION_COOKIE_AGE"):  # also for a session that ends with the browser
        defaults |= {"idle_timeout": age, "absolute_timeout": max(age, _LONGEST_OF_BROWSER)}
    moves: dict[str, Any] = {}
    if "from_" in given:
        moves = {"from_": given.pop("from_"), "keep_old": given.pop("keep_old", False)}
    elif "keep_old" in given:
        raise ConfigurationError('COATCHECK has "keep_old", but no "from_": remove it after the move.')
    options = {**defaults, **given}
    if _store:
        manager = Sessions(_store[0], **split_options(options)[1])
    else:
        manager = Sessions.from_url(url, **options)
        _store.append(manager.store)
    if not moves:
        return manager
    from coatcheck.migrate import Migrating  # with its readers of pickles, only for sites that move

    return Migrating(manager, **moves)


def is_test() -> bool:
    """Whether Django's test environment is set up (`django.test.utils.setup_test_environment`).

    `mail.outbox` does not tell: a site that sends its mail to ``locmem`` has one, too.
    """
    utils = sys.modules.get("django.test.utils")  # a site in production has no use for this import
    return hasattr(getattr(utils, "_TestState", None), "saved_data")


def _forget(*, setting: str, **_: object) -> None:
    if setting in {"COATCHECK", "DEBUG", "SECRET_KEY", "SECRET_KEY_FALLBACKS"} or setting.startswith(
        "SESSION_"
    ):
        sessions.cache_clear()
    if setting == "COATCHECK":
        _store.clear()


setting_changed.connect(_forget)
