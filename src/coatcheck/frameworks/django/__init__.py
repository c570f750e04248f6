"""Sessions for Django: ``request.session``, as people know it.

::

    INSTALLED_APPS = ["coatcheck.frameworks.django", …]  # for `manage.py check` and the admin
    MIDDLEWARE = ["coatcheck.frameworks.django.SessionMiddleware", …]  # in place of Django's
    SESSION_ENGINE = "coatcheck.frameworks.django"
    MESSAGE_STORAGE = "coatcheck.frameworks.django.messages.Storage"
    COATCHECK = {"url": "redis://localhost"}
"""

from __future__ import annotations

from coatcheck.frameworks.django.configuration import sessions
from coatcheck.frameworks.django.engine import DjangoSession, SessionStore, get_session
from coatcheck.frameworks.django.middleware import SessionMiddleware

__all__ = ["DjangoSession", "SessionMiddleware", "SessionStore", "get_session", "sessions"]
