"""Settings of Django's own tests, with our engine."""

import secrets

from test_sqlite import *  # noqa: F403 - as Django's tests want it

SECRET_KEY = secrets.token_urlsafe(32)
COATCHECK = {"url": "memory://"}
SESSION_ENGINE = "coatcheck.frameworks.django"
