"""Settings of Django's own tests, with our engine, and our middleware wherever they name or import Django's."""

import secrets

from django.contrib.sessions import middleware
from test_sqlite import *  # noqa: F403 - as Django's tests want it

from coatcheck.frameworks.django import SessionMiddleware, configuration

SECRET_KEY = secrets.token_urlsafe(32)
COATCHECK = {"url": "memory://"}
SESSION_ENGINE = "coatcheck.frameworks.django"
middleware.SessionMiddleware = SessionMiddleware
configuration._OF_DJANGO = None  # what its tests call Django's middleware is ours
