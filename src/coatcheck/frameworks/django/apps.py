"""What ``manage.py check`` says of a site's sessions."""

from __future__ import annotations

from typing import Any

from django.apps import AppConfig
from django.conf import settings
from django.core import checks
from django.core.exceptions import ImproperlyConfigured

from coatcheck.errors import ConfigurationError
from coatcheck.frameworks.django.configuration import USER_FIELD, sessions

__all__ = ["CoatcheckConfig"]

_PACKAGE = "coatcheck.frameworks.django"


class CoatcheckConfig(AppConfig):
    """``INSTALLED_APPS = ["coatcheck.frameworks.django", …]``."""

    name = _PACKAGE
    label = "coatcheck"

    def ready(self) -> None:
        """Register the checks."""
        checks.register(_check, checks.Tags.security)


def _check(**_: Any) -> list[checks.CheckMessage]:
    found: list[checks.CheckMessage] = []
    if settings.SESSION_ENGINE != _PACKAGE:
        hint = f'Set SESSION_ENGINE = "{_PACKAGE}", and put "{_PACKAGE}.SessionMiddleware" in place of Django\'s.'
        found.append(checks.Error("Django's own sessions are still in use.", hint, id="coatcheck.E001"))
    try:
        manager = sessions().settings
    except (ConfigurationError, ImproperlyConfigured, ImportError, TypeError) as error:
        return [*found, checks.Error(str(error), id="coatcheck.E002")]
    if manager.identity_field != USER_FIELD:
        hint = f'Give the manager identity="{USER_FIELD}".'
        found.append(checks.Warning("login() does not sign in to Coatcheck.", hint, id="coatcheck.W001"))
    return found
